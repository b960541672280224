"""Draws are made on the CPU, so that they are the same on every device; what they decide is needed on the device."""

import math

import torch
from torch import Tensor

# of all steps round a circle it spreads any number of points most evenly (three-distance theorem)
_GOLDEN = (math.sqrt(5) - 1) / 2


def sent(drawn: Tensor, device: torch.device) -> Tensor:
    """A drawn tensor on a device, without waiting for what the device is still doing, as a plain copy to a GPU would.

    Args:
        drawn: on the CPU, in memory of its own, which a copy to CUDA has read when it returns.
        device: to send it to.
    """
    return drawn if drawn.device == device else drawn.to(device, non_blocking=device.type == "cuda")


class HostCopy:
    """What a tensor holds, on the CPU: fetched once after every change, as each time is a wait for its device."""

    def __init__(self) -> None:
        self._seen: tuple[Tensor, int] | None = None
        self._held: Tensor | None = None

    def of(self, tensor: Tensor) -> Tensor:
        """The content of a tensor; on the CPU the tensor itself.

        Args:
            tensor: the same at every call, or another that has taken its place.
        """
        seen = self._seen
        # torch counts changes in place; comparing contents would be the wait that is to be saved
        if self._held is None or seen is None or seen[0] is not tensor or seen[1] != tensor._version:
            self._seen, self._held = (tensor, tensor._version), tensor.detach().cpu()
        return self._held


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
