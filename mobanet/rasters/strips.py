"""Rows of an array, a few at a time."""

from collections.abc import Iterator, Sequence

import numpy as np

_STRIP = 1 << 22  # pixels handled at once, so that temporary arrays stay small


def strips(shape: Sequence[int]) -> Iterator[slice]:
    """Row ranges of an (H, W, …) array that hold a bounded number of elements each."""
    # at least a row, however wide
    step = max(1, _STRIP // max(1, int(np.prod(shape[1:]))))
    for top in range(0, shape[0], step):
        yield slice(top, min(top + step, shape[0]))
