"""How far large rasters are thinned out for pictures."""

from mobanet.errors import UserError

SIDE = 800
"""Longest side of a picture in pixels, unless asked for otherwise."""


def thinned(height: int, width: int, side: int = SIDE) -> tuple[int, int]:
    """Height and width, at most `side`, of a raster's picture: every pixel of a small one, each n-th of a large."""
    if side < 1:
        raise UserError(f"side is {side}; give the longest side of the picture, at least 1 pixel.")
    step = -(-max(height, width) // side)
    return -(-height // step), -(-width // step)
