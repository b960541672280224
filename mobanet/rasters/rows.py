"""Rows of a raster on another grid, from top to bottom, in memory that its height does not change.

Reading goes by chunks of rows, and resampling by pieces of columns, at places that depend on nothing but the grid: a
pixel's value is the same wherever a reader began, and the same to whoever reads it: preparing and predicting alike.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mobanet.rasters.alignment import Fit, align, overlap_window, window_grid
from mobanet.rasters.grid import Grid

if TYPE_CHECKING:
    from rasterio.windows import Window

RowsPart = tuple[np.ndarray, np.ndarray | None]
"""Values, and which of them count, (h, w) bool; None where all do."""

CHUNK = 256
"""Rows read at once, unless they are very wide."""

_BYTES = 2**27  # read at once, about: of rows that are wider, chunks have fewer

CACHE_BYTES = 2**28
"""Of GDAL, a share of all memory by default: rows of blocks that chunks cut stay in it."""

# columns resampled at once: where systems are turned against each other, a wide piece has a large square as source
_PIECE = 2048

# read at once to be resampled, about: where the raster is finer than the grid, pieces are smaller
_SOURCE_PIXELS = 2**24


class GridRows:
    """A raster on a grid of its own, brought to another grid by fit `same`, `edge` or `warp`, chunk by chunk.

    `read` gives a window of the raster: (C, h, w) values of C bands, and (h, w) bool or None. Of the grid, columns from
    `left` to before `right`, None for the last, are wanted.
    """

    def __init__(
        self,
        read: "Callable[[Window], RowsPart]",
        bands: int,
        dtype: np.dtype,
        own: Grid,
        grid: Grid,
        fit: Fit,
        left: int = 0,
        right: int | None = None,
    ) -> None:
        self._read, self._bands, self._dtype = read, bands, dtype
        self._own, self._grid, self._resamples = own, grid, fit == "warp"
        self._left, self._right = left, grid.width if right is None else right
        self.step = rows_at_once(grid.width, bands, dtype)  # rows of a chunk; the last may have fewer

    def chunks(self) -> Iterator[RowsPart]:
        """All rows of the grid, chunk by chunk: (h, W, C) values, and (h, W) bool or None."""
        return map(self.chunk, range(-(-self._grid.height // self.step)))

    def chunk(self, number: int) -> RowsPart:
        """One chunk, counted from the top."""
        top, bottom = number * self.step, min((number + 1) * self.step, self._grid.height)
        if self._resamples:
            return self._resampled(top, bottom)
        own, shape = self._own, (bottom - top, self._right - self._left)
        height = max(min(bottom, own.height) - top, 0)
        width = max(min(self._right, own.width) - self._left, 0)
        if (height, width) == shape:
            return self._plain(top, height, width)
        values, valid = np.zeros((*shape, self._bands), self._dtype), np.zeros(shape, bool)
        if height and width:
            part, known = self._plain(top, height, width)
            values[:height, :width] = part
            valid[:height, :width] = True if known is None else known
        return values, valid

    def _plain(self, top: int, height: int, width: int) -> RowsPart:
        from rasterio.windows import Window

        values, valid = self._read(Window(self._left, top, width, height))
        return np.ascontiguousarray(values.transpose(1, 2, 0)), valid  # (h, w, C)

    def _resampled(self, top: int, bottom: int) -> RowsPart:
        from rasterio.windows import Window

        shape = (bottom - top, self._right - self._left)
        values, valid = np.zeros((*shape, self._bands), self._dtype), np.zeros(shape, bool)
        rows, columns = self._piece
        for first in range(top, bottom, rows):
            last = min(first + rows, bottom)
            for piece in range(self._left // columns, -(-self._right // columns)):
                begin, end = piece * columns, min((piece + 1) * columns, self._grid.width)
                # a whole piece, also where only a part of it is wanted: its pixels must not depend on what is
                target = window_grid(self._grid, Window(begin, first, end - begin, last - first))
                window = overlap_window(self._own, target)
                if window is None:
                    continue
                found, known = align(*self._read(window), window_grid(self._own, window), target)
                inside = slice(max(self._left, begin) - begin, min(self._right, end) - begin)
                there = slice(begin + inside.start - self._left, begin + inside.stop - self._left)
                down = slice(first - top, last - top)
                values[down, there] = found.transpose(1, 2, 0)[:, inside]
                valid[down, there] = True if known is None else known[:, inside]
        return values, None if valid.all() else valid

    @cached_property
    def _piece(self) -> tuple[int, int]:
        """Rows and columns that are resampled at once: the same halves of chunk and piece wherever a reader began."""
        from rasterio.windows import Window

        rows, columns, grid = self.step, _PIECE, self._grid
        while rows * columns > 1:
            middle = Window(max(grid.width - columns, 0) // 2, max(grid.height - rows, 0) // 2, columns, rows)
            window = overlap_window(self._own, window_grid(grid, middle))
            if window is None or window.width * window.height <= _SOURCE_PIXELS:
                break
            # the longer side, so that pieces stay nearly square, and their sources small where systems are turned
            rows, columns = (rows, columns // 2) if columns >= rows else (rows // 2, columns)
        return rows, columns


def within(read: "Callable[[Window], RowsPart]", own: Grid, place: "Window") -> "Callable[[Window], RowsPart]":
    """Reads windows of a place of a raster, which may reach beyond it: there are zeros, that do not count."""

    def part(window: "Window") -> RowsPart:
        from rasterio.windows import Window

        top, left = place.row_off + window.row_off, place.col_off + window.col_off
        wanted = Window(left, top, window.width, window.height)
        there = wanted.crop(own.height, own.width)
        if there == wanted:
            return read(wanted)
        inside = there.height > 0 and there.width > 0
        # of a pixel of the raster, where none is wanted: whoever reads knows bands and type
        found, known = read(there if inside else Window(0, 0, 1, 1))
        values = np.zeros((len(found), window.height, window.width), found.dtype)
        valid = np.zeros((window.height, window.width), bool)
        if inside:
            rows, columns = Window(there.col_off - left, there.row_off - top, there.width, there.height).toslices()
            values[:, rows, columns] = found
            valid[rows, columns] = True if known is None else known
        return values, valid

    return part


def rows_at_once(width: int, bands: int = 1, dtype: np.dtype | str = "float32") -> int:
    """Rows to handle at once of a raster that is `width` pixels wide: `CHUNK`, or fewer by halves."""
    step = CHUNK
    while step > 1 and step * width * max(bands * np.dtype(dtype).itemsize, 4) > _BYTES:
        step //= 2
    return step


def row_windows(window: "Window", step: int) -> "Iterator[Window]":
    """A window of a raster in parts of so many rows, from top to bottom."""
    from rasterio.windows import Window

    for top in range(0, window.height, step):
        yield Window(window.col_off, window.row_off + top, window.width, min(step, window.height - top))


def whole_window(grid: Grid) -> "Window":
    """All of a raster."""
    from rasterio.windows import Window

    return Window(0, 0, grid.width, grid.height)
