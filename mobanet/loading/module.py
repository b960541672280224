"""A model from its checkpoint, whole, for everything that predicts without training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobanet.checkpoints.frozen import BACKBONE_OPTION, check_has_need
from mobanet.errors import UserError
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.training.module import SegmentationModule


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint opened.

    Attributes:
        module: with all weights, in eval mode on the CPU.
        checkpoint: its content, among it `hyper_parameters`, `epoch`, and under `RasterDataModule` the numbers that
            inputs are scaled by.
    """

    module: SegmentationModule
    checkpoint: dict[str, Any]


def load_module(
    path: str | Path, backbone: str | None = None, option: str = "--ckpt_path", backbone_option: str = "--backbone"
) -> LoadedModel:
    """Build the model of a checkpoint and give it its weights, a left-out backbone's among them.

    Args:
        path: of the checkpoint.
        backbone: file with the weights of a frozen backbone that the checkpoint leaves out; by default they come from
            where the run had them, its file or the hub.
        option: what the user types the path behind, for messages.
        backbone_option: what the user types the backbone's file behind.

    Raises:
        UserError: when the checkpoint cannot be read, the backbone's weights cannot be had or are others, or a file
            is given for a backbone that the checkpoint holds.
    """
    checkpoint = read_checkpoint(path, option)
    settings = dict(checkpoint["hyper_parameters"])
    if backbone is not None:
        check_has_need(checkpoint, f"{option} {path}", f"{backbone_option} {backbone}")
        # the checkpoint says where the run had it, which may be no place of this machine
        settings["backbone"] = {**settings["backbone"], "checkpoint": str(backbone)}
    try:
        module = SegmentationModule(**settings)
        module.begin_from(checkpoint)
    except UserError as error:  # which names the options of training
        raise UserError(error.told().replace(BACKBONE_OPTION, backbone_option)) from error
    return LoadedModel(module.eval(), checkpoint)  # modules begin in training mode
