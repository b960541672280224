"""Offsets and scales of a scene, as of a tile of a store: from the checkpoint and, where it asks, the scene itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mobanet.data.scaling import learnt_radius, tile_offset_scale
from mobanet.datasets.scalings import Scaling
from mobanet.errors import UserError
from mobanet.prediction.rows import RasterRows, fetched_rows
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
        offset_scale: by modality, (2, C) float32: scaled = (stored - offset) / scale, of heights above the ground
            instead of stored values where they are taken above it.
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
        fetched: Path | None = None,
    ) -> "SceneScaling":
        """That of a scene, which is read as often as scalings ask for, else to the first valid pixel.

        Rows of what is fetched go to the folder `fetched`; without one they are fetched again.

        Raises:
            UserError: when a raster has no valid pixel.
        """
        # of all rasters first, so that one without a valid pixel is refused before any ground is fitted
        offset_scale = {
            name: tile_offset_scale(scaling[name], learnt[name], _statistics(scene, name, scaling[name], fetched))
            for name in modalities
        }
        radii = {name: learnt_radius(scaling[name], learnt[name]) for name in modalities if name in scene.rasters}
        grounds = {name: _ground(scene, name, r, fetched) for name, r in radii.items() if r is not None}
        return cls(offset_scale, grounds)

    def to_plain(self) -> dict[str, Any]:
        """Lists, dicts and numbers only."""
        return {
            "offset_scale": {name: numbers.tolist() for name, numbers in self.offset_scale.items()},
            "grounds": {name: ground.to_plain() for name, ground in self.grounds.items()},
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "SceneScaling":
        """The inverse of `to_plain`; of what is none, AttributeError, KeyError, TypeError or ValueError."""
        offset_scale = {name: np.array(numbers, np.float32) for name, numbers in plain["offset_scale"].items()}
        return cls(offset_scale, {name: Ground.from_plain(ground) for name, ground in plain["grounds"].items()})


def _ground(scene: Scene, name: str, radius: int, fetched: Path | None) -> Ground:
    raster = scene.rasters[name]
    origin, size = origin_of(raster.grid.transform), (raster.grid.height, raster.grid.width)
    with RasterRows(raster, fetched=fetched_rows(raster, fetched, name)) as rows:
        return Ground.fitted(summarise(rows.chunks, *size, origin), size, origin, radius)


def _statistics(scene: Scene, name: str, scaling: Scaling, fetched: Path | None) -> tuple[BandStatistics, ...] | None:
    """Of a raster's bands, where its scaling looks at them; refuses one without a valid pixel, whatever the scaling."""
    raster, wanted = scene.rasters.get(name), scaling in _FROM_TILE
    if raster is None or (not wanted and _valid_in_the_middle(raster)):
        return None
    with RasterRows(raster, fetched=fetched_rows(raster, fetched, name) if wanted else None) as rows:
        # the function and not its rows, which are gone through more than once
        statistics = describe_rows(rows.chunks, raster.dtype) if wanted else None
        # ends with the first chunk that has a valid pixel
        there = statistics if wanted else any(valid is None or valid.any() for _, valid in rows.chunks())
    if there:
        return statistics
    remedy = f"leave {name} out to predict without it" if len(scene.rasters) > 1 else "give another raster"
    raise UserError(f"{raster.source.file} has no valid pixel on the map of {scene.id}: {remedy}.")


def _valid_in_the_middle(raster: PlacedRaster) -> bool:
    """Whether a few columns there have a valid pixel: what is on a server need not be fetched twice to be looked at."""
    left = max(raster.grid.width - _MIDDLE, 0) // 2
    with RasterRows(raster, left, min(left + _MIDDLE, raster.grid.width)) as rows:
        _, valid = rows.chunk_at(raster.grid.height // 2)
    return valid is None or bool(valid.any())
