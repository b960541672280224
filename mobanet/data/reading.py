"""Windows out of a prepared tile store, through memory maps whose resident share stays bounded."""

import mmap
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from types import MappingProxyType

import numpy as np

from mobanet.data.ground import Ground
from mobanet.data.layout import IGNORE_INDEX, LabelKind
from mobanet.data.store import StoredTile, damaged

_OPEN_MAPS = 128  # below the common limit of 1024 open files, whatever the number of tiles and workers' other files
_RESIDENT_BYTES = 32 * 2**20  # a window's pages are seldom wanted again: half or twice as much takes the same time


@dataclass(frozen=True)
class Window:
    """A rectangle of a tile, in pixels; it may reach beyond the tile's right and bottom edges."""

    tile: int
    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Sample:
    """The pixels of one window.

    Attributes:
        inputs: by modality, (H, W, C) in the stored dtype, the widest of tiles that differ; zero where nothing is
            stored. Heights above the ground are float32, and zero where they were not measured, too.
        valid: by modality, (H, W) uint8, 1 where the pixel was measured; only for modalities that are not complete.
        label: (H, W) uint8, `IGNORE_INDEX` outside the tile; None for an unlabelled tile.
    """

    inputs: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    label: np.ndarray | None


class _Maps:
    """The least recently used memory maps are closed; pages are handed back before they add up."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, tuple[mmap.mmap, np.ndarray]] = OrderedDict()
        self._touched: set[Path] = set()
        self._touched_bytes = 0

    def array(self, tile: StoredTile, name: str, rows: int) -> np.ndarray:
        path = tile.path(name)
        entry = self._open.pop(path, None) or _map(path, tile, name)
        self._open[path] = entry
        if len(self._open) > _OPEN_MAPS:
            self._open.popitem(last=False)
        if self._touched_bytes > _RESIDENT_BYTES:
            for touched in self._touched & self._open.keys():
                self._open[touched][0].madvise(mmap.MADV_DONTNEED)  # out of this process; the page cache keeps them
            self._touched.clear()
            self._touched_bytes = 0
        # the kernel maps pages around each fault, so that a window costs up to its rows at full width
        self._touched_bytes += rows * entry[1].strides[0]
        self._touched.add(path)
        return entry[1]


def _map(path: Path, tile: StoredTile, name: str) -> tuple[mmap.mmap, np.ndarray]:
    """An array as the tile describes it; the file itself is no more trusted than that.

    Raises:
        UserError: when it holds another.
    """
    shape, dtype = tile.arrays()[name]
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            stored, by_columns, kind = np.lib.format.read_array_header_1_0(file)
            least = (tile.top + tile.height, tile.left + tile.width, *shape[2:])  # of which a patch is a part
            if by_columns or kind != dtype or len(stored) != len(least) or any(map(int.__lt__, stored, least)):
                raise ValueError(f"{stored} {kind}")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return mapped, np.ndarray(stored, kind, buffer=mapped, offset=file.tell())
    except (ValueError, TypeError, SyntaxError, TokenError, OverflowError) as error:
        raise damaged(path) from error


class TileReader:
    """Reads windows of tiles; cheap to pickle, opens its files in the process that reads.

    Args:
        tiles: of one store.
        modalities: in the order of the batch.
        label: which label rasters to read.
        size: of the largest window, to know whether tiles are smaller than that.
        grounds: by modality, of each tile, the ground that its values are read as heights above; None where the tile
            lacks the modality. Modalities that are not named are read as stored.
    """

    def __init__(
        self,
        tiles: Sequence[StoredTile],
        modalities: dict[str, int],
        label: LabelKind,
        size: int,
        grounds: Mapping[str, Sequence[Ground | None]] = MappingProxyType({}),
    ) -> None:
        self.tiles = list(tiles)
        self.grounds = {name: list(of) for name, of in grounds.items()}
        self.modalities = modalities
        self.label = label
        self.incomplete = {
            name
            for name in modalities
            for tile in self.tiles
            if name not in tile.modalities or not tile.modalities[name].complete or min(tile.height, tile.width) < size
        }
        # one type a modality, so that tiles of 8 and of 16 bit meet in a batch; the wider one holds the values of both
        self.dtypes = {
            name: np.result_type(*{t.modalities[name].dtype for t in self.tiles if name in t.modalities} or {"uint8"})
            for name in modalities
        }
        self._maps: _Maps | None = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_maps": None}

    def read(self, window: Window) -> Sample:
        """The pixels of `window`; what lies outside the tile is zero, invalid and ignored."""
        tile = self.tiles[window.tile]
        inputs, valid = {}, {}
        for name, bands in self.modalities.items():
            record = tile.modalities.get(name)
            if record is None:
                inputs[name] = np.zeros((window.height, window.width, bands), self.dtypes[name])
            else:
                inputs[name] = self._cut(tile, name, window, 0).astype(self.dtypes[name], copy=False)
            if name in self.incomplete:
                valid[name] = self._validity(tile, name, window)
            ground = self.grounds[name][window.tile] if name in self.grounds else None
            if ground is not None:
                place = (tile.top + window.top, tile.left + window.left)
                inputs[name] = ground.heights(inputs[name], valid.get(name), *place)
        label = self._cut(tile, f"label_{self.label}", window, IGNORE_INDEX) if self.label in tile.labels else None
        return Sample(inputs, valid, label)

    def _validity(self, tile: StoredTile, name: str, window: Window) -> np.ndarray:
        record = tile.modalities.get(name)
        if record is None:
            return np.zeros((window.height, window.width), np.uint8)
        if not record.complete:
            return self._cut(tile, f"{name}.valid", window, 0)
        inside = np.zeros((window.height, window.width), np.uint8)
        inside[: tile.height - window.top, : tile.width - window.left] = 1
        return inside

    def _cut(self, tile: StoredTile, name: str, window: Window, fill: int) -> np.ndarray:
        if self._maps is None:
            self._maps = _Maps()
        array = self._maps.array(tile, name, window.height)
        rows = _within(tile.top, tile.height, window.top, window.height)
        columns = _within(tile.left, tile.width, window.left, window.width)
        part = array[rows, columns]
        if part.shape[:2] == (window.height, window.width):
            return part.copy()
        out = np.full((window.height, window.width, *array.shape[2:]), fill, array.dtype)
        out[: part.shape[0], : part.shape[1]] = part
        return out


def _within(start: int, size: int, first: int, count: int) -> slice:
    """`count` rows or columns of an array from the `first` of a tile on, which lies at `start` and has `size`."""
    return slice(start + first, start + min(first + count, size))


def grid(height: int, width: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Top-left corners of windows that cover a raster, row by row.

    The last window of a row or column is shifted back to the border (MoBaNet's protocol); a raster smaller than the
    window has one window, which reaches beyond it.
    """
    return [(top, left) for top in starts(height, size, stride) for left in starts(width, size, stride)]


def starts(length: int, size: int, stride: int) -> list[int]:
    """First pixels, along one side, of windows that cover it; the last is shifted back to the border."""
    last = max(length - size, 0)
    return [*range(0, last, stride), last]
