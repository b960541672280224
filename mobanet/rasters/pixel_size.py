"""How large pixels are on the ground, whatever the reference system says of itself.

Units of a projected system are metres on the map. In Web Mercator a map's metre is 0.61 m at 52 degrees, in UTM up to
1.001 m, and degrees are no lengths at all. So pixels are measured on the ellipsoid.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import gdal_error

if TYPE_CHECKING:
    from rasterio.crs import CRS

# pixels to either side of the middle that are looked at: one alone may be lost in a coordinate's last digits
_REACH = 8

_SQUARE = 0.02  # share by which the sides of a pixel that counts as square may differ on the ground


def pixel_area(grid: Grid) -> float | None:
    """Area on the ground of the pixel in the middle of a grid, in square metres.

    None where the grid has no place on the earth: no georeference, no reference system, or a local one.
    """
    steps = _steps(grid)
    return None if steps is None else abs(float(np.linalg.det(steps)))


def pixel_sides(grid: Grid) -> tuple[float, float] | None:
    """Metres on the ground of the middle pixel along its rows and along its columns; None as for `pixel_area`."""
    steps = _steps(grid)
    return None if steps is None else (math.hypot(*steps[0].tolist()), math.hypot(*steps[1].tolist()))


def pixel_side(grid: Grid) -> float | None:
    """Metres that a pixel's side is on the ground; None where it is no square there, or has no place on the earth."""
    sides, area = pixel_sides(grid), pixel_area(grid)
    if sides is None or area is None:
        return None
    across, down = sides
    square = abs(across / down - 1) < _SQUARE and abs(area / (across * down) - 1) < _SQUARE
    return math.sqrt(area) if square else None


def pixel_words(grid: Grid) -> str:
    """`0.25 m`, or `0.31 x 0.5 m` of pixels that are no squares on the ground; empty where that is not known."""
    side, sides = pixel_side(grid), pixel_sides(grid)
    if side is not None:
        return f"{side:.3g} m"
    return "" if sides is None else f"{sides[0]:.3g} x {sides[1]:.3g} m"


def in_degrees(grid: Grid) -> bool:
    """Whether the coordinates of a grid are angles."""
    from rasterio.errors import CRSError

    try:
        system = None if grid.crs is None else _system(grid.crs)
    except (CRSError, gdal_error()):  # a name that this version of PROJ does not know
        return False
    return system is not None and system.is_geographic


def _steps(grid: Grid) -> np.ndarray | None:
    """(2, 2), metres east and north on the ground from the middle pixel to the next in its row, and in its column."""
    from rasterio.errors import CRSError
    from rasterio.warp import transform

    if grid.transform is None or grid.crs is None:
        return None
    column, row = grid.width / 2, grid.height / 2
    near = [(0, 0), (-_REACH, 0), (_REACH, 0), (0, -_REACH), (0, _REACH)]
    places = np.array([(column + x, row + y, 1) for x, y in near]) @ grid.matrix.T
    try:
        own = _system(grid.crs)
        if own is None:
            return None
        (east, *_), (north, *_) = transform(own, "EPSG:4326", places[:1, 0], places[:1, 1])
        if not (abs(east) <= 360 and abs(north) <= 90):  # NaN and infinity among them
            return None
        # in which areas are true everywhere, and lengths around its centre
        ground = _system(f"+proj=laea +lat_0={north!r} +lon_0={east!r} +datum=WGS84 +units=m")
        found = np.transpose(transform(own, ground, places[:, 0], places[:, 1]))  # (5, 2)
    except (CRSError, gdal_error()):  # a name that this version of PROJ does not know, or no way to the earth
        return None
    # a central difference, of the very pixel on which the projection is centred
    steps = (found[[2, 4]] - found[[1, 3]]) / (2 * _REACH)
    return steps if np.isfinite(steps).all() and abs(np.linalg.det(steps)) > 0 else None


def _system(text: str) -> "CRS | None":
    """A reference system by name; None for one that is of no place on the earth.

    Raises:
        CRSError: for a name that PROJ does not know.
    """
    from rasterio.crs import CRS

    system = CRS.from_user_input(text)
    return system if system.is_projected or system.is_geographic else None
