"""Figures of stored bands over their valid pixels, without large temporary arrays."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mobanet.rasters.blocks import Rows
from mobanet.rasters.strips import strips


@dataclass(frozen=True)
class BandStatistics:
    """Figures of one stored band over its valid pixels, in stored units.

    `mean` and `std` are exact (float64 sums). The percentiles are exact for 8 and 16 bit; for float32 they come from a
    regular subsample of about a million pixels.
    """

    count: int
    mean: float
    std: float
    minimum: float
    maximum: float
    p2: float
    p50: float
    p98: float


SAMPLE = 1_000_000  # about so many pixels of a float band are sorted for its percentiles

_PERCENTILES = (2.0, 50.0, 98.0)


def describe(plane: np.ndarray, valid: np.ndarray | None) -> BandStatistics:
    """Statistics of one band, (H, W) uint8, uint16 or float32; (H, W) bool says which pixels count, None for all.

    At least one pixel must.
    """

    def rows() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for part in strips(plane.shape):
            yield plane[part][:, :, None], None if valid is None else valid[part]

    (statistics,) = describe_rows(rows, plane.dtype)
    return statistics


def describe_rows(rows: Rows, dtype: np.dtype) -> tuple[BandStatistics, ...]:
    """Statistics of each band of a raster, as stored, that need not fit into memory; none where no pixel counts.

    They do not depend on how rows are cut, but for the last digits of mean and standard deviation.
    """
    return _from_histogram(rows, dtype) if dtype in (np.uint8, np.uint16) else _from_values(rows)


def _from_histogram(rows: Rows, dtype: np.dtype) -> tuple[BandStatistics, ...]:
    size = np.iinfo(dtype).max + 1
    counts = (np.stack([np.bincount(band, minlength=size) for band in _counting(*part).T]) for part in rows())
    histograms = sum(counts, np.zeros((1, size), np.int64))  # (C, values)
    return tuple(map(_of_histogram, histograms)) if histograms.any() else ()


def _counting(values: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Of (h, W, C) those pixels that count, (pixels, C)."""
    if valid is None:
        return values.reshape(-1, values.shape[2])
    # numpy picks single numbers many times as fast as rows of one
    return values[:, :, 0][valid][:, None] if values.shape[2] == 1 else values[valid]


def _of_histogram(histogram: np.ndarray) -> BandStatistics:
    levels = np.flatnonzero(histogram)
    counts = histogram[levels]
    count = int(counts.sum())
    mean = float((levels * counts).sum() / count)
    # about the mean: the mean square less the squared mean loses digits
    std = math.sqrt(float(((levels - mean) ** 2 * counts).sum() / count))
    below = np.cumsum(counts)

    def percentile(percent: float) -> float:
        # between the two nearest of the sorted pixels, as numpy.percentile does
        at = percent / 100 * (count - 1)
        low, high = (float(levels[np.searchsorted(below, rank, side="right")]) for rank in (int(at), math.ceil(at)))
        return low + (high - low) * (at - int(at))

    return BandStatistics(count, mean, std, float(levels[0]), float(levels[-1]), *map(percentile, _PERCENTILES))


def _from_values(rows: Rows) -> tuple[BandStatistics, ...]:
    count, width = 0, 1
    totals, lowest, highest = [], [], []  # of each strip, (C,)
    for values, valid in rows():
        width = values.shape[1]
        chosen = _counting(values, valid)
        if chosen.size:
            count += len(chosen)
            # float32 has 7 digits, which sums of millions of heights use up
            totals.append(chosen.sum(axis=0, dtype=np.float64))
            lowest.append(chosen.min(axis=0))
            highest.append(chosen.max(axis=0))
    if not count:
        return ()
    mean = np.sum(totals, axis=0) / count
    step = max(1, count // SAMPLE)
    while math.gcd(step, width) > 1:
        step += 1  # a common divisor with the width would sample some columns only, and of stripes perhaps one kind
    sample, squares = _sampled(rows, step, mean)
    if not len(sample):  # the few valid pixels lie between the sampled ones
        sample, _ = _sampled(rows, 1, mean)
    percentiles = np.percentile(sample, _PERCENTILES, axis=0).T
    low, high = np.min(lowest, axis=0), np.max(highest, axis=0)
    return tuple(
        BandStatistics(count, float(m), math.sqrt(s / count), float(a), float(b), *p.tolist())
        for m, s, a, b, p in zip(mean, squares, low, high, percentiles, strict=True)
    )


def _sampled(rows: Rows, step: int, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every `step`-th pixel of the raster that counts, (n, C), and the sum of squared distances from the mean, (C,)."""
    squares, found, passed = np.zeros(len(mean)), [], 0
    for values, valid in rows():
        flat = values.reshape(-1, values.shape[2])  # (pixels, C)
        # about the mean, hence a second pass: the mean square less the squared mean loses the digits of high altitudes
        squares += ((_counting(values, valid).astype(np.float64) - mean) ** 2).sum(axis=0)
        # on from where the last rows left off, so that their cut does not matter
        at = np.arange(-passed % step, len(flat), step)
        found.append(flat[at] if valid is None else flat[at[valid.ravel()[at]]])
        passed += len(flat)
    return np.concatenate(found), squares
