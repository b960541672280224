"""What a model makes of one window, in every scenario."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mobanet.data.crops import collate
from mobanet.evaluation.host import Evaluated
from mobanet.models.inputs import ModelBatch
from mobanet.scenarios.scenario import Scenario
from mobanet.stitching.winners import winners


@dataclass(frozen=True)
class WindowMaps:
    """One window of a tile, and what a model makes of it.

    Attributes:
        tile: its id.
        inputs: by modality, (H, W, C) as stored.
        truth: (H, W) class indices.
        predictions: by scenario, (H, W) class indices.
    """

    tile: str
    inputs: dict[str, np.ndarray]
    truth: np.ndarray
    predictions: dict[str, np.ndarray]


@torch.no_grad()
def predict_window(
    module: Evaluated,
    sample: dict[str, Any],
    scenarios: Sequence[Scenario],
    prepare: Callable[[dict[str, Any]], ModelBatch],
) -> WindowMaps:
    """Predict a window in each scenario.

    Args:
        module: in eval mode.
        sample: of `RasterDataModule.windows`.
        scenarios: of the module's own.
        prepare: brings a batch to the module's device, normalised.
    """
    raw = collate([sample])
    inputs = {name: x[0].permute(1, 2, 0).numpy().copy() for name, x in raw["inputs"].items()}
    truth = raw["label"][0].numpy().astype(np.uint8)
    batch = prepare(raw)
    maps = module.predict_scenarios(batch, scenarios)
    predictions = {s.name: winners(x[0]).cpu().numpy().astype(np.uint8) for s, x in zip(scenarios, maps, strict=True)}
    return WindowMaps(batch.tiles[0], inputs, truth, predictions)
