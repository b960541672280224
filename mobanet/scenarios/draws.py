"""Draws are made on the CPU, so that they are the same on every device; what they decide is needed on the device."""

import math

import torch
from torch import Tensor

_GOLDEN = (math.sqrt(5) - 1) / 2


def sent(drawn: Tensor, device: torch.device) -> Tensor:
    """A drawn tensor on a device, without waiting for what the device is still doing, as a plain copy to a GPU would.

    Args:
        drawn: on the CPU, in memory of its own, which a copy to CUDA has read when it returns.
        device: to send it to.
    """
    return drawn.to(device, non_blocking=device.type == "cuda")


def rounding(seed: int, step: int) -> float:
    """Where the rounding of shares to whole samples falls, from 0 to below 1.

    Each value alone is uniform. Those of following steps are spread by the golden ratio, so that over n steps a stream
    loses its share of samples to within a few, where independent values would be off by the root of n. All are
    multiples of 2^-24: added to whole numbers they stay what they are.

    Args:
        seed: of an epoch and a rank.
        step: within the epoch.
    """
    start = torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return math.floor((float(start) + step * _GOLDEN) % 1.0 * 2**24) / 2**24
