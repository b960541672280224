"""Cross-entropies that look harder at some pixels: those that are not learnt yet, and those where classes meet.

Each is a mean over pixels, so that on the hard pixels of an auxiliary loss (`mobanet.training.losses.auxiliary_loss`)
it means what it means elsewhere: the same loss of those pixels alone.
"""

import torch
from torch import Tensor
from torch.nn import functional

from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.training.counted import exact, pixel_weights, weighted_mean


def focal_loss(logits: Tensor, label: Tensor, weight: Tensor | None = None, gamma: float = 2.0) -> Tensor:
    """Cross-entropy times (1 - p) ** gamma, with p the probability of the pixel's own class (arXiv 1708.02002).

    Of all classes by softmax, as segmentation has them, where the paper and most libraries take each class against the
    rest. Divided by the weights of the pixels, as cross-entropy is, which `gamma` 0 gives.

    Args:
        logits: (B, K, H, W).
        label: (B, H, W) int64, `IGNORE_INDEX` where a pixel does not count.
        weight: (K,), of pixels by their class; None for all alike.
        gamma: how much less a pixel counts the better it is known.

    Returns:
        A scalar; exactly 0, and still attached to the logits' graph, where no pixel counts.
    """
    scores = exact(logits)
    nll = functional.cross_entropy(scores, label, ignore_index=IGNORE_INDEX, reduction="none")
    # by expm1, since 1 - exp(-x) is 0 below 1e-7; never quite 0, where a root of it would have no gradient
    unsure = -torch.expm1(-nll).clamp(max=-torch.finfo(nll.dtype).tiny)
    return weighted_mean(unsure**gamma * nll, pixel_weights(label, weight, nll.dtype))


def boundary_cross_entropy(
    logits: Tensor, label: Tensor, weight: Tensor | None = None, pixels: int = 3, factor: float = 5.0
) -> Tensor:
    """Cross-entropy in which pixels near another class count more.

    Labels whose margins are ignored (`eroded`) have no two classes within reach, unless `pixels` is more than the
    margin's width. On hard pixels, only borders between pixels that are both wrong are seen.

    Args:
        logits: (B, K, H, W).
        label: (B, H, W) int64, `IGNORE_INDEX` where a pixel does not count.
        weight: (K,), of pixels by their class; None for all alike.
        pixels: so far around a pixel, in rows and columns, another class is looked for.
        factor: how often a pixel counts that has one.

    Returns:
        A scalar; exactly 0, and still attached to the logits' graph, where no pixel counts.
    """
    scores = exact(logits)
    nll = functional.cross_entropy(scores, label, ignore_index=IGNORE_INDEX, reduction="none")
    own = pixel_weights(label, weight, nll.dtype)
    return weighted_mean(nll, torch.where(near_another_class(label, pixels), factor * own, own))


def near_another_class(label: Tensor, pixels: int) -> Tensor:
    """(B, H, W) bool: whether two classes are within a square of `pixels` each way; ignored pixels are of none.

    Args:
        label: (B, H, W) int64, `IGNORE_INDEX` where a pixel does not count.
        pixels: from the middle of the square to its sides.
    """
    values, ignored = label.to(torch.float32)[:, None], (label == IGNORE_INDEX)[:, None]
    # ignored pixels are below all classes for the highest, and above all for the lowest
    highest = _widened(values.masked_fill(ignored, -1), pixels)
    lowest = -_widened(-values.masked_fill(ignored, IGNORE_INDEX), pixels)
    return (highest > lowest)[:, 0]


def _widened(values: Tensor, pixels: int) -> Tensor:
    """The highest value within a square: of rows first, then of columns, which is less to do."""
    side = 2 * pixels + 1
    values = functional.max_pool2d(values, (side, 1), 1, (pixels, 0))
    return functional.max_pool2d(values, (1, side), 1, (0, pixels))
