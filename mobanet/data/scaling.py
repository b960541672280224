"""From stored values to numbers near one: one offset and one scale for each band of each tile.

The division itself runs on the device, in the training module; here is only which numbers to use.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mobanet.data.ground import Ground, block_heights, read_blocks
from mobanet.data.layout import Layout, Modality
from mobanet.data.sources.values import Range, fitting_maximum
from mobanet.data.store import BandStatistics, StoredTile
from mobanet.errors import UserError

Scaling = Literal["unit", "standard", "ground", "robust", "minmax"]
"""How a modality is scaled:

- `unit`: divided by the full range of its digital numbers (255 for 8 bit).
- `standard`: mean and standard deviation over the training tiles.
- `ground`: less the ground around the pixel (`mobanet.data.ground`), divided by half the typical 2 % to 98 % range of
  the heights above it in the training tiles. A metre means the same everywhere, on slopes, at any altitude and however
  a raster is cut. The subtraction is done where pixels are read; what is here only divides.
- `robust`: less the tile's own median, divided by half the typical 2 % to 98 % range of the training tiles. A metre
  means the same on every tile and one outlier changes nothing, but where land rises by as much as houses do, the median
  depends on how the tile is cut.
- `minmax`: the tile's own minimum and maximum to 0..1, as in MoBaNet's code; for reproduction, since one outlier
  changes the whole tile. A constant tile becomes 0.
"""


def default_scaling(modality: Modality) -> Scaling:
    """`unit` for optical products, `ground` for elevation, `standard` for the rest."""
    return {"optical": "unit", "elevation": "ground", "other": "standard"}[modality.kind]


def usual_scaling(layout: Layout, modality: Modality) -> str:
    """How a layout's modality is scaled unless the user says otherwise."""
    return layout.scalings.get(modality.name, default_scaling(modality))


def known_range(modality: Modality, scaling: str, learnt: np.ndarray | None = None) -> Range | None:
    """The values of imagery that is divided by its range; None for any, as where the scaling does not look at it.

    Args:
        modality: to be scaled.
        scaling: how.
        learnt: (2, C), from `learn`; None where there is no model yet.
    """
    if scaling != "unit" or modality.kind != "optical":
        return None
    if learnt is not None:
        return Range(float(np.max(learnt[1])), modality.maximum is not None)
    return None if modality.maximum is None else Range(modality.maximum)


def learn(
    modality: Modality,
    scaling: Scaling,
    training: Sequence[StoredTile],
    radius: int | None = None,
    grounds: Sequence[Ground | None] = (),
) -> np.ndarray:
    """The dataset-wide part of a scaling, which goes into the checkpoint.

    Args:
        modality: to scale.
        scaling: how.
        training: tiles to learn from.
        radius: of the ground in pixels, where `scaling` is `ground`.
        grounds: of each of `training`, where `scaling` is `ground`; None where it lacks the modality.

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
        pairs = [(tile, ground) for tile, ground in zip(training, grounds, strict=True) if ground is not None]
        whole = {tile.path(modality.name): (tile, ground) for tile, ground in pairs}
        spreads = [_height_range(tile, modality.name, ground) for tile, ground in whole.values()]
        return np.stack([np.zeros(bands), np.median(spreads, axis=0) / 2, np.full(bands, radius)])
    spreads = [[band.p98 - band.p2 for band in statistics] for statistics in learnt]
    return np.stack([np.zeros(bands), np.median(spreads, axis=0) / 2])


def learnt_radius(scaling: str, learnt: np.ndarray) -> int | None:
    """The radius in pixels of the ground that heights are taken above; None where they are not.

    Args:
        scaling: how.
        learnt: from `learn`.
    """
    return int(learnt[2, 0]) if scaling == "ground" else None


def range_of(name: str, tiles: Sequence[StoredTile]) -> float:
    """The full range that the values of a modality seem to have, by the widest type and the highest values of tiles."""
    records = [tile.modalities[name] for tile in tiles if name in tile.modalities]
    figures = [band for record in records for band in record.statistics]
    dtype = np.result_type(*(record.dtype for record in records))
    return fitting_maximum(dtype, max(band.maximum for band in figures), max(band.p98 for band in figures))


def ranged(modality: Modality, scaling: str, learnt: np.ndarray | None, tiles: Sequence[StoredTile]) -> Modality:
    """A modality with its full range: declared, or what it is divided by, or else what the tiles have."""
    if modality.maximum is not None or not any(modality.name in tile.modalities for tile in tiles):
        return modality
    divided = scaling == "unit" and learnt is not None
    return replace(modality, maximum=float(np.max(learnt[1])) if divided else range_of(modality.name, tiles))


def range_note(modality: Modality, maximum: float) -> str:
    """A remark on imagery whose range nobody declares; empty for bytes, whose range is clear."""
    if maximum == 255:
        return ""
    return (
        f"{modality.name}: no maximum is given, and by its type and values it goes from 0 to {maximum:g}, by "
        f"which it is divided; set maximum under modalities.{modality.name} of layout folder if that is wrong"
    )


def levels(modality: Modality, scaling: Scaling, learnt: np.ndarray, tiles: Sequence[StoredTile]) -> np.ndarray:
    """Offsets and scales of one modality, tile by tile.

    Args:
        modality: to scale.
        scaling: how.
        learnt: from `learn`.
        tiles: T tiles to scale; one that lacks the modality gets the dataset-wide numbers.

    Returns:
        (T, 2, C) float32: scaled = (stored - offset) / scale.
    """
    records = [tile.modalities.get(modality.name) for tile in tiles]
    return np.stack([tile_levels(scaling, learnt, record and record.statistics) for record in records])


def tile_levels(scaling: Scaling, learnt: np.ndarray, statistics: Sequence[BandStatistics] | None) -> np.ndarray:
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
        out[0] = [band.p50 for band in statistics]
    elif statistics is not None and scaling == "minmax":
        out[:] = [band.minimum for band in statistics], [band.maximum - band.minimum for band in statistics]
    out[1][out[1] <= 0] = 1.0  # a constant band: (x - offset) / 1 is 0
    return out.astype(np.float32)


def _height_range(tile: StoredTile, name: str, ground: Ground) -> np.ndarray:
    """From the 2nd to the 98th percentile of a tile's blocks above the ground, (C,)."""
    low, high = np.percentile(block_heights(read_blocks(tile, name), tile.origin, ground), (2, 98), axis=0)
    return high - low


def _pooled(statistics: Sequence) -> tuple[float, float]:
    """Mean and standard deviation of the union of several sets of pixels."""
    count = np.array([s.count for s in statistics], np.float64)
    mean = np.array([s.mean for s in statistics])
    std = np.array([s.std for s in statistics])
    total = max(count.sum(), 1.0)
    overall = float((count * mean).sum() / total)
    return overall, float(np.sqrt((count * (std**2 + (mean - overall) ** 2)).sum() / total))
