"""What the tiles of a store are: whose grids they have, how large their pixels are, and how far their values go."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from mobanet.plain.wording import shorten
from mobanet.rasters.pixel_size import pixel_words
from mobanet.rasters.values import fitting_maximum
from mobanet.store.stored import StoredTile


def grid_words(tiles: Iterable[StoredTile]) -> str:
    """`that of rgb, pixels of 0.25 m`: which modalities' grids tiles have, and how large pixels are on the ground."""
    found = list(tiles)
    names = list(dict.fromkeys(tile.reference for tile in found))
    sizes = sorted({pixel_words(tile.grid) for tile in found} - {""}, key=_numbers)
    pixels = f", pixels of {shorten(sizes, 3)}" if sizes else ""
    return f"that of {' or '.join(names)}{pixels}" if names else ""


def _numbers(size: str) -> list[float]:
    # not `natural_key`, to which 0.5 is 5 behind a point, and less than 0.25
    return [float(number) for number in re.findall(r"\d[\d.e+-]*", size)]


def range_of(name: str, tiles: Sequence[StoredTile]) -> float:
    """The full range that the values of a modality seem to have, by the widest type and the highest values of tiles."""
    records = [tile.modalities[name] for tile in tiles if name in tile.modalities]
    figures = [band for record in records for band in record.statistics]
    # of tiles of 8 and of 16 bit the wider type, as they meet in a batch
    dtype = np.result_type(*(record.dtype for record in records))
    return fitting_maximum(dtype, max(band.maximum for band in figures), max(band.p98 for band in figures))
