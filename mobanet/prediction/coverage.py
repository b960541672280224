"""Which modalities are there, pixel by pixel or window by window, and which scenarios a window is predicted in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Coverage = Literal["pixel", "window"]
"""How a window that a modality covers in part is predicted:

- `pixel`: in the scenario of each of its parts, and every pixel takes the map of its own.
- `window`: once, with all modalities that have a pixel in it, as in training and test.
"""

Gaps = Literal["nodata", "predict"]
"""What becomes of pixels that the reference raster does not have: nothing, or what the other modalities say."""

SPECK = 0.01
"""Parts smaller than this share of a window are no scenario of their own: they take the window's largest."""


@dataclass(frozen=True)
class WindowCoverage:
    """What a window has.

    Attributes:
        patterns: bits of the modalities, one number a scenario that the window is predicted in; largest part first.
        pixels: (h, w) int16, the place in `patterns` of each pixel's; None where there is but one.
        wanted: (h, w) bool, pixels that the map is to have; None for all.
    """

    patterns: tuple[int, ...]
    pixels: np.ndarray | None
    wanted: np.ndarray | None


def window_coverage(
    valid: Sequence[np.ndarray | None], given: int, reference: int, coverage: Coverage, gaps: Gaps
) -> WindowCoverage | None:
    """Look at a window's validity; None where it has no pixel that the map is to have.

    `valid` has, of each modality of the model, (h, w) bool, None where all is valid, and of one that the scene
    lacks anything; `given` the bits of those that it has; `reference` the place of the reference modality.
    """
    places = [place for place in range(len(valid)) if given >> place & 1]
    masks = {place: mask for place in places if (mask := valid[place]) is not None}
    if not masks:
        return WindowCoverage((given,), None, None)
    # a bit a modality, of which a model has at most 12
    bits = np.zeros(next(iter(masks.values())).shape, np.int16)
    for place in places:
        bits |= masks[place].astype(np.int16) << place if place in masks else np.int16(1 << place)
    wanted = valid[reference] if gaps == "nodata" else bits > 0
    if wanted is not None:
        if not wanted.any():
            return None
        wanted = None if wanted.all() else wanted
    if coverage == "window":
        # also of pixels that the map is not to have: the network sees these as well
        return WindowCoverage((int(np.bitwise_or.reduce(bits, axis=None)),), None, wanted)
    counts = np.bincount(bits[wanted] if wanted is not None else bits.ravel(), minlength=1 << len(valid))
    # stable: of parts as large, the same one comes first on any machine
    order = np.argsort(-counts, kind="stable")
    # a pattern of 0 is no scenario: there is nothing to predict from
    # all are specks where the map wants hardly a pixel of the window: then the largest
    patterns = [int(p) for p in order if p and counts[p] >= max(SPECK * bits.size, 1)] or [int(order[0])]
    if len(patterns) == 1:
        return WindowCoverage((patterns[0],), None, wanted)
    lookup = np.zeros(1 << len(valid), np.int16)  # specks: the first
    lookup[patterns] = np.arange(len(patterns))
    return WindowCoverage(tuple(patterns), lookup[bits], wanted)
