"""CBC's decoder: a volume of cells, doubled four times and joined with the skips, read at its first depth plane."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.models.cbc.volumes import ConvReLUNorm, instance_norm


class Refine(nn.Sequential):
    """Three convolutions that keep channels and size."""

    def __init__(self, channels: int) -> None:
        super().__init__(*(ConvReLUNorm(channels, channels, kernel) for kernel in (1, 3, 1)))


class Join(nn.Module):
    """Resize a skip to the volume (nearest), concatenate, skip first, convolve by 3x3x3, ReLU, instance norm.

    A skip is a few planes deep, one a band, and the volume up to hundreds. Away from where one band's planes give way
    to the next, neighbouring planes of the resized skip are equal, and so is what the kernel makes of them: it is
    computed once a kind of neighbourhood. Neither the resized skip nor the concatenation ever exists.

    Args:
        skip_channels: of the skip.
        channels: of the volume.
        out_channels: of the result.
    """

    def __init__(self, skip_channels: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(skip_channels + channels, out_channels, 3)

    def forward(self, skip: Tensor, volume: Tensor) -> Tensor:
        """Join: (B, skip_channels, D, h, w) and (B, channels, n, n, n) -> (B, out_channels, n, n, n)."""
        weight, channels = self.conv.weight, skip.shape[1]
        from_volume = F.conv3d(_replicate(volume, depth=1), weight[:, channels:], self.conv.bias)
        return instance_norm(F.relu(from_volume + convolve_resized(skip, weight[:, :channels], volume.shape[-1])))


def convolve_resized(skip: Tensor, weight: Tensor, size: int) -> Tensor:
    """Convolve, with replicated edges, what a skip is after nearest resize to a cube.

    Args:
        skip: (B, c, D, h, w).
        weight: (out, c, 3, 3, 3).
        size: n.

    Returns:
        (B, out, n, n, n).
    """
    planes, counts = find_neighbourhoods(skip.shape[2], size)
    resized = _resize_planes(skip, size)
    stacked = torch.stack([resized[:, :, plane] for plane in planes], 2)  # (B, c, 3·kinds, n, n)
    # by threes, so that no kernel reaches from one neighbourhood into the next
    kinds = F.conv3d(_replicate(stacked, depth=0), weight, stride=(3, 1, 1))  # (B, out, kinds, n, n)
    repeated = [kind[:, :, None].expand(-1, -1, n, -1, -1) for kind, n in zip(kinds.unbind(2), counts, strict=True)]
    return torch.cat(repeated, 2)


def _resize_planes(skip: Tensor, size: int) -> Tensor:
    """Nearest resize of every plane: (B, c, D, h, w) -> (B, c, D, size, size)."""
    if not torch.compiler.is_exporting():
        return F.interpolate(skip, (skip.shape[2], size, size), mode="nearest")
    # ONNX Runtime divides by the scale and is off by a pixel where that rounds down; the same rule as indices.
    for axis in (3, 4):
        length = skip.shape[axis]
        scale = np.float32(length) / np.float32(size)
        source = [min(int(np.float32(place) * scale), length - 1) for place in range(size)]
        skip = skip.index_select(axis, torch.tensor(source))
    return skip


def find_neighbourhoods(depth: int, size: int) -> tuple[list[int], list[int]]:
    """What the planes of a volume see through a kernel of three, after nearest resize from a few planes to many.

    Args:
        depth: planes before.
        size: planes after; the edges are replicated.

    Returns:
        Planes before, three for each run of equal neighbourhoods; and the lengths of the runs.
    """
    # torch's rule for mode "nearest", in whole numbers: the plane at floor(plane · depth / size)
    source = [plane * depth // size for plane in range(size)]
    padded = [source[0], *source, source[-1]]
    planes: list[int] = []
    counts: list[int] = []
    for seen in zip(padded, padded[1:], padded[2:], strict=False):
        if planes[-3:] == list(seen):
            counts[-1] += 1
        else:
            planes += seen
            counts.append(1)
    return planes, counts


def _replicate(volume: Tensor, depth: int) -> Tensor:
    """One more row and column on each side, equal to the edge, and `depth` more planes."""
    return F.pad(volume, (1, 1, 1, 1, depth, depth), mode="replicate")


class Level(nn.Module):
    """Double a volume and join a skip: (B, in, n, n, n) -> (B, out, 2n, 2n, 2n).

    Args:
        in_channels: in.
        mid_channels: after doubling.
        skip_channels: of the skip.
        out_channels: out.
    """

    def __init__(self, in_channels: int, mid_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.refine = Refine(skip_channels)
        self.doubled = ConvReLUNorm(in_channels, mid_channels, 3, "replicate")
        self.join = Join(skip_channels, mid_channels, out_channels)
        self.out = ConvReLUNorm(out_channels, out_channels, 1)

    def forward(self, volume: Tensor, skip: Tensor) -> Tensor:
        """Double and join."""
        doubled = F.interpolate(volume, scale_factor=2, mode="trilinear", align_corners=True)
        return self.out(self.join(self.refine(skip), self.doubled(doubled)))


class VolumeDecoder(nn.Module):
    """From cells and skips to logits.

    Args:
        modalities: M.
        base: b; the levels have 8b, 4b, 2b and b channels.
        num_classes: K.
    """

    def __init__(self, modalities: int, base: int, num_classes: int) -> None:
        super().__init__()
        self.refine = Refine(8 * base * modalities)
        self.reduce = nn.Conv3d(8 * base * modalities, 16 * base, 1)
        channels = [8 * base, 4 * base, 2 * base, base]
        # the first level narrows behind its skip, the others before (cmx_cbc.md, 4.7)
        mids = [16 * base, *channels[1:]]
        self.levels = nn.ModuleList(
            Level(before, mid, modalities * c, c)
            for before, mid, c in zip([16 * base, *channels], mids, channels, strict=False)
        )
        self.classify = nn.Conv2d(base, num_classes, 1)

    def forward(self, cells: Tensor, skips: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Decode.

        Args:
            cells: (B, 8b·M, g, g, g).
            skips: levels 1 to 4, (B, M·c, D, h, w) each.
            size: H, W of the logits.

        Returns:
            (B, K, H, W), at least float32.
        """
        volume = self.reduce(self.refine(cells))
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            volume = level(volume, skip)
        # Resizing the volume to a depth of one, corners aligned, reads its first plane.
        maps = F.interpolate(volume[:, :, 0], size, mode="bilinear", align_corners=True)
        logits = self.classify(maps)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))
