"""The module that a callback's hooks are handed, by its own class."""

from typing import TYPE_CHECKING, cast

from lightning.pytorch import LightningModule

if TYPE_CHECKING:
    from mobanet.training.module import SegmentationModule


def segmentation(module: LightningModule) -> "SegmentationModule":
    """What a hook is handed, by its own class: Lightning's hooks name the base, and nothing else is trained here."""
    return cast("SegmentationModule", module)
