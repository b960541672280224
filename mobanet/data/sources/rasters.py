"""Rasters on disk as arrays with validity, and the grids they lie on."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobanet.data.layout import FileRef
from mobanet.data.sources.georeference import transform_of
from mobanet.data.sources.labels import strips
from mobanet.data.sources.systems import same_plane
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

    def needs_transform(self, other: "Grid") -> bool:
        """Whether coordinates have to be brought from one system to the other: not within one plane, named or not."""
        if self.crs is None or other.crs is None:
            return self.crs != other.crs
        return not same_plane(self.crs, other.crs)

    def same_as(self, other: "Grid") -> bool:
        """Same size, same system, and corners no more than a twentieth of a pixel apart."""
        if (self.height, self.width) != (other.height, other.width) or self.needs_transform(other):
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


def check_memory(pixels: int, bands: int, size: int) -> None:
    """A few bytes of a damaged header ask for any number of pixels, and a system may promise more than it has.

    Raises:
        MemoryError: for more than the machine's memory.
    """
    known = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= getattr(os, "sysconf_names", {}).keys()
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
