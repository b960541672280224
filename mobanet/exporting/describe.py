"""What has to be known of an exported file to use it; it travels inside."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import mobanet
from mobanet.data.scaling import learnt_radius, tile_offset_scale
from mobanet.exporting.deployed import AVAILABLE, OUTPUT, TILE_WISE, DeployedModel, offset_scale_name
from mobanet.training.module import SegmentationModule

KEY = "mobanet"
"""Under which the description lies in the metadata, as JSON."""


def description(module: SegmentationModule, learnt: Mapping[str, np.ndarray], tile: int) -> dict[str, Any]:
    """Modalities with their scaling, classes, and the version of this package; numbers, strings, lists and dicts.

    Graphs give raw logits. `temperatures` has by name of the scenario the T with which softmax(logits / T) of a sample
    that has these modalities, and no more, is calibrated; null where none was fitted. `tile` is the height and width of
    the inputs in pixels.
    """
    data, classes = module.data, module.data.classes
    modalities = []
    for modality in data.modalities:
        scaling = data.scaling[modality.name]
        # `robust` takes its scale from training and its offset from the tile, `minmax` both from the tile
        offset, scale = tile_offset_scale(scaling, learnt[modality.name], None).tolist()
        modalities.append(
            {
                "name": modality.name,
                "bands": list(modality.bands),
                "kind": modality.kind,
                "unit": modality.unit,
                "scaling": scaling,
                # of those it is the tile's own
                "offset": None if scaling in TILE_WISE else offset,
                "scale": None if scaling == "minmax" else scale,
                **({"pixel_ratio": modality.pixel_ratio} if modality.pixel_ratio > 1 else {}),
                **({"ground_radius": radius} if (radius := learnt_radius(scaling, learnt[modality.name])) else {}),
            }
        )
    return {
        "version": mobanet.__version__,
        "architecture": module.settings.architecture,
        "tile": tile,
        "modalities": modalities,
        "classes": [
            {"name": name, "colour": list(colour), "averaged": name in classes.averaged}
            for name, colour in zip(classes.names, classes.colours, strict=True)
        ],
        "scenarios": [scenario.name for scenario in module.scenarios],
        "temperatures": temperatures_as_plain(module),
    }


def temperatures_as_plain(module: SegmentationModule) -> dict[str, float | None]:
    """A model's temperatures by name of the scenario, None where none was fitted."""
    known = module.known_temperatures
    return {scenario.name: known.get(scenario.name) for scenario in module.scenarios}


def signature(model: DeployedModel, tile: int) -> list[str]:
    """Inputs and output of an exported file, for people."""
    bands = model.modalities
    sides = {name: tile // ratio for name, ratio in model.ratios.items()}
    named = [f"{name} (B, {count}, {sides[name]}, {sides[name]}) float32" for name, count in bands.items()]
    named.append(f"{AVAILABLE} (B, {len(bands)}) bool")
    named += [f"{offset_scale_name(name)} (B, 2, {bands[name]}) float32" for name in model.tile_wise]
    return [
        f"inputs   {', '.join(named)}",
        f"output   {OUTPUT} (B, {model.network.num_classes}, {tile}, {tile}) float32",
    ]
