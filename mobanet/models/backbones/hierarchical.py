"""Backbones with four stages of their own widths and strides: Swin, ConvNeXt and Hiera.

Between blocks features are tokens here, too, (B, N, C), row by row or in the order that the family keeps them in: what
is done to each token by itself, CPIA above all, need not know. Images are whole multiples of the deepest stage's
stride, so that each stage has exactly half the rows and columns of the one before.
"""

from abc import abstractmethod
from itertools import accumulate, pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.errors import SettingError
from mobanet.models.backbones.families import FAMILIES
from mobanet.models.backbones.positions import resample_tokens, resample_windows
from mobanet.models.backbones.stages import NUM_STAGES, Backbone, Geometry, to_map, to_tokens


class HierarchicalBackbone(Backbone):
    """A timm model of four stages.

    Attributes:
        patch_size: pixels a side that become one token of the last stage.
        width: channels of the last stage.
        places: stage of each block, and its place in it.
    """

    hierarchical = True

    def _measure(self) -> None:
        """Read sizes off timm's model."""
        self._lengths = self._count_blocks()
        self._widths = [int(info["num_chs"]) for info in self.vit.feature_info]
        self.places = [(stage, place) for stage, length in enumerate(self._lengths) for place in range(length)]
        self.width, self.depth = self._widths[-1], sum(self._lengths)
        self.patch_size = self._first_stride() << NUM_STAGES - 1  # each later stage halves

    @abstractmethod
    def _count_blocks(self) -> list[int]:
        """Number of blocks by stage."""

    def _first_stride(self) -> int:
        """Pixels a side that become one token of the first stage."""
        return self.stem.stride[0]

    @property
    def stages(self) -> list[range]:
        """Indices of the blocks of each stage."""
        ends = accumulate(self._lengths, initial=0)
        return [range(start, end) for start, end in pairwise(ends)]

    @property
    def stem(self) -> nn.Conv2d:
        """The convolution that makes tokens of an image, the first one where there are several."""
        return self.vit.get_submodule(FAMILIES[type(self.vit).__name__].stem)

    @property
    def stage_widths(self) -> list[int]:
        """Channels of the tokens after each stage."""
        return list(self._widths)

    @property
    def entry_widths(self) -> list[int]:
        """Channels of the tokens that the first block of each stage gets."""
        return list(self._widths)

    def grid(self, stage: int, geometry: Geometry) -> tuple[int, int]:
        """Rows and columns of the tokens after a stage."""
        # nothing is lost: images are whole multiples of the deepest stride
        return geometry.grid[0] >> stage, geometry.grid[1] >> stage

    def normalize(self, tokens: Tensor) -> Tensor:
        """A LayerNorm without parameters on the tokens of any stage, (B, N, C); the last one's own is left out."""
        return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)

    def release_unused(self, patch_kernel: bool, patch_bias: bool, norm: bool, neck: bool) -> None:
        """As in the base; what never runs is no part of the model here but for the patch kernel."""
        self._release_patches(patch_kernel, patch_bias)


class SwinBackbone(HierarchicalBackbone):
    """timm's SwinTransformer and SwinTransformerV2: attention in windows, every other block's shifted."""

    def _count_blocks(self) -> list[int]:
        return [len(stage.blocks) for stage in self.vit.layers]

    def embed(self, patches: Tensor) -> tuple[Tensor, Geometry]:
        """Normalise embedded patches: (B, h, w, C) -> (B, N, C)."""
        grid = (patches.shape[1], patches.shape[2])
        # the convolution has run by itself (`StreamEmbedding`), so of timm's patch embedding the norm is left
        return self.vit.patch_embed.norm(patches).flatten(1, 2), Geometry(grid)

    def descend(self, stage: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        """Merge patches two by two: (B, N, C) -> (B, N/4, C')."""
        maps = tokens.unflatten(1, self.grid(stage, geometry))
        # timm counts the merging of patches among the parts of the stage that it leads into
        return self.vit.layers[stage + 1].downsample(maps).flatten(1, 2)

    def _run_block(self, index: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        """Run one block, which pads the grid to whole windows itself: (B, N, C) -> (B, N, C)."""
        stage, place = self.places[index]
        maps = tokens.unflatten(1, self.grid(stage, geometry))
        return self.vit.layers[stage].blocks[place](maps).flatten(1, 2)


class ConvNeXtBackbone(HierarchicalBackbone):
    """timm's ConvNeXt, of versions 1 and 2, and DINOv3's: depthwise convolutions."""

    def _measure(self) -> None:
        super()._measure()
        # timm lets no stage go beyond a stride of 32: behind larger patches it dilates kernels instead
        strides = [int(info["reduction"]) for info in self.vit.feature_info]
        if strides != [strides[0] << stage for stage in range(NUM_STAGES)]:
            raise SettingError(
                "backbone.options",
                f"makes stages of {self.name} with strides of {', '.join(map(str, strides))} pixels, where each has "
                "to halve the one before: leave patch_size out.",
            )

    def _count_blocks(self) -> list[int]:
        return [len(stage.blocks) for stage in self.vit.stages]

    def _first_stride(self) -> int:
        # not the stem's own stride: overlapping stems have two strided convolutions
        return int(self.vit.feature_info[0]["reduction"])

    def embed(self, patches: Tensor) -> tuple[Tensor, Geometry]:
        """The rest of the stem on what its first convolution gives: (B, h, w, C) -> (B, N, C)."""
        maps = patches.permute(0, 3, 1, 2)  # (B, C, h, w), which ConvNeXt keeps throughout
        # stage 0 halves behind a patch of 2 pixels; else its downsample does nothing
        for part in (*self.vit.stem[1:], self.vit.stages[0].downsample):
            maps = part(maps)
        return to_tokens(maps), Geometry((maps.shape[2], maps.shape[3]))

    def descend(self, stage: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        """Norm and strided convolution: (B, N, C) -> (B, N/4, C')."""
        return to_tokens(self.vit.stages[stage + 1].downsample(to_map(tokens, self.grid(stage, geometry))))

    def _run_block(self, index: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        """Run one block: (B, N, C) -> (B, N, C)."""
        stage, place = self.places[index]
        return to_tokens(self.vit.stages[stage].blocks[place](to_map(tokens, self.grid(stage, geometry))))


class PoolingBackbone(HierarchicalBackbone):
    """timm's Hiera and HieraDet, whose first block of a stage halves rows and columns itself."""

    def _count_blocks(self) -> list[int]:
        ends = [-1, *self.vit.stage_ends]  # the last block of each stage
        return [end - start for start, end in pairwise(ends)]

    @property
    def entry_widths(self) -> list[int]:
        """Channels of the tokens that the first block of each stage gets."""
        # it widens as well as it pools, so that what is added before it has the width of the stage before
        return [self._widths[0], *self._widths[:-1]]


class HieraBackbone(PoolingBackbone):
    """timm's Hiera: attention in the units that its pretraining masked, tokens in an order that pooling wants.

    The three levels of pooling come first and the units last in it, (s1, s2, s3, unit), of which each pooling takes
    the first level away; see timm's `Unroll`, which knows one image size only.
    """

    def embed(self, patches: Tensor) -> tuple[Tensor, Geometry]:
        """Add positions and order tokens by units: (B, h, w, C) -> (B, N, C)."""
        grid = (patches.shape[1], patches.shape[2])
        # the abswin variants alone keep positions of a window apart
        if self.vit.pos_embed_win is not None:
            positions = resample_windows(self.vit.pos_embed, self.vit.pos_embed_win, grid)
        else:
            rows, columns = self.vit.tokens_spatial_shape
            positions = resample_tokens(self.vit.pos_embed, (rows, columns), grid)
        return _by_units(patches + positions), Geometry(grid)

    def _run_block(self, index: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        """Run one block: (B, N, C) -> (B, N, C), or (B, N/4, C') where a stage begins."""
        return self.vit.blocks[index](tokens)

    def tapped(self, stage: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        """The tokens after a stage, row by row: (B, N, C)."""
        return _by_rows(tokens, self.grid(stage, geometry), NUM_STAGES - 1 - stage)


class HieraDetBackbone(PoolingBackbone):
    """timm's HieraDet, SAM 2's Hiera: attention in windows that are padded to, and over everything in a few blocks."""

    def _measure(self) -> None:
        super()._measure()
        # timm works out the padding of pooled tokens from the size of windows, which is 0 where attention is global
        both = sorted({*self.vit.global_att_blocks} & {*self.vit.q_pool_blocks})
        if both:
            raise SettingError(
                "backbone.options",
                f"makes stages of {', '.join(map(str, self._lengths))} blocks, where block "
                f"{both[0]} of {self.name} attends to everything and cannot begin a stage: choose other lengths.",
            )

    def embed(self, patches: Tensor) -> tuple[Tensor, Geometry]:
        """Add positions: (B, h, w, C) -> (B, N, C)."""
        grid = (patches.shape[1], patches.shape[2])
        # as SAM 2's own code and timm do it; Hiera's averages
        positions = resample_windows(self.vit.pos_embed, self.vit.pos_embed_window, grid, antialias=False)
        return (patches + positions).flatten(1, 2), Geometry(grid)

    def _run_block(self, index: int, tokens: Tensor, geometry: Geometry) -> Tensor:
        """Run one block: (B, N, C) -> (B, N, C), or (B, N/4, C') where a stage begins."""
        stage, place = self.places[index]
        # a stage's first block pools, so that what it is given has the grid of the stage before; stage 0 pools nothing
        maps = tokens.unflatten(1, self.grid(stage if place else max(0, stage - 1), geometry))
        return self.vit.blocks[index](maps).flatten(1, 2)


_LEVELS = NUM_STAGES - 1


def _by_units(maps: Tensor) -> Tensor:
    """Tokens in the order of Hiera, (B, h, w, C) -> (B, N, C): h and w are multiples of 8."""
    halves = (2,) * _LEVELS
    # rows are (unit, s3, s2, s1), and columns as well; the order wants (s1, s1, s2, s2, s3, s3, unit, unit)
    parts = maps.unflatten(2, (-1, *halves)).unflatten(1, (-1, *halves))
    row, column = 1, 2 + _LEVELS
    order = [axis for level in range(_LEVELS, 0, -1) for axis in (row + level, column + level)]
    return parts.permute(0, *order, row, column, -1).flatten(1, -2)


def _by_rows(tokens: Tensor, grid: tuple[int, int], levels: int) -> Tensor:
    """Undo `_by_units` where so many levels are not pooled yet: (B, N, C) -> (B, N, C)."""
    units = (grid[0] >> levels, grid[1] >> levels)
    parts = tokens.unflatten(1, (*(2,) * (2 * levels), *units))
    row = 1 + 2 * levels  # axes: batch, (s1 of rows, s1 of columns), ..., units of rows, units of columns, channels
    rows = [row, *(1 + 2 * level for level in range(levels - 1, -1, -1))]
    columns = [row + 1, *(2 + 2 * level for level in range(levels - 1, -1, -1))]
    return parts.permute(0, *rows, *columns, -1).flatten(1, -2)
