"""Cross-modal prompt injection (CPIA): streams of a frozen transformer exchange what they see, token by token.

Source: MoBaNet, arXiv 2603.17705; the parameter names and layout follow the authors' release, which has two streams.
Two placements share one interface, streams in and what to add to each of them out: `CPIA` alone at the start of a
stage (DINOv2 release) and `AdapterCPIA`, prompts through bottleneck adapters after a block (SAM release, the paper's
wording).
"""

from itertools import compress

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CPIA(nn.Module):
    """One prompt shared by all streams, scaled and shifted for each; no nonlinearity, as in the release.

    Of S streams t_1 ... t_S the prompt is u = U mix([reduce_1 t_1; ...; reduce_S t_S]), and stream s is given
    u + (gamma_s u + beta_s). Nothing but the number of terms depends on S, so that two streams are the paper's.

    Args:
        width: channels C of the tokens.
        ratio: bottleneck r over C.
        streams: S, at least two.
    """

    def __init__(self, width: int, ratio: float, streams: int = 2) -> None:
        super().__init__()
        # rounded down as in the release, whose checkpoints have layers of that size
        rank = max(1, int(ratio * width))
        self.reduce = nn.ModuleList(nn.Linear(width, rank) for _ in range(streams))
        self.mix = nn.Linear(streams * rank, rank)
        self.expand = nn.Linear(rank, width)
        # One parameter a stream rather than a (S, C) tensor: weight decay leaves 1-D parameters alone.
        # N(1, 0.02) and N(0, 0.02) of the release (mobanet.md, section 2)
        self.gammas = nn.ParameterList(nn.Parameter(1 + 0.02 * torch.randn(width)) for _ in range(streams))
        self.betas = nn.ParameterList(nn.Parameter(0.02 * torch.randn(width)) for _ in range(streams))

    def forward(self, *streams: Tensor | None, present: Tensor | None = None) -> Tensor:
        """Prompts of the streams that are given.

        Args:
            streams: S times the patch tokens of a stream, (B, N, C); None for one that no sample has.
            present: (G, B) bool, of the G streams that are given, whether tokens say anything; the others have no part
                in the prompt. None: all, as in the paper.

        Returns:
            (G, B, N, C), to be added to the patch tokens.
        """
        given = [x is not None for x in streams]
        parts = [reduce(x) for reduce, x in zip(self.reduce, streams, strict=True) if x is not None]  # (B, N, r) each
        if present is not None:
            # behind the reductions, whose biases would speak for a stream that is not there
            parts = [torch.where(there[:, None, None], x, 0) for there, x in zip(present, parts, strict=True)]
        nothing, said = torch.zeros_like(parts[0]), iter(parts)
        # `mix` has columns for each stream in its place: one that did not run keeps its own, as zeros
        placed = [next(said) if there else nothing for there in given]
        prompt = self.expand(self.mix(torch.cat(placed, dim=-1)))  # S times (B, N, r) -> (B, N, S·r) -> (B, N, C)
        gamma = torch.stack([*compress(self.gammas, given)])[:, None, None]  # (G, 1, 1, C)
        beta = torch.stack([*compress(self.betas, given)])[:, None, None]
        return prompt * (1 + gamma) + beta  # u + (gamma·u + beta): (B, N, C) -> (G, B, N, C)


class BottleneckAdapter(nn.Module):
    """A bottleneck that sees the tokens and their prompt; adds nothing before training (zero-initialised output).

    Args:
        width: channels C of the tokens.
        ratio: hidden channels over C.
        dropout: probability, on the hidden channels.
    """

    def __init__(self, width: int, ratio: float, dropout: float) -> None:
        super().__init__()
        hidden = max(1, int(ratio * width))
        self.reduce = nn.Linear(width, hidden)
        self.reduce_prompt = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.expand = nn.Linear(hidden, width)
        # so that the first step starts from what the frozen transformer computes by itself
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def forward(self, tokens: Tensor, prompt: Tensor) -> Tensor:
        """What to add to the tokens: (B, N, C) and (B, N, C) -> (B, N, C)."""
        hidden = F.relu(self.reduce(tokens) + self.reduce_prompt(prompt))  # (B, N, C) -> (B, N, hidden)
        return self.expand(self.dropout(hidden))


class AdapterCPIA(nn.Module):
    """CPIA whose prompts enter through one bottleneck adapter a stream (mobanet.md, section 3).

    Args:
        width: channels C of the tokens.
        ratio: CPIA's bottleneck over C.
        adapter_ratio: the adapters' hidden channels over C.
        dropout: probability, in the adapters.
        streams: S, at least two.
    """

    def __init__(self, width: int, ratio: float, adapter_ratio: float, dropout: float, streams: int = 2) -> None:
        super().__init__()
        self.cpia = CPIA(width, ratio, streams)
        self.adapters = nn.ModuleList(BottleneckAdapter(width, adapter_ratio, dropout) for _ in range(streams))

    def forward(self, *streams: Tensor | None, present: Tensor | None = None) -> Tensor:
        """What to add to the patch tokens of the streams that are given, (G, B, N, C); see `CPIA.forward`."""
        prompts = self.cpia(*streams, present=present).unbind(0)
        own = [(adapter, x) for adapter, x in zip(self.adapters, streams, strict=True) if x is not None]
        return torch.stack([adapter(x, prompt) for (adapter, x), prompt in zip(own, prompts, strict=True)])
