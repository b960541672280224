"""Position embeddings of a frozen transformer, resampled to the token grid of any image."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resample_dinov2(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embedding of DINOv2 without registers, at another grid, the way its authors do it.

    Bicubic without antialiasing, and by scale factors with 0.1 added to the grid rather than by size: timm's own
    resampling differs in the third decimal, and weights trained on top of DINOv2's notice. Source: DINOv2,
    arXiv 2304.07193, public code, `interpolate_pos_encoding` with an offset of 0.1.

    Args:
        embedding: (1, 1 + M·M, C), the class token first.
        grid: rows and columns of tokens wanted.

    Returns:
        (1, 1 + rows·columns, C); the argument itself when the grid is already M x M.
    """
    side = round((embedding.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return embedding
    maps = embedding[:, 1:].float().unflatten(1, (side, side)).permute(0, 3, 1, 2)  # (1, C, M, M)
    factors = tuple((length + 0.1) / side for length in grid)
    maps = F.interpolate(maps, scale_factor=factors, mode="bicubic", align_corners=False)  # (1, C, rows, columns)
    patches = maps.permute(0, 2, 3, 1).flatten(1, 2).to(embedding.dtype)  # (1, rows·columns, C)
    return torch.cat((embedding[:, :1], patches), dim=1)


def resample_sam(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    """Absolute position embedding of SAM at another grid: plain bicubic, no antialiasing.

    Args:
        embedding: (1, M, M, C).
        grid: rows and columns of tokens wanted.

    Returns:
        (1, rows, columns, C); the argument itself when the grid already matches.
    """
    if grid == tuple(embedding.shape[1:3]):
        return embedding
    maps = embedding.float().permute(0, 3, 1, 2)  # (1, C, M, M)
    maps = F.interpolate(maps, size=grid, mode="bicubic", align_corners=False)  # (1, C, rows, columns)
    return maps.permute(0, 2, 3, 1).to(embedding.dtype)
