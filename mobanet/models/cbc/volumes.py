"""What all of CBC is built from: the gate of availability, cells as tokens, and convolutions with instance norm.

Source: CBC and CBC-SLP, the networks of arXiv 2604.15856 and arXiv 2605.20372; re-implemented from a description of
them in formulas. A volume is (B, C, d, h, w); its cells as tokens are (B, N, C), N = d·h·w, the last axis fastest.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Cellwise(nn.Linear):
    """A 1x1x1 convolution for cells that lie as tokens, (B, N, C) -> (B, N, D); starts as convolutions do."""


class ConvReLUNorm(nn.Module):
    """Convolution that keeps the size, ReLU, instance norm: (B, in, d, h, w) -> (B, out, d, h, w).

    Args:
        in_channels: in.
        out_channels: out.
        kernel_size: 1 or 3 on all axes.
        padding_mode: at the edges.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        padding_mode: Literal["zeros", "replicate"] = "zeros",
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size, padding=padding, padding_mode=padding_mode)

    def forward(self, volume: Tensor) -> Tensor:
        """Convolve and normalise."""
        return instance_norm(F.relu(self.conv(volume)))


def instance_norm(volume: Tensor) -> Tensor:
    """Each channel of each sample to mean 0 and variance 1, without parameters; a single value becomes 0."""
    # torch.nn's own refuses a single value.
    return torch.instance_norm(volume, None, None, None, None, True, 0.1, 1e-5, torch.backends.cudnn.enabled)


def gate(values: Tensor, present: Tensor | None) -> Tensor:
    """Zeros where something is missing, by selection, so that NaN cannot spread.

    Args:
        values: its first axes are those of `present`.
        present: bool; None: everything is there.
    """
    if present is None:
        return values
    return torch.where(present.reshape(*present.shape, *[1] * (values.ndim - present.ndim)), values, 0.0)


def to_tokens(volume: Tensor) -> Tensor:
    """The cells as tokens: (B, C, d, h, w) -> (B, d·h·w, C)."""
    return volume.flatten(2).transpose(1, 2)


def to_volume(tokens: Tensor, grid: int) -> Tensor:
    """The tokens as cells: (B, grid³, C) -> (B, C, grid, grid, grid)."""
    return tokens.transpose(1, 2).unflatten(2, (grid, grid, grid))


def initialize(module: nn.Module) -> None:
    """Convolutions start He-normal over their fan-in, biases as torch has them; for `nn.Module.apply`."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d, Cellwise)) and not module.weight.is_meta:  # there it has no values
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
