"""Golden numbers of the authors' release: the weights and inputs behind them, made by rule.

The files in tests/data/golden are computed with the authors' model. Of the DINOv2 release's stage maps every fourth
of the stored channels is kept here, so every 32nd of the model's.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "data" / "golden"


@dataclass
class Golden:
    """One release's weights, inputs and expected arrays."""

    state: dict[str, Tensor]
    trainable: int
    inputs: dict[str, Tensor]
    expected: dict[str, np.ndarray]


def load_golden(name: str) -> Golden:
    manifest = json.loads((FOLDER / f"{name}.json").read_text())
    batch, height, width, seed = (manifest[key] for key in ("batch", "height", "width", "seed"))
    rng = np.random.default_rng(seed)
    optical = rng.standard_normal((batch, 3, height, width)).astype(np.float32)
    elevation = rng.random((batch, height, width)).astype(np.float32)
    with np.load(FOLDER / f"{name}.npz") as arrays:
        expected = dict(arrays)
    return Golden(
        state={key: make_tensor(seed, key, shape) for key, shape, _ in manifest["parameters"]},
        trainable=sum(int(np.prod(shape)) for name, shape, listed in manifest["parameters"] if listed or trains(name)),
        inputs={"rgb": torch.from_numpy(optical), "dsm": torch.from_numpy(elevation)[:, None]},
        expected=expected,
    )


def trains(name: str) -> bool:
    """What the release trains inside its encoder; the SAM manifest lists only what lies outside."""
    return "peft_" in name or "extra_patch_embed" in name


def make_tensor(seed: int, name: str, shape: list[int]) -> Tensor:
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.tensor(1)
    rng = np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode()))
    r = rng.standard_normal(shape).astype(np.float32)
    if last == "running_var":
        r = 1 + 0.1 * np.abs(r)
    elif len(shape) > 1:
        r = r * np.float32(0.8 / np.sqrt(np.prod(shape[1:])))
    else:
        r = 1 + 0.1 * r if last in ("weight", "gamma") else 0.05 * r
    return torch.from_numpy(r.astype(np.float32))
