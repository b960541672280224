"""From a batch as the workers hand it over to what a model takes; runs on the device."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mobanet.models.base import Standardization


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
    """

    inputs: dict[str, Tensor]
    available: Tensor
    label: Tensor
    tiles: list[str]
    extents: Tensor
    windows: Tensor


def model_batch(batch: Mapping[str, Any], standardization: Mapping[str, Standardization]) -> ModelBatch:
    """Scale, standardise and blank the inputs of a batch.

    Args:
        batch: of `mobanet.data.crops.collate`, on the device.
        standardization: by modality, what the model's pretrained kernels expect after scaling.
    """
    inputs = {}
    for name, x in batch["inputs"].items():
        offset, scale = batch["levels"][name].unbind(1)  # (B, 2, C) -> two of (B, C)
        if name in standardization:
            mean, std = (
                x.new_tensor(v, dtype=torch.float32) for v in (standardization[name].mean, standardization[name].std)
            )
            # ((x - offset) / scale - mean) / std, as one subtraction and one division
            offset, scale = offset + mean * scale, scale * std
        y = (x.float() - offset[:, :, None, None]) / scale[:, :, None, None]
        if name in batch["valid"]:
            y = torch.where(batch["valid"][name][:, None] != 0, y, torch.zeros((), device=y.device))
        inputs[name] = y
    return ModelBatch(
        inputs, batch["available"], batch["label"].long(), batch["tile"], batch["extent"], batch["window"]
    )
