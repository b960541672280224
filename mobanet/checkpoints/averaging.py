"""Averages of weights that callbacks keep (SWA, EMA): their copies in checkpoints, and in a validation cut short."""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from torch import Tensor

from mobanet.lightning_internals import callbacks_of, has_resumed_schedule

_CURRENT = "current_model_state"  # where Lightning puts the weights that train on, and the average in their place
_WEIGHTS = "network."  # by its names a state is known, whatever the callback calls it


def change_copies(checkpoint: dict[str, Any], change: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]) -> None:
    """Change every further copy of a module's weights in a checkpoint: those that train on beside an average, averages.

    Args:
        checkpoint: changed in place.
        change: takes a state dict of the module, or a part of it, and gives another.
    """
    if _CURRENT in checkpoint:
        checkpoint[_CURRENT] = change(checkpoint[_CURRENT])
    callbacks = checkpoint.get("callbacks", {})
    for name, state in callbacks.items():
        if isinstance(state, Mapping) and any(map(_holds_weights, state.values())):
            callbacks[name] = {key: change(value) if _holds_weights(value) else value for key, value in state.items()}


def _holds_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and any(str(name).startswith(_WEIGHTS) for name in value)


def leave_averages(trainer: Trainer) -> None:
    """Give a module its own weights back within a validation, which Lightning lets see their average."""
    for callback in callbacks_of(trainer):
        if isinstance(callback, WeightAveraging):
            # the hook that swaps them back, which a validation that is cut short never comes to
            callback.on_validation_epoch_end(trainer, trainer.lightning_module)


def ends_unvalidated(trainer: Trainer) -> bool:
    """Whether a training gives its module, as it ends, an average that no validation has seen."""
    return any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks_of(trainer))


def go_on_averaging(trainer: Trainer, module: LightningModule) -> None:
    """Give a resumed SWA its schedule before the first step, and not, as Lightning does, at the next epoch's start.

    The epoch that is resumed would end without its step of the schedule; and making the schedule moves the learning
    rates, which the optimiser's state has brought.
    """
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    for callback in callbacks_of(trainer):
        if not isinstance(callback, StochasticWeightAveraging) or not has_resumed_schedule(callback):
            continue
        if callback.swa_start <= trainer.current_epoch <= callback.swa_end:
            rates = [group["lr"] for group in groups]  # as the optimiser's state has brought them
            # Lightning calls it for no epoch that is resumed in its middle (its restoring: Lightning pull request 9938)
            callback.on_train_epoch_start(trainer, module)
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate
