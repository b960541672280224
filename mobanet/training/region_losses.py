"""Losses of whole regions rather than pixels: how predicted and true region of each class overlap.

The regions of a class are those of the whole batch of this process: a class that one crop has and another has not is
one class. Of several processes each has the regions of its own crops, and gradients are the mean over processes: of two
with 4 crops it is not quite the loss of one with 8. A class without a labelled pixel in the batch is left out of the
mean over classes; what is wrongly called so is still missed elsewhere.

On the hard pixels of an auxiliary loss (`mobanet.training.losses.auxiliary_loss`) the regions are what the fused
prediction misses: a stream is to find, of each class, the pixels that are missed, and claim no others of those that are
missed. What it says of pixels that the fused prediction gets right counts nowhere.
"""

import torch
from torch import Tensor

from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.training.counted import class_mean, exact, one_of_each


def tversky_loss(
    logits: Tensor, label: Tensor, weight: Tensor | None = None, alpha: float = 0.3, beta: float = 0.7
) -> Tensor:
    """1 - TP / (TP + alpha FP + beta FN) with probabilities for pixels, the mean over classes (arXiv 1706.05721).

    Args:
        logits: (B, K, H, W).
        label: (B, H, W) int64, `IGNORE_INDEX` where a pixel does not count.
        weight: (K,), of classes in the mean over them; None for all alike.
        alpha: what a pixel counts that is wrongly called of a class.
        beta: what one counts that is missed; above 0.

    Returns:
        A scalar; exactly 0, and still attached to the logits' graph, where no pixel counts.
    """
    truth = one_of_each(label, logits.shape[1])
    # an ignored pixel is neither found nor wrongly called
    probability = exact(logits).softmax(1).masked_fill((label == IGNORE_INDEX)[:, None], 0)
    found = (probability * truth).sum((0, 2, 3))
    called, pixels = probability.sum((0, 2, 3)), truth.sum((0, 2, 3)).to(found.dtype)
    union = found + alpha * (called - found) + beta * (pixels - found)
    return class_mean(1 - found / union.clamp(min=torch.finfo(union.dtype).tiny), pixels, weight)


def dice_loss(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """1 - 2 TP / (2 TP + FP + FN) with probabilities for pixels, the mean over classes (V-Net, arXiv 1606.04797).

    Args:
        logits: (B, K, H, W).
        label: (B, H, W) int64, `IGNORE_INDEX` where a pixel does not count.
        weight: (K,), of classes in the mean over them; None for all alike.

    Returns:
        A scalar; exactly 0, and still attached to the logits' graph, where no pixel counts.
    """
    return tversky_loss(logits, label, weight, alpha=0.5, beta=0.5)


def lovasz_loss(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Lovász-Softmax, the tight convex surrogate of 1 - IoU, the mean over classes (arXiv 1705.08790).

    The slopes of the Jaccard index along the sorted errors are written out, where the authors take differences of its
    values: in float32 these lose a digit for each ten thousand pixels or so.

    Args:
        logits: (B, K, H, W).
        label: (B, H, W) int64, `IGNORE_INDEX` where a pixel does not count.
        weight: (K,), of classes in the mean over them; None for all alike.

    Returns:
        A scalar; exactly 0, and still attached to the logits' graph, where no pixel counts.
    """
    truth = one_of_each(label, logits.shape[1])
    errors = (truth.to(torch.float32) - exact(logits).softmax(1)).abs()
    # behind all others, where they move no one's slope, and then nothing: masks would make the device wait
    errors = errors.masked_fill((label == IGNORE_INDEX)[:, None], -1)
    errors, order = errors.movedim(1, 0).flatten(1).sort(1, descending=True)
    truth = truth.movedim(1, 0).flatten(1).gather(1, order)  # sorted as the errors are
    losses = (errors.relu() * _slopes(truth, errors.dtype)).sum(1)  # -1, of ignored pixels, becomes 0
    return class_mean(losses, truth.sum(1), weight)


def _slopes(truth: Tensor, dtype: torch.dtype) -> Tensor:
    """By how much 1 - IoU grows with each further wrong pixel.

    Args:
        truth: (K, N) bool, whether the pixels are of the class, the worst first.
        dtype: of the result.

    Returns:
        (K, N): 1 / U of one that is missed, and I / (U (U - 1)) of one that is wrongly called so, with I what
        is left of the intersection and U the union.
    """
    pixels, missed = truth.sum(1, keepdim=True), truth.cumsum(1)
    # all counts in whole numbers, as float32 counts no further than 2^24
    called = torch.arange(1, truth.shape[1] + 1, device=truth.device) - missed
    union = (pixels + called).to(dtype)
    shrunk = (pixels - missed).to(dtype) / (union - 1).clamp(min=1)  # 0 at the first error of an absent class
    return torch.where(truth, 1.0, shrunk) / union.clamp(min=1)
