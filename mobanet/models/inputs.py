"""From stored values to what a network takes, on the device: the same in training, evaluation and prediction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mobanet.models.base import Standardization
from mobanet.models.draws import sent


class Batch(Protocol):
    """What is found by name; a mapping, or the batch that a loader hands out."""

    def __getitem__(self, name: str, /) -> Any:
        """The part of that name."""


@dataclass(frozen=True)
class ModelBatch:
    """A batch ready for the model.

    Attributes:
        inputs: by modality, (B, C, H, W) float32, scaled and standardised; 0 where a pixel was not measured.
        available: (B, M) bool, columns in the order of `inputs`.
        label: (B, H, W) int64.
        tiles: ids; empty for a window that counts nowhere.
        extents: (B, 2) height and width of each window's tile.
        windows: (B, 4) top, left, height, width in pixels.
        valid: by modality, (B, H, W) uint8, 1 where a pixel was measured; only for modalities that are not complete.
        known: (B, M) bool, `available` on the CPU; None where it came without.
    """

    inputs: dict[str, Tensor]
    available: Tensor
    label: Tensor
    tiles: list[str]
    extents: Tensor
    windows: Tensor
    valid: dict[str, Tensor] = field(default_factory=dict)
    known: Tensor | None = None


def scaled_inputs(batch: Batch, standardization: Mapping[str, Standardization]) -> dict[str, Tensor]:
    """Scale and standardise the inputs of a batch; 0 where a pixel was not measured.

    Args:
        batch: on the device; by modality `inputs` (B, C, H, W) as stored, `offset_scale` (B, 2, C) offsets and scales,
            and, of modalities that are not complete, `valid` (B, H, W).
        standardization: by modality, what the network's pretrained kernels expect after scaling.

    Returns:
        By modality, (B, C, H, W) float32.
    """
    inputs = {}
    for name, x in batch["inputs"].items():
        offset, scale = batch["offset_scale"][name].unbind(1)  # (B, 2, C) -> two of (B, C)
        if name in standardization:
            mean, std = (
                sent(torch.tensor(v, dtype=torch.float32), x.device)
                for v in (standardization[name].mean, standardization[name].std)
            )
            # ((x - offset) / scale - mean) / std, as one subtraction and one division
            offset, scale = offset + mean * scale, scale * std
        y = (x.float() - offset[:, :, None, None]) / scale[:, :, None, None]
        # after scaling, where 0 is the mean; and by selection, as what was not measured may be NaN
        if name in batch["valid"]:
            y = torch.where(batch["valid"][name][:, None] != 0, y, y.new_zeros(()))
        inputs[name] = y
    return inputs
