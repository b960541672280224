"""Offsets and scales of a scene, as of a tile of a store: from the checkpoint and, where it asks, the scene itself."""

from collections.abc import Mapping

import numpy as np

from mobanet.data.layout import Modality
from mobanet.data.preparation.statistics import describe_rows
from mobanet.data.scaling import tile_levels
from mobanet.data.store import BandStatistics
from mobanet.errors import UserError
from mobanet.inference.rows import RasterRows
from mobanet.inference.scene import PlacedRaster, Scene

_FROM_TILE = ("robust", "minmax")
"""Scalings that look at the tile."""


def scene_levels(
    scene: Scene, modalities: Mapping[str, Modality], scaling: Mapping[str, str], learnt: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The numbers that each modality of the model is scaled by in a scene.

    Args:
        scene: to predict; read once or twice where a scaling asks for its statistics, else to the first valid pixel.
        modalities: of the model.
        scaling: by modality.
        learnt: by modality, (2, C), from the checkpoint.

    Returns:
        By modality, (2, C) float32: scaled = (stored - offset) / scale.

    Raises:
        UserError: when a raster has no valid pixel.
    """
    found = {}
    for name in modalities:
        raster = scene.rasters.get(name)
        statistics = _statistics(raster, scene, scaling[name] in _FROM_TILE) if raster is not None else None
        found[name] = tile_levels(scaling[name], learnt[name], statistics)
    return found


def _statistics(raster: PlacedRaster, scene: Scene, wanted: bool) -> tuple[BandStatistics, ...] | None:
    """Of a raster's bands, where they are wanted.

    Raises:
        UserError: when it has no valid pixel, whatever it is needed for.
    """
    with RasterRows(raster, scene.grid) as rows:
        statistics = describe_rows(rows.chunks, raster.dtype) if wanted else None
        there = statistics if wanted else any(valid is None or valid.any() for _, valid in rows.chunks())
    if there:
        return statistics
    name = raster.modality.name
    remedy = f"leave {name} out to predict without it" if len(scene.rasters) > 1 else "give another raster"
    raise UserError(f"{raster.source.file} has no valid pixel on the map of {scene.id}: {remedy}.")
