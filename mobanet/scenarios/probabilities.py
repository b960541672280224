"""Probabilities of scenarios as a user gives them: numbers, or a JSON file of ours or of the paper's scripts."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from mobanet.errors import UserError
from mobanet.plain.json_files import read_json
from mobanet.scenarios.scenario import Scenario, modalities_in, typed_pairs

_OPTION = "--scenarios.probabilities"
_TOLERANCE = 1e-6  # of the sum, for numbers that were typed or rounded


def read_probabilities(
    given: str | Path | Mapping[str, float] | Sequence[float], scenarios: Sequence[Scenario]
) -> np.ndarray:
    """Probabilities of all scenarios, (S,) float64; they sum to 1.

    Args:
        given: numbers by scenario, where the modalities in a name may come in any order and scenarios that are not
            named get 0; or S numbers in the usual order; or a JSON file with either, with what
            `mobanet.scenarios.history.write_scores` writes, or with what the paper's scripts write
            (`final_probs`, and `mask_array` whose columns are the modalities in the order of the data). The paper's
            numbers are rounded and therefore divided by their sum.
        scenarios: all, in the usual order.

    Raises:
        UserError: if the file cannot be read, for other scenarios or modalities, for numbers that are negative or
            not finite, and for a sum that is not 1.
    """
    where = _OPTION
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = _typed(given)
    if isinstance(given, str | Path):
        where, given = f"{_OPTION} ({given})", _load(Path(given))
    rounded = False
    if isinstance(given, Mapping) and "final_probs" in given:
        numbers, rounded = _of_paper(given, scenarios, where), True
    elif isinstance(given, Mapping) and {"scenarios", "probabilities"} <= given.keys():
        numbers = _of_scores(given, scenarios, where)
    elif isinstance(given, Mapping):
        numbers = _by_name(list(given), list(given.values()), scenarios, where)
    else:
        numbers = _in_order(given, scenarios, where)
    total = numbers.sum()
    if total == 0:
        raise UserError(f"{where} gives no scenario a probability above 0; give numbers that sum to 1.")
    if not rounded and abs(total - 1) > _TOLERANCE:
        raise UserError(f"{where} sums to {total:.8g}; give numbers that sum to 1.")
    return numbers / total


def _typed(text: str) -> dict[str, float]:
    """Numbers by scenario, as typed.

    Raises:
        UserError: for what are none.
    """
    try:
        return {name: float(number) for name, number in typed_pairs(text).items()}
    except ValueError as error:
        raise UserError(
            f"{_OPTION} is {text}; give numbers by scenario, such as {{rgb: 0.5, rgb+dsm: 0.5}}."
        ) from error


def _load(path: Path) -> Any:
    remedy = "give a JSON file that mobanet.scores wrote, or numbers by scenario"
    try:
        content = read_json(path)
    except OSError as error:
        raise UserError(f"{_OPTION} names {path}, which cannot be read ({error.strerror}); {remedy}.") from error
    except ValueError as error:
        raise UserError(f"{_OPTION} names {path}, which is no JSON file ({error}); {remedy}.") from error
    if not isinstance(content, dict | list):
        raise UserError(f"{_OPTION} names {path}, which holds no probabilities; {remedy}.")
    return content


def _of_paper(content: Mapping[str, Any], scenarios: Sequence[Scenario], where: str) -> np.ndarray:
    masks = content.get("mask_array")
    if masks is None:
        return _in_order(content["final_probs"], scenarios, where)
    modalities = _modalities(scenarios)
    rows = masks if isinstance(masks, list) else [masks]
    names = []
    for row in rows:
        flags = isinstance(row, list) and len(row) == len(modalities) and all(x in (0, 1) for x in row)
        if not flags or not any(row):
            raise UserError(
                f"{where} has the row {row} in mask_array; give 0 or 1 for each of {', '.join(modalities)}, not all 0."
            )
        names.append("+".join(name for name, there in zip(modalities, row, strict=True) if there))
    return _complete(names, content["final_probs"], scenarios, where)


def _of_scores(content: Mapping[str, Any], scenarios: Sequence[Scenario], where: str) -> np.ndarray:
    names = content["scenarios"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where} names its scenarios {names}; give a list of names such as {scenarios[-1].name}.")
    return _complete(names, content["probabilities"], scenarios, where)


def _complete(names: list[str], numbers: Any, scenarios: Sequence[Scenario], where: str) -> np.ndarray:
    # what was measured must be all of it: elsewhere a missing scenario would silently never be drawn
    _check_length(numbers, len(names), where)
    out = _by_name(names, numbers, scenarios, where)
    there = {modalities_in(name) for name in names}
    missing = [scenario.name for scenario in scenarios if modalities_in(scenario.name) not in there]
    if missing:
        raise UserError(
            f"{where} lacks {', '.join(missing)}; give probabilities that were computed with the modalities "
            f"{', '.join(_modalities(scenarios))}."
        )
    return out


def _by_name(names: Sequence[str], numbers: Sequence[float], scenarios: Sequence[Scenario], where: str) -> np.ndarray:
    places = {modalities_in(scenario.name): k for k, scenario in enumerate(scenarios)}
    out, named = np.zeros(len(scenarios)), set()
    for name, number in zip(names, numbers, strict=True):
        # as a set: rgb+dsm and dsm+rgb are one scenario
        key = modalities_in(str(name))
        if key not in places:
            raise UserError(
                f"{where} names {name}, which is no scenario of {', '.join(_modalities(scenarios))}"
                f"{_limit(scenarios)}; name modalities joined by a plus, such as {scenarios[-1].name}."
            )
        if key in named:
            raise UserError(f"{where} names {name} twice; name each scenario once.")
        named.add(key)
        out[places[key]] = _number(number, name, where)
    return out


def _in_order(numbers: Any, scenarios: Sequence[Scenario], where: str) -> np.ndarray:
    names = [scenario.name for scenario in scenarios]
    _check_length(numbers, len(names), where, f" in the order {', '.join(names)}")
    return np.array([_number(number, name, where) for number, name in zip(numbers, names, strict=True)])


def _check_length(numbers: Any, expected: int, where: str, order: str = "") -> None:
    found = len(numbers) if isinstance(numbers, Sequence | np.ndarray) and not isinstance(numbers, str) else "no"
    if found != expected:
        raise UserError(f"{where} has {found} probabilities for {expected} scenarios; give one a scenario{order}.")


def _number(value: Any, name: str, where: str) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise UserError(f"{where} gives {name} the probability {value}; give a number from 0 to 1.")
    return float(value)


def _modalities(scenarios: Sequence[Scenario]) -> list[str]:
    return scenarios[-1].name.split("+")


def _limit(scenarios: Sequence[Scenario]) -> str:
    several = len(scenarios) < 2 ** len(_modalities(scenarios)) - 1
    return " that is trained on, where single ones, all but one, and all are" if several else ""
