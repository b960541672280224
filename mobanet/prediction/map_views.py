"""What a written map shows: pictures, the share that differs from another map, and areas within a place.

Maps may be of any size: they are read strip by strip, and thinned out for pictures.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from mobanet.errors import UserError
from mobanet.prediction.thinning import thinned
from mobanet.rasters.contents import IGNORE_INDEX, FileRef
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import opened

if TYPE_CHECKING:
    from rasterio.windows import Window

_ROWS = 512


class MapPicture(NamedTuple):
    """A map to look at.

    Attributes:
        pixels: (H, W, 3) in 0..1, in the map's own colours, black where there is no value.
        legend: the colour of each name, (3,) in 0..1; `no value` among them where it occurs.
    """

    pixels: np.ndarray
    legend: dict[str, np.ndarray]


class Difference(NamedTuple):
    """Of two maps.

    Attributes:
        changed: pixels of another class.
        known: pixels that have a class in both.
    """

    changed: int
    known: int


def picture(path: Path, kind: Literal["CLASS", "SCENARIO"], side: int) -> MapPicture:
    """A map, by the tags of its values, in its own colours, and as legend all classes, or the scenarios that occur."""
    palette: np.ndarray = np.zeros((IGNORE_INDEX + 1, 3))
    legend: dict[str, np.ndarray] = {}
    with opened(path, FileRef(path), overviews=False) as raster:
        values = raster.read(1, out_shape=thinned(raster.height, raster.width, side))
        colours = raster.colormap(1)
        tags = {
            key.removeprefix(f"{kind}_"): name for key, name in raster.tags(1).items() if key.startswith(f"{kind}_")
        }
        for value in sorted(map(int, tags)):
            # all classes, so that maps beside each other have one legend; of the many scenarios those that are seen
            if kind == "CLASS" or value in values:
                legend[tags[str(value)]] = palette[value] = np.array(colours[value][:3]) / 255
    if IGNORE_INDEX in values:
        legend["no value"] = palette[IGNORE_INDEX]
    return MapPicture(palette[values], legend)


def highest(path: Path, side: int) -> np.ndarray:
    """(H, W) in 0..1, the highest of the probabilities of each pixel, or of the one band there is; NaN for none."""
    with opened(path, FileRef(path), overviews=False) as raster:
        shares = raster.read(out_shape=(raster.count, *thinned(raster.height, raster.width, side)), masked=True)
        # bytes count in steps of 1/254, which the file's scale says
        found = shares.max(axis=0) * raster.scales[0]
    return np.ma.filled(found.astype(np.float32), np.nan)


def difference(one: Path, other: Path) -> Difference:
    """How many pixels of two maps of the same grid are of another class."""
    known = changed = 0
    with opened(one, FileRef(one)) as first, opened(other, FileRef(other)) as second:
        for strip in _strips(0, 0, first.width, first.height):
            a, b = first.read(1, window=strip), second.read(1, window=strip)
            both = (a != IGNORE_INDEX) & (b != IGNORE_INDEX)
            known += int(np.count_nonzero(both))
            changed += int(np.count_nonzero(both & (a != b)))
    return Difference(changed, known)


def counts_within(path: Path, grid: Grid, area: Any) -> np.ndarray:
    """(256,), pixels of each value whose centre lies in a shapely polygon; only the strips that it touches are read.

    Raises:
        UserError: when it is no polygon or lies outside the map, or the file cannot be read.
    """
    from rasterio.errors import WindowError
    from rasterio.features import geometry_mask, geometry_window
    from shapely.geometry import MultiPolygon, Polygon

    if not isinstance(area, Polygon | MultiPolygon) or area.is_empty:
        kind = getattr(area, "geom_type", type(area).__name__)
        raise UserError(f"the area is of type {kind} or empty; give a shapely polygon with something inside.")
    counts = np.zeros(IGNORE_INDEX + 1, np.int64)
    with opened(path, FileRef(path)) as raster:
        try:
            around = geometry_window(raster, [area]).round_offsets().round_lengths()
        except WindowError as error:
            system = f" ({grid.crs})" if grid.crs else ""
            raise UserError(
                f"the area lies outside the map {path.name}, which covers {grid.extent}{system}; give one in its "
                "coordinates."
            ) from error
        for strip in _strips(around.col_off, around.row_off, around.width, around.height):
            values = raster.read(1, window=strip)
            outside = geometry_mask([area], values.shape, raster.window_transform(strip))
            counts += np.bincount(values[~outside], minlength=len(counts))
    return counts


def _strips(left: int, top: int, width: int, height: int) -> Iterator["Window"]:
    from rasterio.windows import Window

    for row in range(0, height, _ROWS):
        yield Window(left, top + row, width, min(_ROWS, height - row))
