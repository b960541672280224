"""Plain transformers of timm: absolute, rotary and relative positions, and SAM's windows; and making any backbone."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.models.backbones.hierarchical import (
    ConvNeXtBackbone,
    HieraBackbone,
    HieraDetBackbone,
    SwinBackbone,
)
from mobanet.models.backbones.positions import (
    Distances,
    distances,
    relative_bias,
    resample_dinov2,
    resample_sam,
    resample_tokens,
)
from mobanet.models.backbones.stages import Backbone, BackboneSettings, Geometry, to_map
from mobanet.models.backbones.weights import create_vit, load_weights


class PlainBackbone(Backbone):
    """timm's VisionTransformer: DINOv2 with and without registers, supervised, CLIP and SigLIP weights."""

    def embed(self, patches: Tensor) -> tuple[Tensor, Geometry]:
        """Add positions and prefix tokens to embedded patches: (B, h, w, C) -> (B, P + N, C)."""
        grid = (patches.shape[1], patches.shape[2])
        patches = self.vit.patch_embed.norm(patches)
        if self._resamples_by_factors():
            prefix = self.vit.cls_token.expand(patches.shape[0], -1, -1)
            tokens = torch.cat((prefix, patches.flatten(1, 2)), dim=1)  # (B, h, w, C) -> (B, 1 + N, C)
            tokens = self.vit.pos_drop(tokens + resample_dinov2(self.vit.pos_embed, grid))
        else:
            tokens = self.vit._pos_embed(patches)  # resamples by size, antialiased, as DINOv2 with registers wants
        return self.vit.norm_pre(tokens), Geometry(grid)

    def _resamples_by_factors(self) -> bool:
        # by name, since nothing else tells DINOv2 from other VisionTransformers, which are resampled by size
        if "dinov2" not in self.name or self.vit.reg_token is not None:
            return False
        # options may make another model of it: without positions, class token, or a row of positions for the token
        return self.vit.pos_embed is not None and self.vit.cls_token is not None and not self.vit.no_embed_class


class RotaryBackbone(Backbone):
    """timm's Eva: DINOv3, EVA-02, Perception Encoder."""

    def embed(self, patches: Tensor) -> tuple[Tensor, Geometry]:
        """Add positions and prefix tokens to embedded patches: (B, h, w, C) -> (B, P + N, C)."""
        grid = (patches.shape[1], patches.shape[2])
        # takes maps, (B, h, w, C), as it makes the rotary embedding of their grid
        tokens, rope = self.vit._pos_embed(self.vit.patch_embed.norm(patches))
        return self.vit.norm_pre(tokens), Geometry(grid, rope)

    def _run_block(self, index: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        rope = geometry.rope
        if rope is not None and self.vit.rope_mixed:  # learned frequencies: one embedding a block
            rope = rope[index]
        return self.vit.blocks[index](tokens, rope=rope)


class RelativeBackbone(Backbone):
    """timm's Beit: each block has a table of biases by how far two patches lie from each other."""

    def embed(self, patches: Tensor) -> tuple[Tensor, Geometry]:
        """Add the class token, and positions where there are any: (B, h, w, C) -> (B, 1 + N, C)."""
        known, grid = self.vit.patch_embed.grid_size, (patches.shape[1], patches.shape[2])
        tokens = self.vit.patch_embed.norm(patches).flatten(1, 2)
        tokens = torch.cat((self.vit.cls_token.expand(patches.shape[0], -1, -1), tokens), dim=1)
        if self.vit.pos_embed is not None:
            # the class token's is of no place and stays as it is
            prefix, positions = self.vit.pos_embed[:, :1], self.vit.pos_embed[:, 1:]
            tokens = tokens + torch.cat((prefix, resample_tokens(positions, known, grid).flatten(1, 2)), dim=1)
        return self.vit.pos_drop(tokens), Geometry(grid, distances=distances(known, grid, tokens))

    def _run_block(self, index: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        """Run one block: (B, 1 + N, C) -> (B, 1 + N, C)."""
        block = self.vit.blocks[index]
        attended, mixed = block.gamma_1, block.gamma_2  # scales a channel; None: 1
        assert geometry.distances is not None  # `embed` has found them
        found = self._attend(block.attn, block.norm1(tokens), geometry.distances)
        tokens = tokens + block.drop_path1(found if attended is None else attended * found)
        found = block.mlp(block.norm2(tokens))
        return tokens + block.drop_path2(found if mixed is None else mixed * found)

    def _attend(self, attention: Any, tokens: Tensor, apart: Distances) -> Tensor:
        """Attention as timm's own, which knows one grid only: (B, 1 + N, C) -> (B, 1 + N, C)."""
        heads = attention.qkv(tokens)
        if attention.q_bias is not None:
            # the keys' is a buffer of zeros: a softmax over keys would cancel any bias of theirs
            heads = heads + torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
        # (B, 1 + N, 3·C) -> three of (B, heads, 1 + N, c)
        query, key, value = heads.unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        table = attention.relative_position_bias_table
        bias = None if table is None else relative_bias(table.to(query.dtype), apart)
        dropout = attention.attn_drop.p if self.training else 0.0
        # the biases of distance are added to the scores after they were scaled, as timm has it
        found = F.scaled_dot_product_attention(query, key, value, bias, dropout)  # (B, heads, 1 + N, c)
        return attention.proj_drop(attention.proj(found.transpose(1, 2).flatten(2)))


class WindowedBackbone(Backbone):
    """timm's VisionTransformerSAM: attention in windows of 14, relative positions, no prefix tokens."""

    def __init__(self, vit: Any, settings: BackboneSettings) -> None:
        super().__init__(vit, settings)
        first: Any = vit.neck[0] if isinstance(vit.neck, nn.Sequential) else None
        if first is not None:
            # of its 1x1 convolution; the 3x3 one behind it keeps them
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
        return self.vit.norm_pre(self.vit.pos_drop(patches)).flatten(1, 2), Geometry(grid)

    def _run_block(self, index: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        # pads the grid to whole windows itself
        return self.vit.blocks[index](tokens.unflatten(1, geometry.grid)).flatten(1, 2)

    def neck(self, tokens: Tensor, geometry: Geometry) -> Tensor:
        """1x1 convolution, LayerNorm, 3x3 convolution, LayerNorm: (B, N, C) -> (B, neck_channels, h, w)."""
        if not self.neck_channels:
            return super().neck(tokens, geometry)
        return self.vit.neck(to_map(tokens, geometry.grid))


# by name, not by class: timm is not imported until a backbone is made
KINDS: dict[str, type[Backbone]] = {
    "VisionTransformer": PlainBackbone,
    "Eva": RotaryBackbone,
    "Beit": RelativeBackbone,
    "VisionTransformerSAM": WindowedBackbone,
    "SwinTransformer": SwinBackbone,
    "SwinTransformerV2": SwinBackbone,
    "ConvNeXt": ConvNeXtBackbone,
    "Hiera": HieraBackbone,
    "HieraDet": HieraDetBackbone,
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
