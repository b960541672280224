"""Weights and configuration without pickle: safetensors, and what is needed to build the network again."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import mobanet
from mobanet.checkpoints.checkpoint import VERSION
from mobanet.checkpoints.content import check_content, describes_model
from mobanet.checkpoints.data_state import DATA_STATE
from mobanet.checkpoints.frozen import LEFT_OUT, LeftOut, backbone_tensors, check_has_need
from mobanet.data.training_rasters import TrainingRasters, check_rasters
from mobanet.errors import UserError
from mobanet.evaluation.temperature import TEMPERATURES, temperature_trouble
from mobanet.exporting.describe import KEY, temperatures_as_plain
from mobanet.plain.json_files import parse_json
from mobanet.plain.schema import LARGEST, MismatchError, check_value, shown, to_plain
from mobanet.scenarios.words import never_drawn
from mobanet.training.module import SegmentationModule

FORMAT = 1
_NETWORK = "network."
_CHECKSUM = "mobanet_sha256"  # safetensors has none of its own
_TRAINING = "training"
_MODEL = ("hyper_parameters", "scaling", "windows", TEMPERATURES, LEFT_OUT, _TRAINING)
"""Keys of a configuration that say what the model is."""

_LOCAL = ("backbone", "cmx")
"""Groups of hyper-parameters with a `checkpoint`, a path on the machine that trained."""


@dataclass(frozen=True)
class Training:
    """What a model was trained on, as far as those who predict with it have to know.

    Attributes:
        rasters: how they were read, and the size of their pixels on the ground.
        never: names of the scenarios that it was not trained in.
        epoch: after which it was written, from 0; None where that is not known.
    """

    rasters: TrainingRasters = field(default_factory=TrainingRasters)
    never: frozenset[str] = frozenset()
    epoch: int | None = None

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> "Training":
        """From a checkpoint's content; one of an earlier version says nothing of its rasters."""
        names = [modality["name"] for modality in checkpoint["hyper_parameters"]["data"]["modalities"]]
        state = checkpoint.get(DATA_STATE)
        rasters = state.get("rasters") if isinstance(state, Mapping) else None
        never = never_drawn(checkpoint["state_dict"], names)
        return cls(TrainingRasters.from_plain(rasters), never, checkpoint.get("epoch"))

    def to_plain(self) -> dict[str, Any]:
        """Lists, dicts, strings and numbers only."""
        rasters = self.rasters.to_plain()
        for rule in rasters["rules"].values():
            if rule["nodata"] is not None and not math.isfinite(rule["nodata"]):
                rule["nodata"] = None  # what is not finite is missing anyway, and no JSON
        return {"rasters": rasters, "never": sorted(self.never), "epoch": self.epoch}

    @classmethod
    def from_plain(cls, plain: Any, source: str) -> "Training":
        """The inverse of `to_plain`; exports of earlier versions have None."""
        if plain is None:
            return cls()
        try:
            check_value(plain, dict[str, Any], _TRAINING)
            check_value(plain.get("never"), list[str], f"{_TRAINING}.never")
            check_rasters(plain.get("rasters"), f"{_TRAINING}.rasters")
            check_value(plain.get("epoch"), int | None, f"{_TRAINING}.epoch")
            if not 0 <= (plain.get("epoch") or 0) < LARGEST:
                raise MismatchError(f"{_TRAINING}.epoch", f"is {shown(plain['epoch'])}")
        except MismatchError as error:
            raise UserError(f"{source} cannot be used: {error}; export the checkpoint again.") from error
        return cls(TrainingRasters.from_plain(plain["rasters"]), frozenset(plain["never"]), plain.get("epoch"))


@dataclass(frozen=True)
class Saved:
    """A network's weights, and all that has to be known of them.

    Attributes:
        config: plain: `format`, `version`, `hyper_parameters`, `scaling`, `windows`, `temperatures`, by name of the
            scenario, None where none was fitted, and `training`, a `Training`; where the published weights of a frozen
            backbone are left out, which (as in `mobanet.checkpoints.frozen`).
        state: of the network, by name.
    """

    config: dict[str, Any]
    state: dict[str, Tensor]


def saved(
    module: SegmentationModule,
    learnt: Mapping[str, np.ndarray],
    windows: Mapping[str, int] | None = None,
    whole: bool = True,
    training: Training | None = None,
) -> Saved:
    """What is written of a model: whole, or without the weights of a frozen backbone that are the published ones."""
    state, settings = module.state_dict(), to_plain(dict(module.hparams))
    light = not whole and can_leave_out(module)
    without = backbone_tensors(state).keys() if light else ()
    for group in _LOCAL:  # of use on that machine alone, and nobody else's business
        if settings[group].get("checkpoint"):
            settings[group]["checkpoint"] = Path(settings[group]["checkpoint"]).name
    config = {
        "format": FORMAT,
        "version": mobanet.__version__,
        # which weights a module that is built from these settings does not fetch, as they come from the file
        "hyper_parameters": {**settings, "restored": "trained" if light else True},
        "scaling": {name: np.asarray(numbers).tolist() for name, numbers in learnt.items()},
        "windows": dict(windows) if windows else None,
        TEMPERATURES: temperatures_as_plain(module),
        _TRAINING: None if training is None else training.to_plain(),
    }
    if light:
        config[LEFT_OUT] = LeftOut(module.settings.backbone.name, module.checkpointing.fingerprint(module)).to_plain()
    return Saved(
        config,
        {
            # cloned: safetensors refuses tensors that share memory
            name.removeprefix(_NETWORK): value.detach().cpu().clone().contiguous()
            for name, value in state.items()
            if name.startswith(_NETWORK) and name not in without
        },
    )


def can_leave_out(module: SegmentationModule) -> bool:
    """Whether the hub holds the weights of a model's frozen backbone; a local file is nobody else's."""
    return module.checkpointing.leaves_out and module.settings.backbone.checkpoint is None


def restored(
    config: Mapping[str, Any], state: Mapping[str, Tensor], source: str, backbone: str | None = None
) -> SegmentationModule:
    """The model again, in eval mode on the CPU, from the two parts of `Saved`.

    A backbone that was left out comes from a file, or else from the hub; `source` is for messages.

    Raises:
        UserError: when the two do not fit each other or this version of the package, or a backbone's weights cannot be
            had or are others.
    """
    check_config(config, source)
    checkpoint = {
        "hyper_parameters": config["hyper_parameters"],
        "state_dict": {f"{_NETWORK}{name}": value for name, value in state.items()},
        "config": {"scaling": config["scaling"], "windows": config.get("windows")},
        VERSION: config.get("version"),
        **({LEFT_OUT: config[LEFT_OUT]} if LEFT_OUT in config else {}),
    }
    check_content(checkpoint, source, SegmentationModule, "export the checkpoint again", _NETWORK)
    settings = checkpoint["hyper_parameters"]
    for group in _LOCAL:  # of the machine that trained
        settings[group] = {**settings[group], "checkpoint": None}
    if backbone is not None:
        check_has_need(config, source, backbone)
        settings["backbone"]["checkpoint"] = backbone
    try:
        module = SegmentationModule(**settings)
        own = {name: value for name, value in module.state_dict().items() if not name.startswith(_NETWORK)}
        own[TEMPERATURES] = _temperatures(config, [scenario.name for scenario in module.scenarios])
        module.begin_from({**checkpoint, "state_dict": own | checkpoint["state_dict"]})
    except MismatchError as error:
        raise UserError(f"{source} cannot be used: {error}; export the checkpoint again.") from error
    except UserError as error:
        raise UserError(f"{source}: {error.told()}") from error
    return module.eval()


def _temperatures(config: Mapping[str, Any], scenarios: Sequence[str]) -> Tensor:
    """As a module has them, (S,); exports of earlier versions have none."""
    given = config.get(TEMPERATURES, {})
    check_value(given, dict[str, float | None], TEMPERATURES)
    if unknown := sorted(given.keys() - set(scenarios)):
        raise MismatchError(TEMPERATURES, f"names {shown(unknown[0])}, which is no scenario of the model")
    found = torch.tensor([math.nan if given.get(name) is None else given[name] for name in scenarios])
    if (problem := temperature_trouble({TEMPERATURES: found})) is not None:
        raise UserError(f"it cannot be used: {problem}; export the checkpoint again.")
    return found


def check_config(config: Any, source: str) -> None:
    """Refuse a configuration that is not one of ours, or that a later version wrote."""
    needed = ("format", "hyper_parameters", "scaling")
    ours = isinstance(config, Mapping) and all(key in config for key in needed)
    if not ours or not describes_model(config["hyper_parameters"]):
        raise UserError(f"{source} is not a model that mobanet.export wrote; give another one.")
    if config["format"] != FORMAT:
        version, form = (str(config.get(key))[:40] for key in ("version", "format"))
        raise UserError(
            f"{source} was written by mobanet {version} in format {form}, and this version "
            f"reads format {FORMAT}: install that version."
        )


def write_weights(model: Saved, path: Path) -> None:
    """Write the weights of a model, with its configuration as JSON among the file's metadata.

    Raises:
        OSError: when the disk is full.
    """
    from safetensors.torch import save

    config = json.dumps(model.config)
    # "format" says whose tensors they are, as other libraries write and ask for it
    about = {"format": "pt", KEY: config, _CHECKSUM: _checksum(config, model.state)}
    # not `save_file`: of a full disk it tells by an error of its own, which is no OSError
    path.write_bytes(save(model.state, about))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and metadata of a safetensors file.

    Raises:
        UserError: when it cannot be read, or is not as it was written.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            # by keys(): safetensors' file is no mapping, and cannot be iterated over
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except Exception as error:  # safetensors has its own, of no common base
        raise _unreadable(path, type(error).__name__) from error
    if _CHECKSUM in metadata and metadata[_CHECKSUM] != _checksum(metadata.get(KEY, ""), state):
        raise _unreadable(path, "it has another checksum than was written")
    return state, metadata


def check_same(config: Mapping[str, Any], metadata: Mapping[str, str], source: str) -> None:
    """Refuse a configuration that is not the one that its weights were written with, which has none if saved anew."""
    try:
        # tools that save weights anew drop metadata, and then there is nothing to compare
        written = parse_json(metadata.get(KEY, "null"))
    except ValueError:
        written = None
    if isinstance(written, Mapping) and any(written.get(key) != config.get(key) for key in _MODEL):
        raise UserError(
            f"{source}: the configuration is not the one that its weights were written with; export the model again."
        )


def _checksum(config: str, state: Mapping[str, Tensor]) -> str:
    """SHA-256 over a configuration as text, and names, types, shapes and bytes of weights."""
    digest = hashlib.sha256(config.encode())
    for name, value in sorted(state.items()):  # whatever order a file has
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _unreadable(path: Path, reason: str) -> UserError:
    return UserError(f"{path} cannot be read as safetensors ({reason}); it may be truncated: export it again.")
