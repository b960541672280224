"""Rows of a scene's rasters on its grid, from top to bottom, each read once (see `mobanet.rasters.rows`)."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from mobanet.errors import UserError
from mobanet.files import part_of, whole_file
from mobanet.prediction.scene import PlacedRaster
from mobanet.rasters.elsewhere import Elsewhere
from mobanet.rasters.network import said_of
from mobanet.rasters.opening import open_raster, readable
from mobanet.rasters.rows import CHUNK, GridRows

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

__all__ = ["CHUNK", "RasterRows"]

_CACHE_BYTES = 96 * 2**20
"""Of GDAL, a share of all memory by default. Rows of strips and blocks that chunks cut stay in it."""

_USUAL_BLOCK = 512
"""Rows of a block, where the raster has smaller ones that may stand for others."""

_MOST_BLOCKS = 2**29
"""Bytes of a row of blocks that are kept at most."""


class RasterRows:
    """Reads one raster; a context manager, which holds the file open.

    Args:
        raster: to read.
        left: first column, of the raster's grid as all places here.
        right: column behind the last.
        fetched: folder of rows that have been read before, which those of the whole width are put into; None for none.
    """

    def __init__(
        self, raster: PlacedRaster, left: int = 0, right: int | None = None, fetched: Path | None = None
    ) -> None:
        self.raster, self.grid, self.fetched = raster, raster.grid, fetched
        self.left, self.right = left, raster.grid.width if right is None else right
        placed = len(raster.source.bands), raster.dtype, raster.own, raster.grid, raster.fit, self.left, self.right
        self._rows = GridRows(lambda window: self._source(window), *placed)
        self._chunks: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "RasterRows":
        """Open the file."""
        import rasterio

        file = self.raster.source.file
        with ExitStack() as stack:
            # never less than is set: GDAL has one cache for all that is open
            stack.enter_context(rasterio.Env(GDAL_CACHEMAX=max(_cache(), _CACHE_BYTES)))
            with readable(file.path, file):
                self._open = stack.enter_context(open_raster(file.path, file))
            if isinstance(file.path, Elsewhere):
                # beside what others need that are open with it: to fetch a block twice takes longer than to read it so
                stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_cache() + _row_of_blocks(self._open)))
            # held open from here on: had anything failed before, this block would have closed it
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        """Close it; a raster that cannot be read any further is named."""
        self._chunks.clear()
        return self._stack.__exit__(kind, error, trace)

    def cut(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray | None]:
        """A window, in rows and columns of the scene, beyond which nothing is valid.

        Windows come from top to bottom: what lies above the chunk of `top` is forgotten.

        Returns:
            (height, width, C) as stored, and (height, width) bool, None where all is valid.
        """
        step = self._rows.step
        first, last = top // step, min(top + height, self.grid.height) - 1
        # a list of its own, as a dictionary must not shrink while it is gone through
        for number in [number for number in self._chunks if number < first]:
            del self._chunks[number]
        bands = len(self.raster.source.bands)
        values = np.zeros((height, width, bands), self.raster.dtype)
        valid = np.zeros((height, width), bool)
        columns = slice(left - self.left, min(left + width, self.right) - self.left)
        across = columns.stop - columns.start
        for number in range(first, last // step + 1):
            if number not in self._chunks:
                self._chunks[number] = self._chunk(number)
            chunk, known = self._chunks[number]
            begin = number * step
            here = slice(max(top, begin) - begin, min(top + height, begin + len(chunk)) - begin)
            there = slice(begin + here.start - top, begin + here.stop - top)
            values[there, :across] = chunk[here, columns]
            valid[there, :across] = True if known is None else known[here, columns]
        return values, None if valid.all() else valid

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """All rows of the scene, chunk by chunk: (h, W, C) values, and (h, W) bool or None."""
        for number in range(-(-self.grid.height // self._rows.step)):
            yield self._chunk(number)

    def chunk_at(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The one of them that a row is in."""
        return self._rows.chunk(row // self._rows.step)

    def _chunk(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        if self.fetched is None:
            return self._rows.chunk(number)
        path = self.fetched / f"{number:05d}.npz"
        if path.exists():
            columns = slice(self.left, self.right)
            with np.load(path) as arrays:
                valid = arrays["valid"][:, columns] if "valid" in arrays else None
                return arrays["values"][:, columns], valid
        values, valid = self._rows.chunk(number)
        if (self.left, self.right) == (0, self.grid.width):
            # not compressed, as these rows are soon read again, and go when the map is there
            with whole_file(path, part_of(path, own=True)) as file:
                if valid is None:
                    np.savez(file, values=values)
                else:
                    np.savez(file, values=values, valid=valid)
        return values, valid

    def _source(self, window: "Window") -> tuple[np.ndarray, np.ndarray | None]:
        """Values as stored, (C, h, w), and validity, of a window of the file."""
        from rasterio.errors import RasterioError

        file = self.raster.source.file
        # each time, since rasters that are open side by side may have other settings, as those from other servers
        with readable(file.path, file):
            try:
                return self.raster.reading.read(self._open, window)
            except RasterioError as error:
                if isinstance(file.path, Elsewhere) and file.path.on_network:
                    told = said_of(file.path, error).removesuffix(".")
                    # without GDAL's own words behind it, which may hold the keys of an address
                    raise UserError(f"{told}; what is finished stays, and --resume goes on with it.") from None
                raise UserError(
                    f"{file} cannot be read from row {window.row_off} on; it is damaged or cut short: fetch it again, "
                    "then start anew with --overwrite."
                ) from error


def fetched_rows(raster: PlacedRaster, folder: Path | None, name: str) -> Path | None:
    """Where in a scene's folder rows of a raster are kept that is fetched, and read more than once; None for others."""
    path = raster.source.file.path
    return folder / name if folder is not None and isinstance(path, Elsewhere) and path.on_network else None


def _cache() -> int:
    """Bytes that GDAL may keep by what is open so far; 0 where nobody has said."""
    from rasterio.env import getenv, hasenv

    said = getenv().get("GDAL_CACHEMAX") if hasenv() else None
    return said if isinstance(said, int) else 0


def _row_of_blocks(raster: "DatasetReader") -> int:
    """Bytes of all blocks that lie side by side in a raster, as far as they are kept for the chunks that cut them."""
    height = max(raster.block_shapes[0][0], _USUAL_BLOCK)
    return min(raster.width * height * sum(np.dtype(dtype).itemsize for dtype in raster.dtypes), _MOST_BLOCKS)
