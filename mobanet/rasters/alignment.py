"""Bringing the rasters of a tile to one grid."""

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobanet.errors import UserError
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.rasters.grid import Grid
from mobanet.rasters.reference_systems import check_tied, is_local

if TYPE_CHECKING:
    from rasterio.windows import Window

# pixels by which a raster may be larger or smaller at the right and bottom. Potsdam's DSM of 3_13 lacks a column.
EDGE = 8

Placing = Literal["pixels", "georeference", "extent"]
"""How rasters of a tile lie on one another: they share pixels from the top left one on, have a georeference each, or
show the same rectangle of ground with pixels of different sizes."""

Fit = Literal["same", "edge", "warp", "stretch"]

Method = Literal["bilinear", "nearest"]


def how_to_fit(own: Grid, target: Grid, placing: Placing) -> Fit:
    """How a raster on grid `own` gets to `target`.

    Returns:
        `same`: as it is; `edge`: cut or padded at the right and bottom; `warp`: resampled by georeference; `stretch`:
        resampled so that the outer edges coincide.

    Raises:
        UserError: when it cannot be done, as a sentence that starts without a subject and ends without a remedy.
    """
    if placing == "extent":
        if (own.height, own.width) == (target.height, target.width):
            return "same"
        width = own.height * target.width / target.height  # what it would be with square ground pixels
        # sizes of a scene's products are no multiples of one another, as DSTL's, and shapes differ by what is rounded
        if abs(own.width - width) > max(2, 0.05 * own.width):
            raise UserError(f"is {own.size} pixels, another shape than the tile's {target.size}")
        return "stretch"
    if placing == "georeference" and own.transform and target.transform:
        if (own.crs is None) != (target.crs is None):
            lacking = "it" if own.crs is None else "the raster that sets the grid"
            known = own.crs or target.crs
            raise UserError(
                f"cannot be placed, since {lacking} names no coordinate reference system: give the key crs in the "
                f"description of the data (crs: {known} if it lies in that of the other)"
            )
        if own.same_as(target):
            return "same"
        if own.crs and target.crs:
            check_tied(own.crs, target.crs)
        if overlap_window(own, target) is None:
            raise UserError(f"does not overlap: it covers {own.extent}, the tile {target.extent}")
        return "warp"
    # without a georeference on both sides pixels are taken for the same, as with the placing `pixels`
    off = max(abs(own.height - target.height), abs(own.width - target.width))
    if off > EDGE:
        raise UserError(f"is {own.size} pixels where the tile is {target.size}")
    return "edge" if off else "same"


def source_window(own: Grid, target: Grid) -> "Window":
    """The part of a raster that resampling to `target` needs."""
    from rasterio.windows import Window

    window = overlap_window(own, target)
    return Window(0, 0, own.width, own.height) if window is None else window


def part_of(grid: Grid, top: int, left: int, height: int, width: int) -> Grid:
    """A rectangle of a grid, which may lack a georeference."""
    if grid.transform is None:
        return Grid(height, width, None, grid.crs)
    a, b, _, d, e, _ = grid.transform
    x, y, _ = (grid.matrix @ (left, top, 1)).tolist()
    return Grid(height, width, (a, b, x, d, e, y), grid.crs)


def cut_place(own: Grid, target: Grid) -> "Window | None":
    """Where a target lies in a raster whose pixels are its own: a window, which may reach beyond it; None elsewhere."""
    from rasterio.windows import Window

    if own.transform is None or target.transform is None or own.needs_transform(target):
        return None
    inverse = np.linalg.inv(own.matrix[:2, :2])
    corners = (target.corners() - own.matrix[:2, 2]) @ inverse.T  # in columns and rows of `own`
    first = np.rint(corners[0])
    size = np.array([(0, 0), (target.width, 0), (target.width, target.height), (0, target.height)])
    # at the corners, where small differences in the size of a pixel have added up
    # `not <=` and no `>`, since no comparison with a NaN is true
    if not np.abs(corners - first - size).max() <= 0.05:
        return None
    left, top = first.astype(int).tolist()
    return Window(left, top, target.width, target.height)


def window_grid(own: Grid, window: "Window") -> Grid:
    """The grid of a window of `own`."""
    return part_of(own, window.row_off, window.col_off, window.height, window.width)


def align(
    values: np.ndarray, valid: np.ndarray | None, own: Grid, target: Grid
) -> tuple[np.ndarray, np.ndarray | None]:
    """(bands, H, W) values and (H, W) validity, None for all, resampled bilinearly to the target grid.

    Missing pixels do not bleed into their neighbours; what the raster does not cover is missing, too.
    """
    result = np.zeros((len(values), target.height, target.width), values.dtype)
    known = np.ones((target.height, target.width), bool)
    for band, plane in enumerate(values):
        # NaN marks missing pixels for the warper, which otherwise knows only one number for it
        filled = plane.astype(np.float32)
        if valid is not None:
            filled[~valid] = np.nan
        warped = _warp(filled, own, target, "bilinear", math.nan)
        present = np.isfinite(warped)
        # what is missing in one band is missing: a pixel has one validity
        known &= present
        whole = np.issubdtype(values.dtype, np.integer)
        # a cast alone would cut off, and darken whole numbers by half a step
        result[band][present] = np.rint(warped[present]) if whole else warped[present]
    return result, None if known.all() else known


def stretched(own: Grid, target: Grid) -> tuple[Grid, Grid]:
    """Grids, of these sizes, whose outer edges coincide."""
    steps = target.width / own.width, target.height / own.height
    # the same corner for both, anywhere but at 0, 0: GDAL takes that for no georeference at all
    own = Grid(own.height, own.width, (steps[0], 0, 1000, 0, -steps[1], 1000))
    return own, Grid(target.height, target.width, (1, 0, 1000, 0, -1, 1000))


def align_label(classes: np.ndarray, own: Grid, target: Grid) -> np.ndarray:
    """(H, W) class indices on the target grid, by nearest pixel; ignored where the label does not reach."""
    return _warp(classes, own, target, "nearest", IGNORE_INDEX)


def _warp(plane: np.ndarray, own: Grid, target: Grid, method: Method, missing: float) -> np.ndarray:
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    result = np.full((target.height, target.width), missing, plane.dtype)
    src_crs, dst_crs = warp_systems(own, target)
    reproject(
        plane,
        result,
        src_transform=Affine(*(own.transform or ())),
        src_crs=src_crs,
        # what equals it has no weight in the mean of its neighbours
        src_nodata=missing,
        dst_transform=Affine(*(target.transform or ())),
        dst_crs=dst_crs,
        dst_nodata=missing,
        resampling=Resampling[method],
        **warp_scales(own, target),
    )
    return result


def warp_systems(own: Grid, target: Grid) -> tuple[str | None, str | None]:
    """The systems of two grids as GDAL can bring one to the other."""
    src_crs, dst_crs = own.crs, target.crs
    if not own.needs_transform(target) and (src_crs is None or src_crs != dst_crs or is_local(src_crs)):
        # of the same plane, for which any projected system stands in: PROJ knows no way out of a local one
        return "EPSG:3857", "EPSG:3857"
    return src_crs, dst_crs


def warp_scales(own: Grid, target: Grid) -> dict[str, float]:
    """GDAL's options for how many pixels of the target one of the source is.

    It would take them from the shapes of source and target, and blur where a thin target lies across the source.
    """
    # rasterio issue 2839, GDAL issue 7750
    scale = 1 / _steps(own, target)
    return {"XSCALE": float(scale[0]), "YSCALE": float(scale[1])}


def _steps(own: Grid, target: Grid) -> np.ndarray:
    """Columns and rows of `own` that a pixel in the middle of `target` reaches across, (2,)."""
    from rasterio.warp import transform

    column, row = target.width / 2, target.height / 2
    # a step right and one down, each of which crosses columns and rows where a grid is turned
    points = np.array([(column, row, 1), (column + 1, row, 1), (column, row + 1, 1)]) @ target.matrix.T
    if own.crs and target.crs and own.needs_transform(target):
        points[:, :2] = np.transpose(transform(target.crs, own.crs, points[:, 0], points[:, 1]))
    pixels = (points @ np.linalg.inv(own.matrix).T)[:, :2]
    return np.abs(pixels[1:] - pixels[0]).sum(axis=0)


def overlap_window(own: Grid, target: Grid) -> "Window | None":
    """The part of a raster that resampling to `target` needs; None where they do not overlap."""
    from rasterio.warp import transform_bounds
    from rasterio.windows import Window

    bounds = (*target.corners().min(axis=0), *target.corners().max(axis=0))
    if own.crs and target.crs and own.needs_transform(target):
        # with points along the edges, as rasterio puts them: edges bend between two systems
        bounds = transform_bounds(target.crs, own.crs, *bounds)
    left, bottom, right, top = bounds
    # all four, since in a raster that is turned any of them may have the least column
    corners = np.array([(left, bottom, 1), (left, top, 1), (right, bottom, 1), (right, top, 1)])
    pixels = (corners @ np.linalg.inv(own.matrix).T)[:, :2]  # columns and rows of `own`
    first, last, size = pixels.min(axis=0), pixels.max(axis=0), np.array((own.width, own.height))
    if (first >= size).any() or (last <= 0).any():
        return None
    # room for the kernel of the resampling, which spans several pixels where the target is coarser
    margin = 4 + 2 * np.ceil(np.maximum(_steps(own, target), 1)).astype(int)
    first = np.maximum(np.floor(first).astype(int) - margin, 0)
    last = np.minimum(np.ceil(last).astype(int) + margin, size)
    return Window(*first.tolist(), *(last - first).tolist())
