"""Outlines of pixels as right-angled ones, as buildings are surveyed.

The main direction of an outline is that to which its edges, or their perpendiculars, are nearest: without the steps of
pixels (Douglas-Peucker), each edge counts by its length as exp(4 i angle), of which the sum has four times the angle
that is looked for. Lines through the longest sides, by least squares, then settle it. In that direction the outline
falls into runs that go along or across, each of which becomes a straight edge where the outline is in the mean, so that
its area stays. Edges shorter than the tolerance go, the shortest first: of a step, the edges on both sides become one
between them; a narrow projection or bay is cut off at its shorter side. What remains of corners is where edges meet.
Holes keep to the direction of the outer ring.
"""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from shapely import Polygon

# intersection over union with the outline of the pixels, below which a right-angled one does not stand for it
LEAST = 0.85

STAIRS = 1.5  # pixels by which their steps leave a straight side, at most

# points above which no building has an outline; Douglas-Peucker may take time that grows with their square
MOST = 100_000

_LONGEST = 32  # sides that settle the direction


def right_angled(polygon: "Polygon", tolerance: float, pixel: float) -> "Polygon | None":
    """A valid polygon with right angles only, outer ring against the clock, in place of one along pixels.

    Edges shorter than the tolerance go, and holes smaller than its square; it and a pixel's side are in units of the
    coordinates, in which right angles are to be right. None where no such polygon has an intersection over union with
    the given one of at least `LEAST`, and of outlines of more than `MOST` points.
    """
    import shapely

    whole = shapely.get_coordinates(polygon)
    if len(whole) > MOST:
        return None
    # from the middle: products of coordinates in the millions lose the digits that tell areas apart
    origin = whole.mean(axis=0)
    near = shapely.transform(polygon, lambda points: points - origin)
    rings = [shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(near)]
    places = [_without_stairs(ring, STAIRS * pixel) for ring in rings]
    for angle in _directions(near, rings[0], places[0], tolerance):
        turn = _turn(angle)
        along = [_Ring(ring @ turn, place) for ring, place in zip(rings, places, strict=True)]
        own = shapely.transform(near, lambda points, turn=turn: points @ turn)
        found = _polygon(along, tolerance)
        if found is not None and _near_enough(found, own):
            placed = shapely.transform(found, lambda points, turn=turn: points @ turn.T + origin)
            return shapely.orient_polygons(placed) if shapely.is_valid(placed) else None
    return None


@dataclass(frozen=True)
class _Ring:
    """A ring turned so that its main direction is that of x: (n, 2) points, without the first again at the end.

    `places` are, ascending, those of the points that remain without the steps of pixels.
    """

    points: np.ndarray
    places: np.ndarray

    def area(self) -> float:
        # the shoelace formula, whichever way the ring goes
        x, y = self.points.T
        return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


@dataclass(frozen=True)
class _Runs:
    """Parts of a ring that go along x and along y in turns.

    Attributes:
        points: (n, 2) of the ring, from the begin of the first run on.
        begins: (r,) place of each run's first point; r is even, and at least 4.
        first: axis that the first run goes along, 0 or 1.
    """

    points: np.ndarray
    begins: np.ndarray
    first: int

    def axis(self, run: int) -> int:
        """That a run goes along."""
        return (self.first + run) % 2

    def of(self, run: int) -> np.ndarray:
        """(m, 2) points of a run, with the first of the next one; along its axis, and across it."""
        end = self.begins[run + 1] + 1 if run + 1 < len(self.begins) else len(self.points) + 1
        places = np.arange(self.begins[run], end) % len(self.points)
        axis = self.axis(run)
        return self.points[places][:, [axis, 1 - axis]]


def _turn(angle: float) -> np.ndarray:
    """(2, 2) by which points are multiplied from the right, so that a direction becomes that of x."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def _without_stairs(ring: np.ndarray, most: float) -> np.ndarray:
    """(k,) places of the points that Douglas and Peucker's way leaves, ascending."""
    import shapely

    left = shapely.get_coordinates(shapely.simplify(shapely.linearrings(ring), most, preserve_topology=False))[:-1]
    # as complex numbers, which can be sorted and found: the points that are left have not moved
    known, wanted = ring @ (1, 1j), left @ (1, 1j)
    order = np.argsort(known)
    return np.sort(order[np.searchsorted(known[order], wanted)])


def _directions(polygon: "Polygon", ring: np.ndarray, places: np.ndarray, tolerance: float) -> Iterator[float]:
    """Angles of x's new direction, the likeliest first."""
    import shapely

    if len(places) >= 3:
        corners = ring[places]
        edges = (np.roll(corners, -1, axis=0) - corners) @ (1, 1j)
        lengths = np.abs(edges)
        yield _settled(float(np.angle((lengths * (edges / lengths) ** 4).sum())) / 4, ring, places, tolerance)
    box = shapely.get_coordinates(shapely.oriented_envelope(polygon))
    yield math.atan2(*(box[1] - box[0])[::-1])


def _settled(angle: float, ring: np.ndarray, places: np.ndarray, tolerance: float) -> float:
    """The direction of long sides near to an angle."""
    # again from a better direction, in which the ring may fall into other runs
    for _ in range(2):
        runs = _runs_of(_Ring(ring @ _turn(angle), places))
        if runs is None:
            return angle
        corners = runs.points[runs.begins]
        lengths = np.abs(np.roll(corners, -1, axis=0) - corners).max(axis=1)
        longest = np.argsort(-lengths, kind="stable")[:_LONGEST].tolist()
        slopes = [_slope(runs, run, tolerance) for run in longest]
        weight = sum(each for _, each in slopes)
        if not weight:
            return angle
        angle += math.atan(sum(slope * each for slope, each in slopes) / weight)
    return angle


def _slope(runs: _Runs, run: int, tolerance: float) -> tuple[float, float]:
    """Of the line through a run, in turned coordinates, and what it weighs: least squares err by length ** -1.5."""
    x, y = runs.of(run).T
    low, high = float(x.min()), float(x.max())
    extent, trim = high - low, min(tolerance, (high - low) / 8)  # corners may be blunt
    if extent < 2 * tolerance:
        return 0.0, 0.0
    across = np.diff(x) != 0
    rise = np.diff(y)[across] / np.diff(x)[across]
    ends = np.stack([x[:-1][across], x[1:][across]])
    inside = np.clip(ends, low + trim, high - trim)
    heights = y[:-1][across] + rise * (inside - ends[0])
    # integrals along x over every edge, of which only a middle would tell nothing of a side without a step
    wide, up = np.diff(inside, axis=0)[0], np.diff(heights, axis=0)[0]
    middle, level = inside.mean(0), heights.mean(0)
    weights = np.abs(wide)
    middle, level = middle - weights @ middle / weights.sum(), level - weights @ level / weights.sum()
    slope = float(weights @ (middle * level + wide * up / 12) / (weights @ (middle**2 + wide**2 / 12)))
    # extent ** 3, the inverse square of the error
    return (slope if runs.axis(run) == 0 else -slope), extent**3


def _runs_of(ring: _Ring) -> _Runs | None:
    """The runs of a ring; None where it does not go both ways at least twice."""
    corners = ring.points[ring.places]
    steps = np.abs(np.roll(corners, -1, axis=0) - corners)
    axes = (steps[:, 1] > steps[:, 0]).astype(int)
    turns = np.flatnonzero(axes != np.roll(axes, 1))
    if len(turns) < 4:
        return None
    begins = ring.places[turns]
    return _Runs(np.roll(ring.points, -begins[0], axis=0), begins - begins[0], int(axes[turns[0]]))


def _polygon(rings: list[_Ring], tolerance: float) -> "Polygon | None":
    """Right-angled along x and y; None where there is none."""
    import shapely

    shell, *holes = rings
    outer = _squared(shell, tolerance)
    inner = [_squared(hole, tolerance) for hole in holes if hole.area() >= tolerance**2]
    polygon = shapely.Polygon(outer, inner)
    if not shapely.is_valid(polygon) and inner:
        # a hole that reaches the outer ring, or another one, opens into it
        parts = [shapely.Polygon(each) for each in (outer, *inner)]
        if not shapely.is_valid(parts).all():
            return None
        polygon = shapely.difference(parts[0], shapely.union_all(parts[1:]))
    single = isinstance(polygon, shapely.Polygon) and not polygon.is_empty
    return polygon if single and shapely.is_valid(polygon) else None


def _squared(ring: _Ring, tolerance: float) -> np.ndarray:
    """(n, 2) corners of a ring along x and y; of a small one that has no sides, those of a rectangle of its area."""
    runs = _runs_of(ring)
    if runs is not None:
        return _Edges(runs, tolerance).corners()
    low, high = ring.points.min(axis=0), ring.points.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2
    half = half * math.sqrt(ring.area() / (4 * half.prod()))
    return middle + half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])


class _Edges:
    """A ring of edges along x and along y in turns, from which short ones are taken."""

    def __init__(self, runs: _Runs, tolerance: float) -> None:
        count = len(runs.begins)
        self.first, self.tolerance = runs.first, tolerance
        self.before, self.behind = ([(run + step) % count for run in range(count)] for step in (-1, 1))
        # where each lies across its own axis, and how long a part of the outline it stands for
        self.place, self.weight = [0.0] * count, [0.0] * count
        for run in range(count):
            self.place[run], self.weight[run] = _level(runs.of(run))
        self.there = [True] * count
        self.count = count

    def corners(self) -> np.ndarray:
        """(n, 2), after all short edges have gone, or four are left."""
        waiting = [(self._length(edge), edge) for edge in range(self.count)]
        heapq.heapify(waiting)
        # four edges are a rectangle, of which none can go
        while waiting and self.count > 4:
            length, edge = heapq.heappop(waiting)
            if length >= self.tolerance:
                break
            # else an entry that is out of date: a heap gives none back when an edge becomes longer or goes
            if self.there[edge] and length == self._length(edge):
                for changed in self._without(edge):
                    heapq.heappush(waiting, (self._length(changed), changed))
        edge, out = self.there.index(True), []
        for _ in range(self.count):
            following = self.behind[edge]
            level, meeting = self.place[edge], self.place[following]
            out.append((meeting, level) if (self.first + edge) % 2 == 0 else (level, meeting))
            edge = following
        return np.array(out)

    def _step(self, edge: int) -> float:
        """How far it goes along its axis, and which way."""
        return self.place[self.behind[edge]] - self.place[self.before[edge]]

    def _length(self, edge: int) -> float:
        return abs(self._step(edge))

    def _without(self, edge: int) -> list[int]:
        """Take an edge out; those whose length is another now come back."""
        before, behind = self.before[edge], self.behind[edge]
        if self._step(before) * self._step(behind) >= 0:  # a step
            weights = self.weight[before], self.weight[behind]
            total = sum(weights)
            share = weights[1] / total if total else 0.5
            return self._joined(edge, self.place[before] * (1 - share) + self.place[behind] * share, total)
        # a narrow end of something, which is cut off where the shorter of its sides begins
        side = min(before, behind, key=self._length)
        base = self.before[side] if side == before else self.behind[side]
        return self._joined(side, self.place[base], self.weight[base])

    def _joined(self, edge: int, place: float, weight: float) -> list[int]:
        """Make one of the edges on both sides."""
        one, other = self.before[edge], self.behind[edge]
        following = self.behind[other]
        self.there[edge] = self.there[other] = False
        self.behind[one], self.before[following] = following, one
        self.place[one], self.weight[one] = place, weight
        self.count -= 2
        return [self.before[one], one, following]


def _level(points: np.ndarray) -> tuple[float, float]:
    """Where a run lies in the mean across its axis, so that the area beside it stays, and its length."""
    steps = np.diff(points[:, 0])
    middle = (points[1:, 1] + points[:-1, 1]) / 2
    length, total = float(steps.sum()), float(np.abs(steps).sum())
    # of one that goes there and back again, there is no such place
    weights = steps if abs(length) > total / 2 else np.abs(steps)
    low, high = float(points[:, 1].min()), float(points[:, 1].max())
    level = float((weights * middle).sum() / weights.sum()) if total else (low + high) / 2
    return min(max(level, low), high), abs(length)


def _near_enough(found: "Polygon", own: "Polygon") -> bool:
    import shapely

    common = shapely.area(shapely.intersection(found, own))
    return common >= LEAST * (shapely.area(found) + shapely.area(own) - common)
