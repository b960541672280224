"""Families of timm that a backbone may be of: their modules and classes, how each is made, and where its stem lies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn


def _any_size() -> dict[str, Any]:
    # without it `_pos_embed` adds positions as they are, of the grid that the weights were trained at
    return {"dynamic_img_size": True}


def _sam() -> dict[str, Any]:
    # Official SAM normalises with eps 1e-6 where timm leaves torch's 1e-5; the others carry theirs.
    return {"norm_layer": partial(nn.LayerNorm, eps=1e-6)}


def _swin() -> dict[str, Any]:
    # timm drops paths at a rate of 0.1 in training where nothing is said; nothing else here does.
    # not strict: shifted windows then get their masks for the grid at hand, each time (timm's dynamic_mask)
    return {"strict_img_size": False, "drop_path_rate": 0.0}


@dataclass(frozen=True)
class Family:
    """Models of one class of timm.

    Attributes:
        modules: of timm, and our own, that build them.
        extra: arguments of timm.create_model that let them take any image size, among others.
        stem: name of the convolution that makes tokens of an image.
        hierarchical: whether stages have widths and strides of their own.
        unused: parts of timm's model that never run here and are left out, with their weights.
    """

    modules: tuple[str, ...]
    extra: Callable[[], dict[str, Any]] = dict
    stem: str = "patch_embed.proj"
    hierarchical: bool = False
    unused: tuple[str, ...] = ()


FAMILIES: dict[str, Family] = {
    "VisionTransformer": Family(("vision_transformer", "deit", "city_vit"), _any_size),
    "Eva": Family(("eva",), _any_size),
    # no argument for any size: its table of distances is brought to the grid here (`RelativeBackbone`)
    "Beit": Family(("beit",)),
    "VisionTransformerSAM": Family(("vision_transformer_sam",), _sam),
    # norms behind the last stage are left out, since taps of all stages are normalised alike, without parameters
    "SwinTransformer": Family(("swin_transformer",), _swin, hierarchical=True, unused=("norm", "head")),
    "SwinTransformerV2": Family(("swin_transformer_v2",), _swin, hierarchical=True, unused=("norm", "head")),
    "ConvNeXt": Family(("convnext",), stem="stem.0", hierarchical=True, unused=("norm_pre", "head")),
    "Hiera": Family(("hiera",), hierarchical=True, unused=("head",)),
    "HieraDet": Family(("hieradet_sam2",), hierarchical=True, unused=("head",)),
}
"""By the name of timm's class."""

MODULES = {module: family for family in FAMILIES.values() for module in family.modules}
"""By the name of the module."""

WORKING = (
    "a plain transformer of class VisionTransformer (DINOv2, CLIP, SigLIP, MAE, DeiT-3), Eva (DINOv3, EVA-02), Beit or "
    "VisionTransformerSAM, or one with stages of class SwinTransformer, SwinTransformerV2, ConvNeXt (DINOv3's, too), "
    "Hiera or HieraDet (SAM 2)"
)
"""For messages."""
