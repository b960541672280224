"""Multimodal remote-sensing segmentation on vision foundation models, robust to missing sensors."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobanet.data.datamodule import RasterDataModule
    from mobanet.exporting.places import from_pretrained
    from mobanet.prediction.saved_model import load
    from mobanet.runs import open_run
    from mobanet.training.module import SegmentationModule

__version__ = "0.1.0"
__all__ = ["RasterDataModule", "SegmentationModule", "__version__", "from_pretrained", "load", "open_run"]

_PLACES = {
    "RasterDataModule": "mobanet.data.datamodule",
    "SegmentationModule": "mobanet.training.module",
    "from_pretrained": "mobanet.exporting.places",
    "load": "mobanet.prediction.saved_model",
    "open_run": "mobanet.runs",
}


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is asked for, so that importing the package takes no time."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
