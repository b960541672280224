"""From a batch as the workers hand it over to what a model takes; runs on the device."""

from collections.abc import Mapping
from typing import Any

from mobanet.data.batch import StoredBatch
from mobanet.models.base import Standardization
from mobanet.models.inputs import ModelBatch, scaled_inputs


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
