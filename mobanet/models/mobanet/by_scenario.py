"""Which batch statistics MoBaNet normalises a sample by: those of all samples, or those of its scenario."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mobanet.errors import check_setting
from mobanet.models.base import SegmentationModel
from mobanet.models.upernet import BatchNorm

if TYPE_CHECKING:
    from mobanet.models.mobanet.network import Parts


class ScenarioStatistics(SegmentationModel):
    """What of `MoBaNet` knows scenarios whose batch statistics were learnt, or measured afterwards.

    Attributes:
        decoder: from maps to logits.
        incomplete: parts for incomplete samples; None where these are seen by the same as all others.
        with_statistics: (S, M) bool, scenarios that there are batch statistics of; None where there are none.
    """

    decoder: nn.Module
    incomplete: "Parts | None"
    with_statistics: Tensor | None

    def scenario_norms(self) -> dict[str, BatchNorm]:
        """By name, the batch normalisations that can have statistics by scenario: all that logits depend on."""
        return decoder_norms(self)

    def know_scenarios(self, names: Sequence[str]) -> None:
        """Have batch statistics of incomplete scenarios, to be filled in: `scenario_mean` and `scenario_var`.

        Args:
            names: of the scenarios, each its modalities joined by a plus, in order.

        Raises:
            UserError: for a name that is no incomplete scenario, or comes twice.
        """
        subsets = [name.split("+") for name in names]
        for place, (name, subset) in enumerate(zip(names, subsets, strict=True)):
            ordered = [modality for modality in self.modalities if modality in subset]
            check_setting(
                ordered == subset and len(subset) < len(self.modalities) and name not in names[:place],
                "network.scenario_statistics",
                f"names {name or 'nothing'}, which is no incomplete scenario of {', '.join(self.modalities)}, or comes "
                "twice.",
            )
        masks = torch.tensor([[modality in subset for modality in self.modalities] for subset in subsets])
        self.register_buffer("with_statistics", masks.to(next(self.decoder.parameters()).device), persistent=False)
        for norm in self.scenario_norms().values():
            norm.make_room(len(names))

    def _learn_scenarios(self) -> None:
        """Have batch statistics of every scenario, which training moves: of incomplete ones alone, in own parts."""
        number = len(self.modalities)
        # all that samples can have, whichever are drawn: data may lack sensors by itself
        every = 2**number - (self.incomplete is not None)
        masks = [[bool(subset >> place & 1) for place in range(number)] for subset in range(1, every)]
        self.register_buffer("with_statistics", torch.tensor(masks), persistent=False)
        for norm in decoder_norms(self.incomplete or self).values():
            norm.learn_scenarios(len(masks))

    def _statistics_by_sample(self, parts: "ScenarioStatistics | Parts", available: Tensor | None) -> Tensor | None:
        """(B,), of which scenario each sample takes batch statistics, -1 for the running ones; None: all take those."""
        if self.with_statistics is None or available is None:
            return None
        if parts is not (self.incomplete or self):
            return None  # those of own parts are of no use to the others
        same = (available[:, None] == self.with_statistics).all(2)  # (B, S)
        # at most one scenario is equal, so that the sum is its number from 1, or 0
        return (same * torch.arange(1, same.shape[1] + 1, device=same.device)).sum(1) - 1


def decoder_norms(parts: nn.Module) -> dict[str, BatchNorm]:
    """By name, the batch normalisations that logits depend on: those of pyramid and decoder."""
    names = ("pyramid.", "decoder.")
    return {n: part for n, part in parts.named_modules() if isinstance(part, BatchNorm) and n.startswith(names)}
