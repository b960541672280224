"""Parts of CMX: rectification and fusion of two feature maps, and the MLP decoder.

Source: CMX, arXiv 2203.04838 (CM-FRM, FFM) and the decoder of SegFormer, arXiv 2105.15203. The three-modality variant
of Latent Space Guided Scenario Sampling (arXiv 2605.20372) has the same parts at other sizes.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.models.upernet import resize


def initialize(module: nn.Module) -> None:
    """Weights as SegFormer's, to be given to `apply`: Linear N(0, 0.02), convolutions N(0, 2/fan-out), biases zero."""
    if isinstance(module, nn.Linear):
        # as published; the three-modality release draws a plain normal, a difference that no loaded weight shows
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        # by fan-out, where torch's kaiming_normal_ does not take groups off it
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class CMFRM(nn.Module):
    """Cross-modal feature rectification: each stream takes from the other what its channels and places say to take.

    Args:
        channels: C of either stream.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = nn.Sequential(
            nn.Linear(4 * channels, 4 * channels), nn.ReLU(), nn.Linear(4 * channels, 2 * channels)
        )
        self.spatial = nn.Sequential(nn.Conv2d(2 * channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, 2, 1))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Rectify two streams: (B, C, h, w) and (B, C, h, w) -> the same."""
        both = torch.cat((first, second), dim=1)  # (B, 2C, h, w)
        # means of both streams, then maxima of both: the order that the authors' linear layers were trained on
        pooled = torch.cat((both.mean((2, 3)), both.amax((2, 3))), dim=1)  # (B, 4C)
        channel = torch.sigmoid(self.channel(pooled))[:, :, None, None].chunk(2, dim=1)  # two of (B, C, 1, 1)
        spatial = torch.sigmoid(self.spatial(both)).chunk(2, dim=1)  # two of (B, 1, h, w)
        # Crossed: a stream's own half of the weights scales what the other stream gets of it.
        # 0.5 is the paper's lambda of either kind
        from_first, from_second = (0.5 * (c + s) for c, s in zip(channel, spatial, strict=True))
        # both from what came in: the second line of the authors' code does not see the rectified first either
        return first + from_second * second, second + from_first * first


class FFM(nn.Module):
    """Feature fusion: cross-attention that swaps the streams' contexts, then mixing by convolutions.

    Args:
        channels: C of either stream.
        heads: of the attention; must divide C.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.enter = nn.ModuleList(nn.Linear(channels, 2 * channels) for _ in range(2))
        self.context = nn.ModuleList(nn.Linear(channels, 2 * channels, bias=False) for _ in range(2))
        self.leave = nn.ModuleList(nn.Linear(2 * channels, channels) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.residual = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.mix = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
        )
        self.norm = nn.BatchNorm2d(channels)
        self.apply(initialize)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse two streams: (B, C, h, w) and (B, C, h, w) -> (B, C, h, w)."""
        size = first.shape[2:]
        streams = [maps.flatten(2).transpose(1, 2) for maps in (first, second)]  # two of (B, N, C)
        entered = [F.relu(enter(x)).chunk(2, dim=2) for enter, x in zip(self.enter, streams, strict=True)]
        # queries are u itself, without a projection of their own (cmx_cbc.md, 2.4)
        contexts = [self._context(to(u)) for to, (_, u) in zip(self.context, entered, strict=True)]
        attended = [self._attend(u, other) for (_, u), other in zip(entered, contexts[::-1], strict=True)]
        tokens = [
            norm(x + leave(torch.cat((y, a), dim=2)))
            for x, (y, _), a, leave, norm in zip(streams, entered, attended, self.leave, self.norms, strict=True)
        ]
        maps = torch.cat(tokens, dim=2).transpose(1, 2).unflatten(2, size)  # (B, 2C, h, w)
        return self.norm(self.residual(maps) + self.mix(maps))  # no activation behind it, as in both releases

    def _context(self, keys_values: Tensor) -> Tensor:
        """What one stream offers, (B, N, 2C) keys then values -> (B, heads, d, d); columns sum to one."""
        keys, values = keys_values.unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        # A sum over all positions: it grows with the image, beyond what half precision resolves before a softmax.
        exact = torch.promote_types(keys.dtype, torch.float32)
        with torch.autocast(keys.device.type, enabled=False):
            scores = keys.to(exact).transpose(2, 3) @ values.to(exact)
            return (scores * keys.shape[-1] ** -0.5).softmax(dim=2)

    def _attend(self, queries: Tensor, context: Tensor) -> Tensor:
        """Read the other stream's context: (B, N, C) and (B, heads, d, d) -> (B, N, C)."""
        split = queries.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, d)
        return (split @ context.to(split.dtype)).transpose(1, 2).flatten(2)


class MLPDecoder(nn.Module):
    """Four maps brought to one width and the finest size, merged, and classified.

    Args:
        in_channels: of each map, finest first.
        channels: inside the decoder.
        num_classes: K.
        dropout: probability that a channel is dropped before the classifier.
        eps: of the batch normalisation.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, num_classes: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(width, channels) for width in in_channels)
        self.fuse = nn.Conv2d(len(in_channels) * channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels, eps=eps)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        for conv in (self.fuse, self.classifier):
            # the linear layers stay as torch draws them, as in the three-modality release
            nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Decode maps (B, C_i, h_i, w_i), finest first, to logits (B, K, h_1, w_1)."""
        size, bias = maps[0].shape[2:], self.fuse.bias
        assert bias is not None  # as a convolution has one unless it is told otherwise
        # `fuse` takes the maps coarsest first. It is linear, as resizing is, so each map goes through its share of it
        # before it is enlarged: the same sum, at a quarter of the multiplications and without the stack of all maps.
        shares = self.fuse.weight.chunk(len(maps), dim=1)[::-1]
        narrowed = [self._narrow(*part) for part in zip(maps, self.linears, shares, strict=True)]
        merged = sum((resize(part, size) for part in narrowed[1:]), narrowed[0] + bias[:, None, None])
        return self.classifier(self.dropout(F.relu(self.norm(merged))))

    def _narrow(self, maps: Tensor, linear: nn.Module, share: Tensor) -> Tensor:
        """One map at the decoder's width: (B, C_i, h, w) -> (B, channels, h, w)."""
        return F.conv2d(linear(maps.movedim(1, 3)).movedim(3, 1), share)
