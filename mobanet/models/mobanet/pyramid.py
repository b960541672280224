"""From transformer features to four maps a stream and four fused maps, the decoder's input."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.models.backbones.stages import NUM_STAGES, to_map, to_tokens
from mobanet.models.mobanet.dgfm import Fusion, build_fusion
from mobanet.models.upernet import Normalization, Normed, norm_of


@dataclass
class Stages:
    """Four feature maps a stream and four of all together, finest first.

    Attributes:
        fused: four maps (B, D, h_s, w_s).
        streams: by stream, its own maps of the same shapes; only the first ones where not all were asked for.
        latent: the deepest fused feature, (B, C, h, w).
        rows: (B,), of which scenario each sample takes batch statistics, as in `BatchNorm.forward`.
    """

    fused: list[Tensor]
    streams: dict[str, list[Tensor]]
    latent: Tensor
    rows: Tensor | None = None


class PlainPyramid(nn.Module):
    """Four maps from the taps after each stage, at the stage's resolution (DINOv2 release; mobanet.md, section 2).

    DGFM and the mean fuse at the backbone's width and share one projection a stage with the streams; `se` fuses
    what is projected, as it does in the release it comes from.

    Args:
        widths: channels C of the taps, by stage.
        channels: D of the maps.
        fusion: way of fusing.
        names: of the streams.
    """

    def __init__(self, widths: Sequence[int], channels: int, fusion: Fusion, names: list[str]) -> None:
        super().__init__()
        self.names = names
        self.project_first = fusion == "se"
        fused = [channels if self.project_first else width for width in widths]
        self.fusions = nn.ModuleList(build_fusion(fusion, width, len(names)) for width in fused)
        # one a stage for fused and own maps, as in the release: heads then train what the decoder sees
        self.projections = nn.ModuleList(nn.Linear(width, channels, bias=False) for width in widths)

    def forward(
        self,
        taps: list[Tensor],
        grids: Sequence[tuple[int, int]],
        stream_stages: int,
        streams: Sequence[int],
        there: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Stages:
        """Fuse and project.

        Args:
            taps: four of (G·B, N, C), normalised; the samples of the first given stream, then those of the next.
            grids: h and w by stage, N = h·w.
            stream_stages: of how many stages, from the first, the streams' own maps are wanted.
            streams: indices of the G streams that are given, in order; no sample has any of the others.
            there: (G·B,) bool, whether a sample has anything of a stream; None where all count.
            rows: for the decoder; nothing here is normalised over a batch.
        """
        fused_maps, stream_maps = [], []
        present = _present(there, len(streams))
        stages = zip(taps, grids, self.fusions, self.projections, strict=True)
        for stage, (tap, grid, fusion, project) in enumerate(stages):
            wanted = stage < stream_stages
            projected = project(tap) if wanted or self.project_first else tap  # (G·B, N, C) -> (G·B, N, D)
            split = _split(projected if self.project_first else tap, len(streams))
            # `present` is left out, not None, where all count: a fusion of one stream is a LayerNorm or nothing
            latent = fusion(*_placed(split, streams, len(self.names)), **present)
            fused_maps.append(to_map(latent if self.project_first else project(latent), grid))
            if wanted:
                stream_maps.append(to_map(projected, grid))
        own = _by_stream(stream_maps, [self.names[stream] for stream in streams])
        # `latent` and `grid` are what the loop has left, those of the last stage
        return Stages(fused_maps, own, to_map(latent, grid), rows)


class ChannelLayerNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map, eps 1e-6: (B, C, h, w) -> (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise each position."""
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Neck(nn.Sequential):
    """SAM's neck for backbones without one, trainable: 1x1 convolution, norm, 3x3 convolution, norm."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(width, channels, 1, bias=False),
            ChannelLayerNorm(channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            ChannelLayerNorm(channels),
        )


class StreamScales(nn.Module):
    """Four scales of one map: x4, x2, x1, x1/2.

    Args:
        channels: D.
        norm: between the two upsampling steps of x4.
    """

    def __init__(self, channels: int, norm: nn.Module) -> None:
        super().__init__()
        self.up4 = Normed(
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
            norm,
            nn.GELU(),
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
        )
        self.up2 = nn.ConvTranspose2d(channels, channels, 2, stride=2)

    def forward(self, maps: Tensor, rows: Tensor | None = None) -> list[Tensor]:
        """(B, D, h, w) -> four of (B, D, ·, ·), finest first; an odd last row or column is kept at x1/2."""
        return [self.up4(maps, rows), self.up2(maps), maps, F.max_pool2d(maps, 2, ceil_mode=True)]


class ScaledPyramid(nn.Module):
    """Four scales of the neck's output a stream, fused scale by scale (SAM release; mobanet.md, section 3).

    The first stream's scales have a channel LayerNorm, the second's a BatchNorm, as in the release; so have any others.

    Args:
        channels: D, of the neck's output and of the maps.
        fusion: way of fusing.
        names: of the streams.
        norm: of all streams but the first.
    """

    def __init__(self, channels: int, fusion: Fusion, names: list[str], norm: Normalization = "batch") -> None:
        super().__init__()
        self.names = names
        norms = [ChannelLayerNorm(channels), *(norm_of(norm, channels) for _ in names[1:])]
        self.scales = nn.ModuleList(StreamScales(channels, norm) for norm in norms)
        self.fusions = nn.ModuleList(build_fusion(fusion, channels, len(names)) for _ in range(NUM_STAGES))

    def forward(
        self,
        necks: Tensor,
        stream_stages: int,
        streams: Sequence[int],
        there: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Stages:
        """Scale and fuse the neck's output, (G·B, D, h, w), first given stream first; see `PlainPyramid.forward`."""
        split = zip(streams, _split(necks, len(streams)), strict=True)
        scaled = [self.scales[stream](maps, rows) for stream, maps in split]
        fused_maps, present = [], _present(there, len(streams))
        for fusion, maps in zip(self.fusions, zip(*scaled, strict=True), strict=True):
            size = (maps[0].shape[2], maps[0].shape[3])
            tokens = _placed([to_tokens(x) for x in maps], streams, len(self.names))
            fused_maps.append(to_map(fusion(*tokens, **present), size))
        own = {self.names[stream]: maps[:stream_stages] for stream, maps in zip(streams, scaled, strict=True)}
        return Stages(fused_maps, own, fused_maps[-1], rows)


def _split(together: Tensor, count: int) -> tuple[Tensor, ...]:
    """The streams of (G·B, …), G times (B, …); views. Not `chunk`, whose sizes an export cannot tell of any B."""
    return together.unflatten(0, (count, -1)).unbind(0)


def _placed(given: Sequence[Tensor], streams: Sequence[int], count: int) -> list[Tensor | None]:
    """One entry a stream of the model, None where it is not given."""
    by_stream = dict(zip(streams, given, strict=True))
    return [by_stream.get(stream) for stream in range(count)]


def _present(there: Tensor | None, count: int) -> dict[str, Tensor]:
    """What a fusion of several streams takes besides them: nothing, or (G, B) bool of (G·B,)."""
    return {} if there is None else {"present": there.unflatten(0, (count, -1))}


def _by_stream(maps: list[Tensor], names: list[str]) -> dict[str, list[Tensor]]:
    """Split maps of all streams (G·B, D, h, w) into lists by stream."""
    split = [_split(x, len(names)) for x in maps]
    return {name: [stage[index] for stage in split] for index, name in enumerate(names)}
