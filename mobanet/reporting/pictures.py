"""The test tiles as pictures: inputs, truth, prediction and errors of each, on one grid."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobanet.data.datamodule import RasterDataModule
from mobanet.errors import UserError
from mobanet.figures.predictions import RIGHT, WRONG, picture
from mobanet.rasters.contents import IGNORE_INDEX, Classes, Modality
from mobanet.rasters.pixel_size import pixel_side
from mobanet.reporting.images import jpeg_uri, png_uri
from mobanet.reporting.thinning import Thinned, block_middles, thin
from mobanet.store.stored import StoredTile

BLACK = (0, 0, 0)
UNMEASURED = (236, 170, 190)
"""As in the contact sheet."""


@dataclass(frozen=True)
class Picture:
    """One picture of a tile.

    Attributes:
        label: below it.
        described: instead of it, for those who cannot see it.
        uri: its pixels.
        discrete: whether its colours are classes, which must not be smoothed.
    """

    label: str
    described: str
    uri: str
    discrete: bool


@dataclass(frozen=True)
class TilePictures:
    """All pictures of a tile.

    Attributes:
        tile: its id.
        height: of the tile, in pixels.
        width: likewise.
        shown: rows and columns of each picture.
        factor: pixels of the tile to one of a picture.
        metres: side of a pixel of the tile on the ground; None where it is not known, or pixels are no squares there.
        accuracy: share of the tile's pixels that count which are right; None where none counts.
        pictures: in order.
        lacking: modalities that the tile does not have.
        scenario: in which the map was predicted; empty where it does not say.
    """

    tile: str
    height: int
    width: int
    shown: tuple[int, int]
    factor: int
    metres: float | None
    accuracy: float | None
    pictures: tuple[Picture, ...]
    lacking: tuple[str, ...]
    scenario: str

    @property
    def size(self) -> int:
        """Characters in the page."""
        return sum(len(picture.uri) for picture in self.pictures)


def tile_pictures(data: RasterDataModule, tile: StoredTile, path: Path, classes: Classes, side: int) -> TilePictures:
    """Draw a test tile with its class map at `path`, thinned to at most `side` rows and columns.

    Raises:
        UserError: when the map cannot be read, or is of another tile or other classes.
    """
    prediction, scenario = read_map(path, tile, len(classes))
    thinned = thin(data, tile, prediction, side)
    # the same pixels as the truth's, so that errors are of pixels that there are
    predicted = block_middles(prediction, thinned.factor)
    # a modality that was measured nowhere has no picture, and is named as lacking
    pictures = [_input(name, data.modalities[name], thinned) for name in thinned.inputs if thinned.measured[name].any()]
    if thinned.truth is not None:
        pictures.append(_map("truth", thinned.truth, classes, f"reference classes, {data.evaluation.labels} labels"))
    pictures.append(_map("prediction", predicted, classes, "predicted classes"))
    if thinned.truth is not None:
        pictures.append(_errors(thinned.truth, predicted))
    return TilePictures(
        tile=tile.id,
        height=tile.height,
        width=tile.width,
        shown=predicted.shape,
        factor=thinned.factor,
        metres=pixel_side(tile.grid),
        accuracy=thinned.right / thinned.counted if thinned.counted else None,
        pictures=tuple(pictures),
        lacking=tuple(name for name in thinned.inputs if not thinned.measured[name].any()),
        scenario=scenario,
    )


def read_map(path: Path, tile: StoredTile, count: int) -> tuple[np.ndarray, str]:
    """The class map that a test predicted of a tile, (H, W) uint8, and in which scenario; empty where it does not say.

    Raises:
        UserError: when it cannot be read, has another size, or holds something else than `count` classes.
    """
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # of tiles that have no place on the ground
            # as a GeoTIFF, and not as what names other rasters, which might be anywhere
            with rasterio.open(path, driver="GTiff") as raster:
                found, scenario = raster.read(1), raster.tags().get("SCENARIO", "")
    except RasterioError as error:
        raise UserError(f"{path} cannot be read as a class map; run mobanet.test again.") from error
    if found.shape != (tile.height, tile.width):
        raise UserError(
            f"{path} has {found.shape[1]} x {found.shape[0]} pixels and its tile {tile.id} {tile.width} x "
            f"{tile.height}; run mobanet.test again."
        )
    if found.dtype != np.uint8 or (found[found != IGNORE_INDEX] >= count).any():
        raise UserError(f"{path} holds other values than the {count} classes of the run; run mobanet.test again.")
    return found, scenario


def _input(name: str, modality: Modality, thinned: Thinned) -> Picture:
    values, measured = thinned.inputs[name], thinned.measured[name]
    kinds = {"elevation": "relief, lit from the north-west", "optical": "photograph"}
    image = picture(values, modality, measured)
    image[~measured] = np.array(UNMEASURED) / 255
    return Picture(
        name,
        f"{kinds.get(modality.kind, 'measurement')} from {name} ({', '.join(modality.bands)})",
        jpeg_uri(image),
        discrete=False,
    )


def _map(label: str, indices: np.ndarray, classes: Classes, described: str) -> Picture:
    shares = np.bincount(indices.ravel(), minlength=IGNORE_INDEX + 1)[: len(classes)] / indices.size
    largest = sorted(zip(classes.names, shares, strict=True), key=lambda each: -each[1])[:3]
    # without what would read 0 %
    words = ", ".join(f"{100 * share:.0f} % {name}" for name, share in largest if share >= 0.005)
    numbers = np.minimum(indices, len(classes))  # ignored pixels take the colour behind the classes'
    return Picture(
        label, f"{described}{': ' if words else ''}{words}", png_uri(numbers, [*classes.colours, BLACK]), True
    )


def _errors(truth: np.ndarray, prediction: np.ndarray) -> Picture:
    numbers = np.where(truth == IGNORE_INDEX, 2, truth != prediction).astype(np.uint8)
    # of the pixels shown; the caption has the share of all
    counted = np.count_nonzero(numbers < 2)
    words = f": {100 * np.count_nonzero(numbers == 1) / counted:.0f} % of the pixels that count" if counted else ""
    return Picture("error", f"wrong pixels in red{words}", png_uri(numbers, [RIGHT, WRONG, BLACK]), True)
