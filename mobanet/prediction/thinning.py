"""How far large rasters are thinned out for pictures."""

SIDE = 800
"""Longest side of a picture in pixels, unless asked for otherwise."""


def thinned(height: int, width: int, side: int = SIDE) -> tuple[int, int]:
    """Height and width of the picture of a raster: every pixel of a small one, every second, third, … of a large.

    Args:
        height: rows of the raster.
        width: columns.
        side: most that either may have in the picture; at least 1.
    """
    step = -(-max(height, width) // max(side, 1))
    return -(-height // step), -(-width // step)
