"""Where the labels of a tile count, so that nothing is learnt next to ground that is held out.

A crop is a square of so many pixels. Where no pixel that is held out lies within a crop's width of a pixel whose label
counts, rows and columns counted apart, no crop with such a label shows any of it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mobanet.rasters.alignment import part_of
from mobanet.rasters.contents import FileRef
from mobanet.rasters.grid import Grid

Role = Literal["train", "validation", "test"]

ROLES: tuple[Role, ...] = ("train", "validation", "test")
"""Parts of a split; ground of a later one is held out of the earlier ones."""

NO_ROLE = 255

Rectangle = tuple[int, int, int, int]
"""Top, left, bottom and right, the last two behind the last pixel."""

RoleStrips = Callable[[Grid, int], Iterator[np.ndarray]]
"""Draws areas on a grid, from top to bottom and so many rows at a time: (h, W) uint8, of each pixel the number of its
role, or `NO_ROLE`."""


@dataclass(frozen=True)
class HeldOut:
    """What a tile has to do with ground that is held out.

    Attributes:
        buffer: pixels around ground that is held out from it whose labels do not count.
        rectangles: that ground in pixels of the tile, where it is made of tiles.
        areas: file with the polygons that say which ground is whose; None where tiles do.
    """

    role: Role
    buffer: int
    rectangles: tuple[Rectangle, ...] = ()
    areas: FileRef | None = None


class KeptRows:
    """Where a tile's labels count, row by row from the top; areas, where it has some, are drawn `step` rows at once."""

    def __init__(self, held: HeldOut, grid: Grid, areas: RoleStrips | None, step: int) -> None:
        self._held, self._grid, self._step = held, grid, step
        # from test ground nothing is held out
        self._reach = 0 if held.role == ROLES[-1] else held.buffer
        around = padded(grid, self._reach)
        self._strips = areas(around, step) if areas is not None else self._rectangles(around)
        # own ground, and ground that is held out as far as a row has it within reach; of the rows around the tile, too
        self._own = np.zeros((0, grid.width), bool)
        self._near = np.zeros((0, grid.width), bool)

    def take(self, rows: int) -> np.ndarray:
        """The next rows, (rows, W) bool."""
        reach = self._reach
        while len(self._near) < rows + 2 * reach:
            self._add(next(self._strips))
        own, near = self._own[reach : reach + rows], self._near[: rows + 2 * reach]
        self._own, self._near = self._own[rows:], self._near[rows:]
        # most strips have nothing held out near them, and need no sums
        if not near.any():
            return own
        # where the sum has grown, one of the rows within reach has something that is held out
        total = np.zeros((rows + 2 * reach + 1, self._grid.width), np.uint32)
        np.cumsum(near, axis=0, out=total[1:])
        return own & (total[2 * reach + 1 :] == total[:rows])

    def _add(self, drawn: np.ndarray) -> None:
        """Take in rows of roles, (h, W + 2 * reach)."""
        number, reach, width = ROLES.index(self._held.role), self._reach, self._grid.width
        apart = (drawn > number) & (drawn != NO_ROLE)
        if reach and apart.any():
            total = np.zeros((len(apart), width + 2 * reach + 1), np.uint32)
            np.cumsum(apart, axis=1, out=total[:, 1:])
            near = total[:, 2 * reach + 1 :] != total[:, :width]
        else:
            near = apart[:, reach : reach + width]
        self._own = np.concatenate([self._own, drawn[:, reach : reach + width] == number])
        self._near = np.concatenate([self._near, near])

    def _rectangles(self, around: Grid) -> Iterator[np.ndarray]:
        """The rows of a tile whose neighbours are held out; of the ground around it all else is its own."""
        # whose ground the neighbours' is makes no difference: the last role is held out of every other
        own, other = ROLES.index(self._held.role), ROLES.index(ROLES[-1])
        for first in range(0, around.height, self._step):
            rows = min(self._step, around.height - first)
            drawn = np.full((rows, around.width), own, np.uint8)
            for top, left, bottom, right in self._held.rectangles:
                up, down = (max(edge + self._reach - first, 0) for edge in (top, bottom))
                drawn[up:down, max(left + self._reach, 0) : max(right + self._reach, 0)] = other
            yield drawn


def padded(grid: Grid, margin: int) -> Grid:
    """A grid with so many more pixels on each side."""
    return part_of(grid, -margin, -margin, grid.height + 2 * margin, grid.width + 2 * margin)


def rectangles_near(grid: Grid, others: Iterable[Grid], reach: int) -> tuple[Rectangle, ...]:
    """Tiles of the same reference system in pixels of one, of those that lie within so many pixels of it."""
    found = []
    inverse = np.linalg.inv(grid.matrix)
    for other in others:
        pixels = (np.c_[other.corners(), np.ones(4)] @ inverse.T)[:, :2]
        # outwards, so that a pixel that is held out in part is held out
        # but for a twentieth, by which two grids may be apart that count as one (`Grid.same_as`)
        left, top = np.floor(pixels.min(axis=0) + 0.05).astype(int).tolist()
        right, bottom = np.ceil(pixels.max(axis=0) - 0.05).astype(int).tolist()
        apart = max(top - grid.height, -bottom, left - grid.width, -right)
        if apart < reach:
            found.append((top, left, bottom, right))
    return tuple(sorted(found))
