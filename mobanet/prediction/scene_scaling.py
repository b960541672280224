"""Offsets and scales of a scene, as of a tile of a store: from the checkpoint and, where it asks, the scene itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mobanet.data.scaling import learnt_radius, tile_offset_scale
from mobanet.datasets.scalings import Scaling
from mobanet.errors import UserError
from mobanet.prediction.rows import RasterRows, kept_rows
from mobanet.prediction.scene import PlacedRaster, Scene
from mobanet.rasters.blocks import origin_of, summarise
from mobanet.rasters.contents import Modality
from mobanet.rasters.ground import Ground
from mobanet.rasters.statistics import BandStatistics, describe_rows

_FROM_TILE = ("robust", "minmax")
"""Scalings that look at the tile."""

_MIDDLE = 64
"""Columns that are looked at first."""


@dataclass(frozen=True)
class SceneScaling:
    """What a scene is scaled by.

    Attributes:
        offset_scale: by modality, (2, C) float32, offset and scale of each band.
        grounds: by modality, the ground that its heights are taken above before they are scaled, where they are.
    """

    offset_scale: dict[str, np.ndarray]
    grounds: dict[str, Ground] = field(default_factory=dict)

    @classmethod
    def measured(
        cls,
        scene: Scene,
        modalities: Mapping[str, Modality],
        scaling: Mapping[str, Scaling],
        learnt: Mapping[str, np.ndarray],
        kept: Path | None = None,
    ) -> "SceneScaling":
        """That of a scene; arguments and errors are those of `scene_offset_scale`."""
        how = modalities, scaling, learnt, kept
        return cls(scene_offset_scale(scene, *how), scene_grounds(scene, *how))

    def to_plain(self) -> dict[str, Any]:
        """Lists, dicts and numbers only."""
        return {
            "offset_scale": {name: numbers.tolist() for name, numbers in self.offset_scale.items()},
            "grounds": {name: ground.to_plain() for name, ground in self.grounds.items()},
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "SceneScaling":
        """The inverse of `to_plain`.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: where that is none.
        """
        offset_scale = {name: np.array(numbers, np.float32) for name, numbers in plain["offset_scale"].items()}
        return cls(offset_scale, {name: Ground.from_plain(ground) for name, ground in plain["grounds"].items()})


def scene_offset_scale(
    scene: Scene,
    modalities: Mapping[str, Modality],
    scaling: Mapping[str, Scaling],
    learnt: Mapping[str, np.ndarray],
    kept: Path | None = None,
) -> dict[str, np.ndarray]:
    """The numbers that each modality of the model is scaled by in a scene.

    Args:
        scene: to predict; read once or twice where a scaling asks for its statistics, else to the first valid pixel.
        modalities: of the model.
        scaling: by modality.
        learnt: by modality, from the checkpoint.
        kept: folder for the rows of what is fetched; None to fetch them again.

    Returns:
        By modality, (2, C) float32: scaled = (stored - offset) / scale, of heights above the ground instead of stored
        values where they are taken above it.

    Raises:
        UserError: when a raster has no valid pixel.
    """
    found = {}
    for name in modalities:
        raster = scene.rasters.get(name)
        wanted = scaling[name] in _FROM_TILE
        statistics = _statistics(raster, scene, wanted, kept) if raster is not None else None
        found[name] = tile_offset_scale(scaling[name], learnt[name], statistics)
    return found


def scene_grounds(
    scene: Scene,
    modalities: Mapping[str, Modality],
    scaling: Mapping[str, Scaling],
    learnt: Mapping[str, np.ndarray],
    kept: Path | None = None,
) -> dict[str, Ground]:
    """The ground under the elevation rasters of a scene, of those whose heights the model takes above it.

    Args:
        scene: to predict; each such raster is read once.
        modalities: of the model.
        scaling: by modality.
        learnt: by modality, from the checkpoint.
        kept: folder for the rows of what is fetched; None to fetch them again.
    """
    found = {}
    for name in modalities:
        radius = learnt_radius(scaling[name], learnt[name])
        if radius is None or name not in scene.rasters:
            continue
        raster = scene.rasters[name]
        origin, size = origin_of(raster.grid.transform), (raster.grid.height, raster.grid.width)
        with RasterRows(raster, kept=kept_rows(raster, kept, name)) as rows:
            found[name] = Ground.fitted(summarise(rows.chunks, *size, origin), size, origin, radius)
    return found


def _statistics(
    raster: PlacedRaster, scene: Scene, wanted: bool, kept: Path | None
) -> tuple[BandStatistics, ...] | None:
    """Of a raster's bands, where they are wanted.

    Raises:
        UserError: when it has no valid pixel, whatever it is needed for.
    """
    if not wanted and _valid_in_the_middle(raster):
        return None
    with RasterRows(raster, kept=kept_rows(raster, kept, raster.modality.name) if wanted else None) as rows:
        statistics = describe_rows(rows.chunks, raster.dtype) if wanted else None
        there = statistics if wanted else any(valid is None or valid.any() for _, valid in rows.chunks())
    if there:
        return statistics
    name = raster.modality.name
    remedy = f"leave {name} out to predict without it" if len(scene.rasters) > 1 else "give another raster"
    raise UserError(f"{raster.source.file} has no valid pixel on the map of {scene.id}: {remedy}.")


def _valid_in_the_middle(raster: PlacedRaster) -> bool:
    """Whether a few columns there have a valid pixel: what is on a server need not be fetched twice to be looked at."""
    left = max(raster.grid.width - _MIDDLE, 0) // 2
    with RasterRows(raster, left, min(left + _MIDDLE, raster.grid.width)) as rows:
        _, valid = rows.chunk_at(raster.grid.height // 2)
    return valid is None or bool(valid.any())
