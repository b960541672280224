"""Frozen backbones by timm name, in four stages that adapters can reach.

What a backbone publishes (patch size, width, prefix tokens, mean and standard deviation) is read from timm's model
and from the data sheet of its weights.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mobanet.errors import SettingError
from mobanet.models.backbones.options import check_options
from mobanet.models.backbones.positions import Distances

NUM_STAGES = 4  # of MoBaNet's release, and of every hierarchical backbone here
MOST_CHANNELS = 16384
"""Of a map or a token in any network here: more than any published one, and few enough to count."""


@dataclass
class BackboneSettings:
    """Which pretrained transformer, from where, and whether it trains."""

    name: str = "vit_small_patch14_dinov2.lvd142m"
    """timm name of a plain transformer (DINOv2, DINOv3, SAM, CLIP, BEiT, …) or of a Swin, ConvNeXt or Hiera."""

    pretrained: bool = True
    """Start from the published weights, downloaded once; false starts from random ones."""

    checkpoint: str | None = None
    """Local weights to start from instead of a download: a .safetensors, .pth or .pt file, timm's or DINOv2's."""

    freeze: bool = True
    """Leave the transformer as it is; false trains all of it."""

    standardize: bool = True
    """Give optical bands the mean and standard deviation the weights expect; the SAM release of MoBaNet does not."""

    options: dict[str, int | float | bool | str | list[int]] = field(default_factory=dict)
    """Passed to timm.create_model, for other sizes than the named one: depth, embed_dim, num_heads, img_size; depths,
    dims or stages, lists of four, of a backbone with stages of its own."""

    def __post_init__(self) -> None:
        check_options(self.options)


@dataclass(frozen=True)
class Geometry:
    """What the blocks of one forward pass need besides tokens.

    Attributes:
        grid: rows and columns of patch tokens; in a hierarchical backbone those of the first stage.
        rope: rotary embedding of that grid, for the backbones that have one.
        distances: between the patches of that grid, for the backbones that attend by them.
    """

    grid: tuple[int, int]
    rope: Tensor | None = None
    distances: Distances | None = None


class Backbone(nn.Module, ABC):
    """A timm transformer, its depth cut in four stages of equal length, or one with four stages of its own.

    Tokens are (B, P + N, C): P prefix tokens (class, registers), then N = rows·columns patch tokens. When frozen, no
    parameter asks for a gradient and `train()` leaves every part in eval mode. Made by
    `mobanet.models.backbones.kinds.build_backbone`.

    Attributes:
        vit: timm's model.
        name: its timm name.
        frozen: whether it stays as it is.
        recomputes: whether a backward pass runs each block once more, rather than a forward pass keeping all that the
            block computes on the way: the same numbers, for less memory and more time.
        patch_size: side of a patch in pixels.
        width: channels C of a token.
        depth: number of blocks.
        num_prefix_tokens: P.
        mean: of the three channels the weights were trained on, at scale 0..1.
        std: their standard deviations.
        neck_channels: of the model's own neck (SAM); 0 where there is none.
    """

    hierarchical: ClassVar[bool] = False
    """Whether stages have widths and strides of their own (`mobanet.models.backbones.hierarchical`)."""

    patch_size: int
    width: int
    depth: int

    # `vit` is of one of timm's classes, which share attributes and no type
    def __init__(self, vit: Any, settings: BackboneSettings) -> None:
        super().__init__()
        self.vit = vit
        self.name = settings.name
        self.frozen = settings.freeze
        self.recomputes = False
        self.num_prefix_tokens: int = getattr(vit, "num_prefix_tokens", 0)  # SAM has none and does not say so
        self.mean: tuple[float, ...] = tuple(self.vit.pretrained_cfg["mean"])
        self.std: tuple[float, ...] = tuple(self.vit.pretrained_cfg["std"])
        self.neck_channels = 0
        self._measure()
        if self.frozen:
            self.requires_grad_(False)
            self.eval()

    def _measure(self) -> None:
        """Read sizes off timm's model."""
        self.patch_size = self.stem.kernel_size[0]
        self.width = self.vit.embed_dim
        self.depth = len(self.vit.blocks)
        if self.depth % NUM_STAGES or not self.depth:
            raise SettingError(
                "backbone.name",
                f"{self.name} has {self.depth} blocks, which four equal stages cannot share: "
                "choose another, or set depth in `backbone.options` to a multiple of 4.",
            )

    def train(self, mode: bool = True) -> "Backbone":
        """Switch between training and eval mode; a frozen backbone stays in eval mode."""
        return super().train(mode and not self.frozen)

    @property
    def stages(self) -> list[range]:
        """Indices of the blocks of each stage."""
        length = self.depth // NUM_STAGES
        return [range(stage * length, (stage + 1) * length) for stage in range(NUM_STAGES)]

    @property
    def stem(self) -> nn.Conv2d:
        """The convolution that makes tokens of an image, the first one where there are several."""
        return self.vit.patch_embed.proj

    @property
    def patch_kernel(self) -> Tensor:
        """Weight of the patch embedding, (C, 3, p, p)."""
        return self.stem.weight

    @property
    def patch_bias(self) -> Tensor | None:
        """Bias of the patch embedding, (C,); None where the model has none."""
        return self.stem.bias

    @property
    def stage_widths(self) -> list[int]:
        """Channels of the tokens after each stage."""
        return [self.width] * NUM_STAGES

    @property
    def entry_widths(self) -> list[int]:
        """Channels of the tokens that the first block of each stage gets."""
        return [self.width] * NUM_STAGES

    def grid(self, stage: int, geometry: Geometry) -> tuple[int, int]:
        """Rows and columns of the patch tokens after a stage."""
        return geometry.grid

    @abstractmethod
    def embed(self, patches: Tensor) -> tuple[Tensor, Geometry]:
        """Add positions and prefix tokens to embedded patches: (B, h, w, C) -> (B, P + N, C)."""

    def block(self, index: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        """Run one block: (B, P + N, C) -> (B, P + N, C), fewer and wider where a stage begins with pooling."""
        if not (self.recomputes and torch.is_grad_enabled()):
            return self._run_block(index, tokens, geometry)
        # one in eval mode draws nothing, so that there is no state of generators to keep for the second time
        # torch's reentrant kind gives no gradients inside where no input asks for one, as tokens of a borrowed patch
        # kernel do not: LoRA in the first blocks would never learn
        return checkpoint(
            self._run_block, index, tokens, geometry, use_reentrant=False, preserve_rng_state=self.training
        )

    def _run_block(self, index: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        return self.vit.blocks[index](tokens)

    def descend(self, stage: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        """From the tokens after a stage to those that the next one begins with; the same in a plain transformer."""
        return tokens

    def tapped(self, stage: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        """The patch tokens after a stage, row by row: (B, P + N, C) -> (B, N, C)."""
        return tokens[:, self.num_prefix_tokens :]

    def final_norm(self) -> nn.Module | None:
        """The norm after the last block; None where the model has none."""
        # timm calls it `fc_norm` where its classifier takes the mean over tokens, and leaves an Identity as `norm`
        for name in ("norm", "fc_norm"):
            norm = getattr(self.vit, name, None)
            if norm is not None and not isinstance(norm, nn.Identity):
                return norm
        return None

    def normalize(self, tokens: Tensor) -> Tensor:
        """The final norm on tokens of any depth, (B, N, C); without parameters where the model has no such norm."""
        norm = self.final_norm()
        if norm is None:
            return F.layer_norm(tokens, (self.width,), eps=1e-6)  # the eps of timm's transformers
        return norm(tokens)

    def neck(self, tokens: Tensor, geometry: Geometry) -> Tensor:
        """The model's own neck on patch tokens: (B, N, C) -> (B, neck_channels, h, w).

        Raises:
            TypeError: where the model has none.
        """
        raise TypeError(f"{self.name} has no neck of its own")

    def release_unused(self, patch_kernel: bool, patch_bias: bool, norm: bool, neck: bool) -> None:
        """Take gradients off parts that a model never runs, so that plain DDP finds no parameter without one.

        Args:
            patch_kernel: whether the pretrained patch kernel is used.
            patch_bias: whether its bias is used.
            norm: whether `normalize` is used.
            neck: whether `neck` is used.
        """
        optional = [getattr(self.vit, name, None) for name in ("attn_pool", "head", "fc_norm", "norm", "neck")]
        used = [self.final_norm()] if norm else []
        used += [self.vit.neck] if neck else []
        # by identity: `norm` and `fc_norm` may each be the final norm, and the neck of SAM a norm
        for part in optional:
            if part is not None and not any(part is other for other in used):
                part.requires_grad_(False)
        self._release_patches(patch_kernel, patch_bias)

    def _release_patches(self, kernel: bool, bias: bool) -> None:
        if not kernel:
            self.patch_kernel.requires_grad_(False)
        if not bias and self.patch_bias is not None:
            self.patch_bias.requires_grad_(False)

    def fingerprint(self) -> str:
        """SHA-256 over names, shapes and float32 values of all weights, 64 hexadecimal digits.

        Equal weights give equal fingerprints on any device and in any version of this package; it takes about a
        second for 300 million parameters.
        """
        return weights_digest(self.vit.state_dict())


def to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens as a map, a view in channels-last order: (B, N, C) -> (B, C, h, w)."""
    return tokens.unflatten(1, grid).permute(0, 3, 1, 2)


def to_tokens(maps: Tensor) -> Tensor:
    """A map as tokens, a view: (B, C, h, w) -> (B, N, C)."""
    return maps.flatten(2).transpose(1, 2)


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values, in the order of the names; 64 hexadecimal digits."""
    digest = hashlib.sha256()
    # sorted: the order in which parts were registered is no part of the weights
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        # of float32, as weights that were stored in half precision are the same ones after they are loaded
        digest.update(value.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()
