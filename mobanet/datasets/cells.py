"""The tiles that a raster is cut into: squares of a grid, rectangles of an index, and the parts that areas reach."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mobanet.datasets.held_out import ROLES, Role
from mobanet.datasets.vector_files import VectorLayer
from mobanet.datasets.vector_outlines import is_finite, polygonal
from mobanet.datasets.vector_place import PixelPlacement
from mobanet.datasets.vector_settings import VectorLabel, as_text
from mobanet.datasets.vector_values import classed, unknown_values, unknown_words
from mobanet.errors import UserError
from mobanet.plain.wording import shorten
from mobanet.rasters.grid import Grid

NARROW = 16
"""Pixels a side below which a part of a tile that an area reaches is no tile."""


@dataclass(frozen=True)
class Cell:
    """A part of a raster: its name there, top, left, height and width in pixels, and the role that areas give it."""

    name: str
    window: tuple[int, int, int, int]
    role: Role | None = None


def square_cells(grid: Grid, size: int) -> list[Cell]:
    """Squares from the top left corner on, row by row; those at the right and bottom have what is left over."""
    rows, columns = _edges(grid.height, size), _edges(grid.width, size)
    return [
        Cell(f"r{row}_c{column}", (top, left, bottom - top, right - left))
        for row, (top, bottom) in enumerate(pairwise(rows))
        for column, (left, right) in enumerate(pairwise(columns))
    ]


def _edges(length: int, size: int) -> list[int]:
    """Where cells begin and the last one ends."""
    return [*range(0, count_along(length, size) * size, size), length]


def count_along(length: int, size: int) -> int:
    """Cells along a side, of which the last one has less than one and a half of `size`."""
    # rounded and not rounded up, as a sliver at the edge would be a tile in which hardly a crop fits
    return max(1, (length + size // 2) // size)


def index_cells(layer: VectorLayer, attribute: str | None, grid: Grid) -> list[Cell]:
    """The rectangles around the polygons of an index, as far as they lie on the grid, in the file's order.

    They are called as the attribute says; without one, by their numbers in the file.
    """
    place = PixelPlacement(layer, grid)
    names: dict[int, str] = {}
    if attribute is not None:
        layer.check_columns((attribute,))
        # attributes and outlines are read apart, and the numbers of the features in the file tie them together
        features = layer.features((attribute,), place.bounds(0, grid.height))
        for number, value in zip(features.ids.tolist(), features.columns[attribute].tolist(), strict=True):
            text = as_text(value)
            if text is None:
                raise UserError(f"{layer.file} has a polygon without a value of {attribute}, which names the tiles")
            names[number] = text
    cells = []
    for number, shape in _shapes_in_pixels(layer, place):
        left, top, right, bottom = shape.bounds
        # to the nearest pixel, as an index is drawn to a raster's edges but for rounding
        window = _clipped(round(top), round(left), round(bottom), round(right), grid)
        if min(window[2:]) > 0:
            cells.append(Cell(names.get(number, str(number)), window))
    if twice := [name for name, count in Counter(cell.name for cell in cells).items() if count > 1]:
        raise UserError(
            f"{layer.file} has several polygons called {shorten(twice)}: name another attribute as "
            "tiling.attribute, or none, to number them"
        )
    if not cells:
        raise UserError(f"no polygon of {layer.file} lies on the raster that sets the grid ({grid.extent})")
    return cells


def area_cells(layer: VectorLayer, label: VectorLabel, grid: Grid, cells: Sequence[Cell]) -> tuple[list[Cell], int]:
    """The parts of cells that areas reach, each the rectangle around them, and how many were left out as too narrow."""
    import shapely

    layer.check_columns(label.columns)
    place = PixelPlacement(layer, grid)
    features = layer.features(label.columns, place.bounds(0, grid.height))
    values, indices = classed(features.columns[label.attribute], label, ROLES)
    if unknown := unknown_values(values, label):
        raise UserError(unknown_words(layer, label, unknown).replace("to a class", f"to {', '.join(ROLES)}"))
    role = dict(zip(features.ids.tolist(), indices.tolist(), strict=True))
    grounds: list[list[Any]] = [[] for _ in ROLES]
    for number, shape in _shapes_in_pixels(layer, place):
        # what is ignored or has no value has a greater number than any role (`classed`)
        if role.get(number, len(ROLES)) < len(ROLES):
            grounds[role[number]].append(shape)
    # of a role as a whole, or a tile that two areas of one role reach would be two
    unions = [shapely.union_all(shapes) for shapes in grounds]
    for earlier in range(len(ROLES)):  # whatever is held out lies on top
        for later in unions[earlier + 1 :]:
            unions[earlier] = unions[earlier].difference(later)
    found, narrow = [], 0
    for cell in cells:
        top, left, height, width = cell.window
        square = shapely.box(left, top, left + width, top + height)
        for name, union in zip(ROLES, unions, strict=True):
            inside = square.intersection(union)
            # an area that ends where the cell begins leaves a line
            if inside.area == 0:
                continue
            west, north, east, south = inside.bounds
            # outwards: which pixels of it count is settled when the areas are drawn (`KeptRows`)
            window = _clipped(int(np.floor(north)), int(np.floor(west)), int(np.ceil(south)), int(np.ceil(east)), grid)
            if min(window[2:]) < NARROW:
                narrow += 1
            else:
                found.append(Cell(f"{cell.name}_{name}", window, name))
    return found, narrow


def _shapes_in_pixels(layer: VectorLayer, place: PixelPlacement) -> Iterator[tuple[int, Any]]:
    """Number and valid polygon of each feature with an outline, in pixels of the raster, in the file's order."""
    import shapely

    ids, shapes = layer.geometries(place.bounds(0, place.grid.height))
    known = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    ids, shapes = ids[known], shapes[known]
    length = place.straight()
    if length is not None and len(shapes):
        # a straight edge of one system is a curve in another
        shapes = shapely.segmentize(shapes, length)
    shapes = shapely.transform(shapes, place.pixels)
    if lost := ids[~is_finite(shapes)].tolist():
        raise UserError(
            f"{layer.file} has an outline that cannot be brought to the system of the rasters (number {lost[0]}): mend "
            "or remove it"
        )
    # only now, since outlines may also come to cross themselves on the way to the other system
    parts, of = polygonal(shapely.make_valid(shapes))
    for number in range(len(ids)):
        own = parts[of == number]
        if len(own):
            yield int(ids[number]), shapely.union_all(own)


def _clipped(top: int, left: int, bottom: int, right: int, grid: Grid) -> tuple[int, int, int, int]:
    """Top, left, height and width of the part of a rectangle that lies on the grid; not positive where none does."""
    top, left = max(top, 0), max(left, 0)
    # height and width may come out negative, which callers look for
    return top, left, min(bottom, grid.height) - top, min(right, grid.width) - left
