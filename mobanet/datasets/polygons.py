"""DSTL's labels: outlines as WKT in a CSV file, in coordinates of each image's own, and how they become pixels.

The coordinates of an image run from 0 to Xmax and from 0 down to Ymin (negative), which `grid_sizes.csv` gives. On a
raster of W columns and H rows a point lies at x W' / Xmax, y H' / Ymin with W' = W W / (W + 1) and H' = H H / (H + 1)
(the competition's own rule), rounded to a pixel, whose edge pixels belong to the outline's inside. Errors raised here
are sentences without a subject, which is the file.
"""

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobanet.errors import UserError

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

_FAR = 1 << 30
"""Pixels at which outlines are clipped."""

_LONGEST = 1 << 30
"""Characters of a cell at most; a scene's trees take millions, and Python's own limit is 131072."""

_POLYGONS = re.compile(r"\s*(MULTI)?POLYGON\b", re.IGNORECASE)


@dataclass(frozen=True)
class Extent:
    """Of one image's coordinates: `x_max` is positive, `y_min` negative."""

    x_max: float
    y_min: float

    def scale(self, height: int, width: int) -> np.ndarray:
        """(2,), pixels a unit of x and of y, on a raster of `height` rows and `width` columns."""
        return np.array([width * width / (width + 1) / self.x_max, height * height / (height + 1) / self.y_min])


@dataclass(frozen=True)
class _Outline:
    """Rings of an outline in pixels, (n, 2) int32 each, the outer one first; and the part of the raster around it."""

    rings: tuple[np.ndarray, ...]
    top: int
    bottom: int
    left: int
    right: int

    def drawn(self) -> np.ndarray:
        """(bottom - top, right - left) uint8, 1 inside."""
        import cv2

        part = np.zeros((self.bottom - self.top, self.right - self.left), np.uint8)
        cv2.fillPoly(part, [self.rings[0] - (self.left, self.top)], 1)
        for hole in self.rings[1:]:
            # a hole takes its own edge away, as the outline's edge is its own
            cv2.fillPoly(part, [hole - (self.left, self.top)], 0)
        return part


class Filled:
    """Outlines as pixels.

    Each outline is filled, its holes are emptied, and it is added to the others. Emptying all holes after filling all
    outlines would erase what lies inside another one's hole. An outline is drawn as a whole, since a line that is cut
    off takes other pixels, and waits, packed into bits, for the strips further down.

    Attributes:
        count: number of outlines, an outline with its holes counting as one.
        outside: number of those that lie wholly beside the raster.
        area, area_outside: of all and of those, in units of x times y.
    """

    def __init__(self, outlines: "MultiPolygon", extent: Extent, height: int, width: int) -> None:
        self.count, self.area = len(outlines.geoms), outlines.area
        self.outside, self.area_outside = 0, 0.0
        self._height, self._width = height, width
        self._inside: list[_Outline] = []
        scale = extent.scale(height, width)
        for polygon in outlines.geoms:
            outline = _placed(polygon, scale, height, width)
            if outline is None:
                self.outside += 1
                self.area_outside += polygon.area
            else:
                self._inside.append(outline)
        # so that a strip takes on those that begin in it, and looks no further
        self._inside.sort(key=lambda outline: outline.top)

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        return next(self.strips(self._height))

    def strips(self, step: int) -> Iterator[np.ndarray]:
        """The mask from top to bottom, `step` rows at a time, (h, W) bool."""
        begun, waiting = 0, list[tuple[_Outline, np.ndarray]]()
        for top in range(0, self._height, step):
            bottom = min(top + step, self._height)
            mask = np.zeros((bottom - top, self._width), np.uint8)
            for outline, packed in waiting:
                rows = np.unpackbits(packed[top - outline.top : bottom - outline.top], axis=1)
                _add(mask, top, outline, rows[:, : outline.right - outline.left])
            waiting = [(outline, packed) for outline, packed in waiting if outline.bottom > bottom]
            while begun < len(self._inside) and self._inside[begun].top < bottom:
                outline = self._inside[begun]
                part = outline.drawn()
                _add(mask, top, outline, part[: bottom - outline.top])
                if outline.bottom > bottom:
                    waiting.append((outline, np.packbits(part, axis=1)))
                begun += 1
            yield mask.view(bool)


def _placed(polygon: "Polygon", scale: np.ndarray, height: int, width: int) -> _Outline | None:
    """An outline in pixels; None for one that lies wholly beside the raster."""
    import shapely

    size = np.array([width, height])
    rings = tuple(
        # clipped far beyond any raster, since what an int32 does not hold would come out on the other side, inside
        np.clip(np.rint(shapely.get_coordinates(ring) * scale), -_FAR, _FAR).astype(np.int32)
        for ring in (polygon.exterior, *polygon.interiors)
    )
    # an empty polygon among others, of which there is neither least nor greatest
    if not len(rings[0]):
        return None
    first, last = np.clip(rings[0].min(axis=0), 0, size), np.clip(rings[0].max(axis=0) + 1, 0, size)
    if (first >= last).any():
        return None
    (left, top), (right, bottom) = first.tolist(), last.tolist()
    return _Outline(rings, top, bottom, left, right)


def _add(mask: np.ndarray, top: int, outline: _Outline, rows: np.ndarray) -> None:
    """Add rows of an outline to those of a mask that begins at `top`; they begin there, or with the outline."""
    first = max(outline.top - top, 0)
    mask[first : first + len(rows), outline.left : outline.right] |= rows


def labelled_images(path: Path) -> list[str]:
    """Ids of the images that the CSV file of polygons has rows for, in its order."""
    with _rows(path, ("ImageId", "ClassType", "MultipolygonWKT")) as rows:
        return list(dict.fromkeys(image for image, *_ in rows))


def read_outlines(path: Path, image: str) -> "dict[int, MultiPolygon]":
    """By class number, as in the file, the outlines of one image."""
    import shapely

    found: dict[int, MultiPolygon] = {}
    with _rows(path, ("ImageId", "ClassType", "MultipolygonWKT")) as rows:
        for name, number, text in rows:
            if name != image:
                continue
            if not number.strip().isdigit():
                raise UserError(f"names {number[:20]!r} as a class of {image}, which is no number: fetch it again")
            shape = None
            # of other kinds, collections may lie in one another without end
            if _POLYGONS.match(text):
                # GEOS raises a flag at a number that is none, of which numpy would warn; it is refused below
                with np.errstate(invalid="ignore"):
                    shape = shapely.from_wkt(text, on_invalid="ignore")
            if shape is None or not np.isfinite(shapely.get_coordinates(shape)).all():
                start = " ".join(text.split())[:40] or "nothing"
                raise UserError(f"has no readable polygons for class {number} of {image} ({start}…): fetch it again")
            if shape.is_empty:
                shape = shapely.MultiPolygon()
            elif shape.geom_type == "Polygon":
                shape = shapely.MultiPolygon([shape])
            found[int(number)] = shape
    return found


def read_extent(path: Path, image: str) -> Extent:
    """The extent of one image in `grid_sizes.csv`, whose first column has no name."""
    with _rows(path, ("", "Xmax", "Ymin")) as rows:
        row = next((row for row in rows if row[0] == image), None)
    if row is None:
        raise UserError(f"has no row for {image}: use the file as published, which has all 450 images")
    try:
        extent = Extent(float(row[1]), float(row[2]))
    except ValueError:
        extent = Extent(0, 0)
    if not (0 < extent.x_max < np.inf and -np.inf < extent.y_min < 0):
        raise UserError(
            f"gives {image} Xmax {row[1]} and Ymin {row[2]}, where a positive and a negative number belong: "
            "fetch it again"
        )
    return extent


@contextmanager
def _rows(path: Path, header: tuple[str, ...]) -> Iterator[Iterator[list[str]]]:
    """The rows below the header of a CSV file, as long as the block lasts."""
    # one limit for the whole process, and so put back below
    before = csv.field_size_limit(_LONGEST)
    try:
        # sig: a byte order mark, which some programs write, would belong to the first column's name
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            if tuple(next(rows, ())) != header:
                columns = ",".join(header)
                raise UserError(f"does not begin with the line {columns!r}: use the file as published")
            yield _checked(rows, len(header))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError("is no CSV file, or damaged: fetch it again") from error
    finally:
        csv.field_size_limit(before)


def _checked(rows: Iterator[list[str]], columns: int) -> Iterator[list[str]]:
    for number, row in enumerate(rows, 2):
        if len(row) == columns:
            yield row
        elif row:
            raise UserError(f"has {len(row)} columns instead of {columns} in row {number}: fetch it again")
