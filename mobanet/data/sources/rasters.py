"""Rasters on disk as arrays with validity, and the grids they lie on."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobanet.data.layout import FileRef
from mobanet.data.sources.georeference import transform_of
from mobanet.data.sources.labels import strips
from mobanet.data.sources.virtual import absent_source
from mobanet.errors import UserError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

ABSURD = 1e30
"""Float values beyond this are missing: exporters write the largest float where they have nothing to say."""


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster are.

    Attributes:
        height: rows.
        width: columns.
        transform: affine pixel-to-map coefficients (a, b, c, d, e, f), None when not georeferenced.
        crs: coordinate reference system as text, None when unknown.
    """

    height: int
    width: int
    transform: tuple[float, ...] | None = None
    crs: str | None = None

    @property
    def size(self) -> str:
        """`width x height`, for messages."""
        return f"{self.width} x {self.height}"

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3), from (column, row, 1) to (x, y, 1)."""
        return np.array([*(self.transform or (1, 0, 0, 0, 1, 0)), 0, 0, 1], np.float64).reshape(3, 3)

    def corners(self) -> np.ndarray:
        """(4, 2), map coordinates of the four corners."""
        right, bottom = self.width, self.height
        pixels = np.array([(0, 0, 1), (right, 0, 1), (right, bottom, 1), (0, bottom, 1)])
        return (pixels @ self.matrix.T)[:, :2]

    @property
    def extent(self) -> str:
        """`left to right, bottom to top`, for messages."""
        (left, bottom), (right, top) = self.corners().min(axis=0), self.corners().max(axis=0)
        return f"{left:.10g} to {right:.10g}, {bottom:.10g} to {top:.10g}"

    @property
    def steps(self) -> tuple[float, float]:
        """Length of a pixel along the rows and along the columns, in units of the reference system."""
        across, down = np.hypot(self.matrix[0, :2], self.matrix[1, :2]).tolist()
        return across, down

    def with_pixels_of(self, other: "Grid") -> "Grid":
        """The same place from the same corner on, in pixels as large as another grid's."""
        (across, down), (a, b, x, d, e, y) = self.steps, self.transform or (1, 0, 0, 0, 1, 0)
        wide, high = other.steps[0] / across, other.steps[1] / down
        size = (max(1, round(self.height / high)), max(1, round(self.width / wide)))
        return Grid(*size, (a * wide, b * high, x, d * wide, e * high, y), self.crs)

    def same_as(self, other: "Grid") -> bool:
        """Same size, same system, and corners no more than a twentieth of a pixel apart."""
        if (self.height, self.width, self.crs) != (other.height, other.width, other.crs):
            return False
        pixel = np.abs(self.matrix[0, :2]).max()
        return bool(np.abs(self.corners() - other.corners()).max() <= 0.05 * pixel)


@contextmanager
def opened(path: Path, shown: FileRef) -> Iterator["DatasetReader"]:
    """A raster, opened for reading.

    Args:
        path: a file GDAL can open.
        shown: the file as messages name it.

    Raises:
        UserError: when opening or, inside the block, reading fails.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as raster:
                if not raster.count:
                    raise UserError(f"{shown} holds no raster of its own: give the file that does.")
                yield raster
        except (RasterioError, gdal_error()) as error:
            if absent := absent_source(path):
                raise UserError(
                    f"{shown} shows the pixels of {absent}, which is not there: put that raster back, or mend the path "
                    "that leads to it."
                ) from error
            raise UserError(f"{shown} is unreadable or cut short: fetch it again or remove it.") from error
        except MemoryError as error:
            raise UserError(f"{shown} says that it has more pixels than memory holds: cut it into tiles.") from error


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


def count_bands(raster: "DatasetReader", declared: int | None) -> int:
    """Number of data bands: all, but for an alpha band behind the `declared` ones, or at the end if none are."""
    from rasterio.enums import ColorInterp

    last = raster.colorinterp[-1] == ColorInterp.alpha
    if declared is None:
        return raster.count - 1 if last and raster.count in (2, 4) else raster.count
    return declared if last and raster.count == declared + 1 else raster.count


def _check_memory(pixels: int, bands: int, size: int) -> None:
    """A few bytes of a damaged header ask for any number of pixels, and a system may promise more than it has.

    Raises:
        MemoryError: for more than the machine's memory.
    """
    known = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= getattr(os, "sysconf_names", {}).keys()
    if known and pixels * (bands * size + 1) > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise MemoryError


def read(
    raster: "DatasetReader",
    bands: Sequence[int],
    data_bands: int,
    nodata: float | None = None,
    minimum: float | None = None,
    window: "Window | None" = None,
    shape: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Bands of a raster, and which pixels were measured.

    A pixel is missing where all data bands have the value that the raster declares as nodata, where all `bands` read
    have `nodata`, where a mask or alpha band says so, or where a band read is not finite, absurdly large or below
    `minimum`. Zero is a value like any other.

    Args:
        raster: open.
        bands: 0-based.
        data_bands: the first so many bands hold data; an alpha band may follow.
        nodata: a further value that means missing.
        minimum: values below it are missing.
        window: the part to read; None for all of it.
        shape: height and width to thin the pixels out to; None for every pixel.

    Returns:
        (bands, H, W) in the raster's type, and (H, W) bool, or None when every pixel is valid.
    """
    from rasterio.enums import MaskFlags

    height, width = shape or ((raster.height, raster.width) if window is None else (window.height, window.width))
    _check_memory(height * width, len(bands), np.dtype(raster.dtypes[0]).itemsize)
    values = raster.read([band + 1 for band in bands], window=window, out_shape=shape and (len(bands), *shape))
    missing = np.zeros(values.shape[1:], bool)
    declared = raster.nodatavals[:data_bands]
    if all(value is not None for value in declared):
        empty = np.ones_like(missing)
        at = {band: index for index, band in enumerate(bands)}
        for band, value in enumerate(declared):
            plane = values[at[band]] if band in at else raster.read(band + 1, window=window, out_shape=shape)
            empty &= np.isnan(plane) if np.isnan(value) else plane == value
        missing |= empty
    if nodata is not None:
        missing |= (np.isnan(values) if np.isnan(nodata) else values == nodata).all(axis=0)
    if raster.count > data_bands:
        missing |= raster.read(data_bands + 1, window=window, out_shape=shape) == 0  # alpha
    flags = set(raster.mask_flag_enums[0])
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        missing |= raster.read_masks(1, window=window, out_shape=shape) == 0
    for plane in values:
        for rows in strips(plane.shape):
            if np.issubdtype(plane.dtype, np.floating):
                missing[rows] |= ~(np.abs(plane[rows]) < ABSURD)  # NaN compares false
            if minimum is not None:
                missing[rows] |= plane[rows] < minimum
    return values, ~missing if missing.any() else None
