"""Cross-modal prompt injection (CPIA): two streams of a frozen transformer exchange what they see, token by token.

Source: MoBaNet, arXiv 2603.17705; the parameter names and layout follow the authors' release. Two placements share
one interface, two streams in and what to add to each of them out: `CPIA` alone at the start of a stage (DINOv2
release) and `AdapterCPIA`, prompts through bottleneck adapters after a block (SAM release, the paper's wording).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CPIA(nn.Module):
    """One prompt shared by both streams, scaled and shifted for each; no nonlinearity, as in the release.

    Args:
        width: channels C of the tokens.
        ratio: bottleneck r over C.
    """

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        rank = int(ratio * width)
        self.reduce = nn.ModuleList(nn.Linear(width, rank) for _ in range(2))
        self.mix = nn.Linear(2 * rank, rank)
        self.expand = nn.Linear(rank, width)
        # One parameter a stream rather than a (2, C) tensor: weight decay leaves 1-D parameters alone.
        self.gammas = nn.ParameterList(nn.Parameter(1 + 0.02 * torch.randn(width)) for _ in range(2))
        self.betas = nn.ParameterList(nn.Parameter(0.02 * torch.randn(width)) for _ in range(2))

    def forward(self, first: Tensor, second: Tensor, present: Tensor | None = None) -> Tensor:
        """Prompts of both streams.

        Args:
            first: patch tokens of the first stream, (B, N, C).
            second: those of the second stream, (B, N, C).
            present: (2, B) bool, the streams whose tokens say anything; the others have no part in the prompt. None:
                both, as in the paper.

        Returns:
            (2, B, N, C), to be added to the patch tokens.
        """
        parts = [self.reduce[0](first), self.reduce[1](second)]  # (B, N, r) each
        if present is not None:
            parts = [torch.where(there[:, None, None], x, 0) for there, x in zip(present, parts, strict=True)]
        prompt = self.expand(self.mix(torch.cat(parts, dim=-1)))  # 2x (B, N, r) -> (B, N, 2r) -> (B, N, C)
        gamma = torch.stack(list(self.gammas))[:, None, None]  # (2, 1, 1, C)
        beta = torch.stack(list(self.betas))[:, None, None]
        return prompt * (1 + gamma) + beta  # u + (gamma·u + beta): (B, N, C) -> (2, B, N, C)


class BottleneckAdapter(nn.Module):
    """A bottleneck that sees the tokens and their prompt; adds nothing before training (zero-initialised output).

    Args:
        width: channels C of the tokens.
        ratio: hidden channels over C.
        dropout: probability, on the hidden channels.
    """

    def __init__(self, width: int, ratio: float, dropout: float) -> None:
        super().__init__()
        hidden = int(ratio * width)
        self.reduce = nn.Linear(width, hidden)
        self.reduce_prompt = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.expand = nn.Linear(hidden, width)
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
    """

    def __init__(self, width: int, ratio: float, adapter_ratio: float, dropout: float) -> None:
        super().__init__()
        self.cpia = CPIA(width, ratio)
        self.adapters = nn.ModuleList(BottleneckAdapter(width, adapter_ratio, dropout) for _ in range(2))

    def forward(self, first: Tensor, second: Tensor, present: Tensor | None = None) -> Tensor:
        """What to add to each stream's patch tokens: two of (B, N, C) -> (2, B, N, C); see `CPIA.forward`."""
        prompts = self.cpia(first, second, present).unbind(0)
        return torch.stack((self.adapters[0](first, prompts[0]), self.adapters[1](second, prompts[1])))
