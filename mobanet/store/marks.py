"""Which squares of a label have any labelled pixel, as it is stored beside labels of which some have none."""

import numpy as np

from mobanet.datasets.base import LabelKind
from mobanet.store.arrays import read_whole
from mobanet.store.stored import MARK, StoredTile, marks_shape


def read_marks(tile: StoredTile, kind: LabelKind) -> np.ndarray | None:
    """Squares with a labelled pixel, (h, w) bool; of a patch, those of its whole tile. None where all have one.

    Raises:
        UserError: when the file holds something else.
    """
    if kind not in tile.labels or not tile.labels[kind].marks:
        return None
    least = marks_shape((tile.top + tile.height, tile.left + tile.width))
    return read_whole(tile.path(f"label_{kind}.marks"), np.uint8, least) > 0


def squares_of(tile: StoredTile, top: int, left: int, height: int, width: int) -> tuple[slice, slice]:
    """The squares, of those of its arrays, that a window in a tile's pixels reaches."""
    top, left = tile.top + top, tile.left + left
    # outwards: a square counts as reached by any of its pixels
    return slice(top // MARK, -(-(top + height) // MARK)), slice(left // MARK, -(-(left + width) // MARK))
