"""Numbers that keep their type where a trainer converts a module to another precision: they move, and no more."""

from collections.abc import Callable

from torch import Tensor


def moving(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What is left of a change of tensors when their type is to stay.

    Args:
        change: of `torch.nn.Module._apply`, to another device, another type or both.
    """

    def moved(tensor: Tensor) -> Tensor:
        out = change(tensor)
        return out if out.dtype == tensor.dtype else tensor.to(out.device)  # not back: digits are lost

    return moved
