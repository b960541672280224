"""Pieces of a class map: pixels of one class that hang together by their sides, corners not counting (4-connected)."""

from collections.abc import Iterable

import numpy as np

NONE = 255
"""Class of pixels that belong to no piece."""


def label_pieces(classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the pieces of some rows, in the order of their first pixels, row by row.

    Args:
        classes: (h, W) uint8, `NONE` where nothing is known.

    Returns:
        (h, W) int32, numbers from 1 on, 0 where there is no piece; and (n,) uint8, the class of each piece.
    """
    import cv2

    labels = np.zeros(classes.shape, np.int32)
    values, count = [], 0
    for value in np.flatnonzero(np.bincount(classes.ravel(), minlength=256)).tolist():
        if value == NONE:
            continue
        mask = classes == value
        # class by class, as OpenCV knows foreground and background only
        number, own = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
        own += mask * np.int32(count)
        labels += own
        values += [value] * (number - 1)
        count += number - 1
    order = np.argsort(_firsts(labels, count), kind="stable")
    renumbered = np.zeros(count + 1, np.int32)
    renumbered[order + 1] = np.arange(1, count + 1, dtype=np.int32)
    return renumbered[labels], np.array(values, np.uint8)[order]


def _firsts(labels: np.ndarray, count: int) -> np.ndarray:
    """(count,), where each number occurs first in the flattened rows."""
    flat = labels.ravel()
    # by runs of a number, as each first pixel begins one, and there are far fewer runs than pixels
    begins = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    first = np.zeros(count + 1, np.int64)
    first[flat[begins[::-1]]] = begins[::-1]  # of several the last one written stays
    return first[1:]


def touching(above: np.ndarray, below: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Pairs of numbers, (n, 2), on two rows that belong to one piece, without repetitions.

    Args:
        above: (W,) numbers of the upper row, 0 for none.
        below: (W,) of the lower one.
        alike: (W,) bool, whether the two pixels have the same class.
    """
    chosen = alike & (above > 0) & (below > 0)
    return np.unique(np.stack([above[chosen], below[chosen]], axis=1), axis=0)


def united(count: int, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Union-find over pairs of members that are one: the lowest member of each one's set, (count,) int64."""
    parents: dict[int, int] = {}
    for one, other in pairs:
        low, high = sorted((root_of(parents, one), root_of(parents, other)))
        if low != high:
            # the lower one stands for both, so that the order of pairs makes no difference
            parents[high] = low
    roots, members = np.arange(count), list(parents)
    roots[members] = [root_of(parents, member) for member in members]
    return roots


def root_of(parents: dict[int, int], member: int) -> int:
    """The member that stands for a set, by the parents of those that do not; `parents` gets shorter paths."""
    while (parent := parents.get(member, member)) != member:
        parents[member] = parents.get(parent, parent)  # halves the path for whoever comes next
        member = parent
    return member
