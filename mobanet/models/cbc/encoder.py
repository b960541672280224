"""CBC's encoder of one modality: a ResNet-50 over its bands, each seen beside its neighbours.

The release runs a ResNet in three dimensions with the bands as depth. Only its first kernel reaches across bands, so
here every band is an image of its own, and its neighbours are channels of that first kernel: the same numbers, with
two-dimensional convolutions.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.models.cbc.volumes import to_tokens

BAND_TAPS = 3
STRIDE = 32
"""Pixels of the input for a pixel of the last stage, per axis."""


class Bottleneck(nn.Module):
    """ResNet's block of three convolutions, the stride in the middle one: (N, in, h, w) -> (N, 4·mid, h/s, w/s).

    Args:
        in_channels: in.
        mid_channels: mid.
        stride: s.
        first: whether it is the first of its stage, whose shortcut is a convolution.
    """

    def __init__(self, in_channels: int, mid_channels: int, stride: int, first: bool) -> None:
        super().__init__()
        out_channels = 4 * mid_channels
        self.conv1 = nn.Conv2d(in_channels, mid_channels, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(mid_channels)
        self.conv2 = nn.Conv2d(mid_channels, mid_channels, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(mid_channels)
        self.conv3 = nn.Conv2d(mid_channels, out_channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if first:
            self.shortcut.append(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.norm3(self.conv3(y)) + self.shortcut(x))


class BandEncoder(nn.Module):
    """Five levels of one modality, narrowed to few channels, and a sixth that gathers them on a grid of cells.

    Args:
        width: channels of the first stage, 64 in a ResNet-50.
        depths: blocks of each of the four stages.
        base: b; the levels have b, 2b, 4b, 8b, 8b channels.
        grid: cells per axis of the sixth level.
    """

    def __init__(self, width: int, depths: Sequence[int], base: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.stem = nn.Conv2d(BAND_TAPS, width, 7, 2, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.stages = nn.ModuleList()
        channels = [width]
        for stage, depth in enumerate(depths):
            mid = width * 2**stage
            blocks = [Bottleneck(channels[-1], mid, stride=2 if stage else 1, first=True)]
            blocks += [Bottleneck(4 * mid, mid, stride=1, first=False) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
            channels.append(4 * mid)
        # 8, 16, 32, 64, 64 in the release, whose base is 8
        narrow = [base, 2 * base, 4 * base, 8 * base, 8 * base]
        self.adapters = nn.ModuleList(nn.Conv2d(wide, out, 1) for wide, out in zip(channels, narrow, strict=True))
        self.gather = nn.Conv3d(sum(narrow), 8 * base, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode a batch, which may be empty: its parameters then get zeros as gradients.

        Args:
            x: (B, D, H, W), D bands.

        Returns:
            Levels 1 to 4, (B, c, D, h, w) each, at 1/4, 1/4, 1/8 and 1/16 of the image; and level 6 as tokens,
            (B, grid³, 8b). Level 5 is only part of level 6.
        """
        bands = (x.shape[0], x.shape[1])
        padded = F.pad(x, (0, 0, 0, 0, 1, 1))  # a band of zeros on either side, as the release's kernel pads depth
        planes = torch.stack((padded[:, :-2], padded[:, 1:-1], padded[:, 2:]), 2).flatten(0, 1)  # (B·D, 3, H, W)
        features = self.stem_norm(F.relu(self.stem(planes)))  # in this order, as the release has it in the stem alone
        features = F.max_pool2d(features, 3, 2, 1)
        levels = [self.adapters[0](features)]
        for stage, adapter in zip(self.stages, self.adapters[1:], strict=True):
            features = stage(features)
            levels.append(adapter(features))
        volumes = [level.unflatten(0, bands).transpose(1, 2) for level in levels]  # (B·D, c, h, w) -> (B, c, D, h, w)
        size = (self.grid,) * 3
        # corners aligned here and in the decoder, as in the release; elsewhere in this package they are not
        cells = [F.interpolate(volume, size, mode="trilinear", align_corners=True) for volume in volumes]
        return [*volumes[:4], to_tokens(self.gather(torch.cat(cells, 1)))]
