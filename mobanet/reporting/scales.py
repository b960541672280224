"""Axes of a chart: round numbers, and their place."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Brings numbers to places on a page, linearly.

    Attributes:
        low: number at `start`.
        high: number at `end`, above `low`.
        start: of the axis, in units of the drawing.
        end: of the axis; below `start` for an axis that points up.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a number."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def extent(values: Iterable[float], floor: float | None = None) -> tuple[float, float]:
    """Lowest and highest of the finite numbers, of which there is one; never equal, the lowest at most the floor."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite), max(finite)
    if floor is not None:
        low = min(low, floor)
    if low == high:
        margin = abs(low) / 2 or 0.5
        low, high = low - margin, high + margin
    return low, high


def ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """Round numbers that cover `low` to `high`: the first is not above the one, the last not below the other.

    Args:
        low: below `high`.
        high: above `low`.
        most: about how many.
        whole: whether only whole numbers make sense.
    """
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    # within rounding: a range of exactly five steps takes these, and not the next coarser ones
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, math.ceil(step))
    # likewise, or 0.07 / 0.01 puts another tick behind the last one
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # by multiplication, since adding up steps adds up their rounding
    return [number * step for number in range(first, last + 1)]


def tick_label(value: float, numbers: Iterable[float]) -> str:
    """A tick's number, with as many decimals as all ticks of its axis need."""
    numbers = list(numbers)
    largest = max(abs(number) for number in numbers)
    step = abs(numbers[1] - numbers[0]) if len(numbers) > 1 else largest
    # products of number and step may miss 0 by rounding
    if value == 0 or abs(value) < step * 1e-6:
        return "0"
    if largest >= 1e6 or largest < 1e-2:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}".replace("-", "\N{MINUS SIGN}")
    decimals = next((d for d in range(6) if abs(round(step, d) - step) < step * 1e-6), 6)
    return f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}")
