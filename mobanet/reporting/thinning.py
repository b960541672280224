"""Large tiles brought to the size of a picture, a band of rows at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mobanet.data.datamodule import RasterDataModule
from mobanet.store.stored import StoredTile

_ROWS = 512
"""About as many rows of a tile are read at once, so that memory does not depend on its height."""


@dataclass(frozen=True)
class Thinned:
    """A tile on a coarser grid, h x w.

    Attributes:
        factor: rows and columns of the tile to one of the picture.
        inputs: by modality, (h, w, C) float32, means over the measured pixels of each block.
        measured: likewise, (h, w) bool, where a block has any; modalities that the tile lacks have nothing.
        truth: (h, w) uint8, class indices at the middle of each block; None for an unlabelled tile.
        right: pixels of the whole tile at which a prediction is right.
        counted: pixels of the whole tile that count.
    """

    factor: int
    inputs: dict[str, np.ndarray]
    measured: dict[str, np.ndarray]
    truth: np.ndarray | None
    right: int
    counted: int


def thin(data: RasterDataModule, tile: StoredTile, prediction: np.ndarray, side: int) -> Thinned:
    """Read a test tile, thinned to at most `side` rows and columns, and compare a prediction, (H, W), at full size."""
    from mobanet.rasters.contents import IGNORE_INDEX

    factor = max(1, -(-max(tile.height, tile.width) // side))
    bands: list[Thinned] = []
    for rows in _bands(tile.height, factor):
        sample = data.picture(tile.id, rows, slice(0, tile.width))
        # inputs are averaged; of class numbers a mean would be another class
        means = {name: block_means(x, sample.valid.get(name), factor) for name, x in sample.inputs.items()}
        counted = right = 0
        if sample.label is not None:
            counts = sample.label != IGNORE_INDEX
            counted = int(np.count_nonzero(counts))
            right = int(np.count_nonzero(counts & (sample.label == prediction[rows])))
        bands.append(
            Thinned(
                factor,
                inputs={name: values for name, (values, _) in means.items()},
                measured={name: there for name, (_, there) in means.items()},
                truth=None if sample.label is None else block_middles(sample.label, factor),
                right=right,
                counted=counted,
            )
        )
    first = bands[0]
    return Thinned(
        factor,
        inputs={name: np.concatenate([band.inputs[name] for band in bands]) for name in first.inputs},
        measured={name: np.concatenate([band.measured[name] for band in bands]) for name in first.measured},
        truth=None if first.truth is None else np.concatenate([band.truth for band in bands]),
        right=sum(band.right for band in bands),
        counted=sum(band.counted for band in bands),
    )


def block_means(pixels: np.ndarray, valid: np.ndarray | None, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of square blocks over the pixels that are valid.

    Args:
        pixels: (H, W, C).
        valid: (H, W), nonzero where measured; None: everywhere.
        factor: side of a block; those at the right and bottom edges may be smaller.

    Returns:
        (h, w, C) float32, 0 where nothing was measured, and (h, w) bool, where something was.
    """
    if valid is None:
        rows, columns = (np.minimum(factor, size - np.arange(0, size, factor)) for size in pixels.shape[:2])
        count = np.outer(rows, columns)
        return _totals(pixels, factor) / count[..., None].astype(np.float32), count > 0
    there = valid != 0
    count = _totals(there, factor)
    # chosen and not multiplied: NaN times 0 is NaN
    sums = _totals(np.where(there[..., None], pixels, 0), factor)
    return sums / np.maximum(count, 1)[..., None], count > 0


def block_middles(indices: np.ndarray, factor: int) -> np.ndarray:
    """The pixel at the middle of each block; of the last row or column where a block's middle lies beyond it."""
    rows, columns = (np.minimum(np.arange(0, n, factor) + factor // 2, n - 1) for n in indices.shape)
    return indices[np.ix_(rows, columns)]


def _bands(height: int, factor: int) -> Iterator[slice]:
    # whole blocks, of which none lies in two bands
    step = factor * max(1, _ROWS // factor)
    for first in range(0, height, step):
        yield slice(first, min(first + step, height))


def _totals(array: np.ndarray, factor: int) -> np.ndarray:
    """Sums of square blocks, float32."""
    rows, columns = (np.arange(0, size, factor) for size in array.shape[:2])
    # `reduceat` takes smaller blocks at the edges; float32, since sums of bytes wrap around
    return np.add.reduceat(np.add.reduceat(array, rows, axis=0, dtype=np.float32), columns, axis=1)
