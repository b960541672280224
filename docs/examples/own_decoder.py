"""MoBaNet with a decoder of one's own: all four maps at the size of the finest, side by side, and two convolutions.

    python -m mobanet.fit --experiment synthetic_irrgb_dsm --run runs/flat \
        --model.architecture own_decoder.FlatMoBaNet --model.arguments '{width: 32}'

Streams, prompts, gates, auxiliary losses, coarser sensors and everything around them stay the package's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mobanet import NetworkInputs
from mobanet.models.mobanet.network import MoBaNet
from mobanet.models.upernet import resize


@dataclass(frozen=True)
class FlatSettings:
    """What `--model.arguments` may hold."""

    width: int = 64


class FlatDecoder(nn.Module):
    """Four maps (B, D, h, w), the finest first, to logits (B, K, h, w) at the size of the finest."""

    def __init__(self, channels: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(4 * channels, width, 3, padding=1), nn.GELU())
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: Sequence[Tensor], rows: Tensor | None = None) -> Tensor:
        """Logits; `rows` is for decoders whose batch statistics differ by scenario."""
        return self.classifier(self.mix(torch.cat([resize(x, maps[0].shape[-2:]) for x in maps], 1)))


class FlatMoBaNet(MoBaNet):
    """MoBaNet around another decoder."""

    Settings = FlatSettings

    def __init__(self, inputs: NetworkInputs, settings: FlatSettings) -> None:
        self.width = settings.width
        order, ratios = tuple(inputs.modalities), inputs.pixel_ratios
        super().__init__(inputs.streams, inputs.num_classes, inputs.backbone, order=order, pixel_ratios=ratios)

    def make_decoder(self, channels: int) -> nn.Module:
        """Called once, while the network is made."""
        return FlatDecoder(channels, self.width, self.num_classes)
