"""Multimodal remote-sensing segmentation on vision foundation models, robust to missing sensors.

The names of `__all__` are those that scripts and notebooks build on; what lies below may move from version to version.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobanet.data.datamodule import RasterDataModule
    from mobanet.errors import UserError
    from mobanet.exporting.places import from_pretrained
    from mobanet.exporting.pretrained import PretrainedModel
    from mobanet.models.backbones.stages import BackboneSettings
    from mobanet.models.base import NetworkInputs, SegmentationModel, SegmentationOutput
    from mobanet.prediction.areas import FinishedMap
    from mobanet.prediction.input_raster import InputRaster
    from mobanet.prediction.saved_model import Prediction, SavedModel, load
    from mobanet.runs.opened import Run, open_run
    from mobanet.training.module import SegmentationModule

__version__ = "0.1.0"
__all__ = [
    "BackboneSettings",
    "FinishedMap",
    "InputRaster",
    "NetworkInputs",
    "Prediction",
    "PretrainedModel",
    "RasterDataModule",
    "Run",
    "SavedModel",
    "SegmentationModel",
    "SegmentationModule",
    "SegmentationOutput",
    "UserError",
    "__version__",
    "from_pretrained",
    "load",
    "open_run",
]

# the same once more, for Python: the imports above are there for type checkers alone
_PLACES = {
    "BackboneSettings": "mobanet.models.backbones.stages",
    "FinishedMap": "mobanet.prediction.areas",
    "InputRaster": "mobanet.prediction.input_raster",
    "NetworkInputs": "mobanet.models.base",
    "Prediction": "mobanet.prediction.saved_model",
    "PretrainedModel": "mobanet.exporting.pretrained",
    "RasterDataModule": "mobanet.data.datamodule",
    "Run": "mobanet.runs.opened",
    "SavedModel": "mobanet.prediction.saved_model",
    "SegmentationModel": "mobanet.models.base",
    "SegmentationModule": "mobanet.training.module",
    "SegmentationOutput": "mobanet.models.base",
    "UserError": "mobanet.errors",
    "from_pretrained": "mobanet.exporting.places",
    "load": "mobanet.prediction.saved_model",
    "open_run": "mobanet.runs.opened",
}


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is asked for, so that importing the package takes no time."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """What there is, with the names that are loaded when asked for; notebooks complete them."""
    return sorted({*globals(), *__all__})
