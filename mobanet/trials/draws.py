"""The values of a sweep's trials: the points of a grid, or draws that depend on seed and number of the trial alone.

Definitions are those of Weights & Biases (docs.wandb.ai/models/sweeps/sweep-config-keys).
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mobanet.errors import UserError
from mobanet.trials.parameters import Parameter

if TYPE_CHECKING:
    from numpy.random import Generator


_OF_BOUNDS = ("uniform", "log_uniform", "log_uniform_values", "inv_log_uniform", "inv_log_uniform_values")
"""Distributions, quantised or not, of which a number between two bounds makes a value."""


def grid_size(parameters: Sequence[Parameter], where: str) -> int:
    """Number of points of a grid; errors as for `grid`."""
    return math.prod(len(_enumerated(parameter, where)) for parameter in parameters)


def grid(parameters: Sequence[Parameter], where: str) -> Iterator[dict[str, Any]]:
    """Every combination of values by name; those of the last parameter change fastest.

    Raises:
        UserError: for anything but constants, values without probabilities, int_uniform and q_uniform.
    """
    names = [parameter.name for parameter in parameters]
    for point in itertools.product(*(_enumerated(parameter, where) for parameter in parameters)):
        yield dict(zip(names, point, strict=True))


def draw(parameters: Sequence[Parameter], seed: int, number: int) -> dict[str, Any]:
    """The values of one random trial by name, plain Python's; they depend on the order of the parameters.

    No other trial has to be drawn before.
    """
    import numpy as np

    # of the pair, not of the sum: trial 2 of seed 0 is not trial 1 of seed 1
    generator = np.random.default_rng((seed, number))
    return {parameter.name: _drawn(parameter, generator) for parameter in parameters}


def _enumerated(parameter: Parameter, where: str) -> Sequence[Any]:
    kind = parameter.distribution
    if kind in ("constant", "categorical") and parameter.probabilities is None:
        return parameter.values
    if kind == "int_uniform":
        return range(int(parameter.low), int(parameter.high) + 1)
    if kind == "q_uniform":
        count = math.ceil(round((parameter.high - parameter.low) / parameter.q, 9))  # 0.3 / 0.1 is not quite 3
        values = [_tidy(parameter.low + i * parameter.q) for i in range(count)]
        if not values:
            raise UserError(
                f"{where}: parameters.{parameter.name} has min equal to max and no value in a grid; mend it."
            )
        return values
    what = "values with probabilities" if kind == "categorical" else f"the distribution {kind}"
    raise UserError(
        f"{where}: parameters.{parameter.name} has {what}, which a grid cannot enumerate; give values, "
        "or --method random."
    )


def _drawn(parameter: Parameter, generator: "Generator") -> Any:
    kind = parameter.distribution
    if kind in ("constant", "categorical"):
        # one number a parameter, so that another list of values leaves the draws of later parameters as they are
        u, bounds = generator.random(), list(itertools.accumulate(_shares(parameter)))
        # by the last bound, since sums of shares come out a little below 1 or above it
        return next(v for v, bound in zip(parameter.values, bounds, strict=True) if u < bound / bounds[-1])
    if kind == "int_uniform":
        return int(generator.integers(int(parameter.low), int(parameter.high), endpoint=True))
    if kind.removeprefix("q_") in _OF_BOUNDS:
        return bounded_value(parameter, float(generator.uniform(*drawn_between(parameter))))
    return _quantised(parameter, _unbounded(parameter, kind.removeprefix("q_"), generator))


def drawn_between(parameter: Parameter) -> tuple[float, float]:
    """The bounds between which a number is drawn evenly for a value, which is that number or made of its exponential.

    For all of W&B's uniform distributions but int_uniform.
    """
    low, high = parameter.low, parameter.high
    if parameter.distribution.endswith("_values"):
        low, high = math.log(low), math.log(high)
        # log(1 / x) falls as x grows, so that the bounds change places
        return (-high, -low) if "inv_" in parameter.distribution else (low, high)
    return low, high


def bounded_value(parameter: Parameter, drawn: float) -> Any:
    """The value that a number between these bounds is for."""
    kind = parameter.distribution.removeprefix("q_")
    if kind == "uniform":
        return _quantised(parameter, drawn)
    value = math.exp(-drawn if kind.startswith("inv_") else drawn)  # inv_: log(1 / X) is uniform
    return _quantised(parameter, _within(value, parameter.low, parameter.high) if kind.endswith("_values") else value)


def drawn_for(parameter: Parameter, value: float) -> float:
    """The number that a value is for, the nearest one where it was quantised: the inverse of `bounded_value`."""
    low, high = drawn_between(parameter)
    if parameter.distribution.removeprefix("q_") == "uniform":
        return _within(value, low, high)
    # a small value may have been quantised to 0
    exponent = math.log(value) if value > 0 else -math.inf
    return _within(-exponent if "inv_" in parameter.distribution else exponent, low, high)


def _quantised(parameter: Parameter, value: float) -> Any:
    if not parameter.distribution.startswith("q_"):
        return value
    # W&B rounds to multiples of q from 0, not from min
    steps = round(value / parameter.q)
    return steps * parameter.q if isinstance(parameter.q, int) else _tidy(steps * parameter.q)


def _shares(parameter: Parameter) -> Sequence[float]:
    return parameter.probabilities or [1.0] * len(parameter.values)


def _unbounded(parameter: Parameter, kind: str, generator: "Generator") -> float:
    if kind == "normal":
        return float(generator.normal(parameter.mu, parameter.sigma))
    if kind == "log_normal":
        return float(generator.lognormal(parameter.mu, parameter.sigma))
    if kind == "beta":
        return float(generator.beta(parameter.a, parameter.b))
    raise ValueError(f"no distribution {kind}")


def _within(value: float, low: float, high: float) -> float:
    """Against the rounding of logarithms."""
    return float(min(max(value, low), high))


def _tidy(value: float) -> float:
    """Without the digits of rounding: 3 x 0.1 is 0.3; an int stays one."""
    return value if isinstance(value, int) else float(f"{value:.12g}")
