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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from mobanet.rasters.contents import IGNORE_INDEX, Classes

COUNTED = ("truth_band", "map_band", "both_bands", "truth_contour", "map_contour", "truth_matched", "map_matched")
"""What is counted of each class at each distance, in pixels: within the distance of another class in the truth, in the
map, in both; on the contour in the truth, in the map; and of these within the distance of the other one's."""

_DISC = 12
"""Up to this distance in pixels a disc is moved over the map; beyond, distances are computed, which takes as long
whatever the distance."""


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
    """All figures of what was counted at one distance.

    Args:
        distance: in words.
        name: in names of metrics.
        pixels: the distance in pixels, the least and the most of all tiles.
        counts: (K, 7), `COUNTED`.
        classes: which of the K are averaged.
    """
    iou, precision, recall, f1 = [], [], [], []
    for truth, mapped, both, truth_contour, map_contour, truth_matched, map_matched in counts:
        iou.append(_share(both, truth + mapped - both))
        precision.append(_share(map_matched, map_contour))
        recall.append(_share(truth_matched, truth_contour))
        f1.append(_f1(precision[-1], recall[-1]))
    averaged = [classes.names.index(each) for each in classes.averaged]
    rows = tuple(tuple(row) for row in counts)
    means = (_mean([values[k] for k in averaged]) for values in (iou, f1))
    return BoundaryScores(distance, name, pixels, rows, tuple(iou), tuple(precision), tuple(recall), tuple(f1), *means)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _f1(precision: float, recall: float) -> float:
    """0 where only one of the maps has a contour; NaN where none has."""
    there = [x for x in (precision, recall) if not math.isnan(x)]
    if len(there) < 2:
        return 0.0 if there else math.nan
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _mean(values: Sequence[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan


class BoundaryRows:
    """Counts boundaries of a tile whose rows come from top to bottom.

    Rows wait until there are as many of them as the widest distance has pixels, so that none is looked at more than
    three times. Memory is up to four times that distance of rows, beside those that come, two bytes a pixel; while they
    are counted, about a dozen bytes a pixel more. It does not depend on the tile's height.

    Args:
        num_classes: K.
        distances: D, in pixels, at least 1.
    """

    def __init__(self, num_classes: int, distances: Sequence[int]) -> None:
        self.num_classes, self.distances = num_classes, tuple(distances)
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
        label = label.astype(np.uint8)
        both = np.stack([np.where(label == IGNORE_INDEX, np.uint8(IGNORE_INDEX), prediction), label])
        self._rows = both if self._rows is None else np.concatenate([self._rows, both], axis=1)
        last = self._rows.shape[1] - self._reach
        if last - self._done < self._reach:
            return np.zeros((len(self.distances), self.num_classes, len(COUNTED)), np.int64)
        return self._count(last)

    def finish(self) -> np.ndarray:
        """What is left of a tile that has no further row, as from `add`."""
        if self._rows is None:
            return np.zeros((len(self.distances), self.num_classes, len(COUNTED)), np.int64)
        return self._count(self._rows.shape[1])

    def _count(self, last: int) -> np.ndarray:
        found = boundary_counts(*self._rows, slice(self._done, last), self.distances, self.num_classes)
        first = max(last - self._reach, 0)
        self._rows, self._done = self._rows[:, first:].copy(), last - first
        return found


def boundary_counts(
    prediction: np.ndarray, label: np.ndarray, rows: slice, distances: Sequence[int], num_classes: int
) -> np.ndarray:
    """Count the boundaries of some rows.

    Args:
        prediction: (h, W) uint8 class indices, `IGNORE_INDEX` where the label has it.
        label: (h, W) uint8 class indices or `IGNORE_INDEX`.
        rows: which are counted; others are looked at.
        distances: D, in pixels, at least 1.
        num_classes: K.

    Returns:
        (D, K, 7) int64, `COUNTED`.
    """
    found = np.zeros((len(distances), num_classes, len(COUNTED)), np.int64)
    there = np.bincount(prediction.ravel(), minlength=256) + np.bincount(label.ravel(), minlength=256)
    labelled = (label != IGNORE_INDEX).view(np.uint8)
    for k in np.flatnonzero(there[:num_classes]).tolist():
        own = [(side == k).view(np.uint8) for side in (label, prediction)]
        others = [labelled - side for side in own]
        contours = [side & within(other, 1) for side, other in zip(own, others, strict=True)]
        for number, distance in enumerate(distances):
            bands = [side & within(other, distance) for side, other in zip(own, others, strict=True)]
            matched = [contours[0] & within(contours[1], distance), contours[1] & within(contours[0], distance)]
            planes = (*bands, bands[0] & bands[1], *contours, *matched)
            found[number, k] = [np.count_nonzero(plane[rows]) for plane in planes]
    return found


def within(mask: np.ndarray, distance: int) -> np.ndarray:
    """Pixels that are no further than a distance from one of a mask.

    Args:
        mask: (h, W) uint8, 0 or 1.
        distance: in pixels, between their middles.

    Returns:
        (h, W) uint8, 0 or 1.
    """
    import cv2

    if distance <= _DISC:
        return cv2.dilate(mask, _disc(distance))
    if not mask.any():
        return np.zeros_like(mask)
    # exact: the square root of a whole square has no rounding, and that of the next whole number lies above it
    return (cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= distance).view(np.uint8)


@cache
def _disc(radius: int) -> np.ndarray:
    at = np.arange(-radius, radius + 1)
    return (at[:, None] ** 2 + at**2 <= radius**2).astype(np.uint8)
