"""Weights and configuration without pickle: safetensors, and what is needed to build the network again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import mobanet
from mobanet.data.description import to_plain
from mobanet.errors import UserError
from mobanet.exporting.describe import KEY
from mobanet.training.frozen import LEFT_OUT, LeftOut, backbone_tensors, check_has_need
from mobanet.training.module import SegmentationModule

FORMAT = 1
_NETWORK = "network."
_LOCAL = ("backbone", "cmx")
"""Groups of hyper-parameters with a `checkpoint`, a path on the machine that trained."""


@dataclass(frozen=True)
class Saved:
    """A network's weights, and all that has to be known of them.

    Attributes:
        config: plain: `format`, `version`, `hyper_parameters`, `scaling` and `windows`; where the published weights of
            a frozen backbone are left out, which (as in `mobanet.training.frozen`).
        state: of the network, by name.
    """

    config: dict[str, Any]
    state: dict[str, Tensor]


def saved(
    module: SegmentationModule,
    learnt: Mapping[str, np.ndarray],
    windows: Mapping[str, int] | None = None,
    whole: bool = True,
) -> Saved:
    """What is written of a model.

    Args:
        module: of the model.
        learnt: by modality, (2, C), the numbers that it scales by.
        windows: `size` and `stride` of its evaluation; None where that is not known.
        whole: write all weights; otherwise those of a frozen backbone are left out where they are the published ones.
    """
    state, settings = module.state_dict(), to_plain(dict(module.hparams))
    light = not whole and can_leave_out(module)
    without = backbone_tensors(state).keys() if light else ()
    for group in _LOCAL:  # of use on that machine alone, and nobody else's business
        if settings[group].get("checkpoint"):
            settings[group]["checkpoint"] = Path(settings[group]["checkpoint"]).name
    config = {
        "format": FORMAT,
        "version": mobanet.__version__,
        "hyper_parameters": {**settings, "restored": "trained" if light else True},
        "scaling": {name: np.asarray(numbers).tolist() for name, numbers in learnt.items()},
        "windows": dict(windows) if windows else None,
    }
    if light:
        config[LEFT_OUT] = LeftOut(module.settings.backbone.name, module.backbone_fingerprint()).to_plain()
    return Saved(
        config,
        {
            name.removeprefix(_NETWORK): value.detach().cpu().clone().contiguous()
            for name, value in state.items()
            if name.startswith(_NETWORK) and name not in without
        },
    )


def can_leave_out(module: SegmentationModule) -> bool:
    """Whether the hub holds the weights of a model's frozen backbone; a local file is nobody else's."""
    return module.leaves_out and module.settings.backbone.checkpoint is None


def restored(
    config: Mapping[str, Any], state: Mapping[str, Tensor], source: str, backbone: str | None = None
) -> SegmentationModule:
    """The model again, in eval mode on the CPU.

    Args:
        config: as in `Saved`.
        state: alike.
        source: where from, for messages.
        backbone: file with the weights of a backbone that was left out; None: they come from the hub.

    Raises:
        UserError: when the two do not fit each other or this version of the package, or a backbone's weights cannot be
            had or are others.
    """
    check_config(config, source)
    settings = dict(config["hyper_parameters"])
    if backbone is not None:
        check_has_need(config, source, backbone)
        settings["backbone"] = {**settings["backbone"], "checkpoint": backbone}
    try:
        module = SegmentationModule(**settings)
        own = {name: value for name, value in module.state_dict().items() if not name.startswith(_NETWORK)}
        checkpoint = {
            "hyper_parameters": settings,
            "state_dict": own | {f"{_NETWORK}{name}": value for name, value in state.items()},
            **({LEFT_OUT: config[LEFT_OUT]} if LEFT_OUT in config else {}),
        }
        module.begin_from(checkpoint)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except (TypeError, KeyError, AttributeError, ValueError, RuntimeError) as error:
        words = " ".join(str(error).split())[:200]
        raise UserError(
            f"{source} cannot be built by mobanet {mobanet.__version__} ({words}); it was written by "
            f"{config.get('version')}: install that version, or export the checkpoint again."
        ) from error
    return module.eval()


def check_config(config: Any, source: str) -> None:
    """Refuse a configuration that is not one of ours, or that a later version wrote.

    Raises:
        UserError: naming the source.
    """
    needed = ("format", "hyper_parameters", "scaling")
    if not isinstance(config, Mapping) or not all(key in config for key in needed):
        raise UserError(f"{source} is not a model that mobanet.export wrote; give another one.")
    if config["format"] != FORMAT:
        raise UserError(
            f"{source} was written by mobanet {config.get('version')} in format {config['format']}, and this version "
            f"reads format {FORMAT}: install that version."
        )


def write_weights(model: Saved, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the weights of a model, with its configuration as JSON among the file's metadata.

    Args:
        model: to write.
        path: of the file.
        metadata: more of it.

    Raises:
        OSError: when the disk is full.
    """
    from safetensors.torch import save

    path.write_bytes(save(model.state, {"format": "pt", KEY: json.dumps(model.config), **(metadata or {})}))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and metadata of a safetensors file.

    Raises:
        UserError: when it cannot be read.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except Exception as error:  # safetensors has its own, of no common base
        raise UserError(
            f"{path} cannot be read as safetensors ({type(error).__name__}); it may be truncated: export it again."
        ) from error
