"""Small transformers of every family, with random weights, and inputs for them."""

import torch
from torch import Tensor

from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings

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
    "siglip": ("vit_base_patch16_siglip_224", {**SMALL, "img_size": 64}),
    "beit": ("beit_base_patch16_224", {**SMALL, "img_size": 64}),
}
FURTHER = {
    "supervised": ("vit_small_patch16_224", SMALL),
    "mae": ("vit_base_patch16_224.mae", SMALL),
    "siglip_gap": ("vit_base_patch16_siglip_gap_224", SMALL),
    "quickgelu": ("vit_base_patch16_clip_quickgelu_224", SMALL),
    "aimv2": ("aimv2_large_patch14_224", SMALL),
    "perception": ("vit_pe_core_small_patch16_384", {**SMALL, "embed_dim": 64}),
    "eva": ("eva_giant_patch14_clip_224", SMALL),
    "beitv2": ("beitv2_base_patch16_224", {**SMALL, "img_size": 64}),
}
"""Others of the same classes, of which the transformers alone are tested."""
SHORT = [1, 1, 2, 1]
SWIN = {"img_size": 64, "embed_dim": 8, "depths": [2, 1, 2, 1], "num_heads": [1, 1, 2, 4]}
CONVNEXT = {"depths": SHORT, "dims": [8, 12, 16, 32]}
HIERA = {"img_size": 64, "embed_dim": 8, "stages": SHORT}
STAGED = {
    "swin": ("swin_tiny_patch4_window7_224", SWIN),
    "swinv2": ("swinv2_tiny_window8_256", SWIN),
    "convnext": ("convnext_tiny", CONVNEXT),
    "convnextv2": ("convnextv2_tiny", CONVNEXT),
    "convnext_dinov3": ("convnext_tiny.dinov3_lvd1689m", CONVNEXT),
    "convnext_overlap": ("convnext_atto_ols", CONVNEXT),
    "hiera": ("hiera_tiny_224", HIERA),
    "hiera_abswin": ("hiera_small_abswin_256", HIERA),
    "sam2": ("sam2_hiera_tiny", {"embed_dim": 8, "stages": [1, 2, 3, 2]}),
}
"""With stages of their own widths and strides."""
TWO_STREAMS = {"optical": {"rgb": 3, "ir": 1}, "elevation": {"dsm": 1}}
PAPER_STREAMS = {"optical": {"rgb": 3}, "elevation": {"dsm": 1}}
THREE_STREAMS = {"optical": {"rgb": 3}, "elevation": {"dsm": 1}, "radar": {"s1": 2}}
ONE_STREAM = {"elevation": {"dsm": 1}}
ODD = (70, 45)  # no multiple of any patch size

# Every family in the paper's form and in the SAM release's, and every choice on the default family.
VARIANTS = {
    **{family: {"family": family} for family in NAMES},
    **{
        f"{family}-block-se-scaled": {"family": family, "placement": "block", "fusion": "se", "pyramid": "scaled"}
        for family in NAMES
    },
    "no-interaction": {"placement": "none"},
    "no-interaction-sam": {"family": "sam", "placement": "none", "pyramid": "scaled"},
    "no-interaction-rope": {"family": "rope_mixed", "placement": "none", "fusion": "se", "pyramid": "scaled"},
    "mean": {"fusion": "mean"},
    "se-plain": {"fusion": "se"},
    "dgfm-scaled": {"pyramid": "scaled"},
    "tokens": {"missing": "token"},
    "tokens-no-interaction": {"missing": "token", "placement": "none"},
    "group-norm": {"normalization": "group"},
    "group-norm-sam": {"family": "sam", "normalization": "group", "fusion": "se", "pyramid": "scaled"},
    "by-scenario": {"normalization": "scenario", "absent": "left_out"},
    "by-scenario-own": {"normalization": "scenario", "incomplete": "own"},
    "left-out": {"absent": "left_out"},
    "left-out-block-tokens": {"absent": "left_out", "placement": "block", "missing": "token", "fusion": "mean"},
    "left-out-sam": {"family": "sam", "absent": "left_out", "placement": "block", "fusion": "se", "pyramid": "scaled"},
    "own": {"incomplete": "own"},
    "own-tokens-sam": {
        **{"family": "sam", "incomplete": "own", "missing": "token", "absent": "left_out"},
        **{"placement": "block", "fusion": "se", "pyramid": "scaled"},
    },
    "no-heads": {"auxiliary_heads": False},
    "trained": {"freeze": False},
    "trained-sam": {"family": "sam", "freeze": False, "placement": "block", "fusion": "se", "pyramid": "scaled"},
    "trained-sam-plain": {"family": "sam", "freeze": False},
    "trained-dinov3": {"family": "dinov3", "freeze": False},
    "paper": {"streams": PAPER_STREAMS},
    "three-streams": {"streams": THREE_STREAMS},
    "three-streams-left-out-tokens": {"streams": THREE_STREAMS, "absent": "left_out", "missing": "token"},
    "three-streams-mean": {"streams": THREE_STREAMS, "absent": "left_out", "fusion": "mean", "placement": "none"},
    "three-streams-own": {"streams": THREE_STREAMS, "absent": "left_out", "incomplete": "own", "placement": "block"},
    "three-streams-sam": {
        **{"family": "sam", "streams": THREE_STREAMS, "absent": "left_out"},
        **{"placement": "block", "fusion": "se", "pyramid": "scaled"},
    },
    "one-stream": {"streams": ONE_STREAM},
    "one-stream-scaled": {"streams": ONE_STREAM, "pyramid": "scaled", "fusion": "se", "placement": "block"},
    "one-stream-trained": {"streams": ONE_STREAM, "freeze": False},
}


def tiny_backbone(family: str = "dinov2", **changes) -> BackboneSettings:
    name, options = {**NAMES, **FURTHER, **STAGED}[family]
    return BackboneSettings(name=name, pretrained=False, options=options, **changes)


def tiny_mobanet(family: str = "dinov2", streams=TWO_STREAMS, freeze: bool = True, **settings) -> MoBaNet:
    torch.manual_seed(0)
    sizes = {"decoder_channels": 8, "projection_channels": 16}
    return MoBaNet(streams, 4, tiny_backbone(family, freeze=freeze), MoBaNetSettings(**{**sizes, **settings}))


def random_inputs(model: MoBaNet, batch: int, height: int, width: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {name: torch.randn(batch, bands, height, width, generator=rng) for name, bands in model.modalities.items()}


def awaken(model: MoBaNet) -> MoBaNet:
    """Give what starts at zero, gates, adapters and tokens, values that do something."""
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
    return model


def every_pattern(model: MoBaNet) -> torch.Tensor:
    """All availability patterns but the empty one, (2^M - 1, M)."""
    count = len(model.modalities)
    return torch.tensor([[bool(pattern >> bit & 1) for bit in range(count)] for pattern in range(1, 2**count)])
