"""What the pixels of a data set are, in words."""

from collections.abc import Iterable

from mobanet.data.sources.pixels import pixel_words
from mobanet.data.sources.rasters import Grid
from mobanet.data.store import StoredTile
from mobanet.data.words import natural_key, shorten


def grid_of_tile(tile: StoredTile) -> Grid:
    """Where the pixels of a stored tile are."""
    return Grid(tile.height, tile.width, tile.transform, tile.crs)


def grid_words(tiles: Iterable[StoredTile]) -> str:
    """`that of rgb, pixels of 0.25 m`: which modalities' grids tiles have, and how large pixels are on the ground."""
    found = list(tiles)
    names = list(dict.fromkeys(tile.reference for tile in found))
    sizes = sorted({pixel_words(grid_of_tile(tile)) for tile in found} - {""}, key=natural_key)
    pixels = f", pixels of {shorten(sizes, 3)}" if sizes else ""
    return f"that of {' or '.join(names)}{pixels}" if names else ""
