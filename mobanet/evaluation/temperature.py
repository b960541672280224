"""A temperature for each scenario, by which probabilities are calibrated, fitted while windows are validated.

Temperature scaling as in Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv 1706.04599): softmax(logits /
T) with the one T of least mean negative log-likelihood (NLL). It changes no class. Here the logits are those that a
map's probabilities come from, the means over overlapping windows, and each scenario has a T of its own, since a network
that lacks a sensor is sure of itself to another degree.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from mobanet.rasters.contents import IGNORE_INDEX

TEMPERATURES = "temperatures"
"""Name of a module's buffer, (S,) float32, and of it in every checkpoint; NaN of a scenario that was not fitted."""

SAMPLED = 4
"""Of the rows and of the columns of a tile every fourth is fitted to: neighbouring pixels tell the same."""

# T from 1/4 to 8: more room above, as networks are sure of themselves more often than not (Guo et al. 2017)
_LEAST, _MOST, _STEP = -2.0, 3.0, 0.25
"""Of the grid of temperatures, in octaves."""

GRID = tuple(2 ** (_LEAST + _STEP * k) for k in range(round((_MOST - _LEAST) / _STEP) + 1))
"""Temperatures whose NLL is summed."""

_ONE = 2**24
"""What an NLL of 1 is summed as: whole numbers add up to the same in any order and on any number of ranks, exist on
every device, unlike float64, and stay whole whatever precision a trainer gives the weights."""

_WORST = 2.0**14
"""NLL of a pixel at most, so that sums stay far within 64 bits."""

# each pixel takes as many logits as GRID has temperatures: some megabytes a class, not gigabytes
_SLICE = 2**14
"""Pixels that are computed at once."""


class TemperatureFit(Metric):
    """Sums the NLL of labelled pixels at each temperature of `GRID`; its memory does not grow."""

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(len(GRID) + 1, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Count pixels.

        Args:
            logits: (K, …), float32, the means over windows.
            label: (…) class indices, `IGNORE_INDEX` where a pixel does not count.
        """
        logits, label = logits.flatten(1), label.flatten()
        for first in range(0, len(label), _SLICE):
            pixels = slice(first, first + _SLICE)
            self.sums += _sums(logits[:, pixels], label[pixels].long()).to(self.sums.device)

    def compute(self) -> float:
        """The temperature of the least NLL; NaN where there was no labelled pixel."""
        *sums, pixels = self.sums.tolist()
        return temperature_of(sums) if pixels else math.nan


def _sums(logits: Tensor, label: Tensor) -> Tensor:
    """NLL of (K, N) at each temperature of `GRID` in whole numbers, and behind it how many pixels that is of."""
    counts = label != IGNORE_INDEX
    below = logits - logits.amax(0)
    # the highest is 0, at any T, so that exp() cannot overflow
    scaled = below * below.new_tensor([1 / t for t in GRID])[:, None, None]  # (T, K, N)
    # what does not count adds 0: to leave it out, a GPU would have to be waited for
    own = label.masked_fill(~counts, 0).expand(len(GRID), 1, -1)
    nll = scaled.exp().sum(1).log() - scaled.gather(1, own)[:, 0]  # (T, N)
    # NaN, or a number beyond 64 bits, would spoil the sum over all other pixels
    nll = nll.nan_to_num(0).clamp(0, _WORST).masked_fill(~counts, 0)
    return torch.cat([(nll * _ONE).long().sum(1), counts.sum()[None]])


def temperature_of(losses: Sequence[float]) -> float:
    """Where a parabola in log T around the least of `GRID`'s losses is lowest; at an end of the grid, that end."""
    best = min(range(len(losses)), key=losses.__getitem__)
    if best in (0, len(losses) - 1):
        return GRID[best]
    before, least, behind = losses[best - 1 : best + 2]
    bend = before - 2 * least + behind
    # vertex of the parabola through three points; whatever the NLL's scale
    return GRID[best] * 2 ** (_STEP * (before - behind) / (2 * bend) if bend else 0.0)


def known_temperatures(temperatures: Tensor | None, scenarios: Sequence[str]) -> dict[str, float]:
    """Those that were fitted, (S,) of all scenarios, by name; of an older checkpoint, which has none, None is given."""
    if temperatures is None:
        return {}
    values = zip(scenarios, temperatures.tolist(), strict=True)
    return {name: value for name, value in values if not math.isnan(value)}


def with_temperatures(state: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """A module's state; to one of an earlier version, which has no temperatures, such as were not fitted are added."""
    # in this order: the state's own come last and win
    return {TEMPERATURES: torch.full((count,), math.nan), **state}


def temperature_trouble(state: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the temperatures of a module's state, as a clause; None for none."""
    for value in state[TEMPERATURES].flatten().tolist():
        if not math.isnan(value) and not 0 < value < math.inf:
            return f"{TEMPERATURES} holds {value:g} where a number above 0, or NaN for none, is expected"
    return None


def temperature_words(temperatures: Mapping[str, float]) -> str:
    """`rgb 1.32, dsm 0.90`."""
    return ", ".join(f"{name} {value:.2f}" for name, value in temperatures.items())
