"""Outlines of pieces of a raster, exact to the pixel, as valid polygons.

An outline is kept as its corners. On every line between rows, the corners of one piece, from left to right, are the
ends of its horizontal edges, two by two; on every line between columns, from top to bottom, those of its vertical ones.
Where two pixels of a piece meet in nothing but a corner, it counts twice, and the rings are laid so that each goes
around the background: no ring touches itself then, and a hole may touch the outer ring, or another hole, in single
points.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_MOST = 1 << 20  # corners that are put into rings at a time, unless a single piece has more


@dataclass(frozen=True)
class Corners:
    """Corners of pieces.

    Attributes:
        piece: (n,) int32, number of the piece.
        y: (n,) int32, line between rows, counted from the raster's top.
        x: (n,) int32, twice the line between columns, and 1 more for corners of pixels at the top left and bottom right
            of the point. Where a corner counts twice, it tells whether the two pixels are those, or the other two: only
            at the end is known which pieces are one.
    """

    piece: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @classmethod
    def none(cls) -> "Corners":
        """No corners."""
        return cls(*(np.zeros(0, np.int32) for _ in range(3)))

    def __len__(self) -> int:
        return len(self.piece)

    def at(self, chosen: np.ndarray | slice) -> "Corners":
        """Some of them."""
        return Corners(self.piece[chosen], self.y[chosen], self.x[chosen])

    def renumbered(self, numbers: np.ndarray) -> "Corners":
        """With the new number of each old one."""
        return Corners(numbers[self.piece], self.y, self.x)

    def and_those(self, others: "Corners") -> "Corners":
        """With others behind them."""
        pairs = zip((self.piece, self.y, self.x), (others.piece, others.y, others.x), strict=True)
        return Corners(*(np.concatenate(pair) for pair in pairs))

    def sorted(self) -> "Corners":
        """Piece by piece, each in the order it was in."""
        return self.at(np.argsort(self.piece, kind="stable"))


def find_corners(numbers: np.ndarray, top: int, noded: bool = False) -> Corners:
    """Corners on the lines between rows, from top to bottom and from left to right.

    Args:
        numbers: (h + 1, W) int32 pieces from 1 on, 0 for none; the first line is that between the first two rows.
        top: number of that line.
        noded: also points where a straight border of a piece meets the border between two others, as two corners with
            nothing between them.
    """
    # nothing on both sides, so that pieces end at the edge of the raster, too
    padded = np.pad(numbers, ((0, 0), (1, 1)))
    across = padded[:, 1:] == padded[:, :-1]  # (h + 1, W + 1)
    down = padded[1:] == padded[:-1]  # (h, W + 2)
    straight = (across[:-1] & across[1:]) | (down[:, :-1] & down[:, 1:])
    rows, columns = np.nonzero(~straight)
    a, b = padded[rows, columns], padded[rows, columns + 1]
    c, d = padded[rows + 1, columns], padded[rows + 1, columns + 1]
    above, below, left, right = a == b, c == d, a == c, b == d
    if not len(a):
        return Corners.none()
    # a quadrant has a corner where it differs from both neighbours, or is like both, and the one opposite is not
    found = [
        (above & left & (a != d)) | ~(above | left),
        (above & right & (b != c)) | ~(above | right),
        (below & left & (c != b)) | ~(below | left),
        (below & right & (d != a)) | ~(below | right),
    ]
    pixels = [a, b, c, d]
    if noded:
        crossings = [(above & ~(below | left | right), a), (below & ~(above | left | right), c)]
        crossings += [(left & ~(right | above | below), a), (right & ~(left | above | below), b)]
        for node, pixel in crossings:
            found += [node, node]
            pixels += [pixel, pixel]
    at, which = np.nonzero(np.stack(found, axis=1) & (np.stack(pixels, axis=1) > 0))
    piece = np.stack(pixels, axis=1)[at, which]
    y, x = rows[at].astype(np.int32) + np.int32(top), columns[at].astype(np.int32)
    return Corners(piece, y, 2 * x + ((which == 0) | (which == 3)))


@dataclass(frozen=True)
class Rings:
    """Closed rings, without their first point again at the end.

    Attributes:
        points: (n, 2) int32, column and row lines.
        begins: (r + 1,) int64, where each ring begins.
        piece: (r,) int32, whose they are; the outer ring of a piece is the first of its rings.
    """

    points: np.ndarray
    begins: np.ndarray
    piece: np.ndarray

    def without_repeats(self) -> "Rings":
        """Of points that stand several times in a row, as where a straight border has a node, one each."""
        before = np.arange(len(self.points)) - 1
        before[self.begins[:-1]] = self.begins[1:] - 1
        kept = (self.points != self.points[before]).any(axis=1)
        return Rings(self.points[kept], np.concatenate([[0], np.cumsum(kept)])[self.begins], self.piece)


def rings_of(corners: Corners) -> Iterator[Rings]:
    """Corners of whole pieces as rings, some pieces at a time.

    Outer rings go against the clock on a raster whose rows go down, holes with it. Corners come piece by piece, and
    each from top to bottom and from left to right.
    """
    ends = np.append(np.flatnonzero(np.diff(corners.piece)) + 1, len(corners))
    begin = 0
    while begin < len(corners):
        reach = np.searchsorted(ends, begin + _MOST, side="right") - 1
        end = int(ends[reach]) if reach >= 0 and ends[reach] > begin else int(ends[reach + 1])
        yield _traced(corners.at(slice(begin, end)))
        begin = end


def _traced(corners: Corners) -> Rings:
    # a memoryview, which gives Python's own numbers: of an array each would be made an object of NumPy's
    following = _following(corners).data
    count = len(corners)
    seen, visited, begins = bytearray(count // 2), array("i"), array("q", [0])
    add = visited.append
    # even corners only: every ring has a horizontal edge, and begins at its left end
    for first in range(0, count, 2):
        if seen[first >> 1]:
            continue
        at = first
        while True:
            seen[at >> 1] = 1
            add(at)
            at = following[at]
            if at == first:
                break
        begins.append(len(visited))
    edges = np.frombuffer(visited, np.int32)
    order = np.empty(2 * len(edges), np.int32)
    # the two ends of a horizontal edge are the corners 2 k and 2 k + 1
    order[0::2], order[1::2] = edges, edges ^ 1
    points = np.stack([corners.x[order] >> 1, corners.y[order]], axis=1)
    starts = 2 * np.frombuffer(begins, np.int64)
    piece = corners.piece[order[starts[:-1]]]
    return _turned(Rings(points, starts, piece))


def _following(corners: Corners) -> np.ndarray:
    """(n,) int32, from each corner along its horizontal edge, and then along the vertical one."""
    # int64: the number of pieces times that of columns may go beyond int32
    columns = np.int64(corners.x.max()) // 2 + 1
    # by piece, then column; stable, so that rows stay from top to bottom
    order = np.argsort(corners.piece.astype(np.int64) * columns + (corners.x >> 1), kind="stable").astype(np.int32)
    piece, y, x = corners.piece[order], corners.y[order], corners.x[order]
    twice = (piece[1:] == piece[:-1]) & (y[1:] == y[:-1]) & (x[1:] == x[:-1]) & (x[1:] & 1 == 1)
    swapped = np.flatnonzero(twice)
    # both on the right are copies, so that this swaps them
    order[swapped], order[swapped + 1] = order[swapped + 1], order[swapped]
    below = np.empty(len(order), np.int32)
    below[order[0::2]], below[order[1::2]] = order[1::2], order[0::2]
    return below[np.arange(len(order), dtype=np.int32) ^ 1]


def _turned(rings: Rings) -> Rings:
    """All begin at the top left and go right: outer ones are turned around."""
    outer = np.concatenate([[True], rings.piece[1:] != rings.piece[:-1]])
    turned = np.repeat(outer, np.diff(rings.begins))
    order = np.where(turned, _reversed_within(rings.begins), np.arange(len(rings.points)))
    return Rings(rings.points[order], rings.begins, rings.piece)


def polygons_of(rings: Rings, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rings of whole pieces as (p,) numbers of pieces, and (p,) their `Polygon`s.

    The matrix, (3, 3), leads from (column, row, 1) to coordinates.
    """
    import shapely

    places = rings.points @ matrix[:2, :2].T + matrix[:2, 2]
    if np.linalg.det(matrix[:2, :2]) > 0:  # rows go up: what went against the clock goes with it
        places = places[_reversed_within(rings.begins)]
    number = np.repeat(np.arange(len(rings.piece)), np.diff(rings.begins))
    lines = shapely.linearrings(places, indices=number)
    pieces, of = np.unique(rings.piece, return_inverse=True)
    return pieces, shapely.polygons(lines, indices=of)


def _reversed_within(begins: np.ndarray) -> np.ndarray:
    lengths = np.diff(begins)
    within = np.arange(begins[-1]) - np.repeat(begins[:-1], lengths)
    return np.repeat(begins[1:], lengths) - 1 - within
