"""CMX: two encoders that rectify each other at four depths, fused at each, and a decoder of linear layers.

Paper: arXiv 2203.04838, with Mix-Transformer encoders; and its re-creation with plain CNN encoders for three
modalities in Latent Space Guided Scenario Sampling (arXiv 2605.20372). Re-implemented from a description of both
public releases. What differs from them: any modalities on two streams, an absent modality is selected away rather
than multiplied by zero, a missing modality may have learned values, and logits come out in both variants.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.errors import SettingError, check_setting
from mobanet.models.backbones.stages import MOST_CHANNELS
from mobanet.models.base import (
    SegmentationModel,
    SegmentationOutput,
    check_choices,
    check_classes,
    select_available,
    size_of,
)
from mobanet.models.cmx.encoders import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    MIT_SMALLEST_SIDE,
    Encoder,
    EncoderName,
    StreamInput,
    build_encoders,
    stage_channels,
)
from mobanet.models.cmx.parts import CMFRM, FFM, MLPDecoder, initialize
from mobanet.models.containers import ListOf
from mobanet.models.sharing import SharedResults, each_once, pattern_keys
from mobanet.models.streams import check_streams, standardize
from mobanet.models.upernet import resize

Missing = Literal["zero", "token"]
Pair = tuple[Tensor, Tensor]
REDUCTION = 32  # of the coarsest map, rounded up


@dataclass
class CMXSettings:
    """Which of the two networks; the defaults are the published CMX."""

    encoder: EncoderName = "mit_b2"
    """Of both streams: a Mix-Transformer as published, or the small CNN of the three-modality variant."""

    pretrained: bool = True
    """Start Mix-Transformers from ImageNet weights, downloaded once; cnn has none and always starts random."""

    checkpoint: str | None = None
    """Local weights of a Mix-Transformer to start from instead of a download: a .safetensors, .pth or .pt file."""

    decoder_channels: int | None = None
    """Channels inside the decoder; null: 512 for Mix-Transformers, 256 for cnn."""

    heads: list[int] | None = None
    """Attention heads of the four fusion modules; null: 1, 2, 5, 8 for Mix-Transformers, 8 everywhere for cnn."""

    decoder_dropout: float = 0.1
    """Dropout of channels before the classifier."""

    missing: Missing = "zero"
    """What stands in for the pixels of a missing modality: zeros, or a learned value a band."""

    def __post_init__(self) -> None:
        check_choices(self, "cmx")
        check_setting(
            self.checkpoint is None or self.encoder != "cnn",
            "cmx.checkpoint",
            f"is {self.checkpoint}, but `cmx.encoder` cnn starts from random weights: drop the file, or choose a mit "
            "encoder.",
        )
        check_setting(
            self.decoder_channels is None or 0 < self.decoder_channels <= MOST_CHANNELS,
            "cmx.decoder_channels",
            f"is {self.decoder_channels}: give at least 1, at most {MOST_CHANNELS}.",
        )
        dropout, widths = self.decoder_dropout, stage_channels(self.encoder)
        check_setting(0 <= dropout < 1, "cmx.decoder_dropout", f"is {dropout}: give 0 or more, and less than 1.")
        each = zip(self.heads or (), widths, strict=False)
        check_setting(
            (self.heads is None or len(self.heads) == len(widths))
            and all(heads > 0 and width % heads == 0 for heads, width in each),
            "cmx.heads",
            f"is {self.heads}: give four numbers that divide the {', '.join(map(str, widths))} channels of "
            f"{self.encoder}.",
        )


class CMX(SegmentationModel):
    """Segmentation of two streams of modalities; missing ones are zeros, or learned values, at the input.

    Each stream's modalities become one three-channel image (`StreamInput`). With `encoder="cnn"` and the streams
    {"rgb": {"rgb": 3}, "x": {"nir": 3, "swir": 3}} this is the network of the scenario paper; with a Mix-Transformer
    and one modality of one or three bands a stream it is the published one. A latent is the last fusion's output.

    Args:
        streams: by stream, number of bands by modality; e.g. {"optical": {"rgb": 3, "ir": 1}, "elevation": {"dsm": 1}}.
        num_classes: K.
        settings: which network; the published one by default.
        order: of the modalities; as in `streams` by default.

    Attributes:
        streams: names of the modalities by stream.

    Raises:
        UserError: when there are not two streams, and as `build_encoders`.
    """

    def __init__(
        self,
        streams: Mapping[str, Mapping[str, int]],
        num_classes: int,
        settings: CMXSettings | None = None,
        order: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        settings = settings or CMXSettings()
        self.modalities = check_streams(streams, order)
        check_setting(
            len(streams) == 2,
            "streams",
            f"names {len(streams)} ({', '.join(streams)}), and CMX has two streams: share the modalities out to two, "
            "or choose `architecture` mobanet, which takes any number.",
        )
        check_classes(num_classes)
        self.num_classes = num_classes
        self.settings = settings
        self.streams = {stream: tuple(modalities) for stream, modalities in streams.items()}
        is_mit, widths = settings.encoder != "cnn", stage_channels(settings.encoder)
        optical = "optical" if "optical" in streams else next(iter(streams))
        # Whether or not weights are to be fetched now: a model restored from a checkpoint fetches none.
        self.standardization = standardize(streams[optical], IMAGENET_MEAN, IMAGENET_STD) if is_mit else {}
        self.inputs = nn.ModuleList(
            StreamInput(modalities, as_colours=is_mit, missing_tokens=settings.missing == "token")
            for modalities in streams.values()
        )
        encoders = build_encoders(settings.encoder, settings.pretrained, settings.checkpoint)
        self.encoders: ListOf[Encoder] = ListOf(encoders)
        self.rectifications = nn.ModuleList(map(CMFRM, widths))
        if is_mit:
            self.rectifications.apply(initialize)  # the variant leaves them as PyTorch makes them
        # both releases' own: published CMX fuses with the heads of the encoder's stages, the variant with 8 everywhere
        heads = settings.heads or ((1, 2, 5, 8) if is_mit else (8, 8, 8, 8))
        self.fusions = nn.ModuleList(map(FFM, widths, heads))
        self.decoder = MLPDecoder(
            widths,
            settings.decoder_channels or (512 if is_mit else 256),
            num_classes,
            settings.decoder_dropout,
            eps=1e-3 if is_mit else 1e-5,  # 1e-3 in the published decoder alone, 1e-5 in all other batch norms
        )
        self._smallest_side = MIT_SMALLEST_SIDE if is_mit else 1

    def segment(self, inputs: dict[str, Tensor], available: Tensor | None, auxiliary: bool) -> SegmentationOutput:
        """Segment inputs in which missing modalities are already zero; there are no auxiliary logits."""
        first, second = (self._first_stage(stream, inputs, available) for stream in range(2))
        return self._decode(self._rectify(first, second), size_of(inputs))

    def forward_each(self, inputs: dict[str, Tensor], patterns: Sequence[Tensor]) -> Iterator[SegmentationOutput]:
        """As in the base; what a stream computes before the first rectification is shared."""
        ordered = self._order(inputs, patterns)
        return each_once(
            patterns,
            lambda distinct: (
                self._decode(pairs, size_of(ordered)) for pairs in self._rectify_patterns(ordered, distinct)
            ),
        )

    def latents(self, inputs: dict[str, Tensor], patterns: Sequence[Tensor]) -> Iterator[Tensor]:
        """The latents alone of what `forward_each` gives, (B, C, h, w) each; no decoder and no other fusion runs."""
        ordered = self._order(inputs, patterns)
        return each_once(patterns, lambda distinct: map(self._fuse_last, self._rectify_patterns(ordered, distinct)))

    def _rectify_patterns(self, inputs: dict[str, Tensor], patterns: Sequence[Tensor]) -> Iterator[Iterator[Pair]]:
        """Rectified maps of each pattern, (B, M) bool; a stream starts once for each pattern of its own modalities."""
        order = list(self.modalities)
        keys = pattern_keys(patterns, [[order.index(name) for name in members] for members in self.streams.values()])
        started: SharedResults[Tensor] = SharedResults(chain.from_iterable(keys))
        for pattern, wanted in zip(patterns, keys, strict=True):
            new = [stream for stream, key in enumerate(wanted) if key not in started]
            images = select_available(inputs, pattern) if new else {}
            for stream in new:
                started.put(wanted[stream], self._first_stage(stream, images, pattern))
            yield self._rectify(*(started.take(key) for key in wanted))

    def _first_stage(self, stream: int, inputs: Mapping[str, Tensor], available: Tensor | None) -> Tensor:
        """One stream's first stage, from inputs in which missing modalities are zero: (B, C_1, h_1, w_1)."""
        there = None if available is None else dict(zip(self.modalities, available.unbind(1), strict=True))
        image = self.inputs[stream](inputs, there)  # (B, 3, H, W)
        height, width = size_of(inputs)
        rows, columns = self._padded((height, width))
        if self.training and len(image) == 1 and max(rows, columns) <= REDUCTION:
            raise SettingError(
                "data.batch_size",
                "is 1 and `data.crop` so small that the coarsest map is a single position, on which "
                "batch normalisation cannot train: enlarge either.",
            )
        if (rows, columns) != (height, width):
            image = F.pad(image, (0, columns - width, 0, rows - height))
        return self.encoders[stream].stages[0](image)

    def _rectify(self, first: Tensor, second: Tensor) -> Iterator[Pair]:
        """From the streams' first stages, (B, C_1, h_1, w_1) each, to the rectified maps of each of the four."""
        for stage, rectification in enumerate(self.rectifications):
            if stage:
                streams = zip(self.encoders, (first, second), strict=True)
                first, second = (encoder.stages[stage](maps) for encoder, maps in streams)
            # the next stages go on from the rectified maps, not from the encoders' own
            first, second = rectification(first, second)
            yield first, second

    def _fuse_last(self, pairs: Iterator[Pair]) -> Tensor:
        """The latent, (B, C_4, h_4, w_4)."""
        for pair in pairs:  # one at a time, so that the earlier ones are freed
            last = pair
        return self.fusions[-1](*last)

    def _decode(self, pairs: Iterator[Pair], size: tuple[int, int]) -> SegmentationOutput:
        """Fuse all rectified maps and decode them to logits at the size of the inputs."""
        fused = [fusion(*pair) for fusion, pair in zip(self.fusions, pairs, strict=True)]
        logits = self.decoder(fused)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return SegmentationOutput(resize(logits, self._padded(size))[..., : size[0], : size[1]], fused[-1])

    def _padded(self, size: Sequence[int]) -> tuple[int, int]:
        """Height and width that the encoders see: those of the image, or the least that a Mix-Transformer can take."""
        height, width = (max(side, self._smallest_side) for side in size)
        return height, width
