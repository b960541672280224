"""Writes one tile's rasters, each whole or not at all."""

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from mobanet import files
from mobanet.datasets.isprs import CLASSES
from mobanet.synthetic.products import Content
from mobanet.synthetic.scene import SyntheticTile

PALETTE = np.array((*CLASSES.colours, (0, 0, 0)), np.uint8)
"""ISPRS colours of the classes in index order, and black for the margin of eroded labels."""

MARGIN = 3
"""Pixels: radius of the disc by which the benchmark erodes its labels."""


def world_file(east: float, north: float, gsd: float) -> bytes:
    """The six lines of a raster whose upper left corner is there: a world file names the centre of the first pixel."""
    numbers = (gsd, 0, 0, -gsd, east + gsd / 2, north - gsd / 2)
    return "".join(f"{number:.10f}\n" for number in numbers).encode()


def erode(classes: np.ndarray) -> np.ndarray:
    """Index 6 (black) wherever another class lies within `MARGIN` pixels, (H, W) uint8; tile edges do not count."""
    reach = np.arange(-MARGIN, MARGIN + 1)
    disc = (reach[:, None] ** 2 + reach[None, :] ** 2 <= MARGIN**2).astype(np.uint8)
    # the disc holds one class exactly where its lowest and highest class agree
    lowest, highest = cv2.erode(classes, disc), cv2.dilate(classes, disc)
    return np.where(lowest == highest, classes, np.uint8(6))


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Put a file in place in one step: a kill leaves the old state or the new one."""
    # hidden until it is whole, so that no catalogue of the data set lists it
    with files.whole_file(path, path.with_name(f".{path.name}.part")) as file:
        file.write(content)


def write_raster(path: Path, content: Content, tile: SyntheticTile) -> None:
    """Write one product of a tile as TIFF or JPEG, by the ending of `path`."""
    bands = _bands(content, tile)
    if path.suffix == ".jpg":
        _, coded = cv2.imencode(".jpg", bands[0], (cv2.IMWRITE_JPEG_QUALITY, 95))
        return write_bytes(path, coded.tobytes())
    # large fields of one colour; the other products are too noisy to gain
    options = {"compress": "deflate"} if content.startswith("labels") else {}
    write_tiff(path, bands, photometric="RGB" if len(bands) >= 3 else "MINISBLACK", **options)


def write_tiff(path: Path, bands: np.ndarray, **options: Any) -> None:
    """Write (bands, H, W) as a TIFF, without georeference unless it is given; `options` go to rasterio."""
    profile = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    with warnings.catch_warnings(), MemoryFile() as memory:
        # as in the benchmark the place is in the world file alone
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(dtype=bands.dtype, **profile, **options) as out:
            out.write(bands)
        write_bytes(path, memory.getbuffer())


def _bands(content: Content, tile: SyntheticTile) -> np.ndarray:
    """The bands of a product, (bands, H, W)."""
    if content == "rgb":
        return tile.rgb
    if content == "irrg":
        return np.concatenate((tile.ir[None], tile.rgb[:2]))
    if content == "rgbir":
        return np.concatenate((tile.rgb, tile.ir[None]))
    if content == "dsm":
        return tile.dsm[None]
    if content in ("ndsm", "ndsm_own"):
        return (tile.ndsm if content == "ndsm" else tile.ndsm_own)[None]
    classes = erode(tile.classes) if content == "labels_eroded" else tile.classes
    return np.moveaxis(PALETTE[classes], -1, 0)
