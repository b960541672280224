"""What losses share: which pixels count, of which classes they are, and means over both, 0 where there are none."""

import torch
from torch import Tensor

from mobanet.rasters.contents import IGNORE_INDEX


def exact(logits: Tensor) -> Tensor:
    """Logits in float32 or better: in bfloat16 a sum over a crop's pixels has three digits."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def pixel_weights(label: Tensor, weight: Tensor | None, dtype: torch.dtype) -> Tensor:
    """(B, H, W), the weight of each pixel's class; 0 where it does not count.

    Args:
        label: (B, H, W) int64, `IGNORE_INDEX` where a pixel does not count.
        weight: (K,), one a class; None for all alike.
        dtype: of the result.
    """
    counts = label != IGNORE_INDEX
    if weight is None:
        return counts.to(dtype)
    # 255 would be an index beyond the weights
    return weight.to(dtype)[torch.where(counts, label, 0)].masked_fill(~counts, 0)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """The mean of `values` by `weights` of the same shape; over none of them 0, still attached to the values' graph."""
    # 0 / tiny is 0; to ask whether the sum is 0, a GPU would have to be waited for
    return (values * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def one_of_each(label: Tensor, classes: int) -> Tensor:
    """(B, K, H, W) bool: where a pixel is of a class; nowhere for one that does not count."""
    # not one_hot, which has no row of nothing for 255
    return label[:, None] == torch.arange(classes, device=label.device)[:, None, None]


def class_mean(losses: Tensor, pixels: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over the classes that have pixels, by their weights; over none 0, attached.

    Args:
        losses: (K,), one a class.
        pixels: (K,), labelled ones of each.
        weight: (K,), one a class; None for all alike.
    """
    there = (pixels > 0).to(losses.dtype)
    return weighted_mean(losses, there if weight is None else there * weight.to(losses.dtype))
