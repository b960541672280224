"""What MoBaNet knows of scenarios: batch statistics of their own, and the streams that a batch of one runs."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mobanet.errors import check_setting
from mobanet.models.base import SegmentationModel, SegmentationOutput, select_available
from mobanet.models.upernet import BatchNorm

if TYPE_CHECKING:
    from mobanet.models.mobanet.network import MoBaNetSettings, Parts


class ScenarioStatistics(SegmentationModel):
    """The part of `MoBaNet` that its normalisation by scenario, learnt or measured afterwards, is made of.

    Attributes:
        settings: of the network.
        streams: names of the modalities by stream.
        decoder: from maps to logits.
        incomplete: parts for incomplete samples; None where these see the same as all others.
        with_statistics: (S, M) bool, scenarios that there are batch statistics of; None where they are of all samples.
    """

    settings: "MoBaNetSettings"
    streams: dict[str, tuple[str, ...]]
    decoder: nn.Module
    incomplete: "Parts | None"
    with_statistics: Tensor | None

    @abstractmethod
    def segment_plainly(
        self,
        parts: Any,
        inputs: dict[str, Tensor],
        available: Tensor | None,
        auxiliary: bool,
        streams: Sequence[int] | None = None,
    ) -> SegmentationOutput:
        """Encode and decode by the network's own parts or by those for incomplete samples, never compiled."""

    def scenario_norms(self) -> dict[str, BatchNorm]:
        """By name, the batch normalisations that can have statistics by scenario: all that logits depend on."""
        return decoder_norms((self.incomplete or self) if self.one_scenario_a_batch else self)

    def scenarios_met(self) -> Tensor:
        """(S,) bool, of which of the scenarios in `with_statistics` training has moved the batch statistics."""
        return ~torch.stack([norm.follows() for norm in self.scenario_norms().values()]).all(0)

    def pass_through(self, inputs: dict[str, Tensor], available: Tensor) -> None:
        """Run all that `scenario_norms` are in, for what it leaves in them: never compiled, since it comes rarely.

        Args:
            inputs: by modality, (B, C_m, H, W).
            available: (B, M) bool, the same of each sample, and incomplete where parts are own.
        """
        seen = select_available(self._order(inputs), available)
        # own parts alone have statistics by scenario that training moves
        parts = (self.incomplete or self) if self.one_scenario_a_batch else self
        some = self._streams_of_scenario(available)
        self.segment_plainly(parts, seen, available, auxiliary=False, streams=some)

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

    def _streams_of_scenario(self, available: Tensor) -> Sequence[int] | None:
        """Of a batch that is of one scenario, the streams it has anything of; None, which is all, where it may not be.

        Only there: a batch of many scenarios seldom lacks all of a stream, and sums over fewer rows round otherwise.
        """
        if not self.one_scenario_a_batch or self.settings.absent == "zero" or torch.compiler.is_exporting():
            return None
        there = available.any(0).tolist()
        having = {name for name, some in zip(self.modalities, there, strict=True) if some}
        some = [place for place, names in enumerate(self.streams.values()) if having.intersection(names)]
        return some or None  # or all: of a batch that has nothing at all a feature is made of zeros


def decoder_norms(parts: nn.Module) -> dict[str, BatchNorm]:
    """By name, the batch normalisations that logits depend on: those of pyramid and decoder."""
    names = ("pyramid.", "decoder.")
    return {n: part for n, part in parts.named_modules() if isinstance(part, BatchNorm) and n.startswith(names)}
