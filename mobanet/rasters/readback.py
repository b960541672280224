"""Whether a GeoTIFF holds what was written into it.

A write that fails for lack of space may end without an error: GDAL gathers blocks, writes some of them only when it
closes the file, and rasterio does not hear of it then.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

BLOCK = 512  # height and width of the file's blocks in pixels


def compare(path: Path, shape: tuple[int, int, int], dtype: str, sums: Sequence[int], factors: Sequence[int]) -> None:
    """Read a whole file of (bands, height, width) back, block by block.

    Args:
        path: of the file.
        shape: bands, height, width.
        dtype: of the pixels.
        sums: of each row of blocks, the CRC-32 of its pixels, band after band.
        factors: of the overviews.

    Raises:
        OSError: when it is not what was handed in, or cannot be read.
    """
    import rasterio
    from rasterio.windows import Window

    bands, height, width = shape
    with rasterio.open(path) as raster:
        if (raster.count, *raster.shape) != (bands, height, width):
            raise OSError(f"{path} has the shape {(raster.count, *raster.shape)}, not {shape}")
        for top, expected in zip(range(0, height, BLOCK), sums, strict=True):
            rows = np.empty((bands, min(BLOCK, height - top), width), dtype)
            for left in range(0, width, BLOCK):  # with all bands, which share a block
                part = rows[:, :, left : left + BLOCK]
                part[:] = raster.read(window=Window(left, top, part.shape[2], part.shape[1]))
            # of pixels, not of bytes in the file: a block that was never written has none
            if zlib.crc32(rows.data) != expected:
                raise OSError(f"the rows of {path} from {top} on are not as they were handed in")
    check_overviews(path, shape, factors)
    for level in range(len(factors)):
        with rasterio.open(path, overview_level=level) as smaller:
            for _, window in smaller.block_windows():
                # only to find out whether it can be: overviews were not handed in, and so have no checksum
                smaller.read(window=window)


def check_overviews(path: Path, shape: tuple[int, int, int], factors: Sequence[int]) -> None:
    """Look whether every block of the overviews is there: one that is not reads as nodata, without a word.

    Raises:
        OSError: when one is missing, or has another size.
    """
    import rasterio

    _, height, width = shape
    with rasterio.open(path) as raster:
        # counted, and their sizes compared below: GDAL words a factor as the ratio of the sizes, 127 for 128
        if any(len(raster.overviews(band)) != len(factors) for band in raster.indexes):
            raise OSError(f"{path} lacks overviews")
    for level, factor in enumerate(factors):
        with rasterio.open(path, overview_level=level) as smaller:
            if smaller.shape != (-(-height // factor), -(-width // factor)):
                raise OSError(f"the overview of {path} by {factor} has the shape {smaller.shape}")
            for band in smaller.indexes:
                for (row, column), _ in smaller.block_windows(band):
                    if smaller.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is None:
                        raise OSError(f"the overview of {path} by {factor} lacks a block")
