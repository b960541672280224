"""A frozen backbone that checkpoints leave out: which tensors it is, how it is known again, what to say without it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from mobanet.errors import UserError, as_options
from mobanet.models.backbones.stages import BackboneSettings, weights_digest
from mobanet.models.backbones.weights import WEIGHTS_REMEDY

LEFT_OUT = "left_out_backbone"
"""Where a checkpoint says which backbone it leaves out."""

BACKBONE_OPTION = "--model.backbone.checkpoint"

_PREFIX = "network.backbone.vit."
_SHOWN = 12
"""Digits of a fingerprint in a message."""


@dataclass(frozen=True)
class LeftOut:
    """The backbone that a checkpoint leaves out.

    Attributes:
        name: timm name.
        fingerprint: of its weights, 64 hexadecimal digits.
    """

    name: str
    fingerprint: str

    def to_plain(self) -> dict[str, str]:
        """For a checkpoint."""
        return asdict(self)


def left_out(checkpoint: Mapping[str, Any]) -> LeftOut | None:
    """The backbone that a checkpoint leaves out; None where it holds all weights."""
    found = checkpoint.get(LEFT_OUT)
    return LeftOut(str(found["name"]), str(found["fingerprint"])) if isinstance(found, Mapping) else None


def backbone_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a module's state dict that a frozen backbone consists of, without what LoRA adds to it."""
    return {name: value for name, value in state.items() if name.startswith(_PREFIX) and ".lora_" not in name}


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values of a backbone's tensors, 64 hexadecimal digits.

    The same as `mobanet.models.backbones.stages.Backbone.fingerprint`, with or without LoRA around its layers. It takes
    about a second for 300 million parameters.

    Args:
        state: of a module, or the part of it that `backbone_tensors` gives.
    """
    return weights_digest(
        {
            name.removeprefix(_PREFIX).replace(".base_layer.", "."): value  # where peft keeps the layer itself
            for name, value in backbone_tensors(state).items()
        }
    )


def has_source(backbone: BackboneSettings) -> bool:
    """Whether the weights that a backbone starts from can be had again."""
    return backbone.pretrained or backbone.checkpoint is not None


@contextmanager
def fetched_for_checkpoint(backbone: BackboneSettings) -> Iterator[None]:
    """Say, where a backbone's weights cannot be had, that a checkpoint has need of them.

    Raises:
        UserError: as raised inside, with the remedies of a checkpoint; or when the settings name no source.
    """
    what = f"the checkpoint leaves out the weights of its frozen backbone {backbone.name}"
    if not has_source(backbone):
        raise UserError(
            f"{what}, and --model.backbone.pretrained is false; set it to true, or give {BACKBONE_OPTION} FILE."
        )
    try:
        yield
    except UserError as error:
        # random weights, the last remedy of a setting, would be no backbone of this checkpoint
        remedy = f"run once with a network, or give a local file with {BACKBONE_OPTION} FILE"
        raise UserError(f"{what}; {error.told().replace(as_options(WEIGHTS_REMEDY), remedy)}") from error


def check_has_need(checkpoint: Mapping[str, Any], path: str, file: str) -> None:
    """Refuse a file for a backbone that a checkpoint holds itself.

    Args:
        checkpoint: as read.
        path: option and file that it was read from.
        file: option and file of the backbone's weights.

    Raises:
        UserError: when nothing is left out.
    """
    if left_out(checkpoint) is None:
        raise UserError(f"{path} holds all its weights, so that {file} would not be read; leave it out.")


def check_fingerprint(wanted: LeftOut, found: str, backbone: BackboneSettings) -> None:
    """Refuse a backbone with other weights than those a checkpoint was trained around.

    Raises:
        UserError: with both fingerprints.
    """
    if found == wanted.fingerprint:
        return
    source = backbone.checkpoint or ("the published weights" if backbone.pretrained else "random weights")
    raise UserError(
        f"the checkpoint was trained around weights of {wanted.name} with the fingerprint "
        f"{wanted.fingerprint[:_SHOWN]}, which it leaves out, and {source} have {found[:_SHOWN]}; give the file that "
        f"the run had with {BACKBONE_OPTION} FILE, or its published weights without that option."
    )
