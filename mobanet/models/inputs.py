"""From stored values to what a network takes, on the device: the same in training, evaluation and prediction."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from mobanet.models.base import Standardization
from mobanet.scenarios.draws import sent


class Batch(Protocol):
    """What is found by name; a mapping, or the batch that a loader hands out."""

    def __getitem__(self, name: str, /) -> Any:
        """The part of that name."""


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
