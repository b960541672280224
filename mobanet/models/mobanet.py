"""MoBaNet: two sensors through one frozen transformer, trained parts of a few million parameters around it.

Paper: arXiv 2603.17705. Re-implemented from the description in the paper and the authors' public release; what each
part does is said where it stands (cpia.py, dgfm.py, pyramid.py, upernet.py). What differs from the release: several
modalities may share a stream, the streams run through the blocks as one batch, one-band kernels are summed at run
time, any image size is taken, and placement, fusion and pyramid are choices independent of the backbone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.errors import UserError
from mobanet.models.backbone_kinds import build_backbone
from mobanet.models.backbones import NUM_STAGES, BackboneSettings
from mobanet.models.base import SegmentationModel, SegmentationOutput, Standardization
from mobanet.models.cpia import CPIA, AdapterCPIA
from mobanet.models.dgfm import Fusion
from mobanet.models.patches import StreamEmbedding
from mobanet.models.pyramid import Neck, PlainPyramid, ScaledPyramid, Stages
from mobanet.models.upernet import AuxiliaryHead, UPerNet, resize

# Three-band images that the pretrained kernel sees as they are, in order of preference.
PRETRAINED_MODALITIES = ("rgb", "irrg")


@dataclass
class MoBaNetSettings:
    """The trained parts around the backbone; the defaults are the paper's model."""

    placement: Literal["stage", "block", "none"] = "stage"
    """Where the streams interact (CPIA): at the start of each stage, in adapters after each block, or nowhere."""

    fusion: Fusion = "dgfm"
    """How the streams become one: the difference-guided gate, squeeze-and-excitation and sum, or the mean."""

    pyramid: Literal["plain", "scaled"] = "plain"
    """Maps for the decoder: a tap a stage at patch resolution, or SAM's neck at x4, x2, x1 and x1/2."""

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
        hints = get_type_hints(type(self))
        for name in ("placement", "fusion", "pyramid"):
            choices = get_args(hints[name])
            if getattr(self, name) not in choices:
                raise UserError(
                    f"--model.network.{name} is {getattr(self, name)!r}: choose one of {', '.join(choices)}."
                )
        for name in ("cpia_ratio", "adapter_ratio"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"--model.network.{name} is {getattr(self, name)}: give a share above 0 and up to 1.")


class MoBaNet(SegmentationModel):
    """Segmentation of one or two streams of modalities with a shared, usually frozen, transformer.

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

    Attributes:
        streams: names of the modalities by stream.

    Raises:
        UserError: for settings that do not fit together, and as `build_backbone`.
    """

    def __init__(
        self,
        streams: Mapping[str, Mapping[str, int]],
        num_classes: int,
        backbone: BackboneSettings,
        settings: MoBaNetSettings | None = None,
        order: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        settings = settings or MoBaNetSettings()
        self.modalities = _check_streams(streams, order)
        if num_classes < 1:
            raise UserError(f"--model.num_classes is {num_classes}: give the number of classes, at least 1.")
        self.num_classes = num_classes
        self.settings = settings
        self.streams = {stream: tuple(modalities) for stream, modalities in streams.items()}
        self.backbone = build_backbone(backbone)
        optical = "optical" if "optical" in streams else next(iter(streams))
        borrowed = _find_pretrained(streams[optical])
        self.standardization = self._standardize(streams[optical]) if backbone.standardize else {}
        self.embeddings = nn.ModuleList(
            StreamEmbedding(
                modalities,
                borrowed if stream == optical else None,
                self.backbone.patch_kernel,
                self.backbone.patch_bias,
            )
            for stream, modalities in streams.items()
        )
        self.interactions = self._build_interactions()
        names, channels = list(streams), settings.projection_channels
        self.neck: nn.Module | None = None
        self.pyramid: PlainPyramid | ScaledPyramid
        if settings.pyramid == "plain":
            self.pyramid = PlainPyramid(self.backbone.width, channels, settings.fusion, names)
        else:
            self.pyramid = ScaledPyramid(channels, settings.fusion, names)
            self._check_neck(channels)
            if not self.backbone.neck_channels:
                self.neck = Neck(self.backbone.width, channels)
        self.decoder = UPerNet(channels, settings.decoder_channels, num_classes, settings.decoder_dropout)
        self.heads = nn.ModuleList(
            AuxiliaryHead(channels, num_classes, settings.decoder_dropout)
            for _ in (names if settings.auxiliary_heads else ())
        )
        own_neck = settings.pyramid == "scaled" and self.neck is None
        self.backbone.release_unused(borrowed is not None, borrowed is not None, not own_neck, own_neck)

    def segment(self, inputs: dict[str, Tensor], auxiliary: bool) -> SegmentationOutput:
        """Segment inputs in which missing modalities are already zero."""
        height, width = next(iter(inputs.values())).shape[-2:]
        heads = self.heads if auxiliary else ()
        stages = self.encode(inputs, stream_stages=1 if len(heads) else 0)
        return SegmentationOutput(
            logits=self._resize(self.decoder(stages.fused), height, width),
            latent=stages.latent,
            auxiliary={
                stream: self._resize(head(stages.streams[stream][0]), height, width)
                for stream, head in zip(self.streams, heads, strict=False)
            },
        )

    def encode(self, inputs: dict[str, Tensor], stream_stages: int = NUM_STAGES) -> Stages:
        """Everything before the decoder.

        Args:
            inputs: by modality, (B, C_m, H, W), missing ones zero; padded right and bottom here, with zeros, to whole
                patches.
            stream_stages: of how many stages, from the first, the streams' own maps are wanted.

        Returns:
            The maps; the latent is (B, C, h, w) at patch resolution, or the coarsest fused map (B, D, ·, ·) where the
            pyramid is scaled or the fusion `se`.
        """
        backbone, placement = self.backbone, self.settings.placement
        tokens, geometry = backbone.embed(self._embed(inputs))  # (S·B, P + N, C)
        taps = []
        for stage, blocks in enumerate(backbone.stages):
            if placement == "stage":
                tokens = self._interact(stage, tokens)
            for index in blocks:
                tokens = backbone.block(index, tokens, geometry)
                if placement == "block":
                    tokens = self._interact(index, tokens)
            taps.append(tokens[:, backbone.num_prefix_tokens :])  # (S·B, N, C)
        if isinstance(self.pyramid, PlainPyramid):
            return self.pyramid([backbone.normalize(tap) for tap in taps], geometry.grid, stream_stages)
        if self.neck is None:
            return self.pyramid(backbone.neck(taps[-1], geometry), stream_stages)
        maps = backbone.normalize(taps[-1]).unflatten(1, geometry.grid).permute(0, 3, 1, 2)
        return self.pyramid(self.neck(maps), stream_stages)

    def _embed(self, inputs: dict[str, Tensor]) -> Tensor:
        """Pad to whole patches and embed: both streams as one batch (S·B, h, w, C), the first stream first."""
        size, backbone = self.backbone.patch_size, self.backbone
        height, width = next(iter(inputs.values())).shape[-2:]
        if height % size or width % size:
            inputs = {name: F.pad(x, (0, -width % size, 0, -height % size)) for name, x in inputs.items()}
        return torch.cat([embed(inputs, backbone.patch_kernel, backbone.patch_bias) for embed in self.embeddings])

    def _interact(self, index: int, tokens: Tensor) -> Tensor:
        """Add to each stream's patch tokens what its interaction gives: (2·B, P + N, C) -> the same."""
        if not self.interactions:
            return tokens
        prefix = self.backbone.num_prefix_tokens
        first, second = tokens[:, prefix:].unflatten(0, (2, -1)).unbind(0)  # two of (B, N, C)
        added = self.interactions[index](first, second).flatten(0, 1)  # (2, B, N, C) -> (2·B, N, C)
        # Padding the sum rather than cutting the tokens keeps the backward pass free of copies of all tokens.
        return tokens + (F.pad(added, (0, 0, prefix, 0)) if prefix else added)

    def _resize(self, logits: Tensor, height: int, width: int) -> Tensor:
        """Logits at the padded size, cropped to the image: (B, K, h, w) -> (B, K, H, W), in float32."""
        size = self.backbone.patch_size
        padded = (height + -height % size, width + -width % size)
        return resize(logits.float(), padded)[..., :height, :width]

    def _build_interactions(self) -> nn.ModuleList:
        settings, width = self.settings, self.backbone.width
        if len(self.streams) == 1 or settings.placement == "none":
            return nn.ModuleList()
        if settings.placement == "stage":
            return nn.ModuleList(CPIA(width, settings.cpia_ratio) for _ in range(NUM_STAGES))
        return nn.ModuleList(
            AdapterCPIA(width, settings.cpia_ratio, settings.adapter_ratio, settings.adapter_dropout)
            for _ in range(self.backbone.depth)
        )

    def _standardize(self, optical: Mapping[str, int]) -> dict[str, Standardization]:
        """What the pretrained kernel expects of each optical modality: three colours as they are, others the means."""
        mean, std = self.backbone.mean, self.backbone.std
        plain = (sum(mean) / len(mean), sum(std) / len(std))
        return {
            name: Standardization(mean, std)
            if name in PRETRAINED_MODALITIES and bands == 3
            else Standardization((plain[0],) * bands, (plain[1],) * bands)
            for name, bands in optical.items()
        }

    def _check_neck(self, channels: int) -> None:
        neck = self.backbone.neck_channels
        if neck and neck != channels:
            raise UserError(
                f"--model.network.projection_channels is {channels}, but the neck of {self.backbone.name} has {neck} "
                f"channels: set it to {neck}, or --model.network.pyramid plain."
            )


def _check_streams(streams: Mapping[str, Mapping[str, int]], order: Sequence[str] | None) -> dict[str, int]:
    """Number of bands by modality over all streams, in order."""
    if not 1 <= len(streams) <= 2:
        raise UserError(
            f"--model.streams names {len(streams)} streams, and the model has one or two: put modalities that belong "
            "together into one stream."
        )
    modalities: dict[str, int] = {}
    for stream, members in streams.items():
        if not members:
            raise UserError(f"--model.streams.{stream} has no modality: name at least one, or drop the stream.")
        for name, bands in members.items():
            if name in modalities:
                raise UserError(f"--model.streams names the modality {name} twice: keep it in one stream.")
            if bands < 1 or not name or "." in name:  # the name becomes part of a parameter's
                raise UserError(
                    f"--model.streams.{stream}: {name!r} with {bands} bands is no modality: give a name "
                    "without a dot and at least one band."
                )
            modalities[name] = bands
    if order is None:
        return modalities
    if sorted(order) != sorted(modalities):
        raise UserError(f"--model.order is {list(order)}: name each of {list(modalities)} once.")
    return {name: modalities[name] for name in order}


def _find_pretrained(optical: Mapping[str, int]) -> str | None:
    """The modality that goes through the pretrained kernel as it is: `rgb`, or `irrg` in first place."""
    if optical.get("rgb") == 3:
        return "rgb"
    first = next(iter(optical))
    return first if first in PRETRAINED_MODALITIES and optical[first] == 3 else None
