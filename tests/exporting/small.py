"""Small models of every architecture as checkpoints, and stored values for them."""

from pathlib import Path

import numpy as np
import torch

from mobanet.data.description import DataDescription
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.cbc.network import CBCSettings
from mobanet.models.cmx.network import CMXSettings
from mobanet.models.inputs import scaled_inputs
from mobanet.models.lora import LoRASettings
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.rasters.contents import Classes, Modality
from mobanet.training.module import SegmentationModule
from tests.models.tiny import NAMES, STAGED, awaken

RGB = Modality("rgb", ("red", "green", "blue"))
IR = Modality("ir", ("infrared",), maximum=2047)
DSM = Modality("dsm", ("height",), kind="elevation", unit="metre")
RADAR = Modality("radar", ("vv", "vh"), kind="other", unit="dB")
SCALINGS = {"rgb": "unit", "ir": "unit", "dsm": "robust", "radar": "standard"}
LEARNT = {
    "rgb": [[0.0] * 3, [255.0] * 3],
    "ir": [[0.0], [2047.0]],
    "dsm": [[0.0], [7.3]],
    "radar": [[-11.5, -17.25], [4.1, 5.3]],
}
CLASSES = Classes(("road", "roof", "rest"), ((90, 90, 90), (255, 0, 0), (0, 0, 0)), ("road", "roof"))


def backbone(family, **changes):
    name, options = {**NAMES, **STAGED}[family]
    return BackboneSettings(**{"name": name, "pretrained": False, "options": dict(options), **changes})


PARTS = {"decoder_channels": 8, "projection_channels": 16}
CMX = {"encoder": "mit_b0", "missing": "token"}
CBC = CBCSettings(width=2, token_width=32, heads=4, grid=2, encoder_depths=(1, 1, 1, 1), encoder_width=4)
EXPORTED = {
    "sam": (
        (IR, DSM),
        {
            "backbone": backbone("sam"),
            "network": MoBaNetSettings(
                **PARTS, placement="block", fusion="se", pyramid="scaled", scenario_statistics=["dsm"]
            ),
            "scalings": {"dsm": "minmax"},
        },
        80,
    ),
    "cbc_slp": ((IR, DSM), {"architecture": "cbc_slp", "cbc": CBC}, 112),
    **{
        family: (
            (IR, DSM),
            {"backbone": backbone(family), "network": MoBaNetSettings(**PARTS), "scalings": {"dsm": "minmax"}},
            tile,
        )
        for family, tile in {"swin": 96, "convnext": 64, "hiera": 64, "sam2": 96}.items()
    },
}
"""By name: modalities, the rest of a module, and height and width of a tile."""

TRACED = {
    "three_streams": (
        (RGB, IR, DSM),
        {
            "backbone": backbone("dinov2"),
            "network": MoBaNetSettings(**PARTS, absent="left_out"),
            "streams": {"optical": ["rgb"], "infrared": ["ir"], "elevation": ["dsm"]},
        },
        70,
    ),
    "own": (
        (RGB, IR, DSM),
        {
            "backbone": backbone("dinov2"),
            "network": MoBaNetSettings(**PARTS, incomplete="own", absent="left_out", normalization="scenario"),
        },
        70,
    ),
    "dinov2": (
        (RGB, IR, DSM),
        {
            "backbone": backbone("dinov2"),
            "network": MoBaNetSettings(**PARTS, missing="token", scenario_statistics=["rgb", "ir+dsm"]),
        },
        70,
    ),
    **{
        family: ((IR, DSM), {"backbone": backbone(family), "network": MoBaNetSettings(**PARTS)}, tile)
        for family, tile in {"beit": 48, "swin": 96, "swinv2": 96, "convnext": 64, "hiera": 64, "sam2": 96}.items()
    },
    "cmx": (
        (IR, DSM),
        {"architecture": "cmx", "cmx": CMXSettings(pretrained=False, decoder_channels=16, **CMX)},
        50,
    ),
    "cbc": ((IR, DSM), {"architecture": "cbc", "cbc": CBC}, 112),
}
LORA = (
    (DSM, RADAR),
    {"backbone": backbone("dinov3"), "lora": LoRASettings(rank=2), "network": MoBaNetSettings(**PARTS)},
)


def describe(modalities, **scalings):
    scaling = {modality.name: SCALINGS[modality.name] for modality in modalities}
    return DataDescription("toy", tuple(modalities), scaling | scalings, CLASSES)


def make(modalities=(RGB, DSM), scalings=None, **options):
    """A module in which every part does something."""
    torch.manual_seed(0)
    given = {"backbone": backbone("dinov2"), "network": MoBaNetSettings(**PARTS), **options}
    module = SegmentationModule(describe(modalities, **(scalings or {})), **given)
    awaken(module.network)
    buffers = dict(module.network.named_buffers())
    for name, buffer in buffers.items():
        if "scenario_" in name:  # statistics of something, which none of the others are
            if buffer.is_floating_point():
                buffer.uniform_(0.2, 0.4)
                buffer[::3] = buffers[name.replace("scenario_", "running_")]  # every third was not met
            else:
                buffer.copy_(torch.arange(len(buffer)) % 3)
    return module.eval()


def shortened(module):
    """Of Mix-Transformers one block in the first stage, which thins out its keys, and one in the last."""
    for encoder in module.network.encoders if module.settings.architecture == "cmx" else ():
        for stage, kept in zip(encoder.stages, (1, 0, 0, 1), strict=True):
            stage[1] = stage[1][:kept]
    return module


def keep(module, path, **changes) -> Path:
    """Write a module's checkpoint, as a run does."""
    learnt = {modality.name: LEARNT[modality.name] for modality in module.data.modalities}
    checkpoint = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "epoch": 4,
        "global_step": 60,
        "RasterDataModule": {"scaling": learnt},
    }
    module.on_save_checkpoint(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint | changes, path)
    return path


def numbers(module) -> dict[str, np.ndarray]:
    """What a module's modalities are scaled by."""
    return {modality.name: np.array(LEARNT[modality.name]) for modality in module.data.modalities}


def stored(module, batch, size, seed=1):
    """Values as rasters hold them, and offsets and scales of tiles, by modality."""
    rng = torch.Generator().manual_seed(seed)
    inputs, offset_scale = {}, {}
    for modality in module.data.modalities:
        name, bands = modality.name, len(modality.bands)
        offset, scale = (torch.tensor(numbers) for numbers in LEARNT[name])
        offset_scale[name] = torch.stack((offset, scale)).expand(batch, 2, bands).clone()
        if module.data.scaling[name] in ("robust", "minmax"):
            offset_scale[name][:, 0] = 50 + 100 * torch.rand(batch, 1, generator=rng)
        noise = torch.rand(batch, bands, size, size, generator=rng)
        inputs[name] = offset_scale[name][:, 0, :, None, None] + offset_scale[name][:, 1, :, None, None] * noise
    return inputs, offset_scale


@torch.no_grad()
def predicted(module, inputs, offset_scale, available):
    """Logits as the evaluation of a run computes them; pixels that are not finite were not measured."""
    valid = {name: torch.isfinite(x).all(1).to(torch.uint8) for name, x in inputs.items()}
    filled = {name: torch.where(torch.isfinite(x), x, 77.0) for name, x in inputs.items()}
    batch = {"inputs": filled, "offset_scale": offset_scale, "valid": valid}
    return module.network(scaled_inputs(batch, module.network.standardization), available).logits


def feeds(module, inputs, offset_scale, available):
    """The inputs of an exported graph."""
    wise = [name for name in offset_scale if module.data.scaling[name] in ("robust", "minmax")]
    return {**inputs, "available": available, **{f"{name}_offset_scale": offset_scale[name] for name in wise}}


def as_arrays(tensors) -> dict[str, np.ndarray]:
    return {name: x.numpy() for name, x in tensors.items()}
