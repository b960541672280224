"""A trained model as those who deploy it want it: stored values in, logits out, scaling inside."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from mobanet.data.description import DataDescription
from mobanet.data.scaling import tile_offset_scale
from mobanet.errors import UserError
from mobanet.models.base import SegmentationModel
from mobanet.models.inputs import scaled_inputs
from mobanet.rasters.contents import ratios_of
from mobanet.training.module import SegmentationModule

AVAILABLE = "available"
OUTPUT = "logits"
TILE_WISE = ("robust", "minmax")
"""Scalings that take numbers from each tile; the others are constants of the model."""


class DeployedModel(nn.Module):
    """Scales and standardises stored values, and segments.

    One dict holds all inputs: by modality the stored values (B, C, H, W) float32, where a pixel with a value that is
    not finite in any band counts as not measured, and heights above the ground in place of elevations that are scaled
    by them (`mobanet.rasters.ground`); `available` (B, M) bool, in the order of the modalities; and
    `MODALITY_offset_scale` (B, 2, C) float32, offset and scale of each band, of the modalities that are scaled tile by
    tile. A modality of which nothing was measured counts as missing.

    Args:
        network: in eval mode.
        data: modalities, and how they are scaled.
        learnt: by modality, (2, C), the numbers of the checkpoint.

    Attributes:
        network: the model.
        modalities: number of bands by name.
        ratios: by modality, pixels of the output that one of its own is wide and high: its values are
            (B, C, H / ratio, W / ratio).
        tile_wise: names of the modalities that need offset_scale.
        inputs: names of all inputs, in order.

    Raises:
        UserError: when a modality's numbers are not there, or its name is taken.
    """

    def __init__(self, network: SegmentationModel, data: DataDescription, learnt: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.network = network
        self.modalities = {modality.name: len(modality.bands) for modality in data.modalities}
        self.ratios = ratios_of(data.modalities)
        self.tile_wise = tuple(name for name in self.modalities if data.scaling[name] in TILE_WISE)
        self.inputs = (*self.modalities, AVAILABLE, *map(offset_scale_name, self.tile_wise))
        if len(set(self.inputs)) < len(self.inputs):
            raise UserError(
                f"a modality has the name of another input ({', '.join(self.inputs)}), so that the model cannot be "
                "exported; train it with another name."
            )
        for name in self.modalities:
            if name not in learnt:
                raise UserError(
                    f"the model does not say how {name} is scaled; take a checkpoint that mobanet.fit wrote."
                )
        for place, name in enumerate(self.modalities):
            if name not in self.tile_wise:  # by place, since a name may hold what a buffer's may not
                numbers = torch.from_numpy(tile_offset_scale(data.scaling[name], learnt[name], None))
                self.register_buffer(f"offset_scale_{place}", numbers[None], persistent=False)  # (1, 2, C)

    def forward(self, feeds: dict[str, Tensor]) -> Tensor:
        """Segment.

        Args:
            feeds: by name, as in `inputs`.

        Returns:
            Logits (B, K, H, W), float32.
        """
        inputs, available = self.prepare(feeds)
        return self.network(inputs, available, auxiliary=False).logits.float()

    def prepare(self, feeds: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """What the network takes: by modality (B, C, H, W), 0 where nothing was measured, and (B, M) bool."""
        stored = {name: feeds[name].float() for name in self.modalities}
        measured = {name: torch.isfinite(x).all(1) for name, x in stored.items()}  # (B, H, W)
        offset_scale = {}
        for place, name in enumerate(self.modalities):
            if name in self.tile_wise:
                offset, scale = feeds[offset_scale_name(name)].float().unbind(1)
                # of a constant tile, as in `tile_offset_scale`
                offset_scale[name] = torch.stack((offset, torch.where(scale > 0, scale, torch.ones_like(scale))), 1)
            else:
                # (1, 2, C), for any batch
                offset_scale[name] = self.get_buffer(f"offset_scale_{place}")
        batch = {"inputs": stored, "offset_scale": offset_scale, "valid": measured}
        seen = torch.stack([there.flatten(1).any(1) for there in measured.values()], 1)  # (B, M)
        return scaled_inputs(batch, self.network.standardization), feeds[AVAILABLE] & seen


def deployed(module: SegmentationModule, learnt: Mapping[str, np.ndarray]) -> DeployedModel:
    """A module on the CPU with its scaling, by the numbers of its checkpoint, in eval mode."""
    return DeployedModel(module.network, module.data, learnt).eval()


def offset_scale_name(modality: str) -> str:
    """Name of the input with a modality's offsets and scales."""
    return f"{modality}_offset_scale"
