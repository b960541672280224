"""How CBC's modalities become one latent: early fusion, intra-modal attention, correlation, multimodal attention."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.models.cbc.volumes import Cellwise, ConvReLUNorm, gate, to_tokens, to_volume


@dataclass
class Fused:
    """What the modalities have become.

    Attributes:
        skips: levels 1 to 4 fused early, (B, M·c, D, h, w) each.
        latent: (B, N, 8b·M), the cells of the grid.
        correlated: (B, M, N, E), what each modality's cells learn from all; zero where it is missing.
    """

    skips: list[Tensor]
    latent: Tensor
    correlated: Tensor


def stack_modalities(volumes: Sequence[Tensor]) -> Tensor:
    """The modalities' maps of one level, to be mixed: M times (B, c, D_m, h, w) -> (B, M·c, D, h, w).

    D is the largest number of bands. A modality of fewer repeats them, nearest first, as the decoder does.
    """
    depth = max(volume.shape[2] for volume in volumes)
    return torch.cat([repeat_bands(volume, depth) for volume in volumes], 1)


def repeat_bands(volume: Tensor, depth: int) -> Tensor:
    """Nearest resize of the band axis: (B, c, D, h, w) -> (B, c, depth, h, w)."""
    bands = volume.shape[2]
    if bands == depth:
        return volume
    return torch.stack([volume[:, :, plane * bands // depth] for plane in range(depth)], 2)


class Attention(nn.Module):
    """Multi-head self-attention: (B, N, E) -> (B, N, E).

    Args:
        width: E.
        heads: number of heads, a divisor of E.
        dropout: of the weights and of the result.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend."""
        # (B, N, 3·E) -> three of (B, heads, N, E/heads)
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.dropout(self.proj(attended.transpose(1, 2).flatten(2)))


class Transformer(nn.Module):
    """Positions, then one block of attention and one of two layers, normalised before: (B, N, E) -> (B, N, E)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width), nn.Dropout(dropout)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Transform tokens, with positions (1, N, E)."""
        tokens = tokens + positions
        # The second dropout in a row, as in the release.
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens)))
        return tokens + self.feed(self.feed_norm(tokens))


class Correlation(nn.Module):
    """The InterFormer: each cell and channel of a modality takes a weighted mean over the modalities.

    Every product is elementwise and the softmax is over the modalities. Missing ones give keys and values, learned
    constants, to the present ones, but get nothing. Per sample, where the release mixes samples of a batch.

    Args:
        modalities: M.
        width: E.
    """

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(Cellwise(width, 3 * width) for _ in range(modalities))

    def forward(self, hidden: Sequence[Tensor], available: Tensor | None) -> Tensor:
        """Correlate: M times (B, N, E), and (B, M) bool -> (B, M, N, E)."""
        projected = torch.stack([project(x) for project, x in zip(self.projections, hidden, strict=True)], 1)
        queries, keys, values = projected.chunk(3, -1)  # (B, M, N, E) each
        # the root of the number of modalities, not of the width: a product is of two numbers, not a sum over channels
        scores = queries[:, :, None] * keys[:, None] / sqrt(len(hidden))  # (B, M, M, N, E)
        weights = scores.softmax(2)
        return gate((weights * values[:, None]).sum(2), available)


class LatentFusion(nn.Module):
    """From the levels of all modalities to skips and latent.

    Args:
        modalities: M.
        base: b.
        width: E, of the tokens.
        heads: of the attention.
        dropout: in the transformers.
        grid: cells per axis.
    """

    def __init__(self, modalities: int, base: int, width: int, heads: int, dropout: float, grid: int) -> None:
        super().__init__()
        # of levels 1 to 4 and 6: the release also fuses level 5 and never uses it
        channels = [base, 2 * base, 4 * base, 8 * base, 8 * base]
        self.grid = grid
        self.early = nn.ModuleList(ConvReLUNorm(modalities * c, modalities * c, 1) for c in channels)
        self.tokenizers = nn.ModuleList(Cellwise(8 * base, width) for _ in range(modalities))
        self.early_tokenizer = Cellwise(8 * base * modalities, width)
        # the last is that of the early fusion's tokens
        self.positions = nn.ParameterList(torch.zeros(1, grid**3, width) for _ in range(modalities + 1))
        self.intra = nn.ModuleList(Transformer(width, heads, dropout) for _ in range(modalities))
        self.correlation = Correlation(modalities, width)
        self.multimodal = Transformer(width, heads, dropout)
        self.to_latent = Cellwise((modalities + 1) * width, 8 * base * modalities)

    def forward(self, modalities: Sequence[Sequence[Tensor]], available: Tensor | None) -> Fused:
        """Fuse.

        Args:
            modalities: by modality, the five levels that `BandEncoder` gives; what those of a missing one hold does
                not matter.
            available: (B, M) bool; None: everything is there.
        """
        columns = [None] * len(modalities) if available is None else available.unbind(1)
        gated = [
            [gate(level, present) for level in levels] for levels, present in zip(modalities, columns, strict=True)
        ]
        *skips, gathered = zip(*gated, strict=True)  # by level, its M modalities
        # not strict: the last mix is for the gathered level, below
        early = [mix(stack_modalities(level)) for mix, level in zip(self.early, skips, strict=False)]
        tokens = [tokenize(x) for tokenize, x in zip(self.tokenizers, gathered, strict=True)]  # (B, N, E) each
        # not strict: the last positions are for the multimodal transformer alone
        hidden = [transform(t, p) for transform, t, p in zip(self.intra, tokens, self.positions, strict=False)]
        correlated = self.correlation(hidden, available)
        # The tokens as they were before positions, of missing modalities too: their learned constants.
        joined = [t + c for t, c in zip(tokens, correlated.unbind(1), strict=True)]
        volumes = stack_modalities([to_volume(x, self.grid) for x in gathered])
        joined.append(self.early_tokenizer(to_tokens(self.early[-1](volumes))))
        attended = self.multimodal(torch.cat(joined, 1), torch.cat(list(self.positions), 1))  # (B, (M + 1)·N, E)
        # As in the release, M + 1 consecutive tokens make a cell, whatever modalities they come from.
        cells = attended.reshape(attended.shape[0], self.grid**3, -1)  # (B, N, (M + 1)·E)
        return Fused(early, self.to_latent(cells), correlated)
