"""A slightly bent street grid, and coordinates that follow it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Plot:
    """A rectangle in street coordinates, metres: u from `u0` to `u1`, v from `v0` to `v1`."""

    u0: float
    u1: float
    v0: float
    v1: float

    @classmethod
    def around(cls, u: float, v: float, half_width: float, half_depth: float) -> "Plot":
        """The plot about a middle point."""
        return cls(u - half_width, u + half_width, v - half_depth, v + half_depth)

    @property
    def width(self) -> float:
        """Metres along u."""
        return self.u1 - self.u0

    @property
    def depth(self) -> float:
        """Metres along v."""
        return self.v1 - self.v0

    @property
    def centre(self) -> tuple[float, float]:
        """Middle point (u, v)."""
        return (self.u0 + self.u1) / 2, (self.v0 + self.v1) / 2

    def holds(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Mask of the points (u, v) that lie in the plot."""
        return (u >= self.u0) & (u < self.u1) & (v >= self.v0) & (v < self.v1)

    def inset(self, distance: float) -> "Plot":
        """The plot less a margin on every side."""
        return Plot(self.u0 + distance, self.u1 - distance, self.v0 + distance, self.v1 - distance)

    def part(self, u0: float, u1: float, v0: float, v1: float) -> "Plot":
        """A part given in shares (0…1) of the plot."""
        return Plot(
            self.u0 + u0 * self.width, self.u0 + u1 * self.width, self.v0 + v0 * self.depth, self.v0 + v1 * self.depth
        )

    def point(self, rng: np.random.Generator, margin: float = 0.0) -> tuple[float, float]:
        """A random point at least `margin` metres from the sides (the middle where the plot is too small for that)."""
        room = self.inset(min(margin, self.width / 2, self.depth / 2))
        return rng.uniform(room.u0, room.u1), rng.uniform(room.v0, room.v1)


@dataclass(frozen=True)
class Frame:
    """A right-angled grid turned by `angle` about `centre` and bent by two sine shears, which invert exactly.

    Attributes:
        centre: (x, y) metres of the point (0, 0) of the street coordinates.
        angle: radians from x to u.
        bends: for each shear amplitude in metres, wave number in 1/metre, phase in radians.
    """

    centre: tuple[float, float]
    angle: float
    bends: tuple[tuple[float, float, float], tuple[float, float, float]]

    def to_streets(
        self, x: np.ndarray | np.float32 | float, y: np.ndarray | np.float32 | float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Street coordinates (u, v) of tile coordinates (x, y), metres."""
        # in float32 throughout: one float64 of NumPy's would make a whole window so
        across, down = x - np.float32(self.centre[0]), y - np.float32(self.centre[1])
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        p, q = across * cos + down * sin, down * cos - across * sin
        (a, k, s), (b, m, t) = (np.asarray(bend, np.float32) for bend in self.bends)
        # the shears of `to_tile` undone, the last one first
        v = q - b * np.sin(p * m + t)
        return p - a * np.sin(v * k + s), v

    def to_tile(self, u: float, v: float) -> tuple[float, float]:
        """Tile coordinates (x, y) of street coordinates (u, v), metres."""
        (a, k, s), (b, m, t) = self.bends
        p = u + a * np.sin(v * k + s)
        q = v + b * np.sin(p * m + t)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return float(p * cos - q * sin + self.centre[0]), float(p * sin + q * cos + self.centre[1])

    def place(self, u: float, v: float, turn: float = 0.0) -> tuple[float, float, float]:
        """Tile coordinates and direction (x, y, angle) of a thing at (u, v) turned by `turn` from the u axis."""
        x, y = self.to_tile(u, v)
        # follow v where the thing stands across: the shears do not keep right angles
        step = (np.cos(turn), np.sin(turn))
        ahead = self.to_tile(u + step[0], v + step[1])
        return x, y, float(np.arctan2(ahead[1] - y, ahead[0] - x))

    def bounds(self, plot: Plot) -> tuple[float, float, float, float]:
        """x0, x1, y0, y1 of a box of tile coordinates that holds the plot."""
        # along the sides, too, since bends carry them beyond the corners
        shares = np.linspace(0, 1, 5)
        points = [
            self.to_tile(plot.u0 + i * plot.width, plot.v0 + j * plot.depth)
            for i in shares
            for j in shares
            if i in (0, 1) or j in (0, 1)
        ]
        x, y = zip(*points, strict=True)
        return min(x) - 0.5, max(x) + 0.5, min(y) - 0.5, max(y) + 0.5


@dataclass(frozen=True)
class Street:
    """A straight line in street coordinates, at one value of u or v, with the width of its carriageway in metres."""

    at: float
    width: float


@dataclass(frozen=True)
class Block:
    """The ground between four streets, sidewalks included, and its number in the grid."""

    plot: Plot
    column: int
    row: int


@dataclass(frozen=True)
class StreetGrid:
    """The streets of a tile.

    Attributes:
        frame: coordinates that follow the streets.
        columns: streets of constant u, in order.
        rows: streets of constant v, in order.
    """

    frame: Frame
    columns: tuple[Street, ...]
    rows: tuple[Street, ...]

    def on_street(self, u: float, v: float) -> bool:
        """Whether a point lies on a carriageway or within two metres of one."""
        return any(abs(u - street.at) < street.width / 2 + 2 for street in self.columns) or any(
            abs(v - street.at) < street.width / 2 + 2 for street in self.rows
        )

    def blocks(self) -> Iterator[Block]:
        """Every piece of ground between streets."""
        for i, across in enumerate(_between(self.columns)):
            for j, down in enumerate(_between(self.rows)):
                yield Block(Plot(*across, *down), i, j)

    def segments(self) -> Iterator[tuple[Plot, bool, Street, int]]:
        """Every stretch of street between two crossings: its plot, whether it runs along v, its street and number."""
        for along_v, streets, others in ((True, self.columns, self.rows), (False, self.rows, self.columns)):
            for number, street in enumerate(streets):
                across = street.at - street.width / 2, street.at + street.width / 2
                for along in _between(others):
                    yield Plot(*across, *along) if along_v else Plot(*along, *across), along_v, street, number


def _between(streets: tuple[Street, ...]) -> list[tuple[float, float]]:
    """Where the ground between two streets begins and ends."""
    return [(one.at + one.width / 2, other.at - other.width / 2) for one, other in pairwise(streets)]


def _lines(
    rng: np.random.Generator, reach: float, start: float, pitch: tuple[float, float], main: float
) -> tuple[Street, ...]:
    positions = [start]
    while positions[-1] < reach:
        positions.append(positions[-1] + rng.uniform(*pitch))
    while positions[0] > -reach:
        positions.insert(0, positions[0] - rng.uniform(*pitch))
    return tuple(Street(at, rng.uniform(8, 10) if rng.random() < main else rng.uniform(5.2, 7)) for at in positions)


def draw_grid(rng: np.random.Generator, extent: tuple[float, float]) -> StreetGrid:
    """A random grid that covers a tile of `extent` (width, height) metres; a street always runs near its middle."""
    # half of the diagonal, as the grid lies at any angle, and more, as bends move streets
    reach = 0.55 * float(np.hypot(*extent)) + 12
    one, other = ((rng.uniform(1, 4), 2 * np.pi / rng.uniform(140, 320), rng.uniform(0, 2 * np.pi)) for _ in range(2))
    frame = Frame((extent[0] / 2, extent[1] / 2), rng.uniform(0, np.pi), (one, other))
    shift = min(0.28 * min(extent), 36.0)
    # measure the shift from where the bent frame really puts the tile's middle
    middle = frame.to_streets(np.float32(extent[0] / 2), np.float32(extent[1] / 2))
    columns = _lines(rng, reach, float(middle[0]) + rng.uniform(-shift, shift), (62, 90), 0.3)
    rows = _lines(rng, reach, float(middle[1]) + rng.uniform(-shift, shift) * 1.5, (72, 112), 0.2)
    return StreetGrid(frame, columns, rows)
