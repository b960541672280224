"""Which squares of a label have any labelled pixel, as it is stored beside labels of which some have none."""

from tokenize import TokenError

import numpy as np

from mobanet.datasets.base import LabelKind
from mobanet.store.stored import MARK, StoredTile, damaged, marks_shape


def read_marks(tile: StoredTile, kind: LabelKind) -> np.ndarray | None:
    """Squares with a labelled pixel, (h, w) bool; of a patch, those of its whole tile. None where all have one.

    Raises:
        UserError: when the file holds something else.
    """
    if kind not in tile.labels or not tile.labels[kind].marks:
        return None
    path = tile.path(f"label_{kind}.marks")
    least = marks_shape((tile.top + tile.height, tile.left + tile.width))
    try:
        marks = np.load(path, allow_pickle=False)
        if marks.dtype != np.uint8 or marks.ndim != 2 or any(map(int.__lt__, marks.shape, least)):
            raise ValueError(f"{marks.dtype} of {marks.shape}")
    except (OSError, ValueError, MemoryError, EOFError, SyntaxError, TokenError) as error:
        raise damaged(path) from error
    return marks > 0


def squares_of(tile: StoredTile, top: int, left: int, height: int, width: int) -> tuple[slice, slice]:
    """The squares that a window of a tile reaches, of those of its arrays.

    Args:
        tile: of a store; the window is in its pixels.
        top: first row of the window.
        left: first column.
        height: rows of it.
        width: columns of it.
    """
    top, left = tile.top + top, tile.left + left
    return slice(top // MARK, -(-(top + height) // MARK)), slice(left // MARK, -(-(left + width) // MARK))
