"""How far large rasters are thinned out for pictures."""

from mobanet.errors import UserError

SIDE = 800
"""Longest side of a picture in pixels, unless asked for otherwise."""


def thinned(height: int, width: int, side: int = SIDE) -> tuple[int, int]:
    """Height and width of the picture of a raster: every pixel of a small one, every second, third, … of a large.

    Args:
        height: rows of the raster.
        width: columns.
        side: most that either may have in the picture.

    Raises:
        UserError: for less than a pixel.
    """
    if side < 1:
        raise UserError(f"side is {side}; give the longest side of the picture, at least 1 pixel.")
    step = -(-max(height, width) // side)
    return -(-height // step), -(-width // step)
