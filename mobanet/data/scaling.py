"""From stored values to numbers near one: one offset and one scale for each band of each tile.

The division itself runs on the device, in the training module; here is only which numbers to use.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mobanet.datasets.scalings import Scaling
from mobanet.errors import UserError
from mobanet.rasters.contents import Modality
from mobanet.rasters.ground import Ground, block_heights
from mobanet.rasters.statistics import BandStatistics
from mobanet.store.elevation import read_blocks
from mobanet.store.stored import StoredTile
from mobanet.store.summary import range_of

SOME = 64
"""Tiles whose ground is fitted at a start. Of more, so many evenly spaced ones tell the typical range of heights."""


def learn(
    modality: Modality,
    scaling: Scaling,
    training: Sequence[StoredTile],
    radius: int | None = None,
    grounds: Sequence[Ground | None] = (),
) -> np.ndarray:
    """The dataset-wide part of a scaling, which goes into the checkpoint.

    `ground` takes the radius in pixels, and the ground of each training tile, None where it lacks the modality.

    Returns:
        (2, C) float64, an offset and a scale for each band; where a scaling takes the offset from each tile or pixel, 0
        here. For `ground` (3, C), the radius in the third row.

    Raises:
        UserError: when no training tile has the modality and `scaling` needs one.
    """
    bands = len(modality.bands)
    if scaling == "minmax" or (scaling == "unit" and modality.maximum is not None):
        return np.stack([np.zeros(bands), np.full(bands, modality.maximum if scaling == "unit" else 1.0)])
    learnt = [tile.modalities[modality.name].statistics for tile in training if modality.name in tile.modalities]
    if not learnt:
        raise UserError(
            f"no training tile has the modality {modality.name}, so that --data.scaling.{modality.name} {scaling} has "
            "nothing to learn from; leave the modality out of --data.modalities or add tiles that have it."
        )
    if scaling == "unit":
        return np.stack([np.zeros(bands), np.full(bands, range_of(modality.name, training))])
    if scaling == "standard":
        return np.array([_pooled([statistics[band] for statistics in learnt]) for band in range(bands)]).T
    if scaling == "ground":
        # of patches one for each tile: the ground under them is the tile's
        whole = {t.path(modality.name): number for number, t in enumerate(training) if modality.name in t.modalities}
        numbers = list(whole.values())
        if len(numbers) > SOME:
            numbers = [numbers[number * len(numbers) // SOME] for number in range(SOME)]  # evenly, not the first
        known = [(training[number], ground) for number in numbers if (ground := grounds[number]) is not None]
        heights = [_height_range(tile, modality.name, ground) for tile, ground in known]
        # half of it, so that the middle 96 % of values span 2
        return np.stack([np.zeros(bands), np.median(heights, axis=0) / 2, np.full(bands, radius)])
    # percentiles, as one spike would decide the range
    spreads = [[band.p98 - band.p2 for band in statistics] for statistics in learnt]
    # halved, as for `ground`; the median, as a tile with a tower or a pit should not set the scale of all
    return np.stack([np.zeros(bands), np.median(spreads, axis=0) / 2])


def learnt_radius(scaling: str, learnt: np.ndarray) -> int | None:
    """The radius in pixels of the ground that heights are taken above, as `learn` found it; None where they are not."""
    return int(learnt[2, 0]) if scaling == "ground" else None


def ranged(modality: Modality, scaling: str, learnt: np.ndarray | None, tiles: Sequence[StoredTile]) -> Modality:
    """A modality with its full range: declared, or what it is divided by, or else what the tiles have."""
    if modality.maximum is not None or not any(modality.name in tile.modalities for tile in tiles):
        return modality
    if scaling == "unit" and learnt is not None:
        return replace(modality, maximum=float(np.max(learnt[1])))
    return replace(modality, maximum=range_of(modality.name, tiles))


def offset_scale(modality: Modality, scaling: Scaling, learnt: np.ndarray, tiles: Sequence[StoredTile]) -> np.ndarray:
    """Offsets and scales of one modality in T tiles, (T, 2, C) float32, as of `tile_offset_scale`."""
    records = [tile.modalities.get(modality.name) for tile in tiles]
    statistics = [None if record is None else record.statistics for record in records]
    return np.stack([tile_offset_scale(scaling, learnt, of) for of in statistics])


def tile_offset_scale(scaling: Scaling, learnt: np.ndarray, statistics: Sequence[BandStatistics] | None) -> np.ndarray:
    """Offset and scale of each band of one tile.

    Args:
        scaling: how.
        learnt: from `learn`.
        statistics: of the tile's bands; None where it lacks the modality, or the scaling does not look at them.

    Returns:
        (2, C) float32: scaled = (stored - offset) / scale.
    """
    out = np.array(learnt[:2], np.float64)
    if statistics is not None and scaling == "robust":
        # each tile's own, as the ground of one may lie above the roofs of another
        out[0] = [band.p50 for band in statistics]
    elif statistics is not None and scaling == "minmax":  # by tile, as MoBaNet's authors scale the DSM
        out[:] = [band.minimum for band in statistics], [band.maximum - band.minimum for band in statistics]
    out[1][out[1] <= 0] = 1.0  # a constant band: (x - offset) / 1 is 0
    return out.astype(np.float32)


def _height_range(tile: StoredTile, name: str, ground: Ground) -> np.ndarray:
    """From the 2nd to the 98th percentile of a tile's blocks above the ground, (C,)."""
    low, high = np.percentile(block_heights(read_blocks(tile, name), tile.origin_of(name), ground), (2, 98), axis=0)
    return high - low


def _pooled(statistics: Sequence[BandStatistics]) -> tuple[float, float]:
    """Mean and standard deviation of the union of several sets of pixels."""
    count = np.array([s.count for s in statistics], np.float64)
    mean = np.array([s.mean for s in statistics])
    std = np.array([s.std for s in statistics])
    total = max(count.sum(), 1.0)  # no pixel at all: 0 and 0, which `tile_offset_scale` makes 1
    overall = float((count * mean).sum() / total)
    # the variance of a union: that within its parts, and that of their means about the common one
    return overall, float(np.sqrt((count * (std**2 + (mean - overall) ** 2)).sum() / total))
