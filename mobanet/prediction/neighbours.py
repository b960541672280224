"""All pieces of a map as a graph: which touch which, and by how much.

Rows come from top to bottom, and each piece of a strip gets a number, in the order of first pixels; pieces that go on
across strips are one by union-find. What stays in memory are 26 bytes a piece of a strip, and 32 for each neighbour of
a piece that is small.
"""

from dataclasses import dataclass

import numpy as np

from mobanet.prediction.strips import MapStrips, areas_of
from mobanet.rasters.components import label_pieces, touching, united

_MERGE = 4_000_000
"""Borders that are gathered before those of one pair are added up."""


@dataclass
class Graph:
    """Pieces, by number; of one that goes on across strips, what is said of it stands at its first number.

    Attributes:
        root: (n,) int64, the first number of the piece that each number belongs to.
        value: (n,) uint8, class.
        pixels: (n,) int64.
        area: (n,) square metres on the ground.
        outside: (n,) bool, whether it touches the map's edge, or pixels without a class.
        pairs: (m, 2) int64, roots of pieces that touch, the lower one first, one of which is small at least.
        sides: (m, 2) int64, of each pair's border, the pixels' sides along columns, and along rows.
    """

    root: np.ndarray
    value: np.ndarray
    pixels: np.ndarray
    area: np.ndarray
    outside: np.ndarray
    pairs: np.ndarray
    sides: np.ndarray


def find_neighbours(strips: MapStrips, small: float) -> Graph:
    """The pieces of a map, and what touches what of those smaller than `small` square metres."""
    found = _Growing(small)
    for strip in strips:
        if strip.area is None:
            raise ValueError("of a map that has no place on the earth nobody knows how large its pieces are")
        found.add(strip.classes, strip.area)
    return found.finished()


class _Growing:
    """Numbers from 1 on, 0 for pixels without a class, until all are there."""

    def __init__(self, small: float) -> None:
        self.small = small
        self.value, self.pixels, self.area = [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)], [np.zeros(0)]
        self.unions, self.outside = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
        self.pairs = self.sides = np.zeros((0, 2), np.int64)
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self.count = 0
        self.last: tuple[np.ndarray, np.ndarray] | None = None
        """Numbers and classes of the last row."""

    def add(self, classes: np.ndarray, area: np.ndarray) -> None:
        labels, value = label_pieces(classes)
        pixels = np.bincount(labels.ravel(), minlength=len(value) + 1)[1:]
        self.value.append(value)
        self.pixels.append(pixels)
        self.area.append(areas_of(labels, pixels, area))
        # of the whole map, whose pieces may be more than 32 bits count
        numbers = np.where(labels > 0, labels.astype(np.int64) + self.count, 0)
        self._meet(numbers[:, :-1], numbers[:, 1:], 0)
        self._meet(numbers[:-1], numbers[1:], 1)
        if self.last is None:
            self._edge(numbers[0])
        else:
            self._meet(self.last[0], numbers[0], 1)
            # pieces are numbered from 1 here, and have their places from 0 on in the graph
            self.unions.append(touching(self.last[0], numbers[0], self.last[1] == classes[0]) - 1)
        self._edge(numbers[:, 0])
        self._edge(numbers[:, -1])
        self.last = numbers[-1], classes[-1]
        self.count += len(value)
        if sum(len(pairs) for pairs, _ in self.waiting) > _MERGE:
            self._add_up()

    def finished(self) -> Graph:
        if self.last is not None:
            self._edge(self.last[0])
        self._add_up()
        value, pixels, area = (np.concatenate(gathered) for gathered in (self.value, self.pixels, self.area))
        outside = np.zeros(self.count, bool)
        outside[np.concatenate(self.outside)] = True
        root = united(self.count, map(tuple, np.concatenate(self.unions).tolist()))
        rest = np.flatnonzero(root != np.arange(self.count))
        for sums in (pixels, area, outside):
            # not +=, which would count a root that comes several times once
            np.add.at(sums, root[rest], sums[rest])
        pairs, sides = _summed(np.sort(root[self.pairs], axis=1), self.sides)
        near = (area[pairs] < self.small).any(axis=1) & (pairs[:, 0] != pairs[:, 1])
        return Graph(root, value, pixels, area, outside, pairs[near], sides[near])

    def _edge(self, numbers: np.ndarray) -> None:
        self.outside.append(np.unique(numbers[numbers > 0]) - 1)

    def _meet(self, one: np.ndarray, other: np.ndarray, along: int) -> None:
        """Take borders between neighbouring pixels, along columns (0) or along rows (1)."""
        differ = one != other
        low, high = np.minimum(one[differ], other[differ]), np.maximum(one[differ], other[differ])
        # 0 are pixels without a class: what touches them touches the outside
        self._edge(high[low == 0])
        pairs = np.stack([low, high], axis=1)[low > 0] - 1
        sides = np.zeros((len(pairs), 2), np.int64)
        sides[:, along] = 1
        self.waiting.append(_summed(pairs, sides))

    def _add_up(self) -> None:
        pairs = np.concatenate([self.pairs, *(pairs for pairs, _ in self.waiting)])
        sides = np.concatenate([self.sides, *(sides for _, sides in self.waiting)])
        near = (np.concatenate(self.area)[pairs] < self.small).any(axis=1)  # so far: they only grow
        self.pairs, self.sides = _summed(pairs[near], sides[near])
        self.waiting = []


def _summed(pairs: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs without repetitions, with the sums of their sides."""
    if not len(pairs):
        return pairs, sides
    # lexsort takes the key that counts most as the last one
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    pairs, sides = pairs[order], sides[order]
    begins = np.flatnonzero(np.concatenate([[True], (pairs[1:] != pairs[:-1]).any(axis=1)]))
    return pairs[begins], np.add.reduceat(sides, begins, axis=0)
