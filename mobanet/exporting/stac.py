"""An exported folder as an item of a STAC catalogue, with the extension for machine learning models (MLM).

STAC 1.1 (https://github.com/radiantearth/stac-spec), MLM 1.3 (https://github.com/stac-extensions/mlm), file 2.1. What
they ask for that nobody knows of a model, such as the area that it is good for, is null.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mobanet
from mobanet.data.scaling import learnt_radius, tile_offset_scale
from mobanet.datasets.scalings import Scaling
from mobanet.exporting.citation import papers_of
from mobanet.exporting.deployed import TILE_WISE
from mobanet.exporting.run_facts import RunFacts
from mobanet.exporting.terms import published, weight_terms
from mobanet.exporting.weights import Training
from mobanet.models.base import Standardization
from mobanet.models.summary import count_parameters
from mobanet.rasters.contents import Modality
from mobanet.training.module import SegmentationModule

EXTENSIONS = (
    "https://stac-extensions.github.io/mlm/v1.3.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
)
_TASK = "semantic-segmentation"
_DIMENSIONS = ["batch", "channel", "height", "width"]
_SHA256 = "1220"
"""What a multihash of it begins with: its code, and its length in bytes."""

_PROBABILITIES = (
    "Probabilities are softmax(logits / T) with the temperature T of the inputs that are there (mlm:hyperparameters), "
    "1 where there is none."
)
# torch's own may end with +cpu or +cu126
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class ItemFacts:
    """What an item says; arguments as of `mobanet.exporting.card.model_card`."""

    module: SegmentationModule
    learnt: Mapping[str, np.ndarray]
    windows: Mapping[str, int] | None
    training: Training
    facts: RunFacts | None = None
    licence: str | None = None
    name: str = "mobanet"


def stac_item(of: ItemFacts, files: Mapping[str, Path]) -> dict[str, Any]:
    """The item, plain, of what lies in the folder by its role: `model`, `configuration` and `card`."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    terms = weight_terms(of.module.settings).hub
    licence = of.licence or terms.get("license")
    strategy = None if of.facts is None else of.facts.get("scenarios", "strategy")
    papers = papers_of(of.module.settings.architecture, strategy)
    links = [
        {"rel": "cite-as", "href": f"https://arxiv.org/abs/{paper.arxiv}", "title": paper.title} for paper in papers
    ]
    bands = [band for modality in of.module.data.modalities for band in _bands(of, modality)]
    if "license_link" in terms:
        links.append({"rel": "license", "href": terms["license_link"], "title": terms.get("license_name", "licence")})
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": _plain_name(of.name),
        # and no bbox, which STAC forbids where there is no geometry
        "geometry": None,
        "properties": {
            # STAC asks for one; of a model it is when it was exported
            "datetime": now,
            "created": now,
            "title": of.name,
            "description": _sentence(of),
            **({"license": licence} if licence else {}),
            **({} if of.training.rasters.side is None else {"gsd": of.training.rasters.side}),
            "bands": bands,
            **_model(of),
        },
        "links": links,
        "assets": dict(_assets(files, [{"name": band["name"]} for band in bands])),
    }


def _sentence(of: ItemFacts) -> str:
    data, network = of.module.data, of.module.settings.title
    names = ", ".join(modality.name for modality in data.modalities)
    return (
        f"{network}, {published(of.module.settings).described()}: {names} to {', '.join(data.classes.names)}. Any of "
        f"them may be missing. Written by mobanet {mobanet.__version__}, which reads the folder: mobanet.load(FOLDER)."
    )


def _model(of: ItemFacts) -> dict[str, Any]:
    settings, classes = of.module.settings, of.module.data.classes
    total = count_parameters(of.module.network)[-1]
    version = _VERSION.match(str(torch.__version__))
    known = {name: round(value, 6) for name, value in of.module.known_temperatures.items()}
    parameters = {
        **({"window": of.windows["size"], "stride": of.windows["stride"]} if of.windows else {}),
        **({"temperatures": known} if known else {}),
        **({"epochs": of.facts.epochs, "steps": of.facts.steps} if of.facts else {}),
    }
    return {
        "mlm:name": _plain_name(of.name),
        "mlm:architecture": settings.title,
        "mlm:tasks": [_TASK],
        "mlm:framework": "PyTorch",
        **({"mlm:framework_version": version[0]} if version else {}),
        "mlm:total_parameters": total.trainable + total.frozen,
        # of others it is not said that they were not
        **({"mlm:pretrained": True} if settings.pretrained else {}),
        # null: no accelerator is needed
        "mlm:accelerator": None,
        "mlm:input": [_input(of, modality) for modality in of.module.data.modalities],
        "mlm:output": [
            {
                "name": "logits",
                "tasks": [_TASK],
                "description": _PROBABILITIES,
                "result": {
                    # -1: any
                    "shape": [-1, len(classes), -1, -1],
                    "dim_order": ["batch", "class", "height", "width"],
                    "data_type": "float32",
                },
                "classification:classes": [
                    {
                        "value": index,
                        # the classification extension takes no other characters, and a colour as six digits
                        "name": re.sub(r"[^0-9A-Za-z_-]+", "_", name),
                        "description": name,
                        "color_hint": "".join(f"{value:02X}" for value in colour),
                    }
                    for index, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True))
                ],
                "post_processing_function": None,
            }
        ],
        **({"mlm:hyperparameters": parameters} if parameters else {}),
    }


def _input(of: ItemFacts, modality: Modality) -> dict[str, Any]:
    scaling, learnt = of.module.data.scaling[modality.name], of.learnt[modality.name]
    words = "Values as stored in rasters; NaN where a pixel was not measured."
    if (radius := learnt_radius(scaling, learnt)) is not None:
        words = f"Heights above the ground within {radius} pixels; NaN where a pixel was not measured."
    standardization = of.module.network.standardization.get(modality.name)
    return {
        "name": modality.name,
        "description": words,
        "bands": [_band_name(modality, band) for band in modality.bands],
        "input": {
            "shape": [-1, len(modality.bands), -1, -1],
            "dim_order": _DIMENSIONS,
            "data_type": "float32",
        },
        "value_scaling": list(_scaling(scaling, learnt, standardization)),
        "resize_type": None,
        "pre_processing_function": _function("heights") if radius is not None else None,
    }


def _scaling(scaling: Scaling, learnt: np.ndarray, standardization: Standardization | None) -> Iterator[dict[str, Any]]:
    """What is done with each band before the network, the standardisation of its pretrained kernels with it."""
    if scaling in TILE_WISE:
        yield {"type": "processing", **_function("offset_scale")}
        return
    offset, scale = tile_offset_scale(scaling, learnt, None).astype(float)
    if standardization is not None:
        # ((x - offset) / scale - mean) / std in one step
        offset = offset + np.array(standardization.mean) * scale
        scale = scale * np.array(standardization.std)
    for mean, deviation in zip(offset.tolist(), scale.tolist(), strict=True):
        yield {"type": "z-score", "mean": mean, "stddev": deviation}


def _function(name: str) -> dict[str, str]:
    return {"format": "python", "expression": f"mobanet.exporting.pretrained:PretrainedModel.{name}"}


def _bands(of: ItemFacts, modality: Modality) -> Iterator[dict[str, Any]]:
    rule = of.training.rasters.rules.get(modality.name)
    for band in modality.bands:
        yield {
            "name": _band_name(modality, band),
            "description": f"{band} of {modality.name}",
            **({"unit": modality.unit} if modality.unit else {}),
            **({"data_type": rule.dtype} if rule is not None else {}),
            # what is not finite is missing anyway, and no JSON
            **(
                {} if rule is None or rule.nodata is None or not math.isfinite(rule.nodata) else {"nodata": rule.nodata}
            ),
        }


def _band_name(modality: Modality, band: str) -> str:
    return f"{modality.name}_{band}"  # names of bands are unique in one modality only


def _assets(files: Mapping[str, Path], bands: list[dict[str, str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    kinds = {
        "model": (
            "weights as safetensors",
            "application/octet-stream; framework=pytorch",
            ["mlm:model", "mlm:weights"],
        ),
        "configuration": ("what the network is, and how inputs are scaled", "application/json", ["metadata"]),
        "card": ("model card", "text/markdown", ["overview"]),
    }
    for role, (title, kind, roles) in kinds.items():
        content = files[role].read_bytes()
        yield (
            role,
            {
                "href": f"./{files[role].name}",
                "title": title,
                "type": kind,
                "roles": roles,
                # an item may have bands where an asset has some
                **({"bands": bands} if role == "model" else {}),
                "file:size": len(content),
                "file:checksum": f"{_SHA256}{hashlib.sha256(content).hexdigest()}",
            },
        )


def _plain_name(name: str) -> str:
    """A name that the extension takes: letters, digits, points, dashes and blanks, and a letter in front."""
    plain = re.sub(r"[^0-9A-Za-z_.-]+", "-", name).strip("_.-")
    return plain if re.fullmatch(r"[A-Za-z].+[A-Za-z0-9]", plain) else f"mobanet-{plain or 'model'}"
