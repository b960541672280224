"""The ground under a stored tile's elevation, fitted to the summary that lies beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np

from mobanet.errors import UserError
from mobanet.rasters.blocks import BLOCK, block_shape
from mobanet.rasters.ground import Ground
from mobanet.store.arrays import read_whole
from mobanet.store.stored import StoredTile


def read_blocks(tile: StoredTile, name: str) -> np.ndarray:
    """The blocks of a tile's modality, (h, w, 3 + C) float32; of a patch, those of its whole tile.

    Raises:
        UserError: when the file holds something else.
    """
    (height, width), (top, left) = tile.plane_of(name), tile.place_of(name)
    # at least: a patch knows its tile up to its own end only
    least = block_shape((top + height, left + width), tile.origin_of(name))
    return read_whole(tile.path(f"{name}.blocks"), np.float32, least, (3 + tile.modalities[name].bands,))


def ground_of(tile: StoredTile, name: str, radius: int) -> Ground:
    """The ground of a tile's elevation, by blocks within a radius in its pixels; of a patch, that of its whole tile.

    Raises:
        UserError: when there are no blocks, as in a store made before there were any, or they cannot be read.
    """
    if not tile.modalities[name].blocks:
        raise UserError(
            f"{tile.folder.parent.parent} was prepared by an earlier mobanet, without what heights above the ground are"
            f" taken from: run python -m mobanet.prepare on the rasters again, or give --data.scaling.{name} robust."
        )
    blocks = read_blocks(tile, name)
    origin = tile.origin_of(name)
    # that of the whole tile, which a patch does not know, to the end of its last blocks: nodes are the same
    size = (blocks.shape[0] * BLOCK - origin[0] % BLOCK, blocks.shape[1] * BLOCK - origin[1] % BLOCK)
    return Ground.fitted(blocks, size, origin, radius)


class Grounds(Sequence[Ground | None]):
    """The ground of each of some tiles, None where a tile lacks the modality.

    It is fitted when it is first asked for: that takes milliseconds of a patch and seconds of a large tile, which
    nobody who starts with thousands of them should wait for.

    Args:
        tiles: of a store; patches of a tile share one fit.
        name: of a modality of the kind `elevation`.
        radius: in pixels.
        fitted: what is there already, and where what is fitted goes, by file and radius.
    """

    def __init__(
        self, tiles: Sequence[StoredTile], name: str, radius: int, fitted: dict[tuple[Path, int], Ground]
    ) -> None:
        self._tiles, self._name, self._radius, self._fitted = tiles, name, radius, fitted

    def __len__(self) -> int:
        return len(self._tiles)

    @overload
    def __getitem__(self, number: int) -> Ground | None: ...

    @overload
    def __getitem__(self, number: slice) -> list[Ground | None]: ...

    def __getitem__(self, number: int | slice) -> Ground | list[Ground | None] | None:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        tile = self._tiles[number]
        if self._name not in tile.modalities:
            return None
        key = (tile.path(self._name), self._radius)
        if key not in self._fitted:
            self._fitted[key] = ground_of(tile, self._name, self._radius)
        return self._fitted[key]

    def fit(self, most: int) -> None:
        """Fit them now, unless there are more than so many: processes that are forked later have them, too."""
        if len({tile.path(self._name) for tile in self._tiles}) <= most:
            for number in range(len(self)):
                self[number]
