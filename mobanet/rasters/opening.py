"""Rasters opened: the grids they lie on, what their masks say, and labels as arrays."""

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobanet.errors import UserError
from mobanet.rasters.contents import FileRef
from mobanet.rasters.elsewhere import Elsewhere, Place
from mobanet.rasters.georeference import transform_of
from mobanet.rasters.grid import Grid
from mobanet.rasters.network import LOCAL, fetching, said_of
from mobanet.rasters.strips import strips
from mobanet.rasters.virtual import absent_source, check_beside, check_local, check_remote

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

ABSURD = 1e30
"""Float values beyond this are missing: exporters write the largest float where they have nothing to say."""

# fmt: off
# GDAL's drivers of what is no raster but leads to some, most of them on the network
_SERVICES = frozenset((
    "HTTP", "WMS", "WCS", "WMTS", "STACIT", "STACTA", "PLMOSAIC", "OGCAPI", "EEDAI", "NGW", "GTI", "DAAS", "RDA",
    "MRF",
))

_seen: set[str] = set()  # what this process has fetched, and GDAL may have kept


@contextmanager
def opened(path: Place, shown: FileRef, overviews: bool = True) -> Iterator["DatasetReader"]:
    """A raster, opened for reading; messages name it as `shown`.

    Without `overviews`, reads that are thinned out do not take them: means of class numbers, or of heights and -9999,
    stand for nothing, and nobody knows how they were made.

    Raises:
        UserError: when opening or, inside the block, reading fails.
    """
    with readable(path, shown), open_raster(path, shown, overviews) as raster:
        yield raster


@contextmanager
def readable(path: Place, shown: FileRef) -> Iterator[None]:
    """Within, GDAL's errors on a raster are sentences, and only what was named is fetched; all else as for `opened`.

    What is fetched is read within, too, however long it has been open.
    """
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    fetched = path if isinstance(path, Elsewhere) and path.on_network else None
    if fetched is not None:
        _seen.add(fetched.opens)
    with warnings.catch_warnings(), gdal_settings(**({} if fetched is None else fetching(fetched))):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            if fetched is not None and path.suffix.lower() == ".vrt":
                _check_virtual(path)
            yield
        except (RasterioError, gdal_error()) as error:
            if fetched is not None:
                # not as the cause: what GDAL says holds the whole address, keys and all
                raise UserError(said_of(fetched, error)) from None
            if isinstance(path, Path) and (absent := absent_source(path)):
                raise UserError(
                    f"{shown} shows the pixels of {absent}, which is not there: put that raster back, or mend the path "
                    "that leads to it."
                ) from error
            raise UserError(f"{shown} is unreadable or cut short: fetch it again or remove it.") from error
        except MemoryError as error:
            raise UserError(f"{shown} says that it has more pixels than memory holds: cut it into tiles.") from error


@contextmanager
def gdal_settings(**more: Any) -> Iterator[None]:
    """Within, GDAL asks for a world file or a mask beside a raster by its name, and fetches nothing that a file names.

    By itself it lists the folder, which may hold thousands of others. Whoever opens many rasters holds these settings,
    and `more`, for all: to change any takes a good part of the time that opening takes.
    """
    from rasterio import Env
    from rasterio.env import getenv, hasenv

    settings = {"GDAL_DISABLE_READDIR_ON_OPEN": True, **LOCAL, **more}
    if hasenv() and settings.items() <= getenv().items():
        yield
    else:
        with Env(**settings):
            yield


@contextmanager
def open_raster(path: Place, shown: FileRef, overviews: bool = True) -> Iterator["DatasetReader"]:
    """A raster that is open for longer than one block of `readable`; arguments as for `opened`.

    Raises:
        UserError: where it holds further rasters only, or leads to the network.
    """
    from rasterio import DatasetReader

    name, virtual = str(path), path.suffix.lower() == ".vrt"
    if isinstance(path, Elsewhere):
        if virtual and not path.on_network:
            raise UserError(f"{shown} is a virtual raster, whose names lead nowhere in an archive: unpack the archive.")
        name = path.opens
    else:
        check_local(path, shown)
        virtual = True  # by its content, whatever its name
    with ExitStack() as stack:
        raster = stack.enter_context(DatasetReader(name, driver=_drivers(virtual)))
        # such as a container of further rasters, of which GDAL opens none by itself
        if not raster.count:
            raise UserError(f"{shown} holds no raster of its own: give the file that does.")
        check_beside(raster.get_tag_item("OVERVIEW_FILE", "OVERVIEWS"), shown)
        if not overviews and raster.overviews(1):
            place = raster.get_transform()
            # once more only where there are any, which only an open raster tells
            raster = stack.enter_context(DatasetReader(name, driver=_drivers(virtual), OVERVIEW_LEVEL="NONE"))
            raster._transform = place  # which GDAL leaves to chance so, where a raster has none
        yield raster


def look_anew(path: Place) -> None:
    """Let GDAL forget what this process has read at a place elsewhere, where there may be something else by now."""
    from rasterio import DatasetReader, Env
    from rasterio.errors import RasterioError

    if not (isinstance(path, Elsewhere) and path.opens in _seen):
        return
    # to close what is not to be kept drops it; where it is not there, that is dropped
    with suppress(RasterioError, gdal_error()), Env(**fetching(path), CPL_VSIL_CURL_NON_CACHED="/vsi"):
        DatasetReader(path.opens).close()
    _check_virtual.cache_clear()
    _seen.discard(path.opens)


@cache
def _drivers(virtual: bool) -> list[str]:
    """GDAL's drivers of rasters as such, and that of virtual ones where these have been looked at."""
    from rasterio import Env

    with Env() as environment:
        return [name for name in environment.drivers() if name not in _SERVICES and (virtual or name != "VRT")]


@lru_cache(64)
def _check_virtual(place: Elsewhere) -> None:
    """Look at the names in a virtual raster on the network, which are fetched with it, while only itself may be."""
    from rasterio import DatasetReader, Env

    with Env(CPL_VSIL_CURL_ALLOWED_FILENAME=place.fetched), DatasetReader(place.opens, driver=["VRT"]) as raster:
        check_remote(place, raster.tags(ns="xml:VRT").get("xml:VRT", ""))


def gdal_error() -> type[Exception]:
    """What rasterio lets through of GDAL's errors; only its own internals name it."""
    from rasterio._err import CPLE_BaseError

    return CPLE_BaseError


def grid_of(raster: "DatasetReader", crs: str | None = None, shown: FileRef | None = None) -> Grid:
    """The grid of an open raster; `crs` is assumed where it is georeferenced but names no system.

    Raises:
        UserError: for a georeference that places no pixel anywhere.
    """
    transform = transform_of(raster, shown or FileRef(Path(raster.name)))
    own = raster.crs.to_string() if raster.crs else crs
    return Grid(raster.height, raster.width, transform, None if transform is None else own)


def memory() -> float:
    """Bytes that the machine has; infinitely many where the system does not say."""
    known = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= getattr(os, "sysconf_names", {}).keys()
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else math.inf


def check_memory(pixels: int, bands: int, size: int) -> None:
    """A few bytes of a damaged header ask for any number of pixels, and a system may promise more than it has.

    Raises:
        MemoryError: for more than the machine's memory.
    """
    if pixels * (bands * size + 1) > memory():  # a byte a pixel more for what is missing
        raise MemoryError


def masked(
    raster: "DatasetReader", alpha: int | None, window: "Window | None", shape: tuple[int, int] | None
) -> np.ndarray:
    """Where a raster's mask or alpha band (0-based) says that nothing was measured, (H, W) bool.

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
        # 0 only: a rim that is half transparent has been measured
        missing |= raster.read(alpha + 1, window=window, out_shape=shape) == 0
    flags = set(raster.mask_flag_enums[0])
    # GDAL has an alpha band as such a mask, too, which `find_mask` has judged already; nodata is looked at elsewhere
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        # of the first band, as a mask of the data set is that of all
        missing |= raster.read_masks(1, window=window, out_shape=shape) == 0
    return missing


def read_label(
    raster: "DatasetReader", window: "Window | None" = None, shape: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """All bands of a label raster; `window` and `shape` are those of `masked`.

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
                # a few rows at a time, as magnitudes of all would be a second raster in memory
                missing[rows] |= ~(np.abs(plane[rows]) < ABSURD)  # NaN compares false
    if any(value is None for value in raster.nodatavals):
        return values, missing, None
    planes = zip(values, raster.nodatavals, strict=True)
    return values, missing, np.all([is_value(plane, value) for plane, value in planes], axis=0)


def is_value(plane: np.ndarray, value: float) -> np.ndarray:
    """Where an array has a value, which may be NaN."""
    return np.isnan(plane) if math.isnan(value) else plane == value
