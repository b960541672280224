"""A raster as a model takes it, to look at before and beside a map."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobanet.errors import UserError
from mobanet.prediction.scene import PlacedRaster
from mobanet.prediction.thinning import SIDE, thinned
from mobanet.rasters.contents import Modality
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import opened
from mobanet.rasters.pictures import natural_bands, optical_picture, relief

if TYPE_CHECKING:
    from rasterio.windows import Window


@dataclass(frozen=True)
class InputRaster:
    """A raster that `SavedModel.inputs` has found to fit the model.

    Rasters may be of any size: all but `read()` without arguments goes strip by strip, or thins the pixels out.
    """

    placed: PlacedRaster

    def __repr__(self) -> str:
        """Modality, file and size."""
        return f"InputRaster({self.modality.name}: {self.name}, {self.grid.size} pixels)"

    @property
    def name(self) -> str:
        """Of the file, without its folder."""
        return self.placed.source.file.path.name

    @property
    def modality(self) -> Modality:
        """What it is to the model: the modality's name, its bands, and whether it is optical or elevation."""
        return self.placed.modality

    @property
    def grid(self) -> Grid:
        """Its own height, width, transform and reference system."""
        return self.placed.own

    @property
    def pixel_size(self) -> str:
        """Length of a pixel along the rows with its unit, such as `0.05 metre`; `unknown` without a georeference."""
        from rasterio.crs import CRS

        grid = self.grid
        if grid.transform is None:
            return "unknown"
        unit = f" {CRS.from_user_input(grid.crs).units_factor[0]}" if grid.crs else ""
        # along a row, which in a rotated raster goes up or down, too
        return f"{np.hypot(*grid.matrix[:2, 0]):.4g}{unit}"

    def strips(self, rows: int = 512) -> Iterator["Window"]:
        """Windows, from top to bottom, that fit into memory.

        Args:
            rows: of each but the last.

        Raises:
            UserError: for less than a row.
        """
        from rasterio.windows import Window

        if rows < 1:
            raise UserError(f"rows is {rows}; give at least 1.")
        for top in range(0, self.grid.height, rows):
            yield Window(0, top, self.grid.width, min(rows, self.grid.height - top))

    def read(self, window: "Window | None" = None, side: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Pixels as the model takes them, before they are scaled.

        A pixel is missing where the raster says so, by nodata, a mask or an alpha band, and where it is NaN or a height
        that cannot be.

        Args:
            window: the part to read; None for all of it.
            side: longest side in pixels to thin the whole raster out to; None for every pixel.

        Returns:
            (H, W, C) values, and (H, W) bool, whether each was measured.

        Raises:
            UserError: when the file cannot be read.
        """
        shape = None if side is None else thinned(self.grid.height, self.grid.width, side)
        file = self.placed.source.file
        with opened(file.path, file) as raster:
            pixels, valid = self.placed.reading.read(raster, window, shape)
        return np.moveaxis(pixels, 0, -1), np.ones(pixels.shape[1:], bool) if valid is None else valid

    def missing(self) -> float:
        """Share of the pixels that were not measured, 0..1; reads the whole raster.

        Raises:
            UserError: when the file cannot be read.
        """
        count = sum(int(np.count_nonzero(~self.read(strip)[1])) for strip in self.strips())
        return count / (self.grid.height * self.grid.width)

    def picture(self, side: int = SIDE) -> np.ndarray:
        """The raster to look at: natural colours where it has them, heights as a relief lit from the north-west.

        Args:
            side: longest side of the picture in pixels.

        Returns:
            (H, W, 3) in 0..1, black where pixels are missing.

        Raises:
            UserError: when the file cannot be read.
        """
        pixels, valid = self.read(side=side)
        if not valid.any():
            return np.zeros((*valid.shape, 3), np.float32)
        if self.modality.kind == "elevation":
            # (H, W, 1) against (H, W, 3)
            return np.where(valid[..., None], relief(pixels[..., 0], valid), 0)
        # without natural colours its first bands as they come
        return optical_picture(pixels[..., natural_bands(self.modality) or slice(None)], valid)
