"""A whole raster resampled, strip by strip, by GDAL's virtual warped raster.

GDAL warps only what it can open, and knows a single number for what is missing: the raster is first written to a file
as it was read and judged, with each of its pixels read once. The strips' pixels are placed by the grids as wholes, so
that no strip is a hair beside the next.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobanet.files import named
from mobanet.rasters.alignment import Fit, Method, source_window, stretched, warp_scales, warp_systems, window_grid
from mobanet.rasters.grid import Grid
from mobanet.rasters.rows import row_windows, rows_at_once, whole_window

if TYPE_CHECKING:
    from rasterio.windows import Window

_TYPES = {"uint8": 1, "float32": 4}  # numbers of data types in the header of an ENVI file

# rows of GDAL's virtual blocks. What is no higher is warped block by block, its pixels placed a hair differently.
_BLOCK = 128


def window_needed(own: Grid, grid: Grid, fit: Fit) -> "Window":
    """The part of a raster that bringing it to a grid needs."""
    return source_window(own, grid) if fit == "warp" else whole_window(own)


@contextmanager
def resampled(
    read: "Callable[[Window], np.ndarray]",
    bands: int,
    missing: float,
    dtype: str,
    own: Grid,
    grid: Grid,
    fit: Fit,
    method: Method,
    folder: Path,
) -> Iterator[Iterator[np.ndarray]]:
    """Strips of a grid from top to bottom, (C, h, W), of a raster on another one. It is read when the block begins.

    `read` gives windows of it from top to bottom, (C, h, w) of C bands. `missing` stands in these for what is missing,
    and in the strips also for what the raster does not reach. The fit is `warp` or `stretch`; with `bilinear`, missing
    pixels do not bleed into their neighbours. The folder has room for a copy of the raster.
    """
    import rasterio
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    window = window_needed(own, grid, fit)
    source = window_grid(own, window)
    if fit == "stretch":
        source, grid = stretched(own, grid)
    src_crs, dst_crs = warp_systems(source, grid)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="warp-", dir=folder) as room:
        path = Path(room) / "copy.bsq"
        _write(path, read, window, bands, np.dtype(dtype))
        with (
            rasterio.open(path) as copy,
            WarpedVRT(
                copy,
                src_crs=src_crs,
                src_transform=Affine(*(source.transform or ())),
                src_nodata=missing,
                crs=dst_crs,
                transform=Affine(*(grid.transform or ())),
                height=grid.height,
                width=grid.width,
                nodata=missing,
                resampling=Resampling[method],
                **warp_scales(source, grid),
            ) as warped,
        ):
            yield (warped.read(window=part) for part in _parts(grid, rows_at_once(grid.width, bands, dtype)))


def _parts(grid: Grid, step: int) -> Iterator["Window"]:
    """A grid from top to bottom in parts of `step` rows; a last part that GDAL would warp otherwise joins another."""
    from rasterio.windows import Window

    top = 0
    while top < grid.height:
        rows = grid.height - top
        rows = rows if rows <= step + _BLOCK else step
        yield Window(0, top, grid.width, rows)
        top += rows


def _write(path: Path, read: "Callable[[Window], np.ndarray]", window: "Window", bands: int, dtype: np.dtype) -> None:
    """Write a window of a raster as plain numbers that GDAL can read, (C, H, W), with the header beside it.

    GDAL itself tells of a full disk only in part.
    """
    height, width = window.height, window.width
    # ENVI: a format of plain numbers with a few lines of text as its header, which Python can write without GDAL
    size = {"samples": width, "lines": height, "bands": bands, "header offset": 0, "file type": "ENVI Standard"}
    size |= {"data type": _TYPES[dtype.name], "interleave": "bsq", "byte order": int(sys.byteorder == "big")}
    with named(path), path.open("wb") as file:
        path.with_suffix(".hdr").write_text("ENVI\n" + "".join(f"{key} = {value}\n" for key, value in size.items()))
        for part in row_windows(window, rows_at_once(width, bands, dtype)):
            for band, plane in enumerate(read(part)):
                # band after band in the file, while rows come with all of their bands
                file.seek((band * height + part.row_off - window.row_off) * width * dtype.itemsize)
                file.write(np.ascontiguousarray(plane).data.cast("B"))
