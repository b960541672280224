"""Reading the arrays of a tile store: windows, rows, or all of one. How they lie on disk is nobody else's business."""

import math
import os
import weakref
from collections import OrderedDict
from pathlib import Path
from tokenize import TokenError

import numpy as np

from mobanet.store.chunks import CHUNK, HEADER, chunked_shape, from_chunks, read_header
from mobanet.store.stored import StoredTile, damaged

_OPEN_FILES = 128  # below the common limit of 1024, whatever the number of tiles and workers' other files
_WHOLE = slice(None)
# numpy lets Python parse the header of a file, whose complaints are of many kinds
_NO_ARRAY = (ValueError, TypeError, SyntaxError, TokenError, OverflowError, RecursionError, MemoryError)


def read_array(tile: StoredTile, name: str, rows: slice = _WHOLE, columns: slice = _WHOLE) -> np.ndarray:
    """An array of a tile, or a part of it, (H, W, C), or (H, W) of labels and validity, in the stored type.

    Args:
        tile: of a store; of a patch, its own part is read.
        name: as in `StoredTile.arrays`, but for blocks (`mobanet.store.elevation.read_blocks`).
        rows: of the tile, in pixels of the array, without a step.
        columns: alike.

    Raises:
        UserError: when the file holds something else.
    """
    (height, width), (first, before) = tile.plane_of(name), tile.place_of(name)
    top, bottom, _ = rows.indices(height)
    left, right, _ = columns.indices(width)
    file = _ArrayFile(tile, name)
    try:
        return file.cut(first + top, before + left, max(0, bottom - top), max(0, right - left), Buffer())
    finally:
        file.close()


def read_whole(path: Path, dtype: type, least: tuple[int, int], bands: tuple[int, ...] = ()) -> np.ndarray:
    """An array that does not lie in chunks: summaries, which are small.

    Args:
        path: of its file.
        dtype: that it must have.
        least: rows and columns that it must have; those of a patch are in its whole tile's array.
        bands: lengths that its other axes must have.

    Raises:
        UserError: when the file holds something else, or numbers that are not finite.
    """
    try:
        # not `np.load`, which also takes zip archives, and gives something that is no array then
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
        fits = array.dtype == dtype and array.ndim == 2 + len(bands) and array.shape[2:] == bands
        if not fits or any(map(int.__lt__, array.shape, least)) or not np.isfinite(array).all():
            raise ValueError(f"{array.dtype} of {array.shape}")
    except (OSError, EOFError, *_NO_ARRAY) as error:
        raise damaged(path) from error
    return array


class Buffer:
    """Memory for chunks on their way, used again and again."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array whose content is whatever was there before."""
        size = math.prod(shape) * dtype.itemsize
        if len(self._bytes) < size:
            self._bytes = np.empty(size, np.uint8)
        return self._bytes[:size].view(dtype).reshape(shape)


class OpenArrays:
    """Arrays of tiles, read part by part; the least recently used files are closed.

    Files are read at places of their own, without a common position: processes may go on with them after a fork.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Path, str], _ArrayFile] = OrderedDict()
        self._buffer = Buffer()

    def cut(self, tile: StoredTile, name: str, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A window of an array, (height, width, ...), in memory of its own.

        It lies in the tile, from row `top` and column `left` on, in pixels of the array.

        Raises:
            UserError: when the file holds something else.
        """
        # by folder and not by id, as patches of a tile read the same file
        key = (tile.folder, name)
        # out and in again: the first of the dictionary is then the one that was used longest ago
        file = self._open.pop(key, None) or _ArrayFile(tile, name, random=True)
        self._open[key] = file
        if len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        first, before = tile.place_of(name)
        return file.cut(first + top, before + left, height, width, self._buffer)


class _ArrayFile:
    """An array as the tile describes it, open for reading; the file itself is no more trusted than that.

    With `random`, parts are asked for here and there, so that what lies behind them is not to be fetched ahead.

    Raises:
        UserError: when it holds another.
    """

    def __init__(self, tile: StoredTile, name: str, random: bool = False) -> None:
        self.path = tile.path(name)
        shape, dtype = tile.arrays()[name]
        # a patch is a part of its tile's array
        (height, width), (first, before) = tile.plane_of(name), tile.place_of(name)
        # at least: the file has all of a tile, of which a patch knows its own part and what lies above and left
        least = chunked_shape((first + height, before + width, *shape[2:]))
        self._handle = os.open(self.path, os.O_RDONLY)
        # once, whether asked to or collected: a number that is closed twice may by then be another file's
        self.close = weakref.finalize(self, os.close, self._handle)
        try:
            self.shape, self.dtype = read_header(os.pread(self._handle, HEADER, 0))
            fits = self.dtype == dtype and len(self.shape) == len(least) and self.shape[4:] == least[4:]
            if not fits or any(map(int.__lt__, self.shape, least)):
                raise ValueError(f"{self.dtype} of {self.shape}")
            self._chunk = math.prod(self.shape[2:]) * self.dtype.itemsize  # bytes
            # as it is opened, rather than at the one window of an epoch that lies behind the end
            if os.fstat(self._handle).st_size < HEADER + self.shape[0] * self.shape[1] * self._chunk:
                raise ValueError("cut short")
        except _NO_ARRAY as error:
            self.close()
            raise damaged(self.path) from error
        if random and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._handle, 0, 0, os.POSIX_FADV_RANDOM)

    def cut(self, top: int, left: int, height: int, width: int, buffer: Buffer) -> np.ndarray:
        out = np.empty((height, width, *self.shape[4:]), self.dtype)
        if not out.size:
            return out
        first, column = divmod(left, CHUNK)
        # (w, CHUNK, CHUNK, ...): what the window touches of a row of chunks, which a single read brings
        chunks = buffer.array((-(-(left + width) // CHUNK) - first, *self.shape[2:]), self.dtype)
        done = 0
        while done < height:
            line, row = divmod(top + done, CHUNK)
            self._read(chunks, line * self.shape[1] + first)
            from_chunks(chunks, out[done : done + CHUNK - row], row, column)
            done += CHUNK - row
        return out

    def _read(self, chunks: np.ndarray, first: int) -> None:
        """Fill `chunks` with those that lie side by side from number `first` on."""
        place, count = HEADER + first * self._chunk, 0
        try:
            got = os.preadv(self._handle, [chunks.data], place)
            while got and count + got < chunks.nbytes:  # as it may be of a file far away
                count += got
                got = os.preadv(self._handle, [chunks.data.cast("B")[count:]], place + count)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        if not got:
            raise damaged(self.path)  # cut short while it was open
