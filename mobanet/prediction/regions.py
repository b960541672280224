"""Pieces of a map with what is known of each, in memory that the map's height does not change.

Rows come from top to bottom. Pieces that touch the last row so far are open: their sums and the corners of their
outlines wait for the rows below, and where two of them meet there they become one. All others are finished, and leave.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from mobanet.prediction.strips import MapStrip, MapStrips, areas_of
from mobanet.rasters.components import label_pieces, touching, united
from mobanet.rasters.outlines import Corners, find_corners
from mobanet.stitching.blending import NOTHING

_MANY = 500_000
"""Pieces of a strip above which it is halved, which bounds memory also where nothing hangs together."""


@dataclass(frozen=True)
class Regions:
    """Pieces that are finished.

    Attributes:
        value: (n,) uint8, class of each.
        pixels: (n,) int64.
        area: (n,) square metres on the ground; NaN where the map has no place on the earth.
        confidence: (n,) mean over the pixels; NaN where it is not known.
        scenarios: (n, S) int64, pixels predicted in each of the scenarios `numbers`.
        numbers: (S,) numbers of the scenarios that there were so far, ascending.
        corners: of their outlines, piece by piece, numbered from 0.
    """

    value: np.ndarray
    pixels: np.ndarray
    area: np.ndarray
    confidence: np.ndarray
    scenarios: np.ndarray
    numbers: np.ndarray
    corners: Corners

    @classmethod
    def none(cls) -> "Regions":
        """No pieces, of arrays of all the types."""
        floats, counts = np.zeros(0), np.zeros(0, np.int64)
        one = np.zeros((0, 1), np.int64), np.zeros(1, np.int64)  # a scenario, as of none no largest can be taken
        return cls(np.zeros(0, np.uint8), counts, floats, floats, *one, Corners.none())

    def __len__(self) -> int:
        """Number of pieces."""
        return len(self.value)


@dataclass(frozen=True)
class _Sums:
    """Over the pixels of pieces, (n,) each; `scenarios` (n, S), of those scenarios that there are so far."""

    pixels: np.ndarray
    area: np.ndarray
    confidence: np.ndarray
    scenarios: np.ndarray

    @classmethod
    def over(cls, labels: np.ndarray, count: int, strip: MapStrip, here: list[int], numbers: list[int]) -> "_Sums":
        """Of the pieces 1 to `count` of a strip, (h, W), that has the scenarios `here` of those of the columns."""

        def total(weights: np.ndarray | None, chosen: np.ndarray | None = None) -> np.ndarray:
            flat = labels.ravel() if chosen is None else labels[chosen]
            return np.bincount(flat, None if weights is None else weights.ravel(), count + 1)[1:]

        pixels = total(None)
        area = np.full(count, np.nan) if strip.area is None else areas_of(labels, pixels, strip.area)
        confidence = np.full(count, np.nan) if strip.confidence is None else total(strip.confidence)
        seen = np.zeros((count, len(numbers)), np.int64)
        for number in here:
            alone = len(here) == 1
            seen[:, numbers.index(number)] = pixels if alone else total(None, strip.scenarios == number)
        return cls(pixels, area, confidence, seen)

    def joined(self, others: "_Sums", members: np.ndarray, count: int) -> "_Sums":
        """These, and others behind them, as sums of `count` pieces, whose new numbers are `members`."""
        out = []
        for field in fields(self):
            one, other = getattr(self, field.name), getattr(others, field.name)
            if one.ndim == 2:
                # of scenarios that were first met since then
                one = np.pad(one, ((0, 0), (0, other.shape[1] - one.shape[1])))
            total = np.zeros((count, *other.shape[1:]), other.dtype)
            # not +=, which would count a piece that comes several times once
            np.add.at(total, members, np.concatenate([one, other]))
            out.append(total)
        return _Sums(*out)

    def at(self, chosen: np.ndarray) -> "_Sums":
        """Some of them."""
        return _Sums(*(getattr(self, field.name)[chosen] for field in fields(self)))


def find_regions(strips: MapStrips, noded: bool = False) -> Iterator[Regions]:
    """The pieces of a map, as they are finished.

    `noded` outlines have a point wherever three pieces meet, which borders that are to stay shared need.
    """
    open_pieces = _Open(noded)
    for strip in strips:
        yield from open_pieces.add(strip)
    yield from open_pieces.finish()


class _Open:
    """The pieces that touch the last row so far, numbered from 1 in `last`."""

    def __init__(self, noded: bool) -> None:
        self.noded = noded
        self.numbers: list[int] = []
        """Of the scenarios that there were so far, in the order of their columns in the sums."""
        self.last: np.ndarray | None = None
        self.value = np.zeros(0, np.uint8)
        self.sums = _Sums(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros((0, 0), np.int64))
        self.corners = Corners.none()
        self.top = 0

    def add(self, strip: MapStrip) -> Iterator[Regions]:
        """Take the next rows; what they finish comes back."""
        labels, value = label_pieces(strip.classes)
        if len(value) > _MANY and len(labels) > 1:  # of noise, a pixel may have four corners to itself
            half = len(labels) // 2
            for rows in (slice(0, half), slice(half, len(labels))):
                yield from self.add(strip.rows(rows))
            return
        last = np.zeros(labels.shape[1], np.int32) if self.last is None else self.last
        own, number = len(self.value), len(value)
        values = np.concatenate([self.value, value])
        # in front, since 0 in the last row is a pixel without a class, which no piece goes on from
        alike = np.append(NOTHING, self.value)[last] == strip.classes[0]
        pairs = touching(last, labels[0], alike) - 1
        roots = united(own + number, ((above, own + below) for above, below in pairs.tolist()))
        kept, members = np.unique(roots, return_inverse=True)
        here = np.flatnonzero(np.bincount(strip.scenarios.ravel(), minlength=256)[:NOTHING]).tolist()
        self.numbers += [number for number in here if number not in self.numbers]
        sums = self.sums.joined(_Sums.over(labels, number, strip, here, self.numbers), members, len(kept))
        renumbered = np.concatenate([[0], members + 1]).astype(np.int32)
        pieces = np.concatenate([[0], renumbered[own + 1 :]]).astype(np.int32)[labels]
        above = renumbered[last]
        corners = find_corners(np.concatenate([above[None], pieces]), strip.top, self.noded)
        # by the numbers of the pieces less 1
        corners = self.corners.renumbered(members.astype(np.int32)).and_those(_from_zero(corners))
        yield from self._part(values[kept], sums, corners, pieces[-1])
        self.top = strip.top + len(labels)

    def finish(self) -> Iterator[Regions]:
        """What is left below the last row."""
        if self.last is None:
            return
        below = np.stack([self.last, np.zeros_like(self.last)])
        corners = self.corners.and_those(_from_zero(find_corners(below, self.top, self.noded)))
        yield from self._part(self.value, self.sums, corners, below[1])

    def _part(self, value: np.ndarray, sums: _Sums, corners: Corners, last: np.ndarray) -> Iterator[Regions]:
        """Keep what touches the last row, and give out the rest."""
        still = np.zeros(len(value) + 1, bool)
        still[last] = True
        # without what pixels without a class have marked
        still = still[1:]
        order = np.empty(len(value), np.int32)
        order[still] = np.arange(np.count_nonzero(still))
        order[~still] = np.arange(np.count_nonzero(~still))
        staying = still[corners.piece]
        done, done_sums = corners.at(~staying).renumbered(order).sorted(), sums.at(~still)
        self.corners = corners.at(staying).renumbered(order)
        self.value, self.sums = value[still], sums.at(still)
        self.last = np.concatenate([[0], order + 1]).astype(np.int32)[last]
        if len(done_sums.pixels):
            # only now: sums can be added up across strips, and means cannot
            mean = done_sums.confidence / done_sums.pixels
            by_number = np.argsort(self.numbers)
            seen = done_sums.scenarios[:, by_number], np.array(self.numbers, np.int64)[by_number]
            yield Regions(value[~still], done_sums.pixels, done_sums.area, mean, *seen, done)


def _from_zero(corners: Corners) -> Corners:
    return Corners(corners.piece - np.int32(1), corners.y, corners.x)
