"""Reading checkpoints, and what may differ between one and the run that goes on from it."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.errors import UserError

_ARCHITECTURE = ("data", "streams", "backbone", "network")
"""Hyper-parameters that decide which weights there are and what they mean."""

_FREE = ("backbone.pretrained", "backbone.checkpoint", "backbone.freeze", "restored")
"""Of these, the ones that only say where weights came from or whether they move."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint's content, without running any code from it.

    Raises:
        UserError: when the file is absent, damaged, or not a checkpoint of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"--ckpt_path {path} does not exist; give a file such as runs/…/checkpoints/best.ckpt.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise UserError(
            f"--ckpt_path {path} cannot be read as a checkpoint ({type(error).__name__}); it may be truncated: "
            "take another one of the run."
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "hyper_parameters"} <= checkpoint.keys():
        raise UserError(f"--ckpt_path {path} is not a checkpoint of a mobanet run; give one that mobanet.fit wrote.")
    return checkpoint


def check_architecture(saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose weights mean something else.

    Args:
        saved: hyper-parameters of the checkpoint.
        given: those of the model at hand.

    Raises:
        UserError: naming each setting that differs, with both values.
    """
    old, new = _flat(saved), _flat(given)
    differences = [
        f"{_option(key)} is {new.get(key)} here and {old.get(key)} in the checkpoint"
        for key in sorted(old.keys() | new.keys())
        if key.split(".")[0] in _ARCHITECTURE and key not in _FREE and old.get(key) != new.get(key)
    ]
    if differences:
        raise UserError(
            f"the checkpoint belongs to another model: {'; '.join(differences[:4])}"
            f"{f' and {len(differences) - 4} more' if len(differences) > 4 else ''}; use the checkpoint's own settings."
        )


def adopt_settings(checkpoint: dict[str, Any], given: Mapping[str, Any], fresh: Mapping[str, Any]) -> None:
    """Let the run's own settings win over those in the checkpoint, and say which.

    Lightning would restore the checkpoint's learning rates and weight decay with the optimiser's state.

    Args:
        checkpoint: about to be restored; changed in place.
        given: hyper-parameters of the run.
        fresh: its `configure_optimizers`, as at the start of training.

    Raises:
        UserError: when other parts were trained.
    """
    old, new = _flat(checkpoint["hyper_parameters"]), _flat(given)
    for key in sorted(new):
        if key.split(".")[0] not in _ARCHITECTURE and key not in _FREE and key in old and old[key] != new[key]:
            rank_zero_info(f"resuming with {_option(key)} {new[key]} (the checkpoint has {old[key]})")
    groups = fresh["optimizer"].param_groups
    for state in checkpoint.get("optimizer_states", []):
        if [len(g["params"]) for g in state["param_groups"]] != [len(g["params"]) for g in groups]:
            raise UserError(
                "the checkpoint was trained with other parts frozen; resume with the same --model.backbone.freeze, or "
                "start a new run."
            )
        for old_group, group in zip(state["param_groups"], groups, strict=True):
            old_group["initial_lr"] = group["initial_lr"]
            old_group["weight_decay"] = group["weight_decay"]
    for state in checkpoint.get("lr_schedulers", []):
        scheduler = fresh["lr_scheduler"]["scheduler"]
        state["base_lrs"] = list(scheduler.base_lrs)
        step = state["last_epoch"]
        rates = [base * factor(step) for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
        state["_last_lr"] = rates
        for optimizer_state in checkpoint["optimizer_states"]:
            for group, rate in zip(optimizer_state["param_groups"], rates, strict=True):
                group["lr"] = rate


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def _option(key: str) -> str:
    return f"--{key}" if key.startswith("data.") else f"--model.{key}"
