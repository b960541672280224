"""Figures of stored bands over their valid pixels, without large temporary arrays."""

import math

import numpy as np

from mobanet.data.sources.labels import strips
from mobanet.data.store import BandStatistics

SAMPLE = 1_000_000
"""About so many pixels of a float band are sorted for its percentiles."""

_PERCENTILES = (2.0, 50.0, 98.0)


def describe(plane: np.ndarray, valid: np.ndarray | None) -> BandStatistics:
    """Statistics of one band.

    Args:
        plane: (H, W) uint8, uint16 or float32.
        valid: (H, W) bool; None where every pixel counts. At least one pixel must.
    """
    if plane.dtype in (np.uint8, np.uint16):
        return _from_histogram(plane, valid)
    return _from_values(plane, valid)


def _from_histogram(plane: np.ndarray, valid: np.ndarray | None) -> BandStatistics:
    histogram = np.zeros(np.iinfo(plane.dtype).max + 1, np.int64)
    for rows in strips(plane.shape):
        values = plane[rows].ravel() if valid is None else plane[rows][valid[rows]]
        histogram += np.bincount(values, minlength=len(histogram))
    levels = np.flatnonzero(histogram)
    counts = histogram[levels]
    count = int(counts.sum())
    mean = float((levels * counts).sum() / count)
    std = math.sqrt(float(((levels - mean) ** 2 * counts).sum() / count))
    below = np.cumsum(counts)

    def percentile(percent: float) -> float:
        # between the two nearest of the sorted pixels, as numpy.percentile does
        at = percent / 100 * (count - 1)
        low, high = (float(levels[np.searchsorted(below, rank, side="right")]) for rank in (int(at), math.ceil(at)))
        return low + (high - low) * (at - int(at))

    return BandStatistics(count, mean, std, float(levels[0]), float(levels[-1]), *map(percentile, _PERCENTILES))


def _from_values(plane: np.ndarray, valid: np.ndarray | None) -> BandStatistics:
    count = plane.size if valid is None else int(valid.sum())
    total, lowest, highest = 0.0, math.inf, -math.inf
    for rows in strips(plane.shape):
        values = plane[rows] if valid is None else plane[rows][valid[rows]]
        if values.size:
            total += float(values.sum(dtype=np.float64))
            lowest, highest = min(lowest, float(values.min())), max(highest, float(values.max()))
    mean = total / count
    squares = 0.0
    for rows in strips(plane.shape):
        values = plane[rows] if valid is None else plane[rows][valid[rows]]
        squares += float(((values.astype(np.float64) - mean) ** 2).sum())
    step = max(1, count // SAMPLE)
    if step > 1 and plane.shape[1] % step == 0:
        step += 1  # a divisor of the width would sample whole columns
    sample = plane.ravel()[::step]
    if valid is not None:
        chosen = sample[valid.ravel()[::step]]
        sample = chosen if chosen.size else plane[valid]
    percentiles = np.percentile(sample, _PERCENTILES).tolist()
    return BandStatistics(count, mean, math.sqrt(squares / count), lowest, highest, *percentiles)
