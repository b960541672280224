"""Weights have to be numbers: those that are NaN predict class 0 everywhere, with figures like any other."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mobanet.errors import UserError
from mobanet.evaluation.temperature import TEMPERATURES


def not_finite(state: Mapping[str, Any]) -> list[str]:
    """Names of the tensors in which something is NaN or infinite.

    Args:
        state: of a module; what is no tensor of floats is passed over, and so are temperatures, NaN where there are
            none.
    """
    tensors = {name: x for name, x in state.items() if isinstance(x, Tensor) and name != TEMPERATURES}
    floats = {name: x for name, x in tensors.items() if x.is_floating_point()}
    flags = [torch.isfinite(x).all() for x in floats.values()]
    if not flags:
        return []
    known = torch.stack([flag.to(flags[0].device) for flag in flags]).tolist()  # the device is asked once
    return [name for name, finite in zip(floats, known, strict=True) if not finite]


def named(names: list[str]) -> str:
    """The first of several names, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def check_finite_weights(state: Mapping[str, Any], source: str) -> None:
    """Refuse weights that are not numbers.

    Args:
        state: of a module, by name.
        source: what the user calls it, option and file.

    Raises:
        UserError: naming the first of them.
    """
    names = not_finite(state)
    if names:
        raise UserError(
            f"{source} holds weights that are NaN or infinite ({named(names)}), as training leaves them when it "
            "diverges; take a checkpoint from before that."
        )
