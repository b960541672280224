"""The layer that goes with an export for a plugin, as far as an export knows of it: who makes it is chosen outside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mobanet.exporting.pretrained import PretrainedModel
from mobanet.exporting.stacked import StackedModel


class Layer(Protocol):
    """A layer whose rasters have been brought together, to be written once the export is."""

    @property
    def notes(self) -> Sequence[str]:
        """Remarks on the rasters."""

    @property
    def described(self) -> str:
        """Its size and whose grid it has."""

    def write(self, path: Path) -> None:
        """Write it."""


class Layers(Protocol):
    """What makes a layer (`mobanet.prediction.layer.LayerRequest`)."""

    def placed(self, model: PretrainedModel, stacked: StackedModel, output: Path) -> Layer:
        """Bring its rasters together."""


def layer_beside(path: Path) -> Path:
    """Where the layer of an exported file goes."""
    return path.with_name(f"{path.stem}_layer.tif")
