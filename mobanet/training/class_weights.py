"""Weights of classes from how many labelled pixels the training tiles have of each."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from mobanet.errors import check_setting

if TYPE_CHECKING:
    from mobanet.training.module import SegmentationModule

ClassWeighting = Literal["auto", "inverse", "inverse_root", "effective"]
"""Of a class with a share p of the pixels, among K: 1 / p; its root; 1 / (1 - exp(-K p)); `auto` is `inverse_root`."""

_DIGITS = 4  # as many as are said: the list that is printed, typed in, gives the same run


def initial_weights(given: Sequence[float] | str | None, classes: Sequence[str]) -> Tensor | None:
    """The weights that a setting stands for, (K,); None for all alike.

    Raises:
        UserError: for a word that is no weighting, and for numbers that are not one a class or make no sense.
    """
    if given is None:
        return None
    if isinstance(given, str):
        words = get_args(ClassWeighting)
        check_setting(
            given in words,
            "class_weights",
            f"is {given}; choose one of {', '.join(words)}, or give a list of numbers, one a class.",
        )
        # counted as training begins; a buffer already, which averages of weights expect
        return torch.ones(len(classes))
    check_setting(
        len(given) == len(classes),
        "class_weights",
        f"has {len(given)} numbers for {len(classes)} classes; give one for each of {', '.join(classes)}.",
    )
    # each by itself: min and max pass over a NaN that is not the first
    sensible = all(0 <= weight < math.inf for weight in given) and max(given) > 0
    check_setting(sensible, "class_weights", f"is {given}; give numbers of at least 0, one of them above it.")
    return torch.tensor(given, dtype=torch.float32)


def class_weights(weighting: str, pixels: Sequence[int]) -> list[float]:
    """Weights whose mean over the labelled pixels is 1, so that the scale of a loss stays what it was.

    `effective` is the effective number of samples (arXiv 1901.05555), with an equal share of the pixels for the number
    of different ones that there are of a class: those that have more than it weigh nearly alike, rarer ones nearly as
    by `inverse`. A class without a pixel has the weight 0: nothing is known of it, and no pixel would be weighed.

    Args:
        weighting: which.
        pixels: labelled ones of each class; not all 0.

    Returns:
        A weight for each class, rounded.
    """
    total, there = sum(pixels), sum(count > 0 for count in pixels)
    raw = [_WEIGHTINGS[weighting](count / total, there) if count else 0.0 for count in pixels]
    mean = sum(count * weight for count, weight in zip(pixels, raw, strict=True)) / total
    return [float(f"{weight / mean:.{_DIGITS}g}") for weight in raw]


def settle_class_weights(module: "SegmentationModule", data: Any) -> None:
    """Put numbers in the place of a word, if one is set, in the settings of checkpoints, too, and say them.

    Args:
        module: with `class_weights`, a buffer.
        data: that it is trained on, set up; has `class_pixels()`.

    Raises:
        UserError: when it counts no labels.
    """
    weighting, classes = module.hparams["class_weights"], module.data.classes.names
    # a list, or what an earlier fit of this module has counted
    if not isinstance(weighting, str):
        return
    check_setting(
        hasattr(data, "class_pixels"),
        "class_weights",
        f"{weighting} counts the labels of a RasterDataModule, and there is none; give numbers.",
    )
    pixels = data.class_pixels()
    weights = class_weights(weighting, pixels)
    module.hparams["class_weights"] = weights
    assert module.class_weights is not None  # where a word stands for numbers there is room for them
    module.class_weights.copy_(torch.tensor(weights))
    shown = ", ".join(f"{name} {weight:g}" for name, weight in zip(classes, weights, strict=True))
    named = "auto, by the inverse root of their pixels" if weighting == "auto" else weighting
    rank_zero_info(f"classes     weighted ({named}): {shown}")
    absent = [name for name, count in zip(classes, pixels, strict=True) if not count]
    if absent:
        rank_zero_info(f"classes     without a pixel in training, so of weight 0: {', '.join(absent)}")


_WEIGHTINGS: dict[str, Callable[[float, int], float]] = {
    "auto": lambda share, classes: share**-0.5,
    "inverse": lambda share, classes: 1 / share,
    "inverse_root": lambda share, classes: share**-0.5,
    "effective": lambda share, classes: -1 / math.expm1(-classes * share),  # 1 - exp(-x) has few digits of a rare class
}
