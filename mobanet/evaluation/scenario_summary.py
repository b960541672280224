"""What the figures of several scenarios come to: mean, worst, what to expect of sensors that fail, and the spread."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from mobanet.evaluation.metrics import Scores, mean_of
from mobanet.rasters.contents import Classes
from mobanet.scenarios.failure import Failure
from mobanet.scenarios.scenario import scenarios_of


@dataclass(frozen=True)
class ScenarioSummary:
    """What several scenarios come to; absent figures (NaN) are left out of every mean.

    Attributes:
        mean: over the evaluated scenarios, the full one among them.
        worst: the figures of the scenario with the lowest mIoU; None where no scenario has one.
        worst_name: that scenario's name.
        incomplete: the mean over the scenarios that lack a modality; None where none was evaluated.
        expected: the mean over all scenarios by how likely sensors that fail make them, one a failure; empty where a
            scenario was not evaluated.
        deviation: population standard deviation over the evaluated scenarios; None where fewer than two have a mIoU.
    """

    mean: Scores
    worst: Scores | None
    worst_name: str | None
    incomplete: Scores | None
    expected: tuple[tuple[Failure, Scores], ...] = ()
    deviation: Scores | None = None


def summarise(scores: Mapping[str, Scores], full: str, failures: Sequence[Failure] = ()) -> ScenarioSummary:
    """Mean, worst, mean of the incomplete scenarios, expectations, and spread, of scenarios by name, at least one."""
    known = [name for name, figures in scores.items() if not math.isnan(figures.mean_iou)]
    # of known ones only: min() with NaN among them gives what happens to come first
    worst = min(known, key=lambda name: scores[name].mean_iou, default=None)
    incomplete = [figures for name, figures in scores.items() if name != full]
    return ScenarioSummary(
        mean=_merged(list(scores.values()), mean_of),
        worst=scores[worst] if worst else None,
        worst_name=worst,
        incomplete=_merged(incomplete, mean_of) if incomplete else None,
        expected=tuple((failure, _expected(scores, failure)) for failure in failures if covers(scores, full)),
        deviation=_merged(list(scores.values()), deviation_of) if len(known) > 1 else None,
    )


def covers(evaluated: Iterable[str], full: str) -> bool:
    """Whether every scenario that there can be was evaluated, by their names and that of the full one."""
    return {scenario.name for scenario in scenarios_of(full.split("+"))} <= set(evaluated)


def figures_to_log(
    by_scenario: Mapping[str, Scores],
    classes: Classes,
    calibration: Mapping[str, float] | None = None,
    failures: Sequence[Failure] = (),
    calibrated: Mapping[str, float] | None = None,
    details: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, float]:
    """What goes to the loggers: the figures of the fullest scenario, then what several scenarios add.

    Args:
        by_scenario: in the usual order.
        classes: for names.
        calibration: expected calibration error by scenario; None for none.
        failures: of sensors, to expect figures of.
        calibrated: the same at the temperatures of the scenarios that have one.
        details: further figures by name, of each scenario; None for none.
    """
    details = details or {}
    calibrated = calibrated or {}
    *_, (name_of_fullest, fullest) = by_scenario.items()  # the last, in the usual order
    figures = {
        "miou": fullest.mean_iou,
        "mean_f1": fullest.mean_f1,
        "oa": fullest.overall_accuracy,
        "kappa": fullest.kappa,
        "fwiou": fullest.frequency_weighted_iou,
    }
    for kind, values in (
        ("iou", fullest.iou),
        ("users_accuracy", fullest.users_accuracy),
        ("producers_accuracy", fullest.producers_accuracy),
    ):
        figures |= {f"{kind}_{name.replace(' ', '_')}": x for name, x in zip(classes.names, values, strict=True)}
    figures |= {"ece": calibration[name_of_fullest]} if calibration else {}
    figures |= {"ece_calibrated": calibrated[name_of_fullest]} if name_of_fullest in calibrated else {}
    figures |= details.get(name_of_fullest, {})
    if len(by_scenario) > 1:
        figures |= {f"scenarios/{name}/{key}": x for name, each in details.items() for key, x in each.items()}
        # a failure has a rate for every modality, so that its names joined are the full scenario's
        summary = summarise(by_scenario, next(("+".join(f.rates) for f in failures), name_of_fullest), failures)
        figures |= {f"scenarios/{name}/miou": each.mean_iou for name, each in by_scenario.items()}
        figures |= {f"scenarios/{name}/ece": error for name, error in (calibration or {}).items()}
        figures |= {f"scenarios/{name}/ece_calibrated": error for name, error in calibrated.items()}
        figures["scenarios/mean_miou"] = summary.mean.mean_iou
        figures["scenarios/worst_miou"] = summary.worst.mean_iou if summary.worst else math.nan
        figures["scenarios/miou_deviation"] = summary.deviation.mean_iou if summary.deviation else math.nan
        figures |= {f"scenarios/{failure.metric}": expected.mean_iou for failure, expected in summary.expected}
    return figures


def deviation_of(values: Iterable[float]) -> float:
    """The population standard deviation of those that there are; NaN of none."""
    present = [value for value in values if not math.isnan(value)]
    # of the population: the scenarios are all that there are, no sample of more
    return statistics.pstdev(present) if present else math.nan


def expected_of(weights: Mapping[str, float], values: Mapping[str, float]) -> float:
    """The mean by weights that sum to 1; NaN where a value of some weight is absent, since nothing can stand for it."""
    # without weights of 0, as 0 times NaN is NaN
    return sum(weight * values[name] for name, weight in weights.items() if weight) if values else math.nan


def _expected(scores: Mapping[str, Scores], failure: Failure) -> Scores:
    weights = failure.weights()
    several = [scores[name] for name in weights]

    def over(values: Iterable[float]) -> float:
        return expected_of(weights, dict(zip(weights, values, strict=True)))

    def over_present(values: Iterable[float]) -> float:
        """Of a class, which may be absent in some scenarios: a mean over the others."""
        there = [(w, v) for w, v in zip(weights.values(), values, strict=True) if w and not math.isnan(v)]
        return sum(w * v for w, v in there) / sum(w for w, _ in there) if there else math.nan

    return _merged(several, over, over_present)


def _merged(
    several: Sequence[Scores],
    over: Callable[[Iterable[float]], float],
    over_classes: Callable[[Iterable[float]], float] | None = None,
) -> Scores:
    """One figure of several, by a function of their values, or one of its own for those of a class."""
    merged: dict[str, Any] = {}
    for name in (field.name for field in fields(Scores)):
        values = [getattr(figures, name) for figures in several]
        of_classes = isinstance(values[0], tuple)
        merged[name] = tuple(map(over_classes or over, zip(*values, strict=True))) if of_classes else over(values)
    return Scores(**{**merged, "pixels": several[0].pixels})  # of the truth, which is the same in every scenario
