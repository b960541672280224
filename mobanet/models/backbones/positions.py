"""Position embeddings of a frozen transformer, resampled to the token grid of any image."""

import math
from dataclasses import dataclass

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
    side = round((embedding.shape[1] - 1) ** 0.5)  # DINOv2's grids are square, of 37 x 37 in what is published
    if grid == (side, side):
        return embedding
    # in float32: of bfloat16 torch's kernel rounds on the way, too
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
    # in float32, as above
    maps = embedding.float().permute(0, 3, 1, 2)  # (1, C, M, M)
    maps = F.interpolate(maps, size=grid, mode="bicubic", align_corners=False)  # (1, C, rows, columns)
    return maps.permute(0, 2, 3, 1).to(embedding.dtype)


def resample_tokens(embedding: Tensor, known: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Position embedding of tokens alone at another grid: bicubic, antialiased.

    Args:
        embedding: (1, M·N, C).
        known: M and N.
        grid: rows and columns of tokens wanted.

    Returns:
        (1, rows, columns, C).
    """
    maps = embedding.unflatten(1, known)
    if grid == known:
        return maps
    # in float32: on CPUs torch 2.14 has no antialiased resampling of half precision
    maps = maps.float().permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=grid, mode="bicubic", antialias=True, align_corners=False)
    return maps.permute(0, 2, 3, 1).to(embedding.dtype)


def resample_windows(embedding: Tensor, window: Tensor, grid: tuple[int, int], antialias: bool = True) -> Tensor:
    """Position embedding of the whole image at any grid plus that of windows, repeated (arXiv 2311.05613).

    Args:
        embedding: of the image, (1, C, M, N).
        window: of a window, (1, C, m, n); m and n divide the grid.
        grid: rows and columns of tokens wanted.
        antialias: whether a smaller grid averages.

    Returns:
        (1, rows, columns, C).
    """
    maps = F.interpolate(embedding.float(), size=grid, mode="bicubic", antialias=antialias, align_corners=False)
    repeats = (grid[0] // window.shape[2], grid[1] // window.shape[3])
    # whole windows alone: their positions are repeated, never resampled
    return (maps.to(embedding.dtype) + window.tile(repeats)).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Distances:
    """How far the patches of a grid lie from each other, in terms of a table that was learnt on another.

    Attributes:
        rows: share of each row of the table in each distance between rows, (2·rows - 1, 2M - 1).
        columns: the same between columns, (2·columns - 1, 2N - 1).
        apart: which distance, row by row, (rows·columns, rows·columns).
    """

    rows: Tensor
    columns: Tensor
    apart: Tensor


def distances(known: tuple[int, int], grid: tuple[int, int], like: Tensor) -> Distances:
    """Distances of a grid by those of a table.

    Source: BEiT (arXiv 2106.08254), public code, `run_class_finetuning.py`: short distances keep their biases, and
    longer ones than the table has are brought into it by steps that grow geometrically. Its splines are linear here.

    Args:
        known: M and N, of the grid that the table was learnt on.
        grid: rows and columns of tokens.
        like: a tensor of the table's type and device.
    """
    rows, columns = grid
    places = torch.arange(rows * columns, device=like.device)
    row, column = places // columns, places % columns
    # differences from 0 on, and both as one index into a flattened table of them
    apart = (row[:, None] - row + rows - 1) * (2 * columns - 1) + column[:, None] - column + columns - 1
    return Distances(_shares(known[0], rows, like), _shares(known[1], columns, like), apart)


def relative_bias(table: Tensor, distances: Distances) -> Tensor:
    """Biases of attention by how far two patches lie from each other (BEiT).

    Args:
        table: (D + 3, heads), D = (2M - 1)·(2N - 1) distances row by row, then class token to patch, patch to class
            token, and class token to itself.
        distances: of the grid.

    Returns:
        (1, heads, 1 + rows·columns, 1 + rows·columns), the class token first.
    """
    count, heads = len(distances.apart), table.shape[1]
    known = table[:-3].T.unflatten(1, (distances.rows.shape[1], -1))  # (heads, 2M - 1, 2N - 1)
    # shares of rows and of columns are independent, so two small products do for bilinear resampling of all heads
    wanted = distances.rows @ known @ distances.columns.T  # (heads, 2·rows - 1, 2·columns - 1)
    patches = wanted.flatten(1)[:, distances.apart]  # (heads, N, N)
    # BEiT keeps the three distances of the class token behind those of patches
    to_patch, to_token, itself = table[-3:].unbind(0)
    first = torch.cat((itself[:, None], to_patch[:, None].expand(heads, count)), dim=1)  # (heads, 1 + N)
    rest = torch.cat((to_token[:, None, None].expand(heads, count, 1), patches), dim=2)
    return torch.cat((first[:, None], rest), dim=1)[None]


def _shares(known: int, wanted: int, like: Tensor) -> Tensor:
    """Linear shares of 2·known - 1 distances in 2·wanted - 1: (2·wanted - 1, 2·known - 1), rows adding up to 1."""
    apart = torch.arange(1 - wanted, wanted, device=like.device, dtype=torch.float32)
    growth = _growth(known - 1, wanted - 1)
    if growth > 1:
        # the n for which n steps 1, g, g², … come as far: (g^n - 1) / (g - 1) = distance
        apart = apart.sign() * torch.log1p(apart.abs() * (growth - 1)) / math.log(growth)
    places = torch.arange(1 - known, known, device=like.device, dtype=torch.float32)
    # a hat of width 1 about each known distance: linear interpolation as a matrix
    return (1 - (apart[:, None].clamp(1 - known, known - 1) - places).abs()).clamp(min=0).to(like.dtype)


def _growth(steps: int, distance: int) -> float:
    """Ratio of steps that begin with 1, each longer than the one before, and come to a distance; 1 where 1s do."""
    if not 0 < steps < distance:
        return 1.0
    low, high = 1.0, float(distance)  # of two steps or more the last alone may be as long as all
    # bisection, since the sum of a geometric row has no root in closed form; 60 halvings exhaust float64
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(middle**step for step in range(steps)) < distance else (low, middle)
    return high
