"""CBC and CBC-SLP: an encoder a modality, correlated at a grid of cells, and a decoder of volumes.

Source: arXiv 2604.15856 and arXiv 2605.20372, re-implemented from a description of the authors' release in formulas
(parts in encoder.py, fusion.py, decoder.py). What differs from the release: any number of modalities with
any number of bands each, any image size and grid; logits, one a class; a missing modality is deselected rather than
multiplied by zero; samples of a batch do not mix; in training an encoder need not see samples that lack its modality;
layers of the release that nothing uses do not exist.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mobanet.errors import SettingError, UserError, check_setting
from mobanet.models.backbones.stages import MOST_CHANNELS
from mobanet.models.base import (
    SegmentationModel,
    SegmentationOutput,
    check_choices,
    check_classes,
    select_available,
    size_of,
)
from mobanet.models.cbc.decoder import VolumeDecoder
from mobanet.models.cbc.encoder import STRIDE, BandEncoder
from mobanet.models.cbc.fusion import Fused, LatentFusion
from mobanet.models.cbc.pretrained import DEPTHS, WIDTH, fill_encoder, load_resnet50
from mobanet.models.cbc.volumes import Cellwise, gate, initialize, to_volume
from mobanet.models.draws import sent
from mobanet.models.sharing import each_once

# the last volume is 16 times the grid a side: of 64 cells it would be 1024 cubed
_MOST_CELLS, _MOST_BLOCKS = 64, 64


@dataclass
class CBCSettings:
    """Sizes and choices of CBC and CBC-SLP; the defaults are the paper's model but for `statistics`."""

    width: int = 8
    """Base width b: the decoder's levels have 8b, 4b, 2b and b channels, the latent 8b a modality."""

    token_width: int = 512
    """Width of the tokens in the transformers."""

    grid: int = 8
    """Cells per axis of the latent; the decoder's volumes are 2, 4, 8 and 16 times as large."""

    heads: int = 8
    """Heads of the transformers' attention."""

    dropout: float = 0.1
    """Dropout in the transformers."""

    encoder_depths: tuple[int, int, int, int] = DEPTHS
    """Blocks of the encoders' four stages."""

    encoder_width: int = WIDTH
    """Channels of the encoders' first stage."""

    pretrained: bool = False
    """Start the encoders from a ResNet-50 trained on ImageNet."""

    latent: Literal["z", "shared"] = "z"
    """The latent that scenarios are scored by: all of it, as published, or CBC-SLP's shared part."""

    statistics: Literal["all", "available"] = "available"
    """What an encoder sees in training: all samples, missing ones as zeros, or those that have its modality."""

    def __post_init__(self) -> None:
        depths: Any = tuple(self.encoder_depths)  # of any length: see below
        self.encoder_depths = depths
        check_choices(self, "cbc")
        for name in ("width", "token_width", "grid", "heads", "encoder_width"):
            value, most = getattr(self, name), _MOST_CELLS if name == "grid" else MOST_CHANNELS
            reason = f"is {value}: give a whole number, at least 1, at most {most}."
            check_setting(0 < value <= most, f"cbc.{name}", reason)
        check_setting(
            self.token_width % self.heads == 0,
            "cbc.heads",
            f"is {self.heads}, which does not divide `cbc.token_width` {self.token_width}: give a divisor of it.",
        )
        check_setting(0 <= self.dropout < 1, "cbc.dropout", f"is {self.dropout}: give a share from 0 to below 1.")
        check_setting(
            len(depths) == len(DEPTHS) and all(0 < depth <= _MOST_BLOCKS for depth in depths),
            "cbc.encoder_depths",
            f"is {list(depths)}: give four whole numbers, at least 1 and at most {_MOST_BLOCKS} each.",
        )
        check_setting(
            not self.pretrained or (depths, self.encoder_width) == (DEPTHS, WIDTH),
            "cbc.pretrained",
            f"needs the encoder of a ResNet-50: leave `cbc.encoder_depths` at {list(DEPTHS)} and `cbc.encoder_width` "
            f"at {WIDTH}, or set `cbc.pretrained` false.",
        )


class CBC(SegmentationModel):
    """Segmentation of modalities, each with an encoder of its own.

    Its latent is a volume (B, C, g, g, g), returned as (B, C, g, g·g): a row a depth plane, nothing lost.

    Args:
        modalities: number of bands by modality, in order.
        num_classes: K.
        settings: sizes and choices; the paper's by default.
        slp: CBC-SLP, whose decoder gets a part of the latent that all modalities share, and one of each of them.

    Raises:
        UserError: for arguments that do not fit, and when pretrained weights cannot be had.
    """

    parts_samples = True  # encoders run for the samples that have their modality

    def __init__(
        self,
        modalities: Mapping[str, int],
        num_classes: int,
        settings: CBCSettings | None = None,
        slp: bool = False,
    ) -> None:
        super().__init__()
        settings = settings or CBCSettings()
        _check(modalities, num_classes, settings, slp)
        self.modalities = dict(modalities)
        self.num_classes = num_classes
        self.settings = settings
        self.slp = slp
        self.standardization = {}
        count, base, width, grid = len(modalities), settings.width, settings.token_width, settings.grid
        encoders = [BandEncoder(settings.encoder_width, settings.encoder_depths, base, grid) for _ in modalities]
        self.encoders = nn.ModuleList(encoders)
        self.fusion = LatentFusion(count, base, width, settings.heads, settings.dropout, grid)
        self.shared = Cellwise(8 * base * count, 4 * base * count) if slp else None
        self.privates = nn.ModuleList(Cellwise(width, 4 * base) for _ in (modalities if slp else ()))
        self.decoder = VolumeDecoder(count, base, num_classes)
        # before ImageNet's weights, which the release draws anew once it has loaded them (cmx_cbc.md, 4.10)
        self.apply(initialize)
        if settings.pretrained:
            weights = load_resnet50()
            for encoder in encoders:
                fill_encoder(encoder, weights)

    def segment(self, inputs: dict[str, Tensor], available: Tensor | None, auxiliary: bool) -> SegmentationOutput:
        """Segment inputs in which missing modalities are already zero; there are no auxiliary logits."""
        there = None if available is None else sent(available, next(iter(inputs.values())).device)
        fused = self.fusion(self._encode(inputs, available), there)
        return self._decode(fused, there, size_of(inputs))

    def forward_each(self, inputs: dict[str, Tensor], patterns: Sequence[Tensor]) -> Iterator[SegmentationOutput]:
        """As in the base; the encoders, which know nothing of patterns, run once for all of them."""
        ordered = self._order(inputs, patterns)
        return each_once(
            patterns,
            lambda distinct: (
                self._decode(fused, available, size_of(ordered))
                for available, fused in zip(distinct, self._fuse_each(ordered, distinct), strict=True)
            ),
        )

    def latents(self, inputs: dict[str, Tensor], patterns: Sequence[Tensor]) -> Iterator[Tensor]:
        """The latents alone of what `forward_each` gives, (B, C, g, g·g) each; the decoder does not run."""
        ordered = self._order(inputs, patterns)
        return each_once(patterns, lambda distinct: map(self._latent, self._fuse_each(ordered, distinct)))

    def _fuse_each(self, inputs: dict[str, Tensor], patterns: Sequence[Tensor]) -> Iterator[Fused]:
        """Skips and latent for each pattern, (B, M) bool."""
        used = torch.stack(list(patterns)).any(0)  # (B, M): by any pattern
        # what no pattern has need not be encoded; of the rest each pattern deselects in the fusion
        levels = self._encode(select_available(inputs, used), used)
        for available in patterns:
            yield self.fusion(levels, available)

    def _encode(self, inputs: dict[str, Tensor], available: Tensor | None) -> list[list[Tensor]]:
        """The five levels of each modality; in those of a missing one there are zeros or what zeros give."""
        # in eval mode samples do not see each other, so that a compiled graph may take all and be one
        everything = self.settings.statistics == "all" if self.training else torch.compiler.is_compiling()
        if everything or torch.compiler.is_exporting():
            available = None  # a graph is one for all patterns, and the fusion deselects what is missing
        levels = []
        for column, (encoder, x) in enumerate(zip(self.encoders, inputs.values(), strict=True)):
            chosen = None if available is None else sent(available[:, column].nonzero()[:, 0], x.device)
            levels.append(self._encode_some(encoder, x, chosen))
        return levels

    def _encode_some(self, encoder: nn.Module, x: Tensor, chosen: Tensor | None) -> list[Tensor]:
        """Encode the chosen samples of (B, D, H, W), None: all; the others' levels are zero."""
        part = x if chosen is None or len(chosen) == len(x) else x[chosen]
        if self.training:
            _check_statistics(part)
        # An encoder runs for no sample at all, too: its parameters stay in the graph, and ranks in step.
        levels = encoder(part)
        if part is x:
            return levels
        return [level.new_zeros(len(x), *level.shape[1:]).index_copy(0, chosen, level) for level in levels]

    def _decode(self, fused: Fused, available: Tensor | None, size: tuple[int, int]) -> SegmentationOutput:
        """From the latent to logits at the size of the inputs."""
        cells = fused.latent
        if self.shared is not None:
            # Each private part is gated although what it comes from was: its bias is not zero.
            privates = [private(x) for private, x in zip(self.privates, fused.correlated.unbind(1), strict=True)]
            gated = gate(torch.stack(privates, 1), available).unbind(1)
            cells = torch.cat((self.shared(cells), *gated), -1)
        logits = self.decoder(to_volume(cells, self.settings.grid), fused.skips, size)
        return SegmentationOutput(logits=logits, latent=self._latent(fused))

    def _latent(self, fused: Fused) -> Tensor:
        """What scenarios are scored by: (B, C, g, g·g)."""
        shared = self.shared if self.settings.latent == "shared" else None
        cells = fused.latent if shared is None else shared(fused.latent)
        return to_volume(cells, self.settings.grid).flatten(3)


def _check(modalities: Mapping[str, int], num_classes: int, settings: CBCSettings, slp: bool) -> None:
    """Refuse what no model can be built from."""
    check_setting(bool(modalities), "data.modalities", "is empty: name at least one.")
    for name, bands in modalities.items():
        if bands < 1:
            raise UserError(f"The modality {name} has {bands} bands: give at least one.")
    check_classes(num_classes)
    shares = settings.latent != "shared" or slp
    check_setting(shares, "cbc.latent", "is shared, and only CBC-SLP has a shared part: choose z, or CBC-SLP.")


def _check_statistics(x: Tensor) -> None:
    """Refuse to train on so little that the last stage has one value a channel, which BatchNorm cannot normalise."""
    height, width = x.shape[-2:]
    if len(x) * x.shape[1] == 1 and max(height, width) <= STRIDE:
        raise SettingError(
            "data.crop",
            f"is {max(height, width)}, and batch normalisation cannot train where a batch has one sample "
            f"of a modality of one band: set it to more than {STRIDE}.",
        )
