"""Overlapping windows as one map: weights, and a band of rows that rolls down a scene."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mobanet.rasters.categories import UNITS
from mobanet.stitching.winners import winners

Blend = Literal["smooth", "sum"]
"""`smooth`: logits weighted by a raised cosine that falls to nearly nothing at a window's border; `sum`: all alike."""

Probabilities = Literal["none", "uint8", "float32"]

_SLICE = 16  # rows whose probabilities are computed at once
_LEAST = 1e-3  # weight of the outermost pixels, relative to the middle: a scene's corner has no other window

NOTHING = 255
"""In maps of classes and of scenarios: no value."""


def window_weights(blend: Blend, size: int) -> Tensor | None:
    """What each pixel of a window counts, (size, size) float32; None where all count alike."""
    if blend == "sum":
        return None
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    # at the pixels' middles; at a stride of half a window, the weights of neighbours add up to 1
    side = (0.5 - 0.5 * torch.cos(2 * math.pi * at)).clamp(min=_LEAST)
    return torch.outer(side, side).float()


def weighted_mean(sums: Tensor, total: Tensor) -> Tensor:
    """The weighted mean over windows that have been added up, (…, h, W); weights, (h, W), are 0 where no window was."""
    # a corner's weight is the product of two of the least; where no window was, 0 / 0 would be NaN
    return sums / total.clamp(min=_LEAST**2)


def probabilities_of(logits: Tensor, total: Tensor, inverse: Tensor | float | None = None) -> Tensor:
    """Probabilities of the classes, (K, h, W), where windows have been added up: those of their weighted mean.

    Args:
        logits: (K, h, W), sums of weighted logits.
        total: (h, W), sums of weights; 0 where no window was.
        inverse: of the temperature that they are calibrated by, one or (h, W); None leaves them as they are.
    """
    mean = weighted_mean(logits, total)
    return (mean if inverse is None else mean * inverse).softmax(0)


def confidence_of(logits: Tensor, total: Tensor, inverse: float | None = None) -> Tensor:
    """The highest of `probabilities_of`, (h, W), without all of them in memory at once."""
    out = torch.empty_like(total)
    for row in range(0, len(total), _SLICE):
        rows = slice(row, row + _SLICE)
        out[rows] = probabilities_of(logits[:, rows], total[rows], inverse).amax(0)
    return out


@dataclass(frozen=True)
class MapRows:
    """Finished rows of a map.

    Attributes:
        top: first row, in pixels of the scene.
        classes: (h, W) uint8 class indices, 255 where the map has none.
        scenarios: (h, W) uint8 numbers of scenarios, 255 alike: of the window that weighs most.
        probabilities: (K, h, W) float32, NaN alike, or uint8 in steps of 1/254, 255 alike; None unless asked for.
        confidence: (h, W), the highest of them, alike; None unless asked for.
    """

    top: int
    classes: Tensor
    scenarios: Tensor
    probabilities: Tensor | None
    confidence: Tensor | None = None


class RollingBand:
    """Planes of a window's height that move down a raster, row of windows by row of windows.

    That is all that overlapping windows need to be added up, in training's evaluation as in prediction: rows above the
    window at hand are finished, and memory does not depend on the raster's height.

    Attributes:
        top: first row of the raster that the planes hold; 0 before the first window.
        begun: whether there was a window.
    """

    def __init__(self, **planes: tuple[Tensor, float]) -> None:
        """Take planes, (…, size, W), by name, each with the value of rows that no window has touched yet."""
        self._planes = {name: plane for name, (plane, _) in planes.items()}
        self._fills = {name: fill for name, (_, fill) in planes.items()}
        self.top, self.begun = 0, False

    def __getitem__(self, name: str) -> Tensor:
        """A plane, to be changed in place."""
        return self._planes[name]

    def finished(self, top: int) -> int:
        """How many rows no window can touch any more, once one begins at row `top`; those of the first are 0."""
        # no more than there are: rows beyond, up to the next window, have none
        return min(top - self.top, next(iter(self._planes.values())).shape[-2]) if self.begun else 0

    def move(self, top: int) -> None:
        """Let go of the rows above `top`."""
        count = top - self.top if self.begun else 0
        # not at the first window: nothing has been added, wherever it begins
        for name, plane in self._planes.items() if count else ():
            _roll(plane, count, self._fills[name])
        self.top, self.begun = top, True


class Mosaic:
    """Adds windows up, row by row of windows, and gives out the rows that no further window can touch.

    Memory is one window's height of logits at full width, whatever the scene's height. A pixel's sum is over its
    windows in their order, wherever the mosaic began.

    Args:
        num_classes: K.
        size: of a window in pixels.
        left: first column.
        width: columns.
        weights: (size, size), from `window_weights`.
        probabilities: whether to give them out, and in which type.
        device: where logits are added up.
        temperatures: by the number of a scenario, (256,) float32, by which probabilities are calibrated; None leaves
            them as they are. A pixel whose windows were seen in several scenarios has the weighted mean of 1 / T: to
            divide each window's logits instead would change the classes.
        confidence: whether to give out the highest probability alone, and in which type.
    """

    def __init__(
        self,
        num_classes: int,
        size: int,
        left: int,
        width: int,
        weights: Tensor | None,
        probabilities: Probabilities,
        device: torch.device,
        temperatures: Tensor | None = None,
        confidence: Probabilities = "none",
    ) -> None:
        self.size, self.left, self.width = size, left, width
        self.weights = None if weights is None else weights.to(device)
        self.probabilities, self.confidence = probabilities, confidence
        self._shares_wanted = {probabilities, confidence} != {"none"}
        self._band = RollingBand(
            # K, h, W; all planes in float32, in which many windows can be added up
            logits=(torch.zeros(num_classes, size, width, device=device), 0),
            total=(torch.zeros(size, width, device=device), 0),
            most=(torch.zeros(size, width, device=device), 0),
            scenario=(torch.full((size, width), NOTHING, dtype=torch.uint8, device=device), NOTHING),
            wanted=(torch.zeros(size, width, dtype=torch.bool, device=device), False),
            **({} if temperatures is None else {"excess": (torch.zeros(size, width, device=device), 0)}),
        )
        # of 1 / T over 1, so that a temperature of 1 changes no digit
        self._excess = None if temperatures is None else 1 / temperatures.to(device) - 1
        self._flat = torch.ones(size, size, device=device)

    def add(self, top: int, left: int, logits: Tensor, scenario: Tensor, wanted: Tensor | None) -> MapRows | None:
        """Take a window; rows above a new row of windows come back.

        Args:
            top: row of the window in the scene.
            left: column of it.
            logits: (K, size, size).
            scenario: (size, size) uint8, the number of the scenario that each pixel was predicted in.
            wanted: (size, size) bool, pixels that the map is to have; None for all.
        """
        count = self._band.finished(top)
        done = self._rows(count) if count else None
        self._band.move(top)
        # a window may begin left of the map's first column and end beyond its last
        start = left - self.left
        first, last = max(start, 0), min(start + self.size, self.width)
        here, there = slice(first - start, last - start), slice(first, last)
        logits, scenario = logits[:, :, here], scenario[:, here]
        weights = (self._flat if self.weights is None else self.weights)[:, here]
        self._band["logits"][:, :, there] += logits if self.weights is None else logits * weights
        # classes do without: the largest of weighted sums is that of weighted means
        if self._shares_wanted:
            self._band["total"][:, there] += weights
            if self._excess is not None:
                # as int64: torch takes an index in uint8 for a mask
                self._band["excess"][:, there] += weights * self._excess[scenario.long()]
        most, numbers = self._band["most"][:, there], self._band["scenario"][:, there]
        # strictly: of windows that weigh the same the first one counts, wherever the mosaic began
        heavier = weights > most
        most.copy_(torch.where(heavier, weights, most))
        numbers.copy_(torch.where(heavier, scenario, numbers))
        self._band["wanted"][:, there] |= True if wanted is None else wanted[:, here]
        return done

    def finish(self) -> MapRows | None:
        """The rows that are left."""
        return self._rows(self.size) if self._band.begun else None

    def _rows(self, count: int) -> MapRows:
        wanted, logits = self._band["wanted"][:count], self._band["logits"][:, :count]
        nothing = torch.tensor(NOTHING, dtype=torch.uint8, device=logits.device)
        classes = torch.where(wanted, winners(logits).to(torch.uint8), nothing)
        scenarios = torch.where(wanted, self._band["scenario"][:count], nothing)
        return MapRows(self._band.top, classes.cpu(), scenarios.cpu(), *self._shares(count))

    def _shares(self, count: int) -> tuple[Tensor | None, Tensor | None]:
        """Probabilities and confidence of the first rows, a few at a time: floats of all would take the most memory."""
        logits, total, wanted = self._band["logits"], self._band["total"], self._band["wanted"]
        every = _empty(self.probabilities, len(logits), count, self.width)
        highest = _empty(self.confidence, count, self.width)
        for row in range(0, count if self._shares_wanted else 0, _SLICE):
            rows = slice(row, min(row + _SLICE, count))
            inverse = None if self._excess is None else 1 + weighted_mean(self._band["excess"][rows], total[rows])
            shares = probabilities_of(logits[:, rows], total[rows], inverse)
            if highest is not None:
                highest[rows] = _stored(shares.amax(0), wanted[rows], highest.dtype)
            if every is not None:
                every[:, rows] = _stored(shares, wanted[rows], every.dtype)
        return every, highest


def _empty(kind: Probabilities, *shape: int) -> Tensor | None:
    return None if kind == "none" else torch.empty(*shape, dtype=torch.uint8 if kind == "uint8" else torch.float32)


def _stored(shares: Tensor, wanted: Tensor, dtype: torch.dtype) -> Tensor:
    """Probabilities as a map holds them, on the CPU."""
    if dtype == torch.uint8:
        # rounded, since a cast cuts off
        return (shares * UNITS).round_().to(dtype).masked_fill_(~wanted, NOTHING).cpu()
    return shares.masked_fill(~wanted, math.nan).cpu()


def _roll(band: Tensor, count: int, fill: float) -> None:
    """Move rows up, (…, rows, W), without another band in memory."""
    rows = band.shape[-2]
    # torch refuses to copy between places that overlap
    for row in range(0, rows - count, count):  # pieces that do not overlap
        height = min(count, rows - count - row)
        band[..., row : row + height, :] = band[..., row + count : row + count + height, :]
    band[..., max(rows - count, 0) :, :] = fill
