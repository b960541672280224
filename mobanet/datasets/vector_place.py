"""How the coordinates of a vector layer become pixels of a tile."""

import numpy as np

from mobanet.datasets.vector_files import Bounds, VectorLayer, same_system
from mobanet.datasets.vector_settings import as_word
from mobanet.errors import UserError
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import gdal_error
from mobanet.rasters.reference_systems import check_tied, name_of

STEP = 1 << 16
"""Of a pixel, to which vertices are rounded: what is left of a double's 53 bits takes any number of rows."""

_STRAIGHT = 256
"""Pixels after which an edge has a vertex where it is brought from one system to another, in which it bends."""


class PixelPlacement:
    """How a layer's coordinates become pixels of a tile; refused where one of them is not tied to a place."""

    def __init__(self, layer: VectorLayer, grid: Grid) -> None:
        self.layer, self.grid = layer, grid
        if grid.transform is None:
            raise UserError(
                f"{layer.file} cannot be placed on a raster without georeference: put world files beside the rasters, "
                "or write one into them"
            )
        if layer.crs is None and grid.crs is not None:
            raise UserError(
                f"{layer.file} names no coordinate reference system: give {layer.key}.crs, such as {name_of(grid.crs)} "
                "if it lies in that of the rasters"
            )
        if grid.crs is None and layer.crs is not None:
            raise UserError(
                f"{layer.file} lies in {as_word(name_of(layer.crs))} and the raster that sets the grid names no "
                "coordinate reference system: give the key crs in the description of the data"
            )
        self._moves = False
        if layer.crs is not None and grid.crs is not None and not same_system(layer.crs, grid.crs):
            self._moves = True
            try:
                check_tied(layer.crs, grid.crs)
            except UserError as error:
                raise UserError(f"{layer.file} {error}") from error

    def bounds(self, top: int, bottom: int) -> Bounds:
        """Around rows of the tile, with a little room, in the layer's system, which is refused where it ends before."""
        right = self.grid.width + 2
        pixels = np.array([(-2, top - 2, 1), (right, top - 2, 1), (right, bottom + 2, 1), (-2, bottom + 2, 1)])
        points = (pixels @ self.grid.matrix.T)[:, :2]
        found = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
        if self._moves:
            from rasterio.errors import RasterioError
            from rasterio.warp import transform_bounds

            try:
                found = transform_bounds(self.grid.crs, self.layer.crs, *found, densify_pts=41)
            except (RasterioError, gdal_error()):
                found = (np.inf,) * 4
            # left comes out right of right across 180 degrees, where no one box holds the tile
            if not np.isfinite(found).all() or found[0] > found[2]:
                raise self._beyond()
            # edges bend between the points that were looked at
            wide, high = 0.01 * (found[2] - found[0]), 0.01 * (found[3] - found[1])
            found = (found[0] - wide, found[1] - high, found[2] + wide, found[3] + high)
        return found

    def _beyond(self) -> UserError:
        return UserError(
            f"{self.layer.file} cannot be placed: the tile ({self.grid.extent}) lies outside of where its system "
            "reaches: mend the system of either"
        )

    def straight(self) -> float | None:
        """The length in the layer's system after which an edge needs a vertex; None where it stays straight."""
        if not self._moves:
            return None
        left, bottom, right, top = self.bounds(0, self.grid.height)
        return _STRAIGHT * float(np.hypot(right - left, top - bottom) / np.hypot(self.grid.width, self.grid.height))

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Columns and rows, (N, 2), of points of the layer; infinite where there are none."""
        if self._moves and len(points):
            from rasterio.errors import RasterioError
            from rasterio.warp import transform

            try:
                points = np.transpose(transform(self.layer.crs, self.grid.crs, points[:, 0], points[:, 1]))
            except (RasterioError, gdal_error()) as error:
                raise self._beyond() from error
        matrix = np.linalg.inv(self.grid.matrix)
        with np.errstate(all="ignore"):
            # from the corner first: in coordinates of millions, the last digits of a pixel would go
            placed = (points - self.grid.matrix[:2, 2]) @ matrix[:2, :2].T
            return np.rint(placed * STEP) / STEP
