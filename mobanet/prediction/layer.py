"""The raster layer that a stacked model takes: all bands on one grid, and done what a whole scene is needed for."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobanet.errors import UserError
from mobanet.exporting.pretrained import PretrainedModel
from mobanet.exporting.stacked import StackedModel
from mobanet.prediction.request import find_scenes
from mobanet.prediction.rows import RasterRows
from mobanet.prediction.scene import Scene, place
from mobanet.prediction.scene_scaling import SceneScaling
from mobanet.rasters.values import known_range

# two rows of the file's blocks, so that none is packed twice
_ROWS = 512
"""Written at a time."""


@dataclass(frozen=True)
class LayerRequest:
    """What a layer is made of; all as the options of mobanet.export have it."""

    input: Sequence[str]
    reference: str | None = None
    crs: str | None = None
    resolution: str | None = None
    nodata: Sequence[str] = ()
    factor: Sequence[str] = ()
    minimum: Sequence[str] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "LayerRequest | None":
        """From options by name, None where not given; None without rasters, without which no other may be given."""
        told = {name: value for name, value in given.items() if value}
        if "input" in told:
            return cls(**told)
        if told:
            raise UserError(
                f"--{next(iter(told))} is for the rasters of --input, of which there are none; leave it out."
            )
        return None

    def placed(self, model: PretrainedModel, stacked: StackedModel, output: Path) -> "PlacedLayer":
        """Bring the rasters together as for a prediction, for the layer `output`."""
        data = model.module.data
        modalities = {modality.name: modality for modality in data.modalities}
        scenes = find_scenes(self.input, list(modalities), self.nodata, self.factor, self.minimum)
        if len(scenes) > 1:
            raise UserError(
                f"--input names {len(scenes)} scenes, and a layer is of one; give one raster of each modality."
            )
        wanted, given = [modality.name for modality in stacked.modalities], scenes[0].rasters
        # of one scenario: a layer has a place for each band of the model, and none for others
        if [name for name in modalities if name in given] != wanted:
            raise UserError(
                f"--input gives {'+'.join(name for name in modalities if name in given)}, and the model takes "
                f"{stacked.scenario.name}; give a raster of each, or another --scenario."
            )
        here = [raster.path for raster in given.values() if isinstance(raster.path, Path)]
        if any(path.resolve() == output.resolve() for path in here):
            raise UserError(f"{output} is a raster of --input, which the layer would replace: name another --output.")
        ranges = {name: known_range(m, data.scaling[name], model.learnt[name]) for name, m in modalities.items()}
        how = self.reference, self.crs, ranges, model.training.rasters, self.resolution
        return PlacedLayer(model, stacked, place(scenes[0], modalities, *how))


@dataclass(frozen=True)
class PlacedLayer:
    """The rasters that a layer is made of, brought together on one grid."""

    model: PretrainedModel
    stacked: StackedModel
    scene: Scene

    @property
    def notes(self) -> Sequence[str]:
        """Remarks on the rasters."""
        return self.scene.notes

    @property
    def described(self) -> str:
        """Its size and whose grid it has."""
        return f"{self.scene.grid.size} pixels of {self.scene.reference}"

    def write(self, path: Path) -> None:
        """Write it as GeoTIFF: float32 bands in the order of the model, NaN where nothing was measured.

        Raises:
            UserError: when a raster has no valid pixel, or cannot be read any further.
        """
        import rasterio

        data, stacked, scene, grid = self.model.module.data, self.stacked, self.scene, self.scene.grid
        modalities = {modality.name: modality for modality in data.modalities}
        scaling = SceneScaling.measured(scene, modalities, data.scaling, self.model.learnt)
        with ExitStack() as stack:
            rows = {name: stack.enter_context(RasterRows(raster)) for name, raster in scene.rasters.items()}
            file = stack.enter_context(rasterio.open(path, "w", **_profile(scene, len(stacked.bands))))
            file.descriptions = [f"{band.modality} {band.band}" for band in stacked.bands]
            for top in range(0, grid.height, _ROWS):
                height = min(_ROWS, grid.height - top)
                # the last column of a coarser modality may reach beyond the layer
                strips = [_strip(name, rows[name], scaling, stacked, top, height)[:, : grid.width] for name in rows]
                window = rasterio.windows.Window(0, top, grid.width, height)
                # from (h, W, C) to the (C, h, W) of rasterio
                file.write(np.concatenate(strips, axis=2).transpose(2, 0, 1), window=window)


def _strip(
    name: str, rows: RasterRows, scaling: SceneScaling, stacked: StackedModel, top: int, height: int
) -> np.ndarray:
    """Rows of a modality, (height, W, C) float32; where its pixels are coarser, each is repeated to the layer's."""
    ratio = rows.raster.modality.pixel_ratio
    first, last = top // ratio, -(-(top + height) // ratio)
    own = _own_strip(name, rows, scaling, stacked, first, last - first)
    return own.repeat(ratio, 0).repeat(ratio, 1)[top - first * ratio :][:height]


def _own_strip(
    name: str, rows: RasterRows, scaling: SceneScaling, stacked: StackedModel, top: int, height: int
) -> np.ndarray:
    """Rows of a modality in pixels of its own."""
    values, known = rows.cut(top, 0, height, rows.grid.width)
    values = values.astype(np.float32)
    if stacked.datum == "layer":
        if name in scaling.grounds:
            values = scaling.grounds[name].heights(values, known, top, 0)
        elif name in stacked.model.tile_wise:
            offset, scale = scaling.offset_scale[name]
            # by what the model divides by itself, it is not divided here
            values = (values - offset) / (scale if stacked.scaling[name] == "minmax" else np.float32(1))
    if known is not None:
        values[~known] = np.nan
    return values


def _profile(scene: Scene, bands: int) -> dict[str, Any]:
    from affine import Affine

    grid = scene.grid
    where = {} if grid.transform is None else {"transform": Affine(*grid.transform), "crs": grid.crs}
    kinds = {"driver": "GTiff", "dtype": "float32", "nodata": np.nan, "photometric": "MINISBLACK", "ALPHA": "NO"}
    # 3 is that for floats; whether 4 GB will do for a packed file is not known when it is begun
    packed = {"compress": "deflate", "predictor": 3, "BIGTIFF": "IF_SAFER"}
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    return {**kinds, **packed, **tiles, **where, "count": bands, "height": grid.height, "width": grid.width}
