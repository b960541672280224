"""Reading and writing checkpoints, and what may differ between one and the run that goes on from it."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.errors import SettingError, UserError, option_of
from mobanet.files import write_buffer
from mobanet.models.registry import settings_groups
from mobanet.plain.wording import name_differences

VERSION = "mobanet_version"
"""Where a checkpoint says which version of this package wrote it."""

_GROUPS = ("data", "architecture", "streams", "backbone", "network", "cmx", "cbc", "arguments", "lora")
"""Hyper-parameters that decide which weights there are and what they mean."""

_FREE = (
    "backbone.pretrained",
    "backbone.checkpoint",
    "backbone.freeze",
    "cmx.pretrained",
    "cmx.checkpoint",
    "cbc.pretrained",
    "cbc.latent",  # by what scenarios are scored
    "cbc.statistics",  # what encoders see in training
    "lora.freeze_rest",
    "restored",
)
"""Of these, the ones that only say where weights came from, whether they move, or what training does with them."""

_WHOLE = ("loss", "optimizer", "schedule.init_args")
"""Settings that may be a word or a mapping, and are told as they stand."""

_OF_SCHEDULE = ("lr", "backbone_lr", "schedule.init_args", "schedule.warmup_epochs")
"""Settings that a schedule by its import path has in its state, from which it goes on whatever they are now."""


def checkpoint_in(path: str | Path, option: str = "--ckpt_path", last: bool = False) -> Path:
    """The file of a checkpoint: what is given, or of a run's folder its best one, or else its last.

    Args:
        path: of a checkpoint, or a folder that mobanet.fit wrote.
        option: what the user typed it behind, for messages.
        last: take the last one, which a training goes on from.

    Raises:
        UserError: when it is a folder without a checkpoint.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    names = ("last.ckpt",) if last else ("best.ckpt", "last.ckpt")
    # the folder of checkpoints itself may be given, too
    found = [file for name in names for folder in (path / "checkpoints", path) if (file := folder / name).is_file()]
    if not found:
        raise UserError(
            f"{option} {path} is a folder without checkpoints/{' and checkpoints/'.join(names)}; give the folder of a "
            "run, or a checkpoint."
        )
    return found[0]


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place and then moves it there, so that a full disk or a kill leaves the old one.

    Lightning's own writes to the system's temporary folder first, which may be small, and on another disk: from there a
    checkpoint is copied over the old one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a file.

        Raises:
            OSError: when the disk is full; what was written is gone then.
        """
        buffer = io.BytesIO()  # torch would turn the system's complaint into a RuntimeError without its number
        torch.save(checkpoint, buffer)
        write_buffer(Path(path), buffer)


def check_architecture(saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose weights mean something else.

    Raises:
        UserError: naming each setting that differs, with both values.
    """
    differences = []
    new_kind, old_kind = given["architecture"], saved["architecture"]
    old_names, new_names = (", ".join(m["name"] for m in settings["data"]["modalities"]) for settings in (saved, given))
    if old_names != new_names:  # all else that differs follows from it
        differences.append(f"--data.modalities is {new_names} here and {old_names} in the checkpoint")
    elif new_kind != old_kind:
        differences.append(f"--model.architecture is {new_kind} here and {old_kind} in the checkpoint")
    else:
        groups = ("data", "lora", *settings_groups(new_kind))
        old, new = _flat(saved), _flat(given)
        differences += [
            f"{option_of(key)} is {new.get(key)} here and {old.get(key)} in the checkpoint"
            for key in sorted(old.keys() | new.keys())
            if key.split(".")[0] in groups and key not in _FREE and old.get(key) != new.get(key)
        ]
    if differences:
        raise UserError(
            f"the checkpoint belongs to another model: {'; '.join(differences[:4])}"
            f"{f' and {len(differences) - 4} more' if len(differences) > 4 else ''}; use the checkpoint's own settings."
        )


def check_names(saved: Iterable[str], wanted: Iterable[str]) -> None:
    """Refuse weights that lack a name of the model or bring one that it does not know.

    Raises:
        UserError: with the first names.
    """
    if problems := name_differences(wanted, saved):
        raise UserError(
            f"the checkpoint does not hold the weights of its model: it {' and '.join(problems)}; take another one of "
            "the run."
        )


def check_trained_parts(checkpoint: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to resume where other parts were trained.

    Raises:
        UserError: when the checkpoint's optimiser has other ones.
    """
    for state in checkpoint.get("optimizer_states", []):
        # an optimiser's state has numbers for its parameters, no names: how many there are is what can be compared
        if [len(g["params"]) for g in state["param_groups"]] != [len(g["params"]) for g in groups]:
            raise UserError(
                "the checkpoint was trained with other parts frozen; resume with the same --model.backbone.freeze, or "
                "start a new run."
            )


def check_same_code(saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse to resume with another optimiser or schedule, where one of the two is no part of this package.

    Such a schedule has to go on with the settings that it began with, too.

    Raises:
        UserError: as the state of one is nothing to the other.
    """
    for field, read in (("optimizer", _class_of), ("schedule.shape", _shape_of)):
        old, new = read(saved), read(given)
        # a dot: an import path. Our own two optimisers have the same states, and our own shapes are all LambdaLR
        if old != new and ("." in old or "." in new):
            raise SettingError(
                field,
                f"is {new} here and {old} in the checkpoint, whose state it cannot take up: resume with the same, or "
                "begin a new run with --init_from.",
            )
    if "." not in (shape := _shape_of(given)):
        return
    before, now = _flat(saved), _flat(given)
    for field in _OF_SCHEDULE:
        if before.get(field) != now.get(field):
            raise SettingError(
                field,
                f"is {now.get(field)} here and {before.get(field)} in the checkpoint, with which the schedule {shape} "
                "goes on: resume with the same, or begin a new run with --init_from.",
            )


def _class_of(settings: Mapping[str, Any]) -> str:
    given = settings.get("optimizer", "adamw")
    return str(given["class_path"] if isinstance(given, Mapping) else given)


def _shape_of(settings: Mapping[str, Any]) -> str:
    return str(settings["schedule"]["shape"])


def adopt_settings(checkpoint: dict[str, Any], given: Mapping[str, Any], fresh: Mapping[str, Any]) -> None:
    """Let the run's own settings win over those in the checkpoint, and say which.

    Lightning would restore the checkpoint's learning rates, weight decay and so on with the optimiser's state.

    Args:
        checkpoint: about to be restored; changed in place.
        given: hyper-parameters of the run.
        fresh: its `configure_optimizers`, as at the start of training.

    Raises:
        UserError: when other parts were trained, and as `check_same_code`.
    """
    check_same_code(checkpoint["hyper_parameters"], given)
    old, new = _flat(checkpoint["hyper_parameters"]), _flat(given)
    for key in sorted(new):
        if key.split(".")[0] not in _GROUPS and key not in _FREE and key in old and old[key] != new[key]:
            values = [str(flat[key]).replace("'", "") for flat in (new, old)]
            rank_zero_info(f"resuming with {option_of(key)} {values[0]} (the checkpoint has {values[1]})")
    groups, scheduler = fresh["optimizer"].param_groups, fresh["lr_scheduler"]["scheduler"]
    check_trained_parts(checkpoint, groups)
    for state in checkpoint.get("optimizer_states", []):
        for old_group, group in zip(state["param_groups"], groups, strict=True):
            old_group |= {key: value for key, value in group.items() if key not in ("params", "lr")}  # lr: below
    for state in checkpoint.get("lr_schedulers", []):
        # of another schedule: by its import path, or which a callback has put in the place of ours (SWA)
        if "lr_lambdas" not in state or not hasattr(scheduler, "lr_lambdas"):
            continue
        # the factors are functions, which torch leaves out of the state: they are those of the new settings anyway
        state["base_lrs"] = list(scheduler.base_lrs)
        # Lightning restores the schedule, too, which sets no rate before its next step
        step = state["last_epoch"]
        rates = [base * factor(step) for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
        state["_last_lr"] = rates
        for optimizer_state in checkpoint["optimizer_states"]:
            for group, rate in zip(optimizer_state["param_groups"], rates, strict=True):
                group["lr"] = rate


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and f"{prefix}{key}" not in _WHOLE:
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out
