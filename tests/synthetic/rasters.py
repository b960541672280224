"""Reads what was written, by means of its own: no helper of the package is trusted here."""

import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

COLOURS = ((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0))


def read(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as raster:
            return raster.read()


def classes_of(path: Path) -> np.ndarray:
    """Class indices of a label raster, 255 where it is black; any other colour fails."""
    raster = read(path)
    assert raster.dtype == np.uint8
    assert raster.shape[0] == 3
    classes = np.full(raster.shape[1:], 254)
    for index, colour in enumerate(COLOURS):
        classes[(raster == np.array(colour)[:, None, None]).all(0)] = index
    classes[(raster == 0).all(0)] = 255
    assert not (classes == 254).any()
    return classes


def files_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.name[0] != "."}
