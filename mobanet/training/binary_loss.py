"""Binary cross-entropy, as the scenario paper trains its networks on DSTL (arXiv 2605.20372)."""

import torch
from torch import Tensor
from torch.nn import functional

from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.training.counted import exact, pixel_weights, weighted_mean


def binary_loss(logits: Tensor, label: Tensor, weight: Tensor | None = None, twice: bool = False) -> Tensor:
    """Mean binary cross-entropy over the pixels that count.

    Of two classes there is one probability, the second's: the sigmoid of the difference of their logits. That is the
    paper's only case, and the same as cross-entropy. Of more classes each is told from the rest, by a sigmoid of its
    own, and a pixel's loss is the mean over classes.

    Args:
        logits: (B, K, H, W).
        label: (B, H, W) int64, `IGNORE_INDEX` where a pixel does not count.
        weight: (K,), of pixels by their class; None for all alike.
        twice: take the probabilities for logits, as the paper's published code does: the loss cannot fall below 0.313
            on a pixel of the class and 0.693 on any other, and confident mistakes have small gradients.

    Returns:
        A scalar; exactly 0, and still attached to the logits' graph, where no pixel counts.
    """
    # one_hot refuses 255; what stands there instead weighs nothing below
    target = torch.where(label != IGNORE_INDEX, label, 0)
    scores = exact(logits)
    if scores.shape[1] == 2:
        scores, truth = scores[:, 1:] - scores[:, :1], target[:, None]
    else:
        truth = functional.one_hot(target, scores.shape[1]).movedim(-1, 1)
    scores = scores.sigmoid() if twice else scores
    each = functional.binary_cross_entropy_with_logits(scores, truth.to(scores.dtype), reduction="none").mean(1)
    return weighted_mean(each, pixel_weights(label, weight, each.dtype))
