"""Images whose pixels are coarser than the grid's: a pixel of theirs is what it shows, in each of the grid's."""

from torch import Tensor


def finer(x: Tensor, times: int) -> Tensor:
    """The same image in pixels so many times as narrow and low, each with the value of the one that it is a part of.

    Args:
        x: (..., h, w).
        times: how many, along a side.

    Returns:
        (..., h·times, w·times).
    """
    if times == 1:
        return x
    height, width = x.shape[-2:]
    spread = x[..., :, None, :, None].expand(*x.shape[:-2], height, times, width, times)
    return spread.flatten(-4, -3).flatten(-2, -1)


def pooled_kernel(kernel: Tensor, times: int) -> Tensor:
    """The kernel that gives of coarse pixels what `kernel` gives of the same image on the grid (`finer`).

    Args:
        kernel: (C, bands, p, p).
        times: pixels of the grid that a coarse one is wide, which divide p.

    Returns:
        (C, bands, p / times, p / times): sums over what one coarse pixel covers.
    """
    if times == 1:
        return kernel
    return kernel.unflatten(3, (-1, times)).unflatten(2, (-1, times)).sum((3, 5))
