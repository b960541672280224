"""How far a run had come, in a checkpoint that it is resumed from: looked at before Lightning takes it up."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from mobanet.checkpoints.tensors import trouble
from mobanet.errors import UserError
from mobanet.lightning_internals import callbacks_of
from mobanet.plain.schema import MismatchError, check_value, shown

_REMEDY = "take another checkpoint of the run, or begin a new run with --init_from"


def check_progress(checkpoint: Mapping[str, Any], trainer: Trainer) -> None:
    """Refuse to resume from counters and states of callbacks that Lightning could not take up.

    Raises:
        UserError: naming the entry.
    """
    with _named():
        for key in ("loops", "callbacks"):
            check_value(checkpoint.get(key), dict[str, Any], key)
        # other loops' states are not read in a training
        _check_like(checkpoint["loops"].get("fit_loop"), trainer.fit_loop.state_dict(), "loops.fit_loop")
        _check_callbacks(checkpoint["callbacks"], trainer)


def check_optimizers(checkpoint: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], shapes: bool = True) -> None:
    """Refuse to resume from states of optimisers and schedules that are no such states, or of other shapes.

    Args:
        checkpoint: with checked content.
        groups: of the parameters that are to be trained.
        shapes: whether states have the shapes of their parameters, as of the package's optimisers.

    Raises:
        UserError: naming the entry.
    """
    with _named():
        for key in ("optimizer_states", "lr_schedulers"):
            check_value(checkpoint.get(key), list[dict[str, Any]], key)
        for number, state in enumerate(checkpoint["lr_schedulers"]):
            check_value(state.get("last_epoch"), int, f"lr_schedulers[{number}].last_epoch")
        for number, state in enumerate(checkpoint["optimizer_states"]):
            _check_optimizer(state, groups, f"optimizer_states[{number}]", shapes)


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except MismatchError as error:
        raise UserError(f"the checkpoint cannot be resumed: {error}; {_REMEDY}.") from error


def _check_like(value: Any, example: Any, where: str) -> None:
    """Counters have the form of an example, in which there is everything that Lightning asks for."""
    if isinstance(example, Mapping):
        check_value(value, dict[str, Any], where)
        for key, inner in example.items():
            if key not in value:
                raise MismatchError(f"{where}.{key}", "is missing")
            _check_like(value[key], inner, f"{where}.{key}")
    # type(example) below tells the two apart, as a bool is an int, too
    elif isinstance(example, bool | int):
        check_value(value, type(example), where)
        if value < 0:
            raise MismatchError(where, f"is {shown(value)}")


def _check_callbacks(states: Mapping[str, Any], trainer: Trainer) -> None:
    """States of what this package and Lightning add to a run; others look after their own."""
    for key in ("ScenarioSampling", "Interrupts"):
        check_value(states.get(key, {}), dict[str, Any], f"callbacks.{key}")
    if "Interrupts" in states:
        logged, where = states["Interrupts"].get("logged"), "callbacks.Interrupts.logged"
        check_value(logged, dict[str, Any], where)
        for name, value in logged.items():  # NaN, too, where a class is absent
            if not isinstance(value, float):
                raise MismatchError(f"{where}.{name}", f"is {shown(value)}")
    for callback in callbacks_of(trainer):
        if isinstance(callback, ModelCheckpoint) and callback.state_key in states:
            _check_best(states[callback.state_key], "callbacks.ModelCheckpoint")


def _check_best(state: Any, where: str) -> None:
    check_value(state, dict[str, Any], where)
    for key in ("best_model_score", "best_model_path"):  # Lightning reads these two as if they were always there
        if key not in state:
            raise MismatchError(f"{where}.{key}", "is missing")
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        check_value(state.get(key, ""), str, f"{where}.{key}")
    check_value(state.get("best_k_models", {}), dict[str, Any], f"{where}.best_k_models")
    scores = {key: state.get(key) for key in ("best_model_score", "current_score", "kth_value")}
    for key, score in (scores | state.get("best_k_models", {})).items():
        if score is not None and not (isinstance(score, Tensor) and score.ndim == 0 and trouble(key, score) is None):
            raise MismatchError(f"{where}.{key}", f"is {shown(score)} where a single number is expected")


def _check_optimizer(state: Any, groups: Sequence[Mapping[str, Any]], where: str, of_parameters: bool) -> None:
    """States of parameters have their shapes."""
    check_value(state.get("param_groups"), list[dict[str, Any]], f"{where}.param_groups")
    check_value(state.get("state"), dict[int, dict[str, Any]], f"{where}.state")
    saved = []
    for number, group in enumerate(state["param_groups"]):
        check_value(group.get("params"), list[int], f"{where}.param_groups[{number}].params")
        saved += group["params"]
    own = [parameter for group in groups for parameter in group["params"]]
    if len(saved) != len(own):
        return  # other parts were trained, about which there is more to say
    # torch numbers parameters through all groups, in their order
    shapes = dict(zip(saved, (parameter.shape for parameter in own), strict=True))
    for index, values in state["state"].items():
        for name, value in values.items():
            if not isinstance(value, Tensor):
                check_value(value, float | int | None if of_parameters else Any, f"{where}.state.{index}.{name}")
            elif (problem := trouble(name, value)) is not None:
                raise MismatchError(f"{where}.state.{index}", f"is odd: {problem}")
            elif of_parameters and value.ndim and value.shape != shapes.get(index):  # Adam's `step` has no dimension
                raise MismatchError(f"{where}.state.{index}.{name}", f"has the shape {tuple(value.shape)}")
