"""What a checkpoint holds, looked at as a whole before anything is done with it: the one door for all of them.

A checkpoint may come from a stranger, from a newer version or from a damaged disk. Behind this door its settings are
plain values of the right kinds within sizes that a machine can build, and its weights are those of the model that the
settings describe.
"""

import re
from collections.abc import Mapping
from typing import Any, get_type_hints

from lightning.pytorch import LightningModule
from packaging.version import InvalidVersion, Version

import mobanet
from mobanet.checkpoints.checkpoint import VERSION
from mobanet.checkpoints.frozen import LEFT_OUT, LeftOut, left_out
from mobanet.checkpoints.shapes import check_weights
from mobanet.data.description import DataDescription, check_description
from mobanet.data.training_rasters import check_rasters
from mobanet.errors import UserError
from mobanet.evaluation.adaptation import check_adaptation, variance_trouble
from mobanet.evaluation.temperature import temperature_trouble, with_temperatures
from mobanet.models.registry import NETWORKS, check_arguments, network_named
from mobanet.plain.schema import LARGEST, MismatchError, UnknownKeyError, check_keys, check_value, completed, shown
from mobanet.rasters.ground import MOST, STEP
from mobanet.scenarios.scenario import usual_scenarios

SETTINGS = "hyper_parameters"

_CHOOSING_CODE = ("_instantiator", "_class_path", "class_path", "init_args")
_CODE_ELSEWHERE = ("hparams", "module_arguments", "hparams_type")
"""Where Lightning also looks for hyper-parameters; nothing of ours writes there."""

LARGEST_WINDOW = 8192
"""Side of a window in pixels; whole tiles are smaller."""

_NODES, _DEPTH = 1_000_000, 16  # a run's checkpoint has some thousand entries, six deep
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def check_content(
    checkpoint: Any,
    source: str,
    kind: type[LightningModule],
    remedy: str = "take another checkpoint of the run",
    prefix: str = "",
) -> dict[str, Any]:
    """Refuse a checkpoint that this package cannot use as it stands.

    Args:
        checkpoint: as it was read. Settings that did not exist when it was written get their defaults, in place.
        source: where from, to begin messages with.
        kind: of module that its settings and weights have to be of.
        remedy: what to do about a damaged one.
        prefix: of the names of the weights that have to be there; by default all.

    Returns:
        The checkpoint.

    Raises:
        UserError: with the first thing that is wrong, by name.
    """
    ours = isinstance(checkpoint, dict) and isinstance(checkpoint.get("state_dict"), dict)
    if not ours or not describes_model(checkpoint.get(SETTINGS)):
        raise UserError(f"{source} is not a checkpoint of a mobanet run; give one that mobanet.fit wrote.")
    _refuse_code(checkpoint, source)
    try:
        _check_size(checkpoint)
        _check_facts(checkpoint)
        checkpoint[SETTINGS] = checked_settings(checkpoint[SETTINGS], left_out(checkpoint) is not None, kind)
        check_adaptation(checkpoint)
        # by what is in it: its key is the data module's class, which may be a subclass of ours
        for key, state in checkpoint.items():
            if isinstance(state, dict) and "scaling" in state:
                check_scaling(state, checkpoint[SETTINGS]["data"], key)
    except UnknownKeyError as error:
        raise UserError(
            f"{source} has the setting {error.where}, which mobanet {mobanet.__version__} does not know; it was "
            f"written by {_writer(checkpoint)}: install that version, or {remedy}."
        ) from error
    except MismatchError as error:
        raise UserError(f"{source} cannot be used: {error}; {remedy}.") from error
    state, data = checkpoint["state_dict"], checkpoint[SETTINGS]["data"]
    if not prefix:  # what is exported has them beside its weights
        state = with_temperatures(state, len(usual_scenarios([m["name"] for m in data["modalities"]])))
        checkpoint["state_dict"] = state
    check_weights(checkpoint, source, kind, _writer(checkpoint), remedy, prefix)
    if (problem := variance_trouble(state)) is None and not prefix:
        problem = temperature_trouble(state)
    if problem is not None:
        raise UserError(f"{source} cannot be used: {problem}; {remedy}.")
    return checkpoint


def checked_settings(settings: Any, light: bool, kind: type[LightningModule]) -> dict[str, Any]:
    """Hyper-parameters of a module, whole, with the defaults of those that are not there.

    Args:
        settings: as they were read.
        light: whether a frozen backbone's weights are elsewhere.
        kind: of the module.

    Raises:
        MismatchError: for one that is unknown, or not of its kind.
    """
    # in Python `data` may be any dict; of a file it has to be a description
    kinds = get_type_hints(kind.__init__) | {"data": DataDescription}
    kinds.pop("return", None)
    check_keys(settings, kinds, {"data"})
    _check_network(settings.get("architecture", "mobanet"), settings.get("arguments", {}))
    check_description(settings["data"])
    whole = completed(settings, kind.__init__)
    return {**whole, "restored": "trained" if light else True}


def _check_network(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse a network that is not at hand, without importing anything."""
    if name not in NETWORKS and "." not in name:
        raise MismatchError("architecture", f"is {shown(name)}, not one of {', '.join(NETWORKS)}")
    network_named(name)
    check_arguments(name, arguments)


def check_scaling(state: Mapping[str, Any], data: Mapping[str, Any], where: str) -> None:
    """Refuse numbers to scale by that do not fit the data.

    Args:
        state: of a data module: `scaling`, by modality (2, C), (3, C) where heights are taken above the ground, and
            perhaps the `windows` of its test and what the training's `rasters` were.
        data: the data's description, plain.
        where: key of the state, for messages.

    Raises:
        MismatchError: naming the entry.
    """
    bands = {modality["name"]: len(modality["bands"]) for modality in data["modalities"]}
    check_value(state["scaling"], dict[str, list[list[float]]], f"{where}.scaling")
    for name, count in bands.items():
        numbers = state["scaling"].get(name, [])
        rows = 3 if data["scaling"][name] == "ground" else 2
        if [len(row) for row in numbers] != [count] * rows:
            raise MismatchError(f"{where}.scaling.{name}", f"does not hold {rows} numbers for each of {count} bands")
        if rows == 3 and not all(radius in range(STEP, MOST + 1, STEP) for radius in numbers[2]):
            raise MismatchError(f"{where}.scaling.{name}", f"has a radius that is no multiple of {STEP} pixels")
    if state.get("rasters") is not None:
        check_rasters(state["rasters"], f"{where}.rasters")
    windows = state.get("windows")
    if windows is None:
        return
    check_value(windows, dict[str, int], f"{where}.windows")
    size, stride = windows.get("size", 0), windows.get("stride", 0)
    if not 0 < stride <= size <= LARGEST_WINDOW:
        raise MismatchError(f"{where}.windows", f"has size {size} and stride {stride}")


def describes_model(settings: Any) -> bool:
    """Whether hyper-parameters look like those of a model of this package."""
    data = settings.get("data") if isinstance(settings, dict) else None
    return isinstance(data, dict) and "modalities" in data


def _refuse_code(checkpoint: Mapping[str, Any], source: str) -> None:
    """Refuse settings by which Lightning and its command line choose what code to run."""
    found = [key for key in _CODE_ELSEWHERE if key in checkpoint]
    for key, settings in checkpoint.items():
        if isinstance(settings, Mapping):
            found += [f"{key}.{name}" for name in _CHOOSING_CODE if name in settings]
    if checkpoint.get("hparams_name") is not None:
        found.append("hparams_name")
    if found:
        raise UserError(
            f"{source} holds {found[0]}, by which a checkpoint chooses code to run; mobanet writes no such thing: do "
            "not use it."
        )


def _check_size(checkpoint: Mapping[str, Any]) -> None:
    """Bound what has to be walked through: a few bytes of pickle can stand for endlessly nested lists."""
    left = _NODES
    stack: list[tuple[Any, int]] = [(checkpoint, 0)]  # recursion would end in an error of Python's own
    while stack:
        value, depth = stack.pop()
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        # counted as they are met: one list may be in a thousand others, and stand for all of them
        left -= len(inside)
        if left < 0 or depth > _DEPTH:
            raise MismatchError("its content", "is nested too deeply or too large")
        stack += [(item, depth + 1) for item in inside if isinstance(item, dict | list | tuple)]


def _check_facts(checkpoint: Mapping[str, Any]) -> None:
    """What a checkpoint says of itself."""
    for key in checkpoint:
        check_value(key, str, "a key of it")
    for key in ("epoch", "global_step"):
        check_value(checkpoint.get(key, 0), int, key)
        if not 0 <= checkpoint.get(key, 0) < LARGEST:
            raise MismatchError(key, f"is {shown(checkpoint[key])}")
    check_value(checkpoint.get(VERSION), str | None, VERSION)
    _check_lightning(checkpoint.get("pytorch-lightning_version", "2"))
    if LEFT_OUT in checkpoint:
        check_value(checkpoint[LEFT_OUT], LeftOut, LEFT_OUT)
        fingerprint = checkpoint[LEFT_OUT]["fingerprint"]
        if not _FINGERPRINT.fullmatch(fingerprint):
            raise MismatchError(f"{LEFT_OUT}.fingerprint", f"is {shown(fingerprint)}")


def _check_lightning(version: Any) -> None:
    """Lightning goes by the number to bring old content up to date."""
    check_value(version, str, "pytorch-lightning_version")
    try:
        fine = Version(version) >= Version("2")  # below, Lightning's migrations would rewrite what was checked
    except InvalidVersion:
        fine = False
    if not fine:
        raise MismatchError("pytorch-lightning_version", f"is {shown(version)}")


def _writer(checkpoint: Mapping[str, Any]) -> str:
    version = checkpoint.get(VERSION)
    return f"mobanet {version}" if version and version != mobanet.__version__ else "another version"
