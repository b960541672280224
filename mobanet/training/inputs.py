"""From a batch as the workers hand it over to what a model takes; runs on the device."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mobanet.data.batch import StoredBatch
from mobanet.models.base import Standardization
from mobanet.models.inputs import scaled_inputs


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


def model_batch(batch: Mapping[str, Any] | StoredBatch, standardization: Mapping[str, Standardization]) -> ModelBatch:
    """Scale, standardise and blank the inputs of a batch.

    Args:
        batch: of `mobanet.data.crops.collate`, on the device.
        standardization: by modality, what the model's pretrained kernels expect after scaling.
    """
    inputs = scaled_inputs(batch, standardization)
    return ModelBatch(
        inputs,
        batch["available"],
        batch["label"].long(),
        batch["tile"],
        batch["extent"],
        batch["window"],
        batch["valid"],
        batch.known if isinstance(batch, StoredBatch) else None,
    )
