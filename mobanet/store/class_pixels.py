"""How many labelled pixels of each class tiles have, and where in a tile they lie."""

from collections.abc import Sequence

import numpy as np

from mobanet.datasets.base import LabelKind
from mobanet.store.arrays import read_array
from mobanet.store.stored import MARK, StoredTile

_VALUES = 256


def class_pixels(tiles: Sequence[StoredTile], kind: LabelKind) -> np.ndarray:
    """Labelled pixels of each class of each tile that has labels of the kind, (T, K) int64.

    A whole tile's were counted when it was prepared; those of a patch, whose records are its tile's, are counted here.

    Raises:
        UserError: when a file holds something else.
    """
    return np.array([_of_tile(tile, kind) for tile in tiles], np.int64)


def class_squares(tile: StoredTile, kind: LabelKind) -> np.ndarray:
    """Labelled pixels of each class in each square of `MARK` pixels, (K, h, w) uint16.

    The first square begins at the tile's first pixel, a patch's too. A row of squares is read at a time.

    Raises:
        UserError: when the file holds something else.
    """
    classes, across = len(tile.labels[kind].pixels), -(-tile.width // MARK)
    # (1, W): for each column the first of its square's 256 numbers
    square = (np.arange(tile.width) // MARK * _VALUES)[None]
    rows = []
    for top in range(0, tile.height, MARK):
        strip = read_array(tile, f"label_{kind}", slice(top, min(top + MARK, tile.height)))
        # square and class as one number: one count for the whole row of squares
        counts = np.bincount((strip + square).reshape(-1), minlength=across * _VALUES)
        rows.append(counts.reshape(across, _VALUES)[:, :classes].T.astype(np.uint16))  # a square has 4096 pixels
    return np.stack(rows, axis=1)


def _of_tile(tile: StoredTile, kind: LabelKind) -> Sequence[int]:
    record = tile.labels[kind]
    if sum(record.pixels) + record.ignored == tile.height * tile.width:
        return record.pixels
    return class_squares(tile, kind).sum((1, 2), dtype=np.int64).tolist()
