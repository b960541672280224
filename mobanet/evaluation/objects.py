"""How many objects of a class a map has, such as buildings, and how many of them are those of the truth.

An object is what hangs together of a class by the sides of labelled pixels, corners not counting. An object of the map
is right where it shares half or more of its union with one of the truth (IoU of at least 0.5). That matches one to one:
two with which a third had an IoU of a half would be its very halves, which touch and so are one object. What a tile's
edge cuts is an object as it is there, and such ones are counted, too.
"""

from dataclasses import dataclass

import numpy as np

from mobanet.evaluation.metrics import share_of
from mobanet.rasters.components import touching, united

COUNTED = ("truth", "mapped", "matched", "truth_cut", "map_cut")
"""Objects of the truth, of the map, matched, and of the first two those that a tile's edge cuts."""


@dataclass(frozen=True)
class ObjectScores:
    """Figures of one class's objects; NaN where there is no object to take a share of.

    Attributes:
        of: name of the class.
        truth: objects of the truth.
        mapped: objects of the map.
        matched: of either.
        truth_cut: of the truth, those that a tile's edge cuts.
        map_cut: of the map, likewise.
    """

    of: str
    truth: int
    mapped: int
    matched: int
    truth_cut: int
    map_cut: int

    @property
    def precision(self) -> float:
        """Share of the map's objects that are right."""
        return share_of(self.matched, self.mapped)

    @property
    def recall(self) -> float:
        """Share of the truth's objects that the map has."""
        return share_of(self.matched, self.truth)

    @property
    def f1(self) -> float:
        """Twice the matched ones by all of both; NaN where there is none."""
        return share_of(2 * self.matched, self.truth + self.mapped)

    def counts(self) -> dict[str, int]:
        """`COUNTED`, by their names."""
        return {name: getattr(self, name) for name in COUNTED}

    def shares(self) -> dict[str, float]:
        """Precision, recall and F1, by their names."""
        return {name: getattr(self, name) for name in ("precision", "recall", "f1")}


class _Pieces:
    """Objects of one map that are not settled: those that reach the last row, and those that may match one of these."""

    def __init__(self) -> None:
        self.areas = np.zeros(0, np.int64)
        self.cut = np.zeros(0, bool)
        # of objects that ended above the last row: counted, and kept for a match that may still come
        self.closed = np.zeros(0, bool)
        self.row: np.ndarray | None = None
        """(W,) of the last row, numbers from 1 on, 0 for none."""

    def grow(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take rows below, (h, W) uint8, 1 where the class is.

        Returns:
            (h, W) pieces of these rows, from 1 on, 0 for none; the numbers of the objects that they belong to, from 0
            on; and those that the objects have now that there were.
        """
        import cv2

        before = len(self.areas)
        # 4, as the module says; OpenCV's default of 8 would join corners
        number, own = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)
        number -= 1
        cut = np.zeros(number + 1, bool)
        # number 0 is the background's, which is left out below
        cut[own[:, 0]] = cut[own[:, -1]] = True
        if self.row is None:
            # these are a tile's first rows, and its upper edge cuts what lies in the first
            cut[own[0]] = True
            pairs = np.zeros((0, 2), int)
        else:
            alike = np.ones(own.shape[1], bool)
            # numbers of objects so far from 1, those of the new pieces behind them; from 0 for `united`
            pairs = touching(self.row, np.where(own[0] > 0, own[0] + before, 0), alike) - 1
        # pieces that touch the same object of the row above are one: what was two may become one
        roots = united(before + number, map(tuple, pairs.tolist()))
        kept, inverse = np.unique(roots, return_inverse=True)
        areas = np.concatenate([self.areas, np.bincount(own.ravel(), minlength=number + 1)[1:]])
        self.areas = np.zeros(len(kept), np.int64)
        np.add.at(self.areas, inverse, areas)  # `+=` would add once where an index comes twice
        self.cut = _spread(np.concatenate([self.cut, cut[1:]]), inverse, len(kept))
        self.closed = _spread(np.concatenate([self.closed, np.zeros(number, bool)]), inverse, len(kept))
        self.row = np.concatenate([[0], inverse[before:] + 1])[own[-1]]
        return own, inverse[before:], inverse[:before]

    def close(self, last: bool) -> tuple[int, int]:
        """How many objects end above the last row now, or with it, and how many of these an edge cuts."""
        still = np.zeros(len(self.areas), bool)
        if self.row is not None:
            still[self.row[self.row > 0] - 1] = True
        if last:
            self.cut |= still
            still[:] = False
        # once only: what is closed already was counted by an earlier call
        ended = ~still & ~self.closed
        self.closed |= ended
        return int(ended.sum()), int((ended & self.cut).sum())

    def keep(self, needed: np.ndarray) -> np.ndarray:
        """Let go of what is settled; the new numbers of those kept, from 0 on."""
        kept = ~self.closed
        # a closed object stays as long as an open one of the other map may match it
        kept[needed] = True
        numbers = np.cumsum(kept) - 1
        self.row = np.concatenate([[0], numbers + 1])[self.row]
        self.areas, self.cut, self.closed = self.areas[kept], self.cut[kept], self.closed[kept]
        return numbers


def _spread(flags: np.ndarray, inverse: np.ndarray, count: int) -> np.ndarray:
    out = np.zeros(count, bool)
    out[inverse[flags]] = True
    return out


class ObjectRows:
    """Counts the objects of one class in a tile whose rows come from top to bottom.

    Memory beside the rows that come is a few numbers for each object that reaches the last of them, and for at most two
    others each that it may still match, whatever the tile's height.
    """

    def __init__(self) -> None:
        self._truth, self._map = _Pieces(), _Pieces()
        self._pairs = np.zeros((0, 3), np.int64)
        """Numbers of an object of the truth and of one of the map, and pixels that they share."""

    def add(self, mapped: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Take rows; what is settled by them comes back.

        Args:
            mapped: (h, W) uint8, 1 where the map has the class and the pixel is labelled.
            truth: (h, W) uint8, 1 where the truth has it.

        Returns:
            (5,) int64, `COUNTED`.
        """
        pieces, own, before = zip(self._truth.grow(truth), self._map.grow(mapped), strict=True)
        pairs = np.concatenate([_numbered(self._pairs, before), _numbered(_shared(*pieces), own)])
        self._pairs = _merged(pairs)
        return self._settle(last=False)

    def finish(self) -> np.ndarray:
        """What is left of a tile that has no further row, as from `add`."""
        if self._truth.row is None:
            return np.zeros(len(COUNTED), np.int64)
        return self._settle(last=True)

    def _settle(self, last: bool) -> np.ndarray:
        truth, truth_cut = self._truth.close(last)
        mapped, map_cut = self._map.close(last)
        t, m, shared = self._pairs.T
        closed = self._truth.closed[t].astype(int) + self._map.closed[m]
        # what is not closed grows, and what is shared with something closed does not
        # IoU of a half in whole numbers: 2 s >= a + b - s
        possible = 3 * shared >= self._truth.areas[t] + self._map.areas[m]
        matched = int((possible & (closed == 2)).sum())
        self._pairs = self._pairs[(closed == 0) | (possible & (closed == 1))]
        self._pairs = _numbered(self._pairs, (self._truth.keep(self._pairs[:, 0]), self._map.keep(self._pairs[:, 1])))
        return np.array([truth, mapped, matched, truth_cut, map_cut], np.int64)


def _numbered(pairs: np.ndarray, numbers: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Pairs with other numbers, of the truth's and of the map's."""
    return np.stack([numbers[0][pairs[:, 0]], numbers[1][pairs[:, 1]], pairs[:, 2]], axis=1)


def _shared(truth: np.ndarray, mapped: np.ndarray) -> np.ndarray:
    """Pairs of pieces, from 0 on, that share pixels, and how many, (n, 3); a pair may come more than once."""
    import cv2

    # a piece of what both have lies in one of each
    both = ((truth > 0) & (mapped > 0)).view(np.uint8)
    number, pieces = cv2.connectedComponents(both, connectivity=4, ltype=cv2.CV_32S)
    out = np.zeros((number - 1, 3), np.int64)
    at = np.flatnonzero(both)
    own = pieces.ravel()[at] - 1
    out[own, 0], out[own, 1] = truth.ravel()[at] - 1, mapped.ravel()[at] - 1
    out[:, 2] = np.bincount(own, minlength=number - 1)
    return out


def _merged(pairs: np.ndarray) -> np.ndarray:
    """Pairs without repetition, with the sum of what they share."""
    # ravel() below: numpy 2.0.0 alone gives the inverse of rows two dimensions
    found, inverse = np.unique(pairs[:, :2], axis=0, return_inverse=True)
    sums = np.zeros(len(found), np.int64)
    np.add.at(sums, inverse.ravel(), pairs[:, 2])
    return np.concatenate([found, sums[:, None]], axis=1)
