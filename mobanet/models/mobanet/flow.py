"""Streams on their way through the transformer: the steps they take, and how far they have come."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import torch
from torch import Tensor

from mobanet.models.backbones.stages import Geometry

Placement = Literal["stage", "block", "none"]


@dataclass(frozen=True)
class Step:
    """One step through the transformer.

    Attributes:
        kind: run a block, let the streams interact, keep the patch tokens for the pyramid, or go down to the next
            stage.
        index: of the block, the interaction, the tap, or the stage that is left.
    """

    kind: Literal["block", "interact", "tap", "descend"]
    index: int


def plan_steps(
    stages: Sequence[range], placement: Placement, every_tap: bool, descends: bool = False
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """All steps through the transformer, parted where the streams first interact.

    Args:
        stages: indices of the blocks of each stage.
        placement: where the streams interact; `none` too where there is only one.
        every_tap: keep tokens after each stage rather than after the last only.
        descends: whether there is something between stages.

    Returns:
        The steps that each stream takes by itself, and those that they take together.
    """
    steps = []
    for stage, blocks in enumerate(stages):
        if placement == "stage":
            steps.append(Step("interact", stage))
        for index in blocks:
            steps.append(Step("block", index))
            if placement == "block":
                steps.append(Step("interact", index))
        if every_tap or stage == len(stages) - 1:
            steps.append(Step("tap", stage))
        if descends and stage < len(stages) - 1:
            steps.append(Step("descend", stage))
    # up to here what a stream computes depends on its own modalities alone, and patterns can share it
    alone = next((place for place, step in enumerate(steps) if step.kind == "interact"), len(steps))
    return tuple(steps[:alone]), tuple(steps[alone:])


@dataclass(frozen=True)
class Flow:
    """One or several streams somewhere in the transformer, as one batch, the samples of the first stream first.

    Attributes:
        tokens: (S·B, P + N, C).
        geometry: what the blocks need besides.
        streams: S indices, in the order of the model's streams; no sample has any of those that are not among them.
        taps: patch tokens kept on the way, (S·B, N, C) each.
        there: (S·B,) bool, whether a sample has anything of a stream; None where streams it lacks count as well.
    """

    tokens: Tensor
    geometry: Geometry
    streams: tuple[int, ...]
    taps: tuple[Tensor, ...] = ()
    there: Tensor | None = None

    def split(self) -> list["Flow"]:
        """The streams one by one; views."""
        count = len(self.streams)
        tokens, taps = self.tokens.chunk(count), [tap.chunk(count) for tap in self.taps]
        there = [None] * count if self.there is None else self.there.chunk(count)
        return [
            Flow(tokens[i], self.geometry, (stream,), tuple(tap[i] for tap in taps), there[i])
            for i, stream in enumerate(self.streams)
        ]


def join_flows(flows: Sequence[Flow]) -> Flow:
    """Streams that have come equally far, as one batch."""
    if len(flows) == 1:
        return flows[0]
    taps = tuple(torch.cat(same) for same in zip(*(flow.taps for flow in flows), strict=True))
    # all have it or none: it is a matter of the model's settings
    there = [flow.there for flow in flows if flow.there is not None]
    tokens, streams = torch.cat([flow.tokens for flow in flows]), tuple(chain(*(flow.streams for flow in flows)))
    return Flow(tokens, flows[0].geometry, streams, taps, torch.cat(there) if there else None)
