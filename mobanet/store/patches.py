"""Square patches of prepared tiles, for splits that deal out patches instead of whole tiles.

A patch is a view: it names the arrays of its tile and where in them it lies, so that nothing is stored twice. Patches
do not overlap, and those at the right and bottom edges are smaller: every pixel is in exactly one of them.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

from mobanet.store.stored import StoredTile, TileStore


def cut_store(store: TileStore, size: int) -> TileStore:
    """The same store with patches of `size` pixels a side for tiles, in the order of the tiles and then row by row."""
    # not a deep copy: only the tiles are others
    patched = copy.copy(store)
    patched.tiles = {patch.id: patch for tile in store.tiles.values() for patch in cut_tile(tile, size)}
    return patched


def cut_tile(tile: StoredTile, size: int) -> Iterator[StoredTile]:
    """The patches of a tile, row by row; `6010_1_2_r0_c3` is the fourth of the first row of `6010_1_2`.

    Raises:
        ValueError: for a size that cuts through the pixels of a coarser modality; no layout of patches has any.
    """
    if any(size % record.pixel_ratio for record in tile.modalities.values()):
        raise ValueError(f"patches of {size} pixels cut through coarser ones of {tile.id}")
    for row, top in enumerate(range(0, tile.height, size)):
        for column, left in enumerate(range(0, tile.width, size)):
            transform = tile.transform
            if transform is not None:
                a, b, x, d, e, y = transform
                # x = a column + b row + c, and y alike
                transform = (a, b, x + a * left + b * top, d, e, y + d * left + e * top)
            yield replace(
                tile,
                id=f"{tile.id}_r{row}_c{column}",
                height=min(size, tile.height - top),
                width=min(size, tile.width - left),
                top=tile.top + top,
                left=tile.left + left,
                transform=transform,
            )
