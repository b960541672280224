"""Rows of a scene's rasters on its grid, from top to bottom, each read once, in memory that its height does not change.

Reading goes by chunks of rows, and resampling by pieces of columns, at places that depend on nothing but the grid: a
pixel's value is the same wherever a reader began.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType

import numpy as np

from mobanet.data.sources.alignment import align, overlap_window, window_grid
from mobanet.data.sources.rasters import Grid, opened
from mobanet.errors import UserError
from mobanet.inference.scene import PlacedRaster

CHUNK = 256
"""Rows read at once."""

_PIECE = 2048
"""Columns resampled at once: where systems are turned against each other, a wide piece has a large square as source."""

_SOURCE_PIXELS = 2**24
"""Read at once to be resampled, about: where the raster is finer than the grid, pieces are smaller."""

_CACHE_BYTES = 96 * 2**20
"""Of GDAL, a share of all memory by default. Rows of strips and blocks that chunks cut stay in it."""


class RasterRows:
    """Reads one raster; a context manager, which holds the file open.

    Args:
        raster: to read.
        grid: of the scene.
        left: first column.
        right: column behind the last.
    """

    def __init__(self, raster: PlacedRaster, grid: Grid, left: int = 0, right: int | None = None) -> None:
        self.raster, self.grid = raster, grid
        self.left, self.right = left, grid.width if right is None else right
        self._chunks: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "RasterRows":
        """Open the file."""
        import rasterio

        file = self.raster.source.file
        with ExitStack() as stack:
            stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES))
            self._open = stack.enter_context(opened(file.path, file))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        """Close it; a raster that cannot be read any further is named."""
        self._chunks.clear()
        return self._stack.__exit__(kind, error, trace)

    def cut(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray | None]:
        """A window.

        Windows come from top to bottom: what lies above the chunk of `top` is forgotten.

        Args:
            top: row.
            left: column of the scene, not of this reader.
            height: rows; beyond the scene nothing is valid.
            width: columns, alike.

        Returns:
            (height, width, C) as stored, and (height, width) bool, None where all is valid.
        """
        first, last = top // CHUNK, min(top + height, self.grid.height) - 1
        for number in [number for number in self._chunks if number < first]:
            del self._chunks[number]
        bands = len(self.raster.source.bands)
        values = np.zeros((height, width, bands), self.raster.dtype)
        valid = np.zeros((height, width), bool)
        columns = slice(left - self.left, min(left + width, self.right) - self.left)
        across = columns.stop - columns.start
        for number in range(first, last // CHUNK + 1):
            if number not in self._chunks:
                self._chunks[number] = self._read(number)
            chunk, known = self._chunks[number]
            begin = number * CHUNK
            here = slice(max(top, begin) - begin, min(top + height, begin + len(chunk)) - begin)
            there = slice(begin + here.start - top, begin + here.stop - top)
            values[there, :across] = chunk[here, columns]
            valid[there, :across] = True if known is None else known[here, columns]
        return values, None if valid.all() else valid

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """All rows of the scene, chunk by chunk: (h, W, C) values, and (h, W) bool or None."""
        for number in range(-(-self.grid.height // CHUNK)):
            yield self._read(number)

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        top, bottom = number * CHUNK, min((number + 1) * CHUNK, self.grid.height)
        if self.raster.fit == "warp":
            return self._resampled(top, bottom)
        own, shape = self.raster.own, (bottom - top, self.right - self.left)
        height = max(min(bottom, own.height) - top, 0)
        width = max(min(self.right, own.width) - self.left, 0)
        if (height, width) == shape:
            return self._values(self.left, top, width, height)
        values = np.zeros((*shape, len(self.raster.source.bands)), self.raster.dtype)
        valid = np.zeros(shape, bool)
        if height and width:
            part, known = self._values(self.left, top, width, height)
            values[:height, :width] = part
            valid[:height, :width] = True if known is None else known
        return values, valid

    def _resampled(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray | None]:
        from rasterio.windows import Window

        shape = (bottom - top, self.right - self.left)
        values = np.zeros((*shape, len(self.raster.source.bands)), self.raster.dtype)
        valid = np.zeros(shape, bool)
        rows, columns = self._piece
        for first in range(top, bottom, rows):
            last = min(first + rows, bottom)
            for piece in range(self.left // columns, -(-self.right // columns)):
                begin, end = piece * columns, min((piece + 1) * columns, self.grid.width)
                target = window_grid(self.grid, Window(begin, first, end - begin, last - first))
                window = overlap_window(self.raster.own, target)
                if window is None:
                    continue
                found, known = self._source(window)
                found, known = align(found, known, window_grid(self.raster.own, window), target, "warp")
                inside = slice(max(self.left, begin) - begin, min(self.right, end) - begin)
                there = slice(begin + inside.start - self.left, begin + inside.stop - self.left)
                down = slice(first - top, last - top)
                values[down, there] = found.transpose(1, 2, 0)[:, inside]
                valid[down, there] = True if known is None else known[:, inside]
        return values, None if valid.all() else valid

    @cached_property
    def _piece(self) -> tuple[int, int]:
        """Rows and columns that are resampled at once: the same halves of chunk and piece wherever a reader began."""
        from rasterio.windows import Window

        rows, columns, grid = CHUNK, _PIECE, self.grid
        while rows * columns > 1:
            middle = Window(max(grid.width - columns, 0) // 2, max(grid.height - rows, 0) // 2, columns, rows)
            window = overlap_window(self.raster.own, window_grid(grid, middle))
            if window is None or window.width * window.height <= _SOURCE_PIXELS:
                break
            rows, columns = (rows, columns // 2) if columns >= rows else (rows // 2, columns)
        return rows, columns

    def _values(self, left: int, top: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray | None]:
        from rasterio.windows import Window

        values, valid = self._source(Window(left, top, width, height))
        return np.ascontiguousarray(values.transpose(1, 2, 0)), valid  # (h, w, C)

    def _source(self, window: "object") -> tuple[np.ndarray, np.ndarray | None]:
        """Values as stored, (C, h, w), and validity, of a window of the file."""
        from rasterio.errors import RasterioError

        try:
            return self.raster.reading.read(self._open, window)
        except RasterioError as error:
            raise UserError(
                f"{self.raster.source.file} cannot be read from row {window.row_off} on; it is damaged or cut short: "
                "fetch it again, then start anew with --overwrite."
            ) from error
