"""A raster summed up in blocks of pixels: what the ground is fitted to (`mobanet.rasters.ground`).

A raster is read for them once, from top to bottom, in memory that holds a few numbers a block. Blocks lie at multiples
of their size in absolute coordinates, so that two cuts of a raster have the same ones where they overlap.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

BLOCK = 16
"""Pixels a side of a block."""

Rows = Callable[[], Iterable[tuple[np.ndarray, np.ndarray | None]]]
"""Gives a raster from top to bottom, anew at each call: (h, W, C) values and (h, W) bool, None where all count."""


def origin_of(transform: Sequence[float] | None) -> tuple[int, int]:
    """Row and column of a raster's first pixel, counted from the origin of its coordinates.

    A raster without a georeference, or on a rotated grid, counts from its own corner.
    """
    if transform is None:
        return 0, 0
    a, b, left, d, e, top = transform
    if b or d or not a or not e:
        return 0, 0
    # a corner need not lie at a whole pixel; what is over is the same in all cuts of a raster
    # e is negative where rows go south: numbers grow in the direction in which rows do
    return round(top / e), round(left / a)


def block_shape(size: tuple[int, int], origin: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of blocks of a raster of (rows, columns) pixels, whose origin is from `origin_of`."""
    down, across = (-(-(start % BLOCK + length) // BLOCK) for start, length in zip(origin, size, strict=True))
    return down, across


def summarise(rows: Rows, height: int, width: int, origin: tuple[int, int]) -> np.ndarray:
    """The blocks of a raster, (h, w, 3 + C) float32, as `block_rows` has them."""
    return np.concatenate(list(block_rows(rows, height, width, origin)))


def block_rows(rows: Rows, height: int, width: int, origin: tuple[int, int]) -> Iterator[np.ndarray]:
    """The blocks of a raster, from top to bottom, as soon as its rows are known; its origin is from `origin_of`.

    Yields:
        (n, w, 3 + C) float32: valid pixels, how far down and across from the block's corner their middle is, and the
        mean of each band; zeros where a block has no valid pixel. Blocks at the edges may be cut.
    """
    down, across = _edges(origin[0], height), _edges(origin[1], width)
    top, begun = 0, None
    for values, valid in rows():
        bottom = top + len(values)
        # the blocks that these rows touch, the first of which rows above may have begun
        first, last = np.searchsorted(down, top, "right") - 1, np.searchsorted(down, bottom, "left")
        cuts = np.maximum(down[first:last] - top, 0)
        # + 0.5: a pixel is where its middle is
        lines = (np.arange(top, bottom) + origin[0]) % BLOCK + 0.5
        columns = (np.arange(width) + origin[1]) % BLOCK + 0.5
        if valid is None:
            counts = np.diff(across)[None].repeat(bottom - top, 0).astype(np.float64)
            shifts = np.add.reduceat(columns, across[:-1])[None].repeat(bottom - top, 0)
        else:
            counts = np.add.reduceat(valid, across[:-1], axis=1, dtype=np.float64)
            shifts = np.add.reduceat(valid * columns, across[:-1], axis=1)
            # not a product with 0: what is missing may be NaN, which stays NaN
            values = np.where(valid[:, :, None], values, 0)
        # one call a chunk: a loop over blocks would take Python's time for each of 256 pixels
        totals = np.add.reduceat(values, across[:-1], axis=1, dtype=np.float64)  # (rows, w, C)
        parts = np.concatenate([np.stack([counts, counts * lines[:, None], shifts], 2), totals], 2)
        sums = np.add.reduceat(parts, cuts, axis=0)
        if begun is not None:
            sums[0] += begun
        begun = sums[-1] if down[last] > bottom else None  # the next rows go on with it
        whole = sums if begun is None else sums[:-1]
        counted = whole[:, :, :1]
        # what `where` passes over keeps what `out` has, which without zeros would be whatever memory held
        means = np.divide(whole[:, :, 1:], counted, out=np.zeros_like(whole[:, :, 1:]), where=counted > 0)
        yield np.concatenate([counted, means], 2).astype(np.float32)
        top = bottom


def _edges(start: int, length: int) -> np.ndarray:
    """Where blocks begin, and the last ends, in pixels of the raster."""
    inner = np.arange(BLOCK - start % BLOCK, length, BLOCK)
    return np.concatenate([[0], inner, [length]])
