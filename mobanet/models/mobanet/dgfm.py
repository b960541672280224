"""Fusion of streams at one depth: DGFM, the difference-guided gate, and two simpler ways."""

from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Fusion = Literal["dgfm", "se", "mean"]

# Each way takes the streams, None for one that no sample has, and, optionally, `present`, (G, B) bool of the G that are
# given: the fused feature of a sample is made of the streams that it has. Without it zeros count as a stream of their
# own, as in the paper, and a gate has to guess from them that nothing was seen.


class DGFM(nn.Module):
    """Gates a channel and position weigh the streams by what differs between them, then a LayerNorm.

    Of two streams this is the paper's (MoBaNet, arXiv 2603.17705): with reductions a = R_1 x_1 and b = R_2 x_2, a small
    network G gives z = G([a; b; |a - b|]), and the fused feature is g x_1 + (1 - g) x_2 with g = sigmoid(z). So z is by
    how much the first is to be preferred to the second: the log of the ratio of their weights.

    Of n streams the same network says so of each pair: z_ij = G([r_i; r_j; |r_i - r_j|]) for i before j, and
    z_ji = -z_ij. Weights have one log a stream, s_i, and n (n - 1) / 2 preferences need not agree with any such logs,
    so those are taken that come nearest to them: the sum over pairs of (s_i - s_j - z_ij)^2 is least, with logs that
    sum to 0, where n s_i = sum over j of z_ij (its derivative by s_i is 2 sum over j of (s_i - s_j - z_ij), and the sum
    of s_i - s_j over j is n s_i). The weights are the softmax of s.

    - Two streams: s_1 = z / 2 and s_2 = -z / 2, whose softmax is (sigmoid(z), 1 - sigmoid(z)): the paper's formula.
      It is computed as the paper has it, so that every bit is the same.
    - One stream has the weight 1.
    - A stream that a sample lacks is in no pair and has the weight 0: the others are fused as if there were no more,
      whatever the number of streams that the model has.
    - G starts with a last layer of zeros: z = 0, and all weights are 1 / n, one half of two streams.
    - Each stream adds its reduction, and no parameter is a pair's: 21 pairs of seven streams share G.

    Works on tokens, so the paper's 1x1 convolutions are linear layers here.

    Args:
        width: channels C.
        streams: S, at least two.
    """

    def __init__(self, width: int, streams: int = 2) -> None:
        super().__init__()
        hidden = max(32, width // 8)  # the release's max(32, int(C · min(0.25, 0.125)))
        self.reduce = nn.ModuleList(nn.Linear(width, hidden, bias=False) for _ in range(streams))
        self.gate_in = nn.Linear(3 * hidden, hidden, bias=False)
        self.gate_norm = nn.GroupNorm(1, hidden)
        self.gate_out = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=1e-5)  # the release's, where the backbone's norms have 1e-6
        nn.init.zeros_(self.gate_out.weight)
        nn.init.zeros_(self.gate_out.bias)

    def forward(self, *streams: Tensor | None, present: Tensor | None = None) -> Tensor:
        """Fuse streams, S times (B, N, C) or None: (B, N, C)."""
        given = [x for x in streams if x is not None]
        if len(given) == 1:
            return self.norm(given[0])
        reduced = [reduce(x) for reduce, x in zip(self.reduce, streams, strict=True) if x is not None]
        if len(given) == 2:
            return self.norm(self._of_two(given, reduced, present))
        weights = self._weights(reduced, present)  # (G, B, N, C)
        return self.norm((weights * torch.stack(given)).sum(0))

    def _of_two(self, given: Sequence[Tensor], reduced: Sequence[Tensor], present: Tensor | None) -> Tensor:
        """The paper's formula."""
        first, second = given
        gate = torch.sigmoid(self._preference(*reduced))  # (B, N, C)
        if present is not None:  # open for the first alone where there is no second, and the other way round
            gate = torch.where(present[0, :, None, None], gate, 0)
            gate = torch.where(present[1, :, None, None], gate, 1)
        return second + gate * (first - second)  # gate·first + (1 - gate)·second

    def _weights(self, reduced: Sequence[Tensor], present: Tensor | None) -> Tensor:
        """Of G streams, from their reductions (B, N, hidden): (G, B, N, C), summing to 1 over streams."""
        # all pairs as one batch, since they share the gate's network
        pairs = [*combinations(range(len(reduced)), 2)]
        first, second = (torch.cat([reduced[pair[end]] for pair in pairs]) for end in range(2))  # (P·B, N, hidden)
        preference = self._preference(first, second).unflatten(0, (len(pairs), -1))  # (P, B, N, C)
        number: float | Tensor = float(len(reduced))
        if present is not None:
            both = torch.stack([present[i] & present[j] for i, j in pairs])  # (P, B)
            preference = torch.where(both[:, :, None, None], preference, 0)
            # n of the formula is a sample's own number of streams
            number = present.sum(0).clamp(min=1)[:, None, None].to(preference.dtype)  # (B, 1, 1)
        logs = torch.stack([_strength(stream, pairs, preference) / number for stream in range(len(reduced))])
        if present is not None:  # not -inf: of a sample that has nothing all are alike
            logs = logs.masked_fill(~present[:, :, None, None], torch.finfo(logs.dtype).min)
        return logs.softmax(0)

    def _preference(self, first: Tensor, second: Tensor) -> Tensor:
        """How much one stream is to be preferred to another: two of (B, N, hidden) -> (B, N, C)."""
        hidden = self.gate_in(torch.cat((first, second, (first - second).abs()), dim=-1))  # 3·hidden -> hidden
        return self.gate_out(F.gelu(self._normalize(hidden)))

    def _normalize(self, tokens: Tensor) -> Tensor:
        # One group spans all positions and channels of a sample, so in token layout it is a LayerNorm over both.
        flat = F.layer_norm(tokens, tokens.shape[1:], eps=self.gate_norm.eps)
        return flat * self.gate_norm.weight + self.gate_norm.bias


def _strength(stream: int, pairs: Sequence[tuple[int, int]], preference: Tensor) -> Tensor:
    """Sum of the preferences of one stream to all others: (P, B, N, C) -> (B, N, C)."""
    signed = [
        x if first == stream else -x
        for (first, second), x in zip(pairs, preference.unbind(0), strict=True)
        if stream in (first, second)
    ]
    return reduce(torch.add, signed)


class SqueezeExcitation(nn.Module):
    """Weights a channel by what the whole map holds (arXiv 1709.01507), on tokens.

    Args:
        channels: C.
        reduction: C over hidden channels.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:  # the release's, and the paper's
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

    def __init__(self, channels: int, streams: int = 2) -> None:
        super().__init__()
        self.streams = nn.ModuleList(SqueezeExcitation(channels) for _ in range(streams))

    def forward(self, *streams: Tensor | None, present: Tensor | None = None) -> Tensor:
        """Fuse streams, S times (B, N, C) or None: (B, N, C)."""
        parts = [part(x) for part, x in zip(self.streams, streams, strict=True) if x is not None]
        return reduce(torch.add, _there(parts, present))


class MeanFusion(nn.Module):
    """The mean of the streams, without parameters or norm: DGFM switched off."""

    def forward(self, *streams: Tensor | None, present: Tensor | None = None) -> Tensor:
        """Fuse streams, S times (B, N, C) or None: (B, N, C)."""
        given = [x for x in streams if x is not None]
        number = len(given) if present is None else present.sum(0).clamp(min=1)[:, None, None]  # (B, 1, 1)
        return reduce(torch.add, _there(given, present)) / number


def _there(given: Sequence[Tensor], present: Tensor | None) -> Sequence[Tensor]:
    """Streams (B, N, C) with zeros for the samples that lack them; `present` is (G, B)."""
    if present is None:
        return given
    return [torch.where(there[:, None, None], x, 0) for there, x in zip(present, given, strict=True)]


def build_fusion(kind: Fusion, channels: int, num_streams: int) -> nn.Module:
    """The module that makes one feature of all streams.

    A single stream has nothing to fuse: `dgfm` then leaves its trainable LayerNorm, the others nothing.

    Args:
        kind: way of fusing.
        channels: C.
        num_streams: as many (B, N, C) arguments the module takes, at least 1.
    """
    if num_streams == 1:
        return nn.LayerNorm(channels, eps=1e-5) if kind == "dgfm" else nn.Identity()
    if kind == "mean":
        return MeanFusion()
    return DGFM(channels, num_streams) if kind == "dgfm" else SEFusion(channels, num_streams)
