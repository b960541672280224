"""MoBaNet: sensors through one frozen transformer, trained parts of a few million parameters around it.

Paper: arXiv 2603.17705. Re-implemented from the description in the paper and the authors' public release; what each
part does is said where it stands (cpia.py, dgfm.py, pyramid.py, upernet.py). What differs from the release: there may
be any number of streams (of two, prompts and gates are the paper's; of one, there are none), several modalities may
share a stream, the streams run through the blocks as one batch, one-band kernels are summed at run
time, any image size is taken, a missing modality may have a learned token, and placement, fusion and pyramid are
choices independent of the backbone.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.errors import SettingError, check_setting
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.backbones.stages import MOST_CHANNELS, NUM_STAGES, BackboneSettings, to_map
from mobanet.models.base import (
    SegmentationOutput,
    check_choices,
    check_classes,
    select_available,
)
from mobanet.models.draws import sent
from mobanet.models.mobanet.apart import apart, touched
from mobanet.models.mobanet.by_scenario import ScenarioStatistics, decoder_norms
from mobanet.models.mobanet.cpia import CPIA, AdapterCPIA
from mobanet.models.mobanet.dgfm import Fusion
from mobanet.models.mobanet.flow import Flow, Placement, Step, join_flows, plan_steps
from mobanet.models.mobanet.pyramid import Neck, PlainPyramid, ScaledPyramid, Stages
from mobanet.models.own_pixels import finer
from mobanet.models.patches import StreamEmbedding
from mobanet.models.sharing import PatternKey, SharedResults, each_once, pattern_keys
from mobanet.models.streams import check_streams, find_pretrained, standardize
from mobanet.models.upernet import AuxiliaryHead, Normalization, UPerNet, resize

T = TypeVar("T")


@dataclass
class MoBaNetSettings:
    """The trained parts around the backbone; the defaults are the paper's model."""

    placement: Placement = "stage"
    """Where the streams interact (CPIA): at the start of each stage, in adapters after each block, or nowhere."""

    fusion: Fusion = "dgfm"
    """How the streams become one: the difference-guided gate, squeeze-and-excitation and sum, or the mean."""

    pyramid: Literal["plain", "scaled"] = "plain"
    """Maps for the decoder: a tap a stage, at the resolution of patches or of the stage; or SAM's neck at x4, x2, x1
    and x1/2."""

    missing: Literal["zero", "token"] = "zero"
    """What stands in for a missing modality: zeros, or a learned token a modality, added to the patches it lacks."""

    absent: Literal["zero", "left_out"] = "zero"
    """A stream of which a sample has nothing: taken as it is, an image of zeros, or left out of prompts and fusion."""

    normalization: Normalization = "batch"
    """Of decoder and auxiliary heads: over a batch, as in the paper; over groups of channels of each sample: samples
    that lack different sensors then do not move each other's statistics; or over the samples of a batch that are of the
    same scenario, each scenario with running statistics of its own: training then draws a scenario for a whole batch.
    With incomplete own it is these parts that know scenarios."""

    incomplete: Literal["shared", "own"] = "shared"
    """What sees samples that lack a sensor: the trained parts that see all others, or a set of their own, which starts
    as a copy where training on incomplete scenarios begins (--scenarios.warmup_epochs), so that what is learnt of
    missing sensors does not move what sees them all. As many parameters again, of which each sample passes one set."""

    scenario_statistics: list[str] = field(default_factory=list)
    """Incomplete scenarios, such as rgb+ir, whose samples decoder and pyramid normalise by batch statistics of their
    own. mobanet.adapt fills them in; training knows none."""

    auxiliary_heads: bool = True
    """Give each stream a classifier of its own, for the hard-pixel loss in training."""

    decoder_channels: int = 64
    """Channels inside the decoder."""

    projection_channels: int = 256
    """Channels of the maps that the decoder gets."""

    cpia_ratio: float = 0.25
    """Bottleneck of CPIA as a share of the backbone's width."""

    adapter_ratio: float = 1 / 16
    """Bottleneck of the adapters (placement block) as a share of the backbone's width."""

    adapter_dropout: float = 0.1
    """Dropout in the adapters (placement block)."""

    decoder_dropout: float = 0.1
    """Dropout before the classifiers of the decoder and of the auxiliary heads."""

    def __post_init__(self) -> None:
        check_choices(self, "network")
        for name in ("cpia_ratio", "adapter_ratio"):
            share = getattr(self, name)
            check_setting(0 < share <= 1, f"network.{name}", f"is {share}: give a share above 0 and up to 1.")
        for name in ("decoder_channels", "projection_channels"):
            count, reason = getattr(self, name), f"give a number from 1 to {MOST_CHANNELS}."
            check_setting(0 < count <= MOST_CHANNELS, f"network.{name}", f"is {count}: {reason}")
        for name in ("adapter_dropout", "decoder_dropout"):
            share = getattr(self, name)
            check_setting(0 <= share < 1, f"network.{name}", f"is {share}: give a share from 0 to below 1.")
        check_setting(
            not self.scenario_statistics or (self.normalization, self.incomplete) == ("batch", "shared"),
            "network.scenario_statistics",
            "is for `network.normalization` batch and incomplete shared: nothing else has batch statistics that "
            "scenarios share.",
        )


class Parts(nn.Module):
    """What is around the backbone of a MoBaNet, once more.

    Args:
        network: whose parts to copy.
    """

    NAMES = ("embeddings", "interactions", "neck", "pyramid", "decoder", "heads")

    embeddings: nn.ModuleList
    interactions: nn.ModuleList
    neck: nn.Module | None
    pyramid: PlainPyramid | ScaledPyramid
    decoder: nn.Module
    heads: nn.ModuleList

    def __init__(self, network: "MoBaNet") -> None:
        super().__init__()
        for name in self.NAMES:
            setattr(self, name, deepcopy(getattr(network, name)))

    def copy_from(self, network: "MoBaNet") -> None:
        """Take the weights and the running statistics that a network's parts have now; of scenarios nothing is known.

        Raises:
            RuntimeError: for a network of other parts.
        """
        for name in self.NAMES:
            if (part := getattr(network, name)) is not None:
                own = getattr(self, name)
                # statistics of scenarios, which a network with own parts has in these alone, stay where they are
                own.load_state_dict({**own.state_dict(), **part.state_dict()})
        for norm in decoder_norms(self).values():
            if norm.learns_scenarios:
                norm.forget_scenarios()


class MoBaNet(ScenarioStatistics):
    """Segmentation of one or more streams of modalities with a shared, usually frozen, transformer.

    The first stream is the optical one, unless a stream is named `optical`. There, `rgb` (else a leading `irrg`) of
    three bands goes through the pretrained patch kernel; every other modality has a trainable one that starts from it.
    With one stream there is nothing to interact or fuse, whatever the settings: the unimodal baseline, of which
    `dgfm` leaves the LayerNorm.

    Args:
        streams: by stream, number of bands by modality; e.g. {"optical": {"rgb": 3}, "elevation": {"dsm": 1}}.
        num_classes: K.
        backbone: which transformer.
        settings: the parts around it; the paper's by default.
        order: of the modalities; as in `streams` by default.
        pixel_ratios: by modality, pixels of the grid that one of its own is wide and high; 1 where it is not named. Its
            tokens are those of the grid: patches of as many of its own pixels as cover the same ground.

    Attributes:
        streams: names of the modalities by stream.

    Raises:
        UserError: for settings that do not fit together, and as `build_backbone`.
    """

    uses_streams = True
    own_pixels = True

    def __init__(
        self,
        streams: Mapping[str, Mapping[str, int]],
        num_classes: int,
        backbone: BackboneSettings,
        settings: MoBaNetSettings | None = None,
        order: Sequence[str] | None = None,
        pixel_ratios: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        settings = settings or MoBaNetSettings()
        self.modalities = check_streams(streams, order)
        check_classes(num_classes)
        self.num_classes = num_classes
        self.settings = settings
        self.streams = {stream: tuple(modalities) for stream, modalities in streams.items()}
        self.backbone = build_backbone(backbone)
        self.patch_size = self.least_size = self.backbone.patch_size
        optical = "optical" if "optical" in streams else next(iter(streams))
        borrowed = find_pretrained(streams[optical])
        mean, std = self.backbone.mean, self.backbone.std
        self.standardization = standardize(streams[optical], mean, std) if backbone.standardize else {}
        (stride, _), padding = self.backbone.stem.stride, self.backbone.stem.padding
        assert not isinstance(padding, str)  # timm's stems say how many pixels
        self.pixel_ratios = dict(pixel_ratios)
        # patches that overlap or reach over the edge would cut through coarse pixels, which are repeated there
        disjoint = stride == self.backbone.patch_kernel.shape[-1] and not padding[0]
        # what of a ratio divides the patch is left to a smaller kernel; the rest is repeated (`_padded`)
        self._scales = {
            name: math.gcd(ratio, stride) if disjoint else 1 for name, ratio in pixel_ratios.items() if ratio > 1
        }
        self.embeddings = nn.ModuleList(
            StreamEmbedding(
                modalities,
                borrowed if stream == optical else None,
                self.backbone.patch_kernel,
                self.backbone.patch_bias,
                missing_tokens=settings.missing == "token",
                stride=stride,
                padding=padding[0],
                scales=self._scales,
            )
            for stream, modalities in streams.items()
        )
        self.interactions = self._build_interactions()
        # a single stream has nothing to interact with, whatever was set
        placement = settings.placement if len(self.interactions) else "none"
        self._steps_alone, self._steps_together = plan_steps(
            self.backbone.stages, placement, settings.pyramid == "plain", self.backbone.hierarchical
        )
        names, channels, norm = list(streams), settings.projection_channels, settings.normalization
        self.neck: nn.Module | None = None
        self.pyramid: PlainPyramid | ScaledPyramid
        if settings.pyramid == "plain":
            self.pyramid = PlainPyramid(self.backbone.stage_widths, channels, settings.fusion, names)
        else:
            self._check_scales(channels)
            self.pyramid = ScaledPyramid(channels, settings.fusion, names, norm)
            if not self.backbone.neck_channels:
                self.neck = Neck(self.backbone.width, channels)
        self.decoder = self.make_decoder(channels)
        self.heads = nn.ModuleList(
            AuxiliaryHead(channels, num_classes, settings.decoder_dropout, norm)
            for _ in (names if settings.auxiliary_heads else ())
        )
        # SAM's neck has norms of its own, so that with it the final norm of the transformer never runs
        own_neck = settings.pyramid == "scaled" and self.neck is None
        self.backbone.release_unused(borrowed is not None, borrowed is not None, not own_neck, own_neck)
        # of a single modality no sample is incomplete: what has nothing at all is not predicted
        own = settings.incomplete == "own" and len(self.modalities) > 1
        self.incomplete = Parts(self) if own else None
        self.apart = self.parts_samples = own
        self.one_scenario_a_batch = settings.normalization == "scenario" and len(self.modalities) > 1
        self._compiled_with: dict[str, Any] | None = None
        # not in checkpoints, as it follows from the settings
        self.register_buffer("with_statistics", None, persistent=False)  # (S, M) bool
        if settings.scenario_statistics:
            self.know_scenarios(settings.scenario_statistics)
        if self.one_scenario_a_batch:
            self._learn_scenarios()

    def make_decoder(self, channels: int) -> nn.Module:
        """What goes from four fused maps (B, channels, ·, ·), the finest first, to logits (B, K, ·, ·): the paper's.

        Called once, while the network is made. A subclass may give its own: `forward(maps, rows)`, where rows say which
        scenario's batch statistics each sample takes, None for the usual ones (`mobanet.models.upernet.BatchNorm`).
        """
        given = self.settings
        return UPerNet(channels, given.decoder_channels, self.num_classes, given.decoder_dropout, given.normalization)

    def part_ways(self) -> None:
        """Let the parts for incomplete samples, where they are own ones, go on from what the others have learnt."""
        if self.incomplete is not None:
            self.incomplete.copy_from(self)

    def idle_parts(self, reached: tuple[bool, bool] | None = None) -> list[nn.Module]:
        """As in the base; gradients tell by being exactly 0, as `touched` leaves them."""
        if self.incomplete is None:
            return []
        if reached is None:
            # of gradients, which ranks have agreed on, and not of what this rank has seen
            # the last parameter, the classifier's weight, which every sample that counts moves
            moved = [[*parts.decoder.parameters()][-1].grad for parts in (self, self.incomplete)]
            reached = (_moves(moved[0]), _moves(moved[1]))
        own = [getattr(self, name) for name in Parts.NAMES]
        sides = [[part for part in own if part is not None], [self.incomplete]]
        return [part for side, seen in zip(sides, reached, strict=True) if not seen for part in side]

    def compile_steps(self, **options: Any) -> None:
        """As in the base; where samples are parted by what they lack, what either set of parts does is compiled."""
        if self.incomplete is None:
            self.compile(**options)
        else:
            self._compiled_with = options

    def segment(self, inputs: dict[str, Tensor], available: Tensor | None, auxiliary: bool) -> SegmentationOutput:
        """Segment inputs in which missing modalities are already zero.

        Raises:
            UserError: in training with a single sample, whose 1x1 pool batch normalisation cannot normalise.
        """
        if self.training and self.settings.normalization != "group" and len(next(iter(inputs.values()))) == 1:
            raise SettingError(
                "data.batch_size", "is 1, and batch normalisation cannot train on a single sample: set it to 2 or more."
            )
        if self.incomplete is None or available is None:
            return self._segment_by(self, inputs, available, auxiliary)

        def way(parts: "MoBaNet | Parts", rows: dict[str, Tensor], there: Tensor) -> dict[str, Tensor]:
            output = self._segment_by(parts, rows, there, auxiliary)
            heads = {f"auxiliary {stream}": x for stream, x in output.auxiliary.items()}
            return {"logits": output.logits, "latent": output.latent, **heads}

        if self.training and self.joined:
            found = way(self, inputs, sent(available, next(iter(inputs.values())).device))
        else:
            found = apart(inputs, available, partial(way, self), partial(way, self.incomplete))
        logits = touched(found["logits"], self.parameters()) if self.training else found["logits"]
        heads = {
            stream: found[f"auxiliary {stream}"] for stream in (self.streams if auxiliary and len(self.heads) else ())
        }
        return SegmentationOutput(logits, found["latent"], heads)

    def _segment_by(
        self, parts: "MoBaNet | Parts", inputs: dict[str, Tensor], available: Tensor | None, auxiliary: bool
    ) -> SegmentationOutput:
        if self._compiled_with is not None and not torch.compiler.is_exporting():
            run = _compiled(tuple(self._compiled_with.items()))
            return run(self, parts, inputs, available, auxiliary)
        return self.segment_plainly(parts, inputs, available, auxiliary)

    def segment_plainly(
        self, parts: "MoBaNet | Parts", inputs: dict[str, Tensor], available: Tensor | None, auxiliary: bool
    ) -> SegmentationOutput:
        """Encode and decode by these parts alone: what is compiled, where samples go two ways."""
        # heads see the finest maps alone, so that no other of a stream's own is projected
        stages = self._encode(parts, inputs, available, stream_stages=1 if auxiliary and len(self.heads) else 0)
        return self._decode(parts, stages, self._size(inputs), auxiliary)

    def forward_each(self, inputs: dict[str, Tensor], patterns: Sequence[Tensor]) -> Iterator[SegmentationOutput]:
        """As in the base; what a stream computes before the streams first interact is shared.

        With `absent: left_out`, a stream that no sample of a pattern has does not run at all: the scenarios of one
        stream of S cost an S-th of the full one. Where a pattern has both samples that lack something and samples that
        do not, and these are seen by parts of their own, nothing is shared.
        """
        ordered = self._order(inputs, patterns)
        size = self._size(ordered)
        return each_once(
            patterns,
            lambda distinct: self._each_pattern(
                ordered,
                distinct,
                lambda parts, stages: self._decode(parts, stages, size, auxiliary=False),
                lambda pattern: self(ordered, pattern, auxiliary=False),
            ),
        )

    def latents(self, inputs: dict[str, Tensor], patterns: Sequence[Tensor]) -> Iterator[Tensor]:
        """The latents alone of what `forward_each` gives, (B, C, h, w) each; the decoder does not run."""
        ordered = self._order(inputs, patterns)

        def way(parts: "MoBaNet | Parts", rows: dict[str, Tensor], there: Tensor) -> dict[str, Tensor]:
            return {"latent": self._encode(parts, rows, there, stream_stages=0).latent}

        def apart_by_rows(pattern: Tensor) -> Tensor:
            assert self.incomplete is not None  # else no row is apart
            ways = partial(way, self), partial(way, self.incomplete)
            return apart(select_available(ordered, pattern), pattern, *ways)["latent"]

        return each_once(
            patterns,
            lambda distinct: self._each_pattern(ordered, distinct, lambda _, stages: stages.latent, apart_by_rows),
        )

    def _each_pattern(
        self,
        inputs: dict[str, Tensor],
        patterns: Sequence[Tensor],
        finish: Callable[["MoBaNet | Parts", Stages], T],
        mixed: Callable[[Tensor], T],
    ) -> Iterator[T]:
        """What each pattern, (B, M) bool, comes to, one after the other.

        Args:
            inputs: by modality, (B, C_m, H, W), in order.
            patterns: what is there.
            finish: of the stages of a pattern all of whose samples are seen by the same parts.
            mixed: of a pattern whose samples are not.
        """
        sides = self._parts_for(patterns)
        # what patterns share is planned for all of them at once (`SharedResults`)
        of_one = [(pattern, parts) for pattern, parts in zip(patterns, sides, strict=True) if parts is not None]
        encoded = self._encode_patterns(inputs, *zip(*of_one, strict=True)) if of_one else iter(())
        for pattern, parts in zip(patterns, sides, strict=True):
            yield mixed(pattern) if parts is None else finish(parts, next(encoded))

    def _parts_for(self, patterns: Sequence[Tensor]) -> "list[MoBaNet | Parts | None]":
        """The parts that see all samples of a pattern, (B, M) bool; None where there are two that see some each."""
        if self.incomplete is None:
            return [self] * len(patterns)
        complete = torch.stack([*patterns]).all(2).cpu()  # (S, B)
        return [self if rows.all() else None if rows.any() else self.incomplete for rows in complete]

    def encode(
        self, inputs: dict[str, Tensor], available: Tensor | None = None, stream_stages: int = NUM_STAGES
    ) -> Stages:
        """Everything before the decoder, by the parts that see complete samples.

        Args:
            inputs: by modality, (B, C_m, H, W), missing ones zero; padded right and bottom here, with zeros, to whole
                patches.
            available: (B, M) bool, where tokens stand in for what is missing; None: everything is there.
            stream_stages: of how many stages, from the first, the streams' own maps are wanted.

        Returns:
            The maps; the latent is (B, C, h, w) at the resolution of patches or of the last stage, or the coarsest
            fused map (B, D, ·, ·) where the pyramid is scaled or the fusion `se`.
        """
        return self._encode(self, inputs, available, stream_stages)

    def _encode(
        self, parts: "MoBaNet | Parts", inputs: dict[str, Tensor], available: Tensor | None, stream_stages: int
    ) -> Stages:
        flow = self._run_streams_alone(parts, range(len(parts.embeddings)), inputs, available)
        if available is None and self.one_scenario_a_batch:
            # everything is there, which is a scenario, too
            first = next(iter(inputs.values()))
            available = torch.ones(len(first), len(inputs), dtype=torch.bool, device=first.device)
        return self._run_streams_together(parts, flow, stream_stages, self._statistics_by_sample(parts, available))

    def _encode_patterns(
        self, inputs: dict[str, Tensor], patterns: Sequence[Tensor], sides: "Sequence[MoBaNet | Parts]"
    ) -> Iterator[Stages]:
        """Fused maps of each pattern, (B, M) bool; each stream starts once for each pattern of its own modalities.

        Args:
            inputs: by modality, (B, C_m, H, W), in order.
            patterns: what is there.
            sides: by pattern, the parts that see it.
        """
        order = list(self.modalities)
        columns = [[order.index(name) for name in members] for members in self.streams.values()]
        keys = [
            # by parts, too: what each set's own kernels make of the same pattern differs
            [(parts is self, *key) for key in self._keys_that_run(found)]
            for parts, found in zip(sides, pattern_keys(patterns, columns), strict=True)
        ]
        started: SharedResults[Flow] = SharedResults(chain.from_iterable(keys))
        for pattern, parts, wanted in zip(patterns, sides, keys, strict=True):
            new = [key for key in wanted if key not in started]
            if new:
                streams = [stream for _, stream, _ in new]
                flow = self._run_streams_alone(parts, streams, select_available(inputs, pattern), pattern)
                for key, part in zip(new, flow.split(), strict=True):
                    started.put(key, part)
            flow = join_flows([started.take(key) for key in wanted])
            yield self._run_streams_together(
                parts, flow, stream_stages=0, rows=self._statistics_by_sample(parts, pattern)
            )

    def _keys_that_run(self, keys: Sequence[PatternKey]) -> Sequence[PatternKey]:
        """Of a pattern's keys, one a stream, those of streams that run: all, or those that some sample has."""
        if self.settings.absent == "zero":
            return keys
        # or all: of a batch that has nothing at all a feature is made of zeros
        return [key for key in keys if any(key[1])] or keys

    def _run_streams_alone(
        self,
        parts: "MoBaNet | Parts",
        streams: Sequence[int],
        inputs: dict[str, Tensor],
        available: Tensor | None,
    ) -> Flow:
        """Pad to whole patches, embed, and run as far as each stream goes by itself, the given streams as one batch."""
        size, backbone = self.backbone.patch_size, self.backbone
        height, width = self._size(inputs)
        padded = height + -height % size, width + -width % size
        inputs = {name: self._padded(name, x, *padded) for name, x in inputs.items()}
        there = None if available is None else dict(zip(self.modalities, available.unbind(1), strict=True))
        patches = [
            parts.embeddings[stream](inputs, backbone.patch_kernel, backbone.patch_bias, there) for stream in streams
        ]
        tokens, geometry = backbone.embed(torch.cat(patches))  # (S·B, h, w, C) -> (S·B, P + N, C)
        flow = Flow(tokens, geometry, tuple(streams), there=self._streams_there(streams, there))
        return self._take_steps(parts, self._steps_alone, flow)

    def _padded(self, name: str, x: Tensor, height: int, width: int) -> Tensor:
        """A modality's image as its patches are cut from it, with zeros to a size in pixels of the grid."""
        scale = self._scales.get(name, 1)
        x = finer(x, self.pixel_ratios.get(name, 1) // scale)
        right, bottom = width // scale - x.shape[-1], height // scale - x.shape[-2]
        return F.pad(x, (0, right, 0, bottom)) if right or bottom else x

    def _size(self, inputs: Mapping[str, Tensor]) -> tuple[int, int]:
        """Height and width that all inputs share, in pixels of the grid."""
        name, x = next(iter(inputs.items()))
        ratio = self.pixel_ratios.get(name, 1)
        return x.shape[-2] * ratio, x.shape[-1] * ratio

    def _streams_there(self, streams: Sequence[int], available: Mapping[str, Tensor] | None) -> Tensor | None:
        """(S·B,) bool, whether a sample has anything of each stream; None where that makes no difference."""
        if self.settings.absent == "zero" or available is None or len(self.streams) == 1:
            return None
        members = list(self.streams.values())
        return torch.cat([torch.stack([available[name] for name in members[stream]]).any(0) for stream in streams])

    def _run_streams_together(
        self, parts: "MoBaNet | Parts", flow: Flow, stream_stages: int, rows: Tensor | None
    ) -> Stages:
        """From where all streams have come by themselves to the maps."""
        backbone = self.backbone
        flow = self._take_steps(parts, self._steps_together, flow)
        given = stream_stages, flow.streams, flow.there, rows
        if isinstance(parts.pyramid, PlainPyramid):
            # by the norm after the last block at every depth, as in the release (mobanet.md, section 2)
            taps = [backbone.normalize(tap) for tap in flow.taps]
            return parts.pyramid(taps, [backbone.grid(stage, flow.geometry) for stage in range(NUM_STAGES)], *given)
        if parts.neck is None:
            return parts.pyramid(backbone.neck(flow.taps[-1], flow.geometry), *given)
        maps = to_map(backbone.normalize(flow.taps[-1]), flow.geometry.grid)
        return parts.pyramid(parts.neck(maps), *given)

    def _take_steps(self, parts: "MoBaNet | Parts", steps: Sequence[Step], flow: Flow) -> Flow:
        """Take steps through the transformer."""
        tokens, taps = flow.tokens, list(flow.taps)
        for step in steps:
            if step.kind == "block":
                tokens = self.backbone.block(step.index, tokens, flow.geometry)
            elif step.kind == "interact":
                tokens = self._interact(parts.interactions[step.index], tokens, flow)
            elif step.kind == "descend":
                tokens = self.backbone.descend(step.index, tokens, flow.geometry)
            else:
                taps.append(self.backbone.tapped(step.index, tokens, flow.geometry))  # (S·B, N, C)
        return replace(flow, tokens=tokens, taps=tuple(taps))

    def _interact(self, interaction: nn.Module, tokens: Tensor, flow: Flow) -> Tensor:
        """Add to each stream's patch tokens what its interaction gives: (S·B, P + N, C) -> the same."""
        prefix, count = self.backbone.num_prefix_tokens, len(flow.streams)
        split = dict(zip(flow.streams, tokens[:, prefix:].unflatten(0, (count, -1)).unbind(0), strict=True))
        present = None if flow.there is None else flow.there.unflatten(0, (count, -1))  # (S, B)
        streams = [split.get(stream) for stream in range(len(self.streams))]  # (B, N, C) each
        added = interaction(*streams, present=present).flatten(0, 1)  # (S, B, N, C) -> (S·B, N, C)
        # Padding the sum rather than cutting the tokens keeps the backward pass free of copies of all tokens.
        return tokens + (F.pad(added, (0, 0, prefix, 0)) if prefix else added)

    def _decode(
        self, parts: "MoBaNet | Parts", stages: Stages, size: tuple[int, int], auxiliary: bool
    ) -> SegmentationOutput:
        """From the maps to logits at the size of the inputs."""
        return SegmentationOutput(
            logits=self._resize(parts.decoder(stages.fused, stages.rows), *size),
            latent=stages.latent,
            auxiliary={
                # the finest maps of the stream, as in the release
                stream: self._resize(head(stages.streams[stream][0]), *size)
                # not strict: heads may be switched off
                for stream, head in zip(self.streams, parts.heads if auxiliary else (), strict=False)
            },
        )

    def _resize(self, logits: Tensor, height: int, width: int) -> Tensor:
        """Logits at the padded size, cropped to the image: (B, K, h, w) -> (B, K, H, W), in float32."""
        size = self.backbone.patch_size
        padded = (height + -height % size, width + -width % size)
        # loss and softmax follow, and bfloat16 knows logits of 1 to 2 to a hundredth only
        exact = torch.promote_types(logits.dtype, torch.float32)
        # by way of the padded size: straight to the image's, all would be squeezed by the margin
        return resize(logits.to(exact), padded)[..., :height, :width]

    def _build_interactions(self) -> nn.ModuleList:
        settings, backbone, streams = self.settings, self.backbone, len(self.streams)
        if streams == 1 or settings.placement == "none":
            return nn.ModuleList()
        if settings.placement == "stage":
            return nn.ModuleList(CPIA(width, settings.cpia_ratio, streams) for width in backbone.entry_widths)
        return nn.ModuleList(
            AdapterCPIA(width, settings.cpia_ratio, settings.adapter_ratio, settings.adapter_dropout, streams)
            for width, blocks in zip(backbone.stage_widths, backbone.stages, strict=True)
            for _ in blocks
        )

    def _check_scales(self, channels: int) -> None:
        name, neck = self.backbone.name, self.backbone.neck_channels
        check_setting(
            not self.backbone.hierarchical,
            "network.pyramid",
            f"is scaled, which makes four scales of one map, but {name} has four scales of its own: set it to plain.",
        )
        check_setting(
            neck in (0, channels),
            "network.projection_channels",
            f"is {channels}, but the neck of {name} has {neck} channels: set it to {neck}, or `network.pyramid` plain.",
        )


def _moves(grad: Tensor | None) -> bool:
    # None: a decoder that is not trained tells nothing, and what may have been reached is not idle
    return grad is None or bool(grad.any())


@cache
def _compiled(options: tuple[tuple[str, Any], ...]) -> Callable[..., SegmentationOutput]:
    """One function for all networks, which it takes as an argument: a copy of a network must not run the original."""
    return torch.compile(MoBaNet.segment_plainly, **dict(options))
