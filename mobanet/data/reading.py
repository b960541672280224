"""Windows out of a prepared tile store."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from mobanet.datasets.base import LabelKind
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.rasters.ground import Ground
from mobanet.store.arrays import OpenArrays
from mobanet.store.marks import read_marks
from mobanet.store.stored import StoredTile


@dataclass(frozen=True)
class TileWindow:
    """A rectangle of a tile, in pixels; it may reach beyond the tile's right and bottom edges."""

    tile: int
    top: int
    left: int
    height: int
    width: int

    def coarser(self, ratio: int) -> "TileWindow":
        """The same ground in pixels so many times as wide and high, of which it has whole ones."""
        return TileWindow(self.tile, *(side // ratio for side in (self.top, self.left, self.height, self.width)))


@dataclass(frozen=True)
class Sample:
    """The pixels of one window.

    Attributes:
        inputs: by modality, (H, W, C) in the stored dtype, the widest of tiles that differ; zero where nothing is
            stored. Heights above the ground are float32, and zero where they were not measured, too. Of a modality with
            coarser pixels (H / ratio, W / ratio, C).
        valid: by modality, (H, W) uint8, 1 where the pixel was measured; only for modalities that are not complete.
        label: (H, W) uint8, `IGNORE_INDEX` outside the tile; None for an unlabelled tile.
    """

    inputs: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    label: np.ndarray | None


class TileReader:
    """Reads windows of tiles; cheap to pickle, opens its files in the process that reads.

    Args:
        tiles: of one store.
        modalities: number of bands, in the order of the batch.
        label: which label rasters to read.
        size: of the largest window, to know whether tiles are smaller than that.
        grounds: by modality, of each tile, the ground that its values are read as heights above; None where the tile
            lacks the modality. Modalities that are not named are read as stored.
        ratios: by modality, pixels of a tile that one of its own is wide and high; 1 where it is not named.

    Attributes:
        step: windows begin at multiples of it, in pixels, and have such sizes: all modalities have whole pixels there.
    """

    def __init__(
        self,
        tiles: Sequence[StoredTile],
        modalities: dict[str, int],
        label: LabelKind,
        size: int,
        grounds: Mapping[str, Sequence[Ground | None]] = MappingProxyType({}),
        ratios: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.tiles = list(tiles)
        self.grounds = dict(grounds)
        self.modalities = modalities
        self.label = label
        self.ratios = {name: ratios.get(name, 1) for name in modalities}
        # where pixels of two and of three meet, only every sixth is a border of both
        self.step = math.lcm(*self.ratios.values())
        # by name, not by tile: in a batch all samples of a modality have validity, or none has
        self.incomplete = {
            name
            for name in modalities
            for tile in self.tiles
            if name not in tile.modalities or not tile.modalities[name].complete or self._reached_beyond(tile, size)
        }
        # one type a modality, so that tiles of 8 and of 16 bit meet in a batch; the wider one holds the values of both
        self.dtypes = {
            # uint8 for one that no tile has, whose zeros are of the smallest type
            name: np.result_type(*{t.modalities[name].dtype for t in self.tiles if name in t.modalities} or {"uint8"})
            for name in modalities
        }
        self._arrays: OpenArrays | None = None
        self._marks: dict[int, np.ndarray | None] = {}

    def _reached_beyond(self, tile: StoredTile, size: int) -> bool:
        """Whether windows of a tile may reach beyond it."""
        sides = (tile.height, tile.width)
        # the last window of a grid begins at a whole step, behind which its size may not fit
        return any(side < size or (side - size) % self.step for side in sides)

    def marks(self, tile: int) -> np.ndarray | None:
        """Which squares of a tile's array have a labelled pixel (`mobanet.store.marks`); None where all have one."""
        if tile not in self._marks:
            self._marks[tile] = read_marks(self.tiles[tile], self.label)
        return self._marks[tile]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None}  # numbers of open files mean nothing in another process

    def read(self, window: TileWindow) -> Sample:
        """The pixels of `window`; what lies outside the tile is zero, invalid and ignored."""
        found = {name: self.read_one(name, window.coarser(self.ratios[name])) for name in self.modalities}
        inputs = {name: values for name, (values, _) in found.items()}
        valid = {name: known for name, (_, known) in found.items() if known is not None}
        return Sample(inputs, valid, self.read_label(window))

    def read_one(self, name: str, part: TileWindow) -> tuple[np.ndarray, np.ndarray | None]:
        """Values and, where some modality of that name is not complete, validity of a window in pixels of its own."""
        tile, bands = self.tiles[part.tile], self.modalities[name]
        if name in tile.modalities:
            values = self._cut(tile, name, part, 0).astype(self.dtypes[name], copy=False)  # mostly there already
        else:
            values = np.zeros((part.height, part.width, bands), self.dtypes[name])
        valid = self._validity(tile, name, part) if name in self.incomplete else None
        ground = self.grounds[name][part.tile] if name in self.grounds else None
        if ground is not None:
            # in pixels of the whole tile, whose ground a patch has
            top, left = tile.place_of(name)
            values = ground.heights(values, valid, top + part.top, left + part.left)
        return values, valid

    def read_label(self, window: TileWindow) -> np.ndarray | None:
        """The label of a window; None of a tile without any."""
        tile = self.tiles[window.tile]
        return self._cut(tile, f"label_{self.label}", window, IGNORE_INDEX) if self.label in tile.labels else None

    def _validity(self, tile: StoredTile, name: str, window: TileWindow) -> np.ndarray:
        record = tile.modalities.get(name)
        if record is None:
            return np.zeros((window.height, window.width), np.uint8)
        if not record.complete:
            return self._cut(tile, f"{name}.valid", window, 0)
        inside = np.zeros((window.height, window.width), np.uint8)
        # complete is the tile, and a window may reach beyond it
        height, width = tile.plane_of(name)
        inside[: max(height - window.top, 0), : max(width - window.left, 0)] = 1
        return inside

    def _cut(self, tile: StoredTile, name: str, window: TileWindow, fill: int) -> np.ndarray:
        if self._arrays is None:
            self._arrays = OpenArrays()
        rows, columns = tile.plane_of(name)
        height = max(0, min(window.height, rows - window.top))
        width = max(0, min(window.width, columns - window.left))
        part = self._arrays.cut(tile, name, window.top, window.left, height, width)
        if part.shape[:2] == (window.height, window.width):
            return part
        out = np.full((window.height, window.width, *part.shape[2:]), fill, part.dtype)
        out[:height, :width] = part
        return out


def grid(height: int, width: int, size: int, stride: int, step: int = 1) -> list[tuple[int, int]]:
    """Top-left corners of windows that cover a raster, row by row.

    The last window of a row or column is shifted back to the border (MoBaNet's protocol); a raster smaller than the
    window has one window, which reaches beyond it.
    """
    return [(top, left) for top in starts(height, size, stride, step) for left in starts(width, size, stride, step)]


def starts(length: int, size: int, stride: int, step: int = 1) -> list[int]:
    """First pixels, along one side, of windows that cover it; the last is shifted back to the border.

    Args:
        length: of the side.
        size: of a window.
        stride: from window to window, a multiple of `step`.
        step: all are multiples of it, so that the last window may reach beyond the border by less than a step.
    """
    # up to a whole step, or the last pixels would be in no window
    last = -(-max(length - size, 0) // step) * step
    # `last` is left out of the range, so that it comes once even where a stride meets it
    return [*range(0, last, stride), last]
