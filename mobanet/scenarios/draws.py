"""Draws are made on the CPU, so that they are the same on every device; what they decide is needed on the device."""

import torch
from torch import Tensor


def sent(drawn: Tensor, device: torch.device) -> Tensor:
    """A drawn tensor on a device, without waiting for what the device is still doing, as a plain copy to a GPU would.

    Args:
        drawn: on the CPU, in memory of its own, which a copy to CUDA has read when it returns.
        device: to send it to.
    """
    return drawn.to(device, non_blocking=device.type == "cuda")
