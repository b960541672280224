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
    from shapely import MultiPolygon

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
class Filled:
    """Outlines as pixels.

    Attributes:
        mask: (H, W) bool.
        count: number of outlines, an outline with its holes counting as one.
        outside: number of those that lie wholly beside the raster.
        area, area_outside: of all and of those, in units of x times y.
    """

    mask: np.ndarray
    count: int
    outside: int
    area: float
    area_outside: float


def labelled_images(path: Path) -> list[str]:
    """Ids of the images that the CSV file of polygons has rows for, in its order.

    Raises:
        UserError: when it is no such file.
    """
    with _rows(path, ("ImageId", "ClassType", "MultipolygonWKT")) as rows:
        return list(dict.fromkeys(image for image, *_ in rows))


def read_outlines(path: Path, image: str) -> "dict[int, MultiPolygon]":
    """By class number, as in the file, the outlines of one image.

    Raises:
        UserError: when a row of the image is not a number and polygons in WKT.
    """
    import shapely

    found: dict[int, MultiPolygon] = {}
    with _rows(path, ("ImageId", "ClassType", "MultipolygonWKT")) as rows:
        for name, number, text in rows:
            if name != image:
                continue
            if not number.strip().isdigit():
                raise UserError(f"names {number[:20]!r} as a class of {image}, which is no number: fetch it again")
            if not _POLYGONS.match(text):  # of other kinds, collections may lie in one another without end
                raise _unreadable(image, number, text)
            try:
                with np.errstate(invalid="ignore"):
                    shape = shapely.from_wkt(text)
            except shapely.errors.ShapelyError as error:
                raise _unreadable(image, number, text) from error
            if shape is None or not np.isfinite(shapely.get_coordinates(shape)).all():
                raise _unreadable(image, number, text)
            if shape.geom_type == "Polygon":
                shape = shapely.MultiPolygon([shape])
            if shape.is_empty:
                shape = shapely.MultiPolygon()
            if shape.geom_type != "MultiPolygon":
                raise _unreadable(image, number, text)
            found[int(number)] = shape
    return found


def read_extent(path: Path, image: str) -> Extent:
    """The extent of one image in `grid_sizes.csv`, whose first column has no name.

    Raises:
        UserError: when there is no row for the image, or one that makes no sense.
    """
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


def fill(outlines: "MultiPolygon", extent: Extent, height: int, width: int) -> Filled:
    """The pixels inside outlines.

    Each outline is filled, its holes are emptied, and it is added to the others. Emptying all holes after filling all
    outlines would erase what lies inside another one's hole.

    Args:
        outlines: in coordinates of the image.
        extent: of these coordinates.
        height: rows to draw.
        width: columns to draw.
    """
    import cv2
    import shapely

    mask = np.zeros((height, width), np.uint8)
    scale, size = extent.scale(height, width), np.array([width, height])
    outside, area_outside = 0, 0.0
    for polygon in outlines.geoms:
        rings = [
            np.rint(shapely.get_coordinates(ring) * scale).astype(np.int32)
            for ring in (polygon.exterior, *polygon.interiors)
        ]
        first = np.clip(rings[0].min(axis=0), 0, size) if len(rings[0]) else size
        last = np.clip(rings[0].max(axis=0) + 1, 0, size) if len(rings[0]) else first
        if (first >= last).any():
            outside += 1
            area_outside += polygon.area
            continue
        (left, top), (right, bottom) = first.tolist(), last.tolist()
        part = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(part, [rings[0] - (left, top)], 1)
        for hole in rings[1:]:
            cv2.fillPoly(part, [hole - (left, top)], 0)
        mask[top:bottom, left:right] |= part
    return Filled(mask.view(bool), len(outlines.geoms), outside, outlines.area, area_outside)


def _unreadable(image: str, number: str, text: str) -> UserError:
    start = " ".join(text.split())[:40] or "nothing"
    return UserError(f"has no readable polygons for class {number} of {image} ({start}…): fetch it again")


@contextmanager
def _rows(path: Path, header: tuple[str, ...]) -> Iterator[Iterator[list[str]]]:
    """The rows below the header of a CSV file, as long as the block lasts."""
    before = csv.field_size_limit(_LONGEST)
    try:
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
