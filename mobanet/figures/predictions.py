"""Pictures of predictions: inputs, truth, prediction and errors, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.data.attached import data_of
from mobanet.figures.canvas import new_figure, write_png
from mobanet.rasters.contents import IGNORE_INDEX, Classes, Modality
from mobanet.rasters.pictures import coloured, natural_bands, optical_picture, relief
from mobanet.stitching.windows import Strip
from mobanet.training.handed import segmentation

if TYPE_CHECKING:
    from matplotlib.patches import Patch

RIGHT, WRONG = (225, 225, 225), (200, 30, 45)
"""Colours of right and wrong pixels, RGB."""


@dataclass(frozen=True)
class Panel:
    """One row of a figure.

    Attributes:
        tile: its id.
        inputs: by modality, (H, W, C) as stored.
        truth: (H, W) class indices.
        prediction: (H, W) class indices.
    """

    tile: str
    inputs: Mapping[str, np.ndarray]
    truth: np.ndarray
    prediction: np.ndarray


def errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Right pixels light grey, wrong ones red, ignored ones black, (H, W, 3) uint8."""
    out = np.full((*truth.shape, 3), RIGHT, np.uint8)
    out[truth != prediction] = WRONG
    # last, since ignored pixels differ from any prediction
    out[truth == IGNORE_INDEX] = 0
    return out


def picture(array: np.ndarray, modality: Modality, measured: np.ndarray | None = None) -> np.ndarray:
    """An input, (H, W, C) as stored and (H, W) where it was measured, to look at: (H, W, 3) floats in 0..1."""
    if modality.kind == "elevation":
        return relief(array[..., 0], measured)
    return optical_picture(array[..., natural_bands(modality) or slice(None)], measured)


def shares(colour: Sequence[int]) -> tuple[float, float, float]:
    """Red, green and blue, 0 to 255, as matplotlib takes them."""
    red, green, blue = (channel / 255 for channel in colour)
    return red, green, blue


def legend_patches(classes: Classes) -> "list[Patch]":
    """A patch a class, and one of ignored pixels, for a legend."""
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=shares(colour), edgecolor="0.4", label=name)
        for name, colour in zip(classes.names, classes.colours, strict=True)
    ]
    return [*handles, Patch(facecolor="black", edgecolor="0.4", label="ignored")]


def draw(panels: list[Panel], modalities: Mapping[str, Modality], classes: Classes, path: Path) -> None:
    """Write a figure with one row a panel, at least one, as a PNG."""
    columns = [*modalities, "truth", "prediction", "errors"]
    figure = new_figure(2.5 * len(columns), 2.5 * len(panels) + 0.75)
    grid = figure.subplots(len(panels), len(columns), squeeze=False)
    for row, panel in zip(grid, panels, strict=True):
        pictures = {name: picture(array, modalities[name]) for name, array in panel.inputs.items()}
        pictures["truth"] = coloured(panel.truth, classes)
        pictures["prediction"] = coloured(panel.prediction, classes)
        pictures["errors"] = errors(panel.truth, panel.prediction)
        for axis, name in zip(row, columns, strict=True):
            # classes have no colours in between
            axis.imshow(pictures[name], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if axis in grid[0]:
                axis.set_title(name, fontsize=11)
        row[0].set_ylabel(f"tile {panel.tile}", fontsize=10)
    handles = legend_patches(classes)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
    write_png(figure, path, dpi=130)


class PredictionFigure(Callback):
    """Draws predictions of a few test tiles at the end of a test.

    Args:
        path: of the PNG.
        tiles: number of rows.
        side: largest height and width of a shown part in pixels, cut from the middle of the tile.
    """

    def __init__(self, path: str | Path, tiles: int = 3, side: int = 768) -> None:
        self.path = Path(path)
        self.tiles = tiles
        self.side = side
        self._maps: dict[str, list[np.ndarray]] = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier test."""
        self._maps = {}

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any) -> None:
        """Keep the maps of the first tiles."""
        strips: list[Strip] = outputs or []  # what `SegmentationModule.test_step` returns
        # the first process has tiles enough, and no map has to be sent
        for strip in strips if trainer.is_global_zero else ():
            if strip.tile in self._maps or len(self._maps) < self.tiles:
                self._maps.setdefault(strip.tile, []).append(strip.prediction.cpu().numpy())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        if not trainer.is_global_zero or not self._maps:
            return
        data = data_of(trainer)
        panels = []
        for tile, strips in self._maps.items():
            prediction = np.concatenate(strips)
            height, width = prediction.shape  # less than the tile's where the number of batches was limited
            rows, columns = _middle(height, self.side), _middle(width, self.side)
            sample = data.picture(tile, rows, columns)
            assert sample.label is not None  # tiles without labels are not tested
            panels.append(Panel(tile, sample.inputs, sample.label, prediction[rows, columns]))
        draw(panels, data.modalities, segmentation(pl_module).data.classes, self.path)
        rank_zero_info(f"a figure of predictions is in {self.path}")


def _middle(length: int, side: int) -> slice:
    first = max(length - side, 0) // 2
    return slice(first, min(first + side, length))
