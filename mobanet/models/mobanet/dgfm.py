"""Fusion of two streams at one depth: DGFM, the difference-guided gate, and two simpler ways."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Fusion = Literal["dgfm", "se", "mean"]

# Each way takes two streams and, optionally, `present`, (2, B) bool: of a sample that has one of them alone, the fused
# feature is made of that one. Without it zeros count as a stream of their own, as in the paper, and a gate has to guess
# from them that nothing was seen.


class DGFM(nn.Module):
    """A gate a channel and position decides between the streams from what differs in them, then a LayerNorm.

    The gate starts at one half everywhere: its last layer is zero. Source: MoBaNet, arXiv 2603.17705. Works on
    tokens, so the paper's 1x1 convolutions are linear layers here.

    Args:
        width: channels C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(32, width // 8)
        self.reduce = nn.ModuleList(nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.gate_in = nn.Linear(3 * hidden, hidden, bias=False)
        self.gate_norm = nn.GroupNorm(1, hidden)
        self.gate_out = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=1e-5)
        nn.init.zeros_(self.gate_out.weight)
        nn.init.zeros_(self.gate_out.bias)

    def forward(self, first: Tensor, second: Tensor, present: Tensor | None = None) -> Tensor:
        """Fuse two streams: (B, N, C) and (B, N, C) -> (B, N, C)."""
        a, b = self.reduce[0](first), self.reduce[1](second)  # (B, N, C) -> (B, N, hidden)
        gate = self.gate_in(torch.cat((a, b, (a - b).abs()), dim=-1))  # (B, N, 3·hidden) -> (B, N, hidden)
        gate = F.gelu(self._normalize(gate))
        gate = torch.sigmoid(self.gate_out(gate))  # (B, N, hidden) -> (B, N, C)
        if present is not None:  # open for the first alone where there is no second, and the other way round
            gate = torch.where(present[0, :, None, None], gate, 0)
            gate = torch.where(present[1, :, None, None], gate, 1)
        return self.norm(second + gate * (first - second))  # gate·first + (1 - gate)·second

    def _normalize(self, tokens: Tensor) -> Tensor:
        # One group spans all positions and channels of a sample, so in token layout it is a LayerNorm over both.
        flat = F.layer_norm(tokens, tokens.shape[1:], eps=self.gate_norm.eps)
        return flat * self.gate_norm.weight + self.gate_norm.bias


class SqueezeExcitation(nn.Module):
    """Weights a channel by what the whole map holds (arXiv 1709.01507), on tokens.

    Args:
        channels: C.
        reduction: C over hidden channels.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Rescale channels: (B, N, C) -> (B, N, C)."""
        weight = torch.sigmoid(self.excite(F.relu(self.squeeze(tokens.mean(dim=1)))))  # (B, C)
        return tokens * weight[:, None]


class SEFusion(nn.Module):
    """Squeeze-and-excitation on each stream, then the sum (the SAM release; mobanet.md, section 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.streams = nn.ModuleList(SqueezeExcitation(channels) for _ in range(2))

    def forward(self, first: Tensor, second: Tensor, present: Tensor | None = None) -> Tensor:
        """Fuse two streams: (B, N, C) and (B, N, C) -> (B, N, C)."""
        parts = [self.streams[0](first), self.streams[1](second)]
        if present is not None:
            parts = [torch.where(there[:, None, None], x, 0) for there, x in zip(present, parts, strict=True)]
        return parts[0] + parts[1]


class MeanFusion(nn.Module):
    """The mean of the streams, without parameters or norm: DGFM switched off."""

    def forward(self, first: Tensor, second: Tensor, present: Tensor | None = None) -> Tensor:
        """Fuse two streams: (B, N, C) and (B, N, C) -> (B, N, C)."""
        mean = (first + second) / 2
        if present is not None:
            mean = torch.where(present[1, :, None, None], mean, first)
            mean = torch.where(present[0, :, None, None], mean, second)
        return mean


def build_fusion(kind: Fusion, channels: int, num_streams: int) -> nn.Module:
    """The module that makes one feature of one or two streams.

    A single stream has nothing to fuse: `dgfm` then leaves its trainable LayerNorm, the others nothing.

    Args:
        kind: way of fusing.
        channels: C.
        num_streams: 1 or 2; as many (B, N, C) arguments the module takes.
    """
    if num_streams == 1:
        return nn.LayerNorm(channels, eps=1e-5) if kind == "dgfm" else nn.Identity()
    if kind == "mean":
        return MeanFusion()
    return DGFM(channels) if kind == "dgfm" else SEFusion(channels)
