"""Test-time augmentation by the eight symmetries of the square (the dihedral group D4), all modalities together."""

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

SYMMETRIES = tuple((quarter, flip) for flip in (False, True) for quarter in range(4))
"""Quarter turns, then whether to transpose; the first changes nothing."""


def turned(x: Tensor, turn: tuple[int, bool]) -> Tensor:
    """(…, H, W) after a turn; H = W."""
    quarters, flip = turn
    x = torch.rot90(x, quarters, (-2, -1)) if quarters else x
    return x.transpose(-2, -1) if flip else x


def turned_back(x: Tensor, turn: tuple[int, bool]) -> Tensor:
    """The inverse of `turned`."""
    quarters, flip = turn
    x = x.transpose(-2, -1) if flip else x
    # in the other order: what was done last is undone first
    return torch.rot90(x, -quarters, (-2, -1)) if quarters else x


def mean_over_turns(segment: Callable[[dict[str, Tensor]], Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """Mean logits (B, K, H, W) over all eight turns, each turned back, of inputs (B, C, H, W) with H = W."""
    # one after the other, so that memory never holds the logits of all eight
    each = (turned_back(segment({name: turned(x, turn) for name, x in inputs.items()}), turn) for turn in SYMMETRIES)
    return reduce(torch.add, each) / len(SYMMETRIES)
