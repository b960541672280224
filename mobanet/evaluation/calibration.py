"""Whether probabilities mean what they say: pixels by their highest probability, and how many of them are right."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from mobanet.rasters.contents import IGNORE_INDEX

BINS = 15  # as in Guo et al. 2017 (arXiv 1706.04599)
"""Of equal width, from 0 to 1."""

_ONE = 2**30
"""What a probability of 1 is summed as: whole numbers add up to the same in any order and on any number of ranks, and
float32 holds those up to this one that are probabilities without rounding, but for the least."""


@dataclass(frozen=True)
class Reliability:
    """Pixels by the probability of the class that they are given.

    Attributes:
        pixels: number in each bin, `BINS` of equal width from 0 to 1.
        confidence: mean probability of each; NaN where it is empty.
        accuracy: share that is right; NaN alike.
    """

    pixels: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap between probability and share of right ones; NaN without a pixel."""
        total = sum(self.pixels)
        gaps = zip(self.pixels, self.confidence, self.accuracy, strict=True)
        return sum(n * abs(p - a) for n, p, a in gaps if n) / total if total else math.nan

    @classmethod
    def of(cls, counts: Tensor) -> "Reliability":
        """Of what `Calibration` counts, (3, BINS)."""
        pixels, right, sums = counts.tolist()
        return cls(
            pixels=tuple(pixels),
            confidence=tuple(p / _ONE / n if n else math.nan for p, n in zip(sums, pixels, strict=True)),
            accuracy=tuple(r / n if n else math.nan for r, n in zip(right, pixels, strict=True)),
        )

    @classmethod
    def absent(cls) -> "Reliability":
        """Of no pixel."""
        return cls.of(torch.zeros(3, BINS, dtype=torch.int64))


class Calibration(Metric):
    """Counts pixels by their highest probability, summed over batches and ranks; its memory does not grow.

    torchmetrics' MulticlassCalibrationError keeps every pixel.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        # whole numbers also because Lightning converts states of floats with the weights (torchmetrics issue 1561)
        self.add_state("counts", torch.zeros(3, BINS, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, confidence: Tensor, prediction: Tensor, label: Tensor) -> None:
        """Count pixels.

        Args:
            confidence: the highest probability of each pixel, any shape.
            prediction: class indices of the same shape.
            label: likewise, `IGNORE_INDEX` where a pixel does not count.
        """
        # NaN as a whole number is not defined, and each device makes another one of it
        p, right = confidence.flatten().nan_to_num(0), (prediction == label).flatten().long()
        own = torch.stack([torch.ones_like(right), right, (p * _ONE).long()])  # (3, N)
        # what does not count goes into a bin of its own: to leave it out, a GPU would have to be waited for
        # a border belongs to the bin above, in Guo et al. to that below; 1 itself has no bin above
        bins = (p * BINS).long().clamp(0, BINS - 1).masked_fill((label == IGNORE_INDEX).flatten(), BINS)
        found = own.new_zeros(3, BINS + 1).scatter_add_(1, bins.expand(3, -1), own)
        self.counts += found[:, :BINS].to(self.counts.device)

    def compute(self) -> Tensor:
        """Of each bin the pixels, those of them that are right, and the sum of probabilities: (3, BINS) int64."""
        return self.counts
