"""The three families of timm transformers: absolute positions, rotary positions, and SAM's windows; and making one."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.models.backbones.positions import resample_dinov2, resample_sam
from mobanet.models.backbones.stages import Backbone, BackboneSettings, Geometry
from mobanet.models.backbones.weights import create_vit, load_weights


class PlainBackbone(Backbone):
    """timm's VisionTransformer: DINOv2 with and without registers, supervised, CLIP and SigLIP weights."""

    def embed(self, patches: Tensor) -> tuple[Tensor, Geometry]:
        """Add positions and prefix tokens to embedded patches: (B, h, w, C) -> (B, P + N, C)."""
        grid = (patches.shape[1], patches.shape[2])
        patches = self.vit.patch_embed.norm(patches)
        if "dinov2" in self.name and self.vit.reg_token is None:
            prefix = self.vit.cls_token.expand(patches.shape[0], -1, -1)
            tokens = torch.cat((prefix, patches.flatten(1, 2)), dim=1)  # (B, h, w, C) -> (B, 1 + N, C)
            tokens = tokens + resample_dinov2(self.vit.pos_embed, grid)
        else:
            tokens = self.vit._pos_embed(patches)  # resamples by size, antialiased, as DINOv2 with registers wants
        return self.vit.norm_pre(tokens), Geometry(grid)


class RotaryBackbone(Backbone):
    """timm's Eva: DINOv3, EVA-02, Perception Encoder."""

    def embed(self, patches: Tensor) -> tuple[Tensor, Geometry]:
        """Add positions and prefix tokens to embedded patches: (B, h, w, C) -> (B, P + N, C)."""
        grid = (patches.shape[1], patches.shape[2])
        tokens, rope = self.vit._pos_embed(self.vit.patch_embed.norm(patches))
        return self.vit.norm_pre(tokens), Geometry(grid, rope)

    def _run_block(self, index: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        rope = geometry.rope
        if rope is not None and self.vit.rope_mixed:  # learned frequencies: one embedding a block
            rope = rope[index]
        return self.vit.blocks[index](tokens, rope=rope)


class WindowedBackbone(Backbone):
    """timm's VisionTransformerSAM: attention in windows of 14, relative positions, no prefix tokens."""

    def __init__(self, vit: Any, settings: BackboneSettings) -> None:
        super().__init__(vit, settings)
        first: Any = vit.neck[0] if isinstance(vit.neck, nn.Sequential) else None
        if first is not None:
            self.neck_channels = first.out_channels

    def final_norm(self) -> nn.LayerNorm | None:
        """The norm that stands where a neck would, in the variant without one; SAM's own weights have none."""
        return self.vit.neck if isinstance(self.vit.neck, nn.LayerNorm) else None

    def normalize(self, tokens: Tensor) -> Tensor:
        """The final norm on tokens of any depth, (B, N, C); without parameters where the model has no such norm."""
        norm = self.final_norm()
        if norm is None:
            return super().normalize(tokens)
        # timm's module normalises maps; the tokens' last axis is its channel axis.
        return F.layer_norm(tokens, list(norm.normalized_shape), norm.weight, norm.bias, norm.eps)

    def embed(self, patches: Tensor) -> tuple[Tensor, Geometry]:
        """Add positions to embedded patches: (B, h, w, C) -> (B, N, C)."""
        grid = (patches.shape[1], patches.shape[2])
        patches = self.vit.patch_embed.norm(patches)
        if self.vit.pos_embed is not None:
            patches = patches + resample_sam(self.vit.pos_embed, grid)
        return self.vit.norm_pre(patches).flatten(1, 2), Geometry(grid)

    def _run_block(self, index: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        # pads the grid to whole windows itself
        return self.vit.blocks[index](tokens.unflatten(1, geometry.grid)).flatten(1, 2)

    def neck(self, tokens: Tensor, geometry: Geometry) -> Tensor:
        """1x1 convolution, LayerNorm, 3x3 convolution, LayerNorm: (B, N, C) -> (B, neck_channels, h, w)."""
        if not self.neck_channels:
            return super().neck(tokens, geometry)
        return self.vit.neck(tokens.unflatten(1, geometry.grid).permute(0, 3, 1, 2))


KINDS: dict[str, type[Backbone]] = {
    "VisionTransformer": PlainBackbone,
    "Eva": RotaryBackbone,
    "VisionTransformerSAM": WindowedBackbone,
}


def build_backbone(settings: BackboneSettings) -> Backbone:
    """Create the transformer, load its weights, freeze it.

    Raises:
        UserError: for an unknown or unsupported name, options that do not fit it, weights that cannot be found,
            downloaded or read, and weights of another architecture.
    """
    vit = create_vit(settings)
    load_weights(vit, settings)
    return KINDS[type(vit).__name__](vit, settings)
