"""The scenario paper's own Jaccard and F1 of binary targets: soft, image by image, and turned round on empty images.

Its public code scores probabilities without a threshold, averages over images, and scores the background instead where
an image has no target at all (arXiv 2605.20372, DSTL). It is offered to compare with published figures; the IoU of the
confusion matrix is the honest one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from mobanet.rasters.contents import IGNORE_INDEX

_EPS = 1e-8
_ONE = 2**40
"""What 1 is summed as: whole numbers add up to the same in any order, exist on every device, unlike float64, and stay
whole whatever precision a trainer gives the weights."""


# not frozen: torchmetrics rebuilds what `compute` returns, and refuses frozen dataclasses
@dataclass
class SoftScores:
    """Means and population deviations over images; NaN where there was none that counts.

    Attributes:
        jaccard: mean.
        jaccard_deviation: over images.
        f1: mean.
        images: number of images.
    """

    jaccard: float
    jaccard_deviation: float
    f1: float
    images: int

    @classmethod
    def absent(cls) -> "SoftScores":
        """Of no image."""
        return cls(math.nan, math.nan, math.nan, 0)


def soft_scores(probability: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Jaccard and F1 of one image as the paper's code has them.

    Args:
        probability: (N,), of the target, pixels that count only.
        target: (N,), 0 or 1.

    Returns:
        Two scalars, float64.
    """
    p, y = _widened(probability), _widened(target)
    if y.sum() == 0:
        p, y = 1 - p, 1 - y
    hit, missed, wrong = (p * y).sum(), ((1 - p) * y).sum(), (p * (1 - y)).sum()
    jaccard = (hit + _EPS) / (hit + missed + wrong + _EPS)
    recall, precision = hit / (hit + missed + _EPS), hit / (hit + wrong + _EPS)
    return jaccard, 2 * recall * precision / (recall + precision + _EPS)


def _widened(x: Tensor) -> Tensor:
    """In float64; Apple's GPUs have none, and the CPU stands in."""
    return (x.cpu() if x.device.type == "mps" else x).double()


class SoftJaccard(Metric):
    """`soft_scores` image by image, summed over batches and ranks; an image is an evaluation window."""

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(4, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Count images.

        Args:
            logits: (B, 2, H, W), background and target.
            label: (B, H, W) class indices, `IGNORE_INDEX` where a pixel does not count; an image of none counts not.
        """
        probability = logits.float().softmax(1)[:, 1]
        for p, y in zip(probability, label, strict=True):
            counts = y != IGNORE_INDEX
            if counts.any():
                jaccard, f1 = soft_scores(p[counts], y[counts])
                # with squares, as the deviation is wanted without keeping every image
                figures = torch.stack([jaccard, jaccard**2, f1, torch.ones_like(f1)])
                self.sums += (figures * _ONE).round().long().to(self.sums.device)

    def compute(self) -> SoftScores:
        """Means over images."""
        jaccard, squares, f1, images = (total / _ONE for total in self.sums.tolist())
        if not images:
            return SoftScores.absent()
        mean = jaccard / images
        # a difference of near numbers, which rounding may bring below 0
        return SoftScores(mean, max(squares / images - mean**2, 0) ** 0.5, f1 / images, int(images))
