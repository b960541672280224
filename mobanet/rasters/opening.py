"""Rasters opened: the grids they lie on, what their masks say, and labels as arrays."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobanet.errors import UserError
from mobanet.rasters.contents import FileRef
from mobanet.rasters.georeference import transform_of
from mobanet.rasters.grid import Grid
from mobanet.rasters.strips import strips
from mobanet.rasters.virtual import absent_source

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

ABSURD = 1e30
"""Float values beyond this are missing: exporters write the largest float where they have nothing to say."""

_BY_NAME = "GDAL_DISABLE_READDIR_ON_OPEN"


@contextmanager
def opened(path: Path, shown: FileRef, overviews: bool = True) -> Iterator["DatasetReader"]:
    """A raster, opened for reading.

    Args:
        path: a file GDAL can open.
        shown: the file as messages name it.
        overviews: whether reads that are thinned out may take them: means of class numbers, or of heights and -9999,
            stand for nothing, and nobody knows how they were made.

    Raises:
        UserError: when opening or, inside the block, reading fails.
    """
    with readable(path, shown), open_raster(path, shown, overviews) as raster:
        yield raster


@contextmanager
def readable(path: Path, shown: FileRef) -> Iterator[None]:
    """Within, GDAL's errors on a raster are sentences; arguments and errors as for `opened`."""
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with warnings.catch_warnings(), gdal_settings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            yield
        except (RasterioError, gdal_error()) as error:
            if absent := absent_source(path):
                raise UserError(
                    f"{shown} shows the pixels of {absent}, which is not there: put that raster back, or mend the path "
                    "that leads to it."
                ) from error
            raise UserError(f"{shown} is unreadable or cut short: fetch it again or remove it.") from error
        except MemoryError as error:
            raise UserError(f"{shown} says that it has more pixels than memory holds: cut it into tiles.") from error


@contextmanager
def gdal_settings(**more: Any) -> Iterator[None]:
    """Within, GDAL asks for a world file or a mask beside a raster by its name.

    By itself it lists the folder, which may hold thousands of others.

    Args:
        more: further settings. Whoever opens many rasters holds them for all: to change any takes a good part of the
            time that opening takes.
    """
    from rasterio import Env
    from rasterio.env import getenv, hasenv

    settings = {_BY_NAME: True, **more}
    if hasenv() and settings.items() <= getenv().items():
        yield
    else:
        with Env(**settings):
            yield


@contextmanager
def open_raster(path: Path, shown: FileRef, overviews: bool = True) -> Iterator["DatasetReader"]:
    """A raster that is open for longer than one block of `readable`; arguments as for `opened`.

    Raises:
        UserError: where it holds further rasters only.
    """
    import rasterio

    with rasterio.open(path, **({} if overviews else {"OVERVIEW_LEVEL": "NONE"})) as raster:
        # such as a container of further rasters, of which GDAL opens none by itself
        if not raster.count:
            raise UserError(f"{shown} holds no raster of its own: give the file that does.")
        yield raster


def gdal_error() -> type[Exception]:
    """What rasterio lets through of GDAL's errors; only its own internals name it."""
    from rasterio._err import CPLE_BaseError

    return CPLE_BaseError


def grid_of(raster: "DatasetReader", crs: str | None = None, shown: FileRef | None = None) -> Grid:
    """The grid of an open raster.

    Args:
        raster: open.
        crs: assumed where it is georeferenced but names no system.
        shown: the file as messages name it.

    Raises:
        UserError: for a georeference that places no pixel anywhere.
    """
    transform = transform_of(raster, shown or FileRef(Path(raster.name)))
    own = raster.crs.to_string() if raster.crs else crs
    return Grid(raster.height, raster.width, transform, None if transform is None else own)


def check_memory(pixels: int, bands: int, size: int) -> None:
    """A few bytes of a damaged header ask for any number of pixels, and a system may promise more than it has.

    Raises:
        MemoryError: for more than the machine's memory.
    """
    known = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= getattr(os, "sysconf_names", {}).keys()
    # a byte a pixel more for what is missing
    if known and pixels * (bands * size + 1) > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise MemoryError


def masked(
    raster: "DatasetReader", alpha: int | None, window: "Window | None", shape: tuple[int, int] | None
) -> np.ndarray:
    """Where a raster's mask or alpha band says that nothing was measured, (H, W) bool.

    Args:
        raster: open.
        alpha: 0-based band that is a mask; None for none.
        window: the part to read; None for all of it.
        shape: height and width to thin the pixels out to; None for every pixel.
    """
    from rasterio.enums import MaskFlags

    height, width = shape or ((raster.height, raster.width) if window is None else (window.height, window.width))
    missing = np.zeros((height, width), bool)
    if alpha is not None:
        missing |= raster.read(alpha + 1, window=window, out_shape=shape) == 0
    flags = set(raster.mask_flag_enums[0])
    # GDAL has an alpha band as such a mask, too, which `find_mask` has judged already; nodata is looked at elsewhere
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        missing |= raster.read_masks(1, window=window, out_shape=shape) == 0
    return missing


def read_label(
    raster: "DatasetReader", window: "Window | None" = None, shape: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """All bands of a label raster.

    Args:
        raster: open.
        window: the part to read; None for all of it.
        shape: height and width to thin the pixels out to; None for every pixel.

    Returns:
        (bands, H, W) in the raster's type; (H, W) bool, where a mask says that there is nothing; and (H, W) bool, where
        all bands have the value that the raster declares as nodata, None where it declares none.
    """
    height, width = shape or ((raster.height, raster.width) if window is None else (window.height, window.width))
    check_memory(height * width, raster.count, np.dtype(raster.dtypes[0]).itemsize)
    values = raster.read(window=window, out_shape=shape and (raster.count, *shape))
    missing = masked(raster, None, window, shape)
    for plane in values:
        for rows in strips(plane.shape):
            if np.issubdtype(plane.dtype, np.floating):
                missing[rows] |= ~(np.abs(plane[rows]) < ABSURD)  # NaN compares false
    if any(value is None for value in raster.nodatavals):
        return values, missing, None
    planes = zip(values, raster.nodatavals, strict=True)
    empty = np.all([np.isnan(plane) if np.isnan(value) else plane == value for plane, value in planes], axis=0)
    return values, missing, empty
