"""Small transformers of every family, with random weights, and inputs for them."""

import torch
from torch import Tensor

from mobanet.models.backbones import BackboneSettings
from mobanet.models.mobanet import MoBaNet, MoBaNetSettings

SMALL = {"depth": 4, "embed_dim": 32, "num_heads": 2}
NAMES = {
    "dinov2": ("vit_small_patch14_dinov2", {**SMALL, "img_size": 56}),
    "dinov2_registers": ("vit_small_patch14_reg4_dinov2", {**SMALL, "img_size": 56}),
    "clip": ("vit_base_patch16_clip_224", SMALL),
    "deit3": ("deit3_small_patch16_224", SMALL),
    "dinov3": ("vit_small_patch16_dinov3", SMALL),
    "eva02": ("eva02_tiny_patch14_224", SMALL),
    "rope_mixed": ("vit_small_patch16_rope_mixed_224", SMALL),
    "sam": ("samvit_base_patch16", {**SMALL, "img_size": 64, "window_size": 3, "neck_chans": 16}),
    "sam_without_neck": ("samvit_base_patch16_224", {**SMALL, "img_size": 64, "window_size": 3}),
}
TWO_STREAMS = {"optical": {"rgb": 3, "ir": 1}, "elevation": {"dsm": 1}}
PAPER_STREAMS = {"optical": {"rgb": 3}, "elevation": {"dsm": 1}}


def tiny_backbone(family: str = "dinov2", **changes) -> BackboneSettings:
    name, options = NAMES[family]
    return BackboneSettings(name=name, pretrained=False, options=options, **changes)


def tiny_mobanet(family: str = "dinov2", streams=TWO_STREAMS, freeze: bool = True, **settings) -> MoBaNet:
    torch.manual_seed(0)
    sizes = {"decoder_channels": 8, "projection_channels": 16}
    return MoBaNet(streams, 4, tiny_backbone(family, freeze=freeze), MoBaNetSettings(**{**sizes, **settings}))


def random_inputs(model: MoBaNet, batch: int, height: int, width: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {name: torch.randn(batch, bands, height, width, generator=rng) for name, bands in model.modalities.items()}
