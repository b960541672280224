"""The parameters of a sweep: what its file says of each, in the words of Weights & Biases."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mobanet.errors import UserError
from mobanet.plain.wording import did_you_mean

_BOUNDED = ("min", "max")
_NORMAL = ("mu", "sigma")
_BETA = ("a", "b")
_KEYS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "categorical": ("values", "probabilities"),
    "categorical_w_probabilities": ("values", "probabilities"),
    "int_uniform": _BOUNDED,
    "uniform": _BOUNDED,
    "q_uniform": (*_BOUNDED, "q"),
    "log_uniform": _BOUNDED,
    "log_uniform_values": _BOUNDED,
    "q_log_uniform": (*_BOUNDED, "q"),
    "q_log_uniform_values": (*_BOUNDED, "q"),
    "inv_log_uniform": _BOUNDED,
    "inv_log_uniform_values": _BOUNDED,
    "normal": _NORMAL,
    "q_normal": (*_NORMAL, "q"),
    "log_normal": _NORMAL,
    "q_log_normal": (*_NORMAL, "q"),
    "beta": _BETA,
    "q_beta": (*_BETA, "q"),
}
"""What stands beside `distribution`."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_LARGEST_EXPONENT = 700  # e to the power of more is no float


@dataclass(frozen=True)
class Parameter:
    """One parameter of a sweep. What its distribution does not use has no meaning.

    Attributes:
        name: of the option of `mobanet.fit`, without the hyphens: `model.lr`.
        distribution: as W&B calls it.
        values: to choose from; of a constant the one.
        probabilities: of the values, summing to 1; None for all alike.
        low: smallest value, or its logarithm for log_uniform; so are `high`, and `mu` and `sigma` for log_normal.
        q: step of quantised values; an int makes them ints.
    """

    name: str
    distribution: str
    values: tuple[Any, ...] = ()
    probabilities: tuple[float, ...] | None = None
    low: float = 0.0
    high: float = 0.0
    mu: float = 0.0
    sigma: float = 1.0
    a: float = 1.0
    b: float = 1.0
    q: float = 1


def read_parameter(name: Any, content: Any, where: str) -> Parameter:
    """A parameter as a sweep file has it, its distribution inferred where none is named.

    Raises:
        UserError: for what W&B would refuse, and for nested parameters.
    """
    here = f"{where}: parameters.{name}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"{here} is no name of an option; give one such as model.lr.")
    if not isinstance(content, Mapping):
        raise UserError(f"{here} is {content!r}; give a mapping such as {{value: 1}} or {{values: [1, 2]}}.")
    if "parameters" in content:
        inner = content["parameters"]
        first = next(iter(inner), "NAME") if isinstance(inner, Mapping) else "NAME"
        raise UserError(f"{here} is nested; use flat dotted names such as {name}.{first}.")
    distribution = content["distribution"] if "distribution" in content else _inferred(content, here)
    if not isinstance(distribution, str) or distribution not in _KEYS:
        raise UserError(
            f"{here}: the distribution {distribution} is unknown{did_you_mean(distribution, _KEYS)}: choose from "
            f"{', '.join(_KEYS)}."
        )
    allowed = _KEYS[distribution]
    for key in content:
        if key not in ("distribution", *allowed):
            raise UserError(
                f"{here}: {key} is not a key of {distribution}{did_you_mean(key, allowed)}: give {', '.join(allowed)}."
            )
    # q, mu, sigma, a and b have values of their own where none is given
    required = [key for key in ("value", "values", "min", "max") if key in allowed]
    if missing := [key for key in required if key not in content]:
        raise UserError(f"{here}: {distribution} lacks {' and '.join(missing)}; give {', '.join(required)}.")
    if distribution == "constant":
        return Parameter(name, distribution, values=(content["value"],))
    if distribution.startswith("categorical"):
        return _categorical(name, content, here)
    return _numeric(name, distribution, content, here)


def _inferred(content: Mapping[str, Any], here: str) -> str:
    """W&B's own rules."""
    if "value" in content:
        return "constant"
    if "values" in content:
        return "categorical"
    bounds = [content.get(key) for key in _BOUNDED]
    if None in bounds:
        raise UserError(f"{here} names no distribution; give value, values, min and max, or a distribution.")
    # one whole number beside a fraction makes a uniform one
    return "int_uniform" if all(isinstance(bound, int) for bound in bounds) else "uniform"


def _categorical(name: str, content: Mapping[str, Any], here: str) -> Parameter:
    values, shares = content["values"], content.get("probabilities")
    if not isinstance(values, list) or not values:
        raise UserError(f"{here}: values is {values!r}; give a list of at least one value.")
    if shares is None:
        return Parameter(name, "categorical", values=tuple(values))
    if not isinstance(shares, list) or len(shares) != len(values):
        raise UserError(f"{here}: probabilities is {shares!r}; give a list of {len(values)} numbers, one a value.")
    numbers = [_number(share, f"{here}: a probability") for share in shares]
    if min(numbers) < 0 or not math.isclose(sum(numbers), 1, abs_tol=1e-6):
        raise UserError(f"{here}: the probabilities {shares} must be at least 0 and sum to 1; mend them.")
    return Parameter(name, "categorical", values=tuple(values), probabilities=tuple(numbers))


def _numeric(name: str, distribution: str, content: Mapping[str, Any], here: str) -> Parameter:
    names = {"min": "low", "max": "high"}
    given: dict[str, Any] = {
        names.get(k, k): _number(v, f"{here}: {k}") for k, v in content.items() if k != "distribution"
    }
    parameter = Parameter(name, distribution, **given)
    if "low" in given:
        _check_bounds(parameter, here)
    if parameter.q <= 0:
        raise UserError(f"{here}: q is {parameter.q}; give a step above 0.")
    if parameter.sigma < 0:
        raise UserError(f"{here}: sigma is {parameter.sigma}; give a number of at least 0.")
    if min(parameter.a, parameter.b) <= 0:
        raise UserError(f"{here}: a {parameter.a} and b {parameter.b} must be above 0; mend them.")
    return parameter


def _check_bounds(parameter: Parameter, here: str) -> None:
    low, high, distribution = parameter.low, parameter.high, parameter.distribution
    if low > high:
        raise UserError(f"{here}: min {low} is above max {high}; exchange them.")
    if distribution == "int_uniform" and not (isinstance(low, int) and isinstance(high, int)):
        raise UserError(f"{here}: min {low} and max {high} of int_uniform must be whole numbers; or say uniform.")
    if distribution.endswith("_values") and low <= 0:
        raise UserError(f"{here}: min {low} of {distribution} has no logarithm; give one above 0.")
    if distribution.endswith("log_uniform") and max(abs(low), abs(high)) > _LARGEST_EXPONENT:
        raise UserError(
            f"{here}: min and max of {distribution} are exponents of e, and e to {high} is too large; "
            f"{distribution}_values takes the values themselves."
        )


def _number(value: Any, what: str) -> float:
    """An int stays one."""
    if isinstance(value, str):
        raise UserError(f"{what} is the text {value!r}; give a number (YAML reads 1.0e-5 as one, and 1e-5 as text).")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{what} is {value}; give a number.")
    return value
