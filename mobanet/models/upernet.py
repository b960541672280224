"""UPerNet decoder on four feature maps, and the auxiliary head of one stream.

Source: UPerNet, arXiv 1807.10221, in the light form of MoBaNet (arXiv 2603.17705): ReLU6, 64 channels.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POOLING_BINS = (1, 2, 3, 6)
Normalization = Literal["batch", "group"]

_GROUPS = 8
"""Of channels, at most."""


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resampling to `size`, corners not aligned: (B, C, h, w) -> (B, C, *size); nothing to do if equal."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm that takes its running statistics where a channel has one value only, which has none of its own.

    So it is in the 1x1 pool of a single sample: of a batch that is parted, one sample may be all that one part gets.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (B, C, h, w)."""
        if self.training and maps.numel() == self.num_features:
            return F.batch_norm(maps, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(maps)


def norm_of(kind: Normalization, channels: int) -> nn.Module:
    """A normalisation of maps, (B, C, h, w) -> (B, C, h, w).

    Args:
        kind: `batch` over all samples of a batch (in eval mode by running statistics), `group` over groups of channels
            of each sample, of at least four where there are as many.
        channels: C.
    """
    if kind == "batch":
        return BatchNorm(channels)
    return nn.GroupNorm(math.gcd(channels, min(_GROUPS, max(1, channels // 4))), channels)


class ConvBNReLU6(nn.Sequential):
    """Convolution without bias that keeps the size, normalisation (BatchNorm in the paper), ReLU6."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, norm: Normalization = "batch") -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
            norm_of(norm, out_channels),
            nn.ReLU6(),
        )


class PyramidPooling(nn.Module):
    """Averages over grids of 1, 2, 3 and 6 cells give every position a view of the whole image."""

    def __init__(self, in_channels: int, channels: int, norm: Normalization = "batch") -> None:
        super().__init__()
        self.branches = nn.ModuleList(ConvBNReLU6(in_channels, channels, 1, norm) for _ in POOLING_BINS)
        self.merge = ConvBNReLU6(in_channels + len(POOLING_BINS) * channels, channels, 3, norm)

    def forward(self, maps: Tensor) -> Tensor:
        """Pool and merge: (B, in_channels, h, w) -> (B, channels, h, w)."""
        pooled = [
            resize(branch(F.adaptive_avg_pool2d(maps, bins)), maps.shape[-2:])
            for bins, branch in zip(POOLING_BINS, self.branches, strict=True)
        ]
        return self.merge(torch.cat((maps, *pooled), dim=1))


class UPerNet(nn.Module):
    """Pyramid pooling on the coarsest map, top-down sums, all levels merged at the finest.

    Args:
        in_channels: of each of the four maps.
        channels: inside the decoder.
        num_classes: K.
        dropout: probability that a channel is dropped before the classifier.
        norm: of all maps.
    """

    def __init__(
        self, in_channels: int, channels: int, num_classes: int, dropout: float, norm: Normalization = "batch"
    ) -> None:
        super().__init__()
        self.pooling = PyramidPooling(in_channels, channels, norm)
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), norm_of(norm, channels)) for _ in range(3)
        )
        self.smooth = nn.ModuleList(ConvBNReLU6(channels, channels, 3, norm) for _ in range(3))
        self.merge = ConvBNReLU6(4 * channels, channels, 3, norm)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1, bias=False)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Decode four maps (B, in_channels, h_s, w_s), finest first, to logits (B, K, h_1, w_1)."""
        top = level = self.pooling(maps[3])  # p4: (B, channels, h_4, w_4)
        levels = []
        for lateral, smooth, feature in zip(self.laterals[::-1], self.smooth[::-1], maps[2::-1], strict=True):
            level = lateral(feature) + resize(level, feature.shape[-2:])  # p3, p2, p1
            levels.append(smooth(level))
        size = maps[0].shape[-2:]
        merged = torch.cat([resize(p, size) for p in (*levels[::-1], top)], dim=1)  # (B, 4·channels, h_1, w_1)
        return self.classifier(self.dropout(self.merge(merged)))


class AuxiliaryHead(nn.Module):
    """Classifies one stream on its own, to keep it from leaning on the other.

    Args:
        channels: of the stream's first map.
        num_classes: K.
        dropout: probability.
        norm: of its map.
    """

    def __init__(self, channels: int, num_classes: int, dropout: float, norm: Normalization = "batch") -> None:
        super().__init__()
        self.conv = ConvBNReLU6(channels, channels, 3, norm)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Classify positions: (B, channels, h, w) -> (B, K, h, w)."""
        return self.classifier(self.dropout(self.conv(maps)))
