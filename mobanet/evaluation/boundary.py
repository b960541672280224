"""How well a map follows the boundaries of the truth: boundary IoU and boundary F1, from strips of whole tiles.

Both look at labelled pixels only: what a map says of ignored ones counts nowhere, neither as a class nor as the other
side of a boundary, and beyond a tile's edge there is nothing. All figures are sums over all tiles, like a confusion
matrix's, and distances are Euclidean, between the middles of pixels.

Boundary IoU (Cheng et al. 2021, Boundary IoU, arXiv 2103.16562): of each class the IoU of the pixels within a distance
of another class, on either map. Their code measures by chessboard distance, and takes an image's edge for a boundary.

Boundary F1 (Csurka et al. 2013, What is a good evaluation measure for semantic segmentation?): of each class the pixels
that have another class beside them are its contour; precision is the share of the map's contour within a distance of
the truth's contour of that class, recall the reverse. The paper takes the mean over images.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from mobanet.evaluation.metrics import mean_of, share_of
from mobanet.rasters.contents import IGNORE_INDEX, Classes

COUNTED = ("truth_band", "map_band", "both_bands", "truth_contour", "map_contour", "truth_matched", "map_matched")
"""What is counted of each class at each distance, in pixels: within the distance of another class in the truth, in the
map, in both; on the contour in the truth, in the map; and of these within the distance of the other one's."""


@dataclass(frozen=True)
class BoundaryScores:
    """Figures at one distance; a class has none (NaN) where neither map has a boundary of it, and is left out of means.

    Attributes:
        distance: in words.
        name: in names of metrics.
        pixels: the distance in pixels, the least and the most of all tiles.
        counts: (K, 7), `COUNTED`.
        iou: boundary IoU, one a class.
        precision: of the map's contour, one a class.
        recall: of the truth's contour, one a class.
        f1: of both, one a class.
        mean_iou: over the averaged classes.
        mean_f1: likewise.
    """

    distance: str
    name: str
    pixels: tuple[int, int]
    counts: tuple[tuple[int, ...], ...]
    iou: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    mean_iou: float
    mean_f1: float


def boundary_scores(
    distance: str, name: str, pixels: tuple[int, int], counts: Sequence[Sequence[int]], classes: Classes
) -> BoundaryScores:
    """All figures of what was counted at one distance, (K, 7) of `COUNTED`; other arguments as in `BoundaryScores`."""
    iou, precision, recall, f1 = [], [], [], []
    for truth, mapped, both, truth_contour, map_contour, truth_matched, map_matched in counts:
        iou.append(share_of(both, truth + mapped - both))
        precision.append(share_of(map_matched, map_contour))
        recall.append(share_of(truth_matched, truth_contour))
        f1.append(_f1(precision[-1], recall[-1]))
    averaged = [classes.names.index(each) for each in classes.averaged]
    rows = tuple(tuple(row) for row in counts)
    means = (mean_of([values[k] for k in averaged]) for values in (iou, f1))
    return BoundaryScores(distance, name, pixels, rows, tuple(iou), tuple(precision), tuple(recall), tuple(f1), *means)


def _f1(precision: float, recall: float) -> float:
    """0 where only one of the maps has a contour; NaN where none has."""
    there = [x for x in (precision, recall) if not math.isnan(x)]
    # a contour in one map alone matches nothing: its share is 0, and the other has none
    if len(there) < 2:
        return 0.0 if there else math.nan
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


class SharedTruths:
    """The truth's side of rows, alike in every scenario: made for the first of so many users, let go with the last."""

    def __init__(self, users: int) -> None:
        self.users = users
        self.reset()

    def reset(self) -> None:
        """Let go of all."""
        # each side with how many users are still to come for it
        self._held: dict[tuple[str, int], tuple[Side, int]] = {}

    def get(self, key: tuple[str, int], make: Callable[[], "Side"]) -> "Side":
        """The side of the rows that `key` names by their tile's id and how many times its rows were counted before."""
        # popped, and put back while anybody else is to come: the last user frees the memory
        side, left = self._held.pop(key, (None, self.users))
        side = side or make()
        if left > 1:
            self._held[key] = side, left - 1
        return side


class BoundaryRows:
    """Counts boundaries of a tile whose rows come from top to bottom.

    Rows wait until there are as many of them as the widest distance has pixels, so that none is looked at more than
    three times. Memory is up to four times that distance of rows, beside those that come, two bytes a pixel; while they
    are counted, about a dozen bytes a pixel more. It does not depend on the tile's height.

    Args:
        num_classes: K.
        distances: D, in pixels, at least 1.
        truths: shared with others that count the same tile at the same distances; None for nobody.
        tile: its id.
    """

    def __init__(
        self, num_classes: int, distances: Sequence[int], truths: SharedTruths | None = None, tile: str = ""
    ) -> None:
        self.num_classes, self.distances = num_classes, tuple(distances)
        self._truths, self._tile, self._blocks = truths or SharedTruths(1), tile, 0
        self._reach = max(distances) + 1  # of a contour, which has a pixel beside it
        self._rows: np.ndarray | None = None
        """(2, n, W) uint8, map and truth: rows that are still to be counted, and those above them in reach."""
        self._done = 0
        """Of these, how many are counted."""

    def add(self, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Take rows; what they complete comes back.

        Args:
            prediction: (h, W) uint8 class indices.
            label: (h, W) class indices, `IGNORE_INDEX` where a pixel does not count.

        Returns:
            (D, K, 7) int64, `COUNTED`.
        """
        # a byte a pixel, as rows wait in memory; labels may come wider
        label = label.astype(np.uint8)
        # ignored in the map, too, so that no class of the map ends there
        both = np.stack([np.where(label == IGNORE_INDEX, np.uint8(IGNORE_INDEX), prediction), label])
        self._rows = both if self._rows is None else np.concatenate([self._rows, both], axis=1)
        # from this row on, not all that is in reach has come
        last = self._rows.shape[1] - self._reach
        if last - self._done < self._reach:
            return np.zeros((len(self.distances), self.num_classes, len(COUNTED)), np.int64)
        return self._count(self._rows, last)

    def finish(self) -> np.ndarray:
        """What is left of a tile that has no further row, as from `add`."""
        if self._rows is None:
            return np.zeros((len(self.distances), self.num_classes, len(COUNTED)), np.int64)
        return self._count(self._rows, self._rows.shape[1])

    def _count(self, rows: np.ndarray, last: int) -> np.ndarray:
        prediction, label = rows
        truth = self._truths.get((self._tile, self._blocks), lambda: self._side(label))
        found = boundary_counts(truth, self._side(prediction), slice(self._done, last))
        self._blocks += 1
        first = max(last - self._reach, 0)
        self._rows, self._done = rows[:, first:].copy(), last - first  # a view would keep all the rows
        return found

    def _side(self, classes: np.ndarray) -> "Side":
        return Side(classes, self.distances, self.num_classes)


def boundary_counts(truth: "Side", mapped: "Side", rows: slice) -> np.ndarray:
    """Count the boundaries of some rows.

    Args:
        truth: rows of the truth.
        mapped: of the map, as ignored where the truth is.
        rows: which are counted; others are looked at.

    Returns:
        (D, K, 7) int64, `COUNTED`.
    """
    # only where both name the same class is a pixel of both bands in the intersection
    alike = truth.classes == mapped.classes
    found = []
    for number in range(len(truth.bands)):
        both = truth.bands[number] & mapped.bands[number] & alike
        matched = [
            truth.contour & mapped.has_contour_near(truth, number),
            mapped.contour & truth.has_contour_near(mapped, number),
        ]
        first = truth.by_class(rows, truth.bands[number], both, truth.contour, matched[0])
        second = mapped.by_class(rows, mapped.bands[number], mapped.contour, matched[1])
        # in the order of `COUNTED`
        found.append([first[0], second[0], first[1], first[2], second[1], first[3], second[2]])
    return np.array(found, np.int64).transpose(0, 2, 1)


class Side:
    """Some rows of the truth or of the map, and what is near their boundaries.

    A class is a bit, so that one move of the bits looks for all classes at once.

    Args:
        classes: (h, W) uint8 class indices, `IGNORE_INDEX` where a pixel does not count.
        distances: D, in pixels, at least 1.
        num_classes: K.

    Attributes:
        classes: as given.
        contour: (h, W) bool, pixels with another class beside them.
        own: (n, h, W), the bit of each pixel's class.
        bands: of each distance (h, W) bool, pixels with another class within it.
    """

    def __init__(self, classes: np.ndarray, distances: Sequence[int], num_classes: int) -> None:
        self.classes, self._num_classes = classes, num_classes
        self.own = _bits(num_classes)[:, classes]
        near = spread(self.own, [1, *distances])  # 1, for the contour: with four neighbours a pixel
        self.contour, *self.bands = [(each & ~self.own).any(0) & (classes != IGNORE_INDEX) for each in near]
        self._near = spread(self.own * self.contour, distances)

    def has_contour_near(self, other: "Side", number: int) -> np.ndarray:
        """Where this side's contour of the other side's class is within a distance, by its number; (h, W) bool."""
        return (self._near[number] & other.own).any(0)

    def by_class(self, rows: slice, *planes: np.ndarray) -> list[np.ndarray]:
        """How many pixels of each class planes have in some rows, (K,) each."""
        # class and planes as one number a pixel: one pass over it, rather than one for each class and plane
        # 16 bits: a byte of class and a bit for each of at most four planes
        codes = self.classes[rows].astype(np.uint16)
        for plane in planes:
            codes <<= 1
            codes |= plane[rows]
        shape = (256, *[2] * len(planes))
        counts = np.bincount(codes.ravel(), minlength=math.prod(shape)).reshape(shape)[: self._num_classes]
        return [counts.take(1, axis=axis).reshape(self._num_classes, -1).sum(1) for axis in range(1, len(shape))]


@cache
def _bits(num_classes: int) -> np.ndarray:
    """(n, 256) of the bit of each class, in as many words as are needed for all; no bit for `IGNORE_INDEX`."""
    # the narrowest: these words are moved four times for each pixel of a distance
    size = next(size for size in (8, 16, 32, 64) if num_classes <= size or size == 64)
    table = np.zeros((-(-num_classes // size), 256), f"uint{size}")
    for k in range(num_classes):
        table[k // size, k] = 1 << k % size
    return table


def spread(bits: np.ndarray, distances: Sequence[int]) -> list[np.ndarray]:
    """The bits that pixels have within distances, all in all.

    A disc is a stack of lines: they are made longer by a pixel at either end, and moved up and down as far as a line of
    that length belongs to the disc, which takes four moves for each pixel of the distance instead of one for each pixel
    of the disc.

    Args:
        bits: (n, h, W) unsigned integers.
        distances: in pixels, between the middles of pixels.

    Returns:
        One array a distance.
    """
    found = [bits.copy() for _ in distances]
    lines = bits.copy()
    for half in range(max(distances) + 1):
        if half:
            _add(lines, bits, 0, half)
        for out, distance in zip(found, distances, strict=True):
            # the rows of the disc in which it is that wide
            least = math.isqrt(distance**2 - (half + 1) ** 2) + 1 if half < distance else 0
            for down in range(least, math.isqrt(distance**2 - half**2) + 1 if half <= distance else 0):
                _add(out, lines, down, 0)
    return found


def _add(out: np.ndarray, bits: np.ndarray, down: int, right: int) -> None:
    """Add the bits moved so far both ways; nothing comes from beyond the edges."""
    height, width = out.shape[1:]
    if down >= height or right >= width:
        return
    first, last = np.s_[:, : height - down, : width - right], np.s_[:, down:, right:]
    out[last] |= bits[first]
    # only one of them is ever above 0, so that there and back are all the ways there are
    if down or right:
        out[first] |= bits[last]
