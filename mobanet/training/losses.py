"""Cross-entropy on the fused prediction, and on what it gets wrong for each stream (MoBaNet, arXiv 2603.17705)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.stitching.winners import winners
from mobanet.training.counted import exact, pixel_weights

PixelLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Of logits (B, K, H, W), label (B, H, W) and class weights (K,), a scalar."""


def segmentation_loss(logits: Tensor, label: Tensor, weight: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy over the pixels that count.

    Args:
        logits: (B, K, H, W).
        label: (B, H, W) int64, `IGNORE_INDEX` where a pixel does not count.
        weight: (K,), one a class; None for all alike.
        smoothing: share of each pixel's target that all classes have alike (arXiv 1512.00567), each by its weight.

    Returns:
        A scalar; exactly 0, and still attached to the logits' graph, where no pixel counts: under DDP every parameter
        needs its gradient in every step.
    """
    logits = exact(logits)
    weight = None if weight is None else weight.to(logits.dtype)
    # not its own mean, which is NaN where no pixel counts (pytorch issue 70348)
    total = functional.cross_entropy(
        logits, label, weight, ignore_index=IGNORE_INDEX, reduction="sum", label_smoothing=smoothing
    )
    # what torch's mean divides by, and never 0: over no pixel 0 / least is 0, and attached
    if weight is None:  # whole numbers, as float32 counts no further than 2^24 pixels
        norm = (label != IGNORE_INDEX).sum().to(total.dtype).clamp(min=1)
    else:
        norm = pixel_weights(label, weight, total.dtype).sum().clamp(min=torch.finfo(total.dtype).tiny)
    return total / norm


def hard_pixels(logits: Tensor, label: Tensor) -> Tensor:
    """The label with every pixel ignored that the fused prediction already classifies correctly.

    Args:
        logits: (B, K, H, W) of the fused prediction.
        label: (B, H, W) int64.
    """
    # detached: a comparison has no gradient, and autograd need not follow
    return label.masked_fill(winners(logits.detach(), 1) == label, IGNORE_INDEX)


def auxiliary_loss(
    auxiliary: Mapping[str, Tensor],
    logits: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    present: Mapping[str, Tensor] | None = None,
    loss: PixelLoss = segmentation_loss,
) -> dict[str, Tensor]:
    """Loss of each stream's auxiliary logits on the hard pixels of the samples that have the stream.

    To the loss, all other pixels are ignored ones; `mobanet.training.region_losses` says what that is for regions.

    Args:
        auxiliary: by stream, (B, K, H, W).
        logits: (B, K, H, W) of the fused prediction.
        label: (B, H, W) int64.
        weight: (K,), one a class.
        present: by stream, (B,) bool, the samples that have it; None where all have all.
        loss: of the logits.

    Returns:
        One scalar a stream; 0, and attached, for one that no sample has.
    """
    if not auxiliary:
        return {}
    hard, losses = hard_pixels(logits, label), {}
    for stream, own in auxiliary.items():
        seen = hard if present is None else hard.masked_fill(~present[stream][:, None, None], IGNORE_INDEX)
        losses[stream] = loss(own, seen, weight)
    return losses
