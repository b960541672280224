"""Pixels that crops are drawn around: of every class as often, however rare it is."""

from collections import OrderedDict
from typing import Any

import numpy as np

from mobanet.data.reading import TileReader
from mobanet.store.arrays import OpenArrays
from mobanet.store.class_pixels import class_pixels, class_squares
from mobanet.store.stored import MARK, damaged

_MOST_BYTES = 1 << 26
"""Of where classes lie in tiles, in each process: 600 tiles of 6000 x 6000 pixels with six classes. The least recently
used are forgotten and counted anew, half a second each."""


class ClassPixels:
    """Draws a class, each that the tiles have alike, and of all its pixels in all tiles one.

    How many pixels of a class a tile has is known from the store; where they lie is counted when the tile is first
    drawn, in the process that draws. What is drawn depends on the generator alone. Cheap to pickle.
    """

    def __init__(self, reader: TileReader) -> None:
        self.tiles, self.kind = reader.tiles, reader.label
        pixels = class_pixels(self.tiles, self.kind)
        # running sums, in which the number of a pixel finds its tile without a list of all pixels
        self.ends = pixels.cumsum(0)  # (T, K)
        self.classes = np.flatnonzero(self.ends[-1])  # no class without a pixel, of which none could be drawn
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        # without open files and counts, which are each process's own
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def draw(self, generator: np.random.Generator) -> tuple[int, int, int]:
        """A pixel: number of the tile, row and column in it."""
        chosen = int(self.classes[generator.integers(len(self.classes))])
        ends = self.ends[:, chosen]
        number = int(generator.integers(ends[-1]))
        # right: an end is the number of the next tile's first pixel
        tile = int(np.searchsorted(ends, number, side="right"))
        number -= int(ends[tile - 1]) if tile else 0
        return tile, *self._find(tile, chosen, number)

    def _find(self, place: int, chosen: int, number: int) -> tuple[int, int]:
        """Row and column of a tile's pixel of a class, by its number among them, square by square."""
        tile, squares = self.tiles[place], self._squares_of(place)[chosen]
        ends = squares.reshape(-1).cumsum(dtype=np.int64)
        square = int(np.searchsorted(ends, number, side="right"))
        if square == len(ends):
            raise damaged(tile.path(f"label_{self.kind}"))  # it has not what was counted when it was prepared
        number -= int(ends[square - 1]) if square else 0
        top, left = (MARK * at for at in divmod(square, squares.shape[1]))
        height, width = min(MARK, tile.height - top), min(MARK, tile.width - left)
        # of one square only: that is all that is read to find the pixel
        label = self._arrays.cut(tile, f"label_{self.kind}", top, left, height, width)
        row, column = divmod(int(np.flatnonzero(label == chosen)[number]), width)
        return top + row, left + column

    def _squares_of(self, place: int) -> np.ndarray:
        # out and in again, so that the order is that of use
        squares = self._known.pop(place, None)
        if squares is None:
            squares = class_squares(self.tiles[place], self.kind)
            self._bytes += squares.nbytes
        self._known[place] = squares
        # the one that was asked for stays, however large it is
        while self._bytes > _MOST_BYTES and len(self._known) > 1:
            self._bytes -= self._known.popitem(last=False)[1].nbytes
        return squares

    def _forget(self) -> None:
        self._known: OrderedDict[int, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._arrays = OpenArrays()
