"""A network of one's own: a convolution a modality, the mean of what is there, and a convolution to classes.

    python -m mobanet.fit --experiment synthetic_irrgb_dsm --run runs/tiny \
        --model.architecture tiny_network.TinyNetwork --model.arguments '{width: 24}'
    python -m mobanet.test --ckpt_path runs/tiny --networks tiny_network

The file lies in the folder that the commands are typed in, or in a package that is installed. All that takes a model
from a file is told its network's name with `--networks`, since no file may load code by itself; in Python, import it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mobanet import NetworkInputs, SegmentationModel, SegmentationOutput


@dataclass(frozen=True)
class TinySettings:
    """What `--model.arguments` may hold."""

    width: int = 16


class TinyNetwork(SegmentationModel):
    """The mean over the modalities that a sample has, so that one that is missing has no part in it."""

    Settings = TinySettings

    def __init__(self, inputs: NetworkInputs, settings: TinySettings) -> None:
        super().__init__(inputs)
        self.encoders = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Conv2d(bands, settings.width, 5, padding=2), nn.ReLU())
                for name, bands in inputs.modalities.items()
            }
        )
        self.decoder = nn.Conv2d(settings.width, inputs.num_classes, 1)

    def segment(self, inputs: dict[str, Tensor], available: Tensor | None, auxiliary: bool) -> SegmentationOutput:
        """Logits, and the feature that scenario scores are measured on."""
        features = torch.stack([self.encoders[name](x) for name, x in inputs.items()], 1)  # (B, M, C, H, W)
        there = features.new_ones(features.shape[:2]) if available is None else available.to(features.dtype)
        latent = (features * there[:, :, None, None, None]).sum(1) / there.sum(1)[:, None, None, None]
        return SegmentationOutput(self.decoder(latent), latent)
