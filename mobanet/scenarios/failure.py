"""What to expect of sensors that fail: how likely each scenario is when every sensor fails independently."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobanet.errors import UserError
from mobanet.scenarios.scenario import scenarios_of, typed_pairs

USUAL = (0.05, 0.1, 0.2)
"""Probabilities of a failure that a test looks at unless told otherwise."""


@dataclass(frozen=True)
class Failure:
    """How likely each sensor is to be missing, whatever the others are.

    Attributes:
        rates: probability by modality, of all modalities, in the order of the data.
    """

    rates: Mapping[str, float]

    @property
    def label(self) -> str:
        """`p = 0.05`, or `rgb 0.01, dsm 0.2` where sensors differ."""
        if len(set(self.rates.values())) == 1:
            return f"p = {next(iter(self.rates.values())):g}"
        return ", ".join(f"{name} {rate:g}" for name, rate in self.rates.items())

    @property
    def metric(self) -> str:
        """Name of the expected mIoU among metrics: `expected_miou_at_5_percent`, without rates where they differ."""
        if len(set(self.rates.values())) > 1:
            return "expected_miou"
        return f"expected_miou_at_{100 * next(iter(self.rates.values())):g}_percent".replace(".", "_")

    def weights(self) -> dict[str, float]:
        """Probability of each scenario, given that anything is there at all, by its name; they sum to 1.

        A scenario has p for each sensor that it lacks and 1 - p for each that it has, as factors (EMM E).
        """
        rates = list(self.rates.values())
        found = {
            scenario.name: math.prod(1 - p if there else p for p, there in zip(rates, scenario.available, strict=True))
            for scenario in scenarios_of(list(self.rates))
        }
        # 1 less the probability that every sensor fails
        total = sum(found.values())
        return {name: weight / total for name, weight in found.items()}


def usual_failures(modalities: Sequence[str]) -> tuple[Failure, ...]:
    """Those that a test looks at unless told otherwise."""
    return tuple(Failure(dict.fromkeys(modalities, p)) for p in USUAL)


def chosen_failures(
    given: float | str | list[float] | Mapping[str, float | str],
    modalities: Sequence[str],
    option: str = "--scenarios.failure",
) -> tuple[Failure, ...]:
    """The failures that a user names.

    Args:
        given: one probability for all sensors, several (a list, or joined by commas), or one for each sensor by name.
        modalities: of the data, in order.
        option: what the user typed them behind, for messages.

    Raises:
        UserError: for what is no probability, a sensor that is not named or not there, or nothing that could be there.
    """
    # the command line leaves a mapping as a text where blanks behind its colons are missing
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = typed_pairs(given)
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in modalities]
        lacking = [name for name in modalities if name not in given]
        if unknown or lacking:
            wrong = f"names {', '.join(unknown)}" if unknown else f"gives none for {', '.join(lacking)}"
            raise UserError(
                f"{option} {wrong}; give one probability for each of {', '.join(modalities)}, 0 for a sensor that "
                "never fails."
            )
        rates = [{name: _rate(given[name], option) for name in modalities}]
    else:
        parts = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else [given]
        # each once: a metric is named by its probability, and two of one name would hide each other
        rates = [dict.fromkeys(modalities, p) for p in dict.fromkeys(_rate(part, option) for part in parts)]
    if not rates:
        raise UserError(f"{option} is empty; give a probability, such as 0.1.")
    if any(min(each.values()) == 1 for each in rates):
        raise UserError(f"{option} is 1 for every sensor, so that nothing is ever there; give one below 1.")
    return tuple(map(Failure, rates))


def _rate(given: Any, option: str) -> float:
    """A probability, of a number or its text.

    Raises:
        UserError: for anything else.
    """
    try:
        rate = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        rate = math.nan
    if not 0 <= rate <= 1:
        raise UserError(
            f"{option} has {given}, which is no probability; give one from 0 to 1, several as [0.05, 0.1], or one a "
            "sensor as {rgb: 0.01, dsm: 0.2}."
        )
    return rate
