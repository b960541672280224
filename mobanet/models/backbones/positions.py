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
    return (maps.to(embedding.dtype) + window.tile(repeats)).permute(0, 2, 3, 1)


def relative_bias(table: Tensor, known: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Biases of attention by how far two patches lie from each other, at any grid (BEiT, arXiv 2106.08254).

    Distances that the table does not hold are interpolated, bicubic, from one end of it to the other.

    Args:
        table: (D + 3, heads), D = (2M - 1)·(2N - 1) distances row by row, then class token to patch, patch to class
            token, and class token to itself.
        known: M and N.
        grid: rows and columns of tokens wanted.

    Returns:
        (1, heads, 1 + rows·columns, 1 + rows·columns), the class token first.
    """
    (rows, columns), heads = grid, table.shape[1]
    distances, ends = table[:-3], table[-3:]
    if tuple(grid) != tuple(known):
        maps = distances.T.float().unflatten(1, (2 * known[0] - 1, 2 * known[1] - 1))[None]
        size = (2 * rows - 1, 2 * columns - 1)
        maps = F.interpolate(maps, size=size, mode="bicubic", align_corners=False)
        distances = maps[0].flatten(1).T.to(table.dtype)
    places = torch.arange(rows * columns, device=table.device)
    row, column = places // columns, places % columns
    apart = (row[:, None] - row + rows - 1) * (2 * columns - 1) + column[:, None] - column + columns - 1  # (N, N)
    patches = distances[apart].permute(2, 0, 1)  # (heads, N, N)
    to_patch, to_token, itself = ends.unbind(0)
    first = torch.cat((itself[:, None], to_patch[:, None].expand(heads, rows * columns)), dim=1)  # (heads, 1 + N)
    rest = torch.cat((to_token[:, None, None].expand(heads, rows * columns, 1), patches), dim=2)
    return torch.cat((first[:, None], rest), dim=1)[None]
