"""The figures of the same run with several seeds, read back from the files of each: validation and test."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobanet.errors import UserError
from mobanet.evaluation.scenario_table import expected_label
from mobanet.plain.yaml_files import read_yaml
from mobanet.reporting.logged import Curve, read_curves
from mobanet.runs.folder import CONFIG_FILE
from mobanet.scenarios.failure import Failure
from mobanet.trials.files import read_json
from mobanet.trials.metric import BestReached, Goal, Metric, best

SUMMARY = {"mean": "mean", "worst": "worst", "incomplete": "mean of incomplete"}
"""Rows behind the scenarios, and what they are called; others by their own names."""


@dataclass(frozen=True)
class Figure:
    """One figure of several seeds: a value a seed, NaN where it is absent."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds that have it; NaN without any."""
        present = self._present()
        return statistics.fmean(present) if present else math.nan

    @property
    def deviation(self) -> float:
        """Sample standard deviation over the seeds that have it; NaN for fewer than two."""
        present = self._present()
        # of a sample: other seeds could have been taken
        return statistics.stdev(present) if len(present) > 1 else math.nan

    def _present(self) -> list[float]:
        return [value for value in self.values if math.isfinite(value)]


@dataclass(frozen=True)
class Validation:
    """What the validation found at each seed's best epoch.

    Attributes:
        monitor: metric that the best epoch is chosen by.
        epochs: the best one of each seed, from 1.
        figures: by name of the metric, `val/miou`.
    """

    monitor: Metric
    epochs: tuple[int, ...]
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class Tested:
    """What the test found.

    Attributes:
        protocol: how the figures came about.
        classes: their names, in order.
        scenarios: figures by name of the scenario, 0..1: `oa`, `kappa`, `mean_f1`, `miou`, `fwiou`, `iou_CLASS`,
            `f1_CLASS`, `users_accuracy_CLASS`, `producers_accuracy_CLASS`.
        summary: likewise of `mean`, `worst`, `incomplete` and what is expected of sensors that fail; empty where one
            scenario was tested.
    """

    protocol: Mapping[str, str]
    classes: tuple[str, ...]
    scenarios: Mapping[str, Mapping[str, Figure]]
    summary: Mapping[str, Mapping[str, Figure]]


def read_validation(folders: Mapping[int, Path]) -> Validation:
    """The figures of the epoch that each run's `best.ckpt` is of.

    Raises:
        UserError: where the monitored metric was never logged, or a file is damaged.
    """
    found, epochs = [], []
    for folder in folders.values():
        metric = _monitor(folder)
        curves = read_curves(folder / "metrics.csv")
        at = best(curves[metric.name], metric) if metric.name in curves else None
        if at is None:
            raise UserError(
                f"{folder / 'metrics.csv'} holds no finite {metric.name}, by which the best epoch is chosen; "
                "give another --monitor."
            )
        epochs.append(at.epoch)
        found.append({name: _at(curve, at) for name, curve in curves.items() if name.startswith("val/")})
    # of one run, as seeds share their configuration
    return Validation(metric, tuple(epochs), _gathered(found))


def read_test(folders: Mapping[int, Path]) -> Tested:
    """The figures of each run's test.

    Raises:
        UserError: where one has not been tested, or a file is damaged.
    """
    contents = [_tested(folder) for folder in folders.values()]
    try:
        scenarios = list(dict.fromkeys(name for content in contents for name in content["scenarios"]))
        summaries = [_summary(content) for content in contents]
        rows = list(dict.fromkeys(row for summary in summaries for row in summary))
        return Tested(
            protocol=contents[0]["protocol"],
            classes=tuple(next(iter(contents[0]["scenarios"].values()))["classes"]),
            scenarios={s: _gathered([_flat(each["scenarios"].get(s)) for each in contents]) for s in scenarios},
            summary={row: _gathered([_flat(summary.get(row)) for summary in summaries]) for row in rows},
        )
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        where = ", ".join(str(results_of(folder)) for folder in folders.values())
        raise UserError(f"{where}: no results of mobanet.test ({error!r}); run it again.") from error


def results_of(folder: Path) -> Path | None:
    """The file with a run's test, of several scenarios or of one; None without a test."""
    # the former has all that the latter has
    several, one = folder / "test" / "test_scenarios.json", folder / "test" / "test.json"
    return several if several.is_file() else one if one.is_file() else None


def _monitor(folder: Path) -> Metric:
    config = read_yaml(folder / CONFIG_FILE, "a run that mobanet.fit has written")
    goal: Goal = "minimize" if config.get("monitor_mode") == "min" else "maximize"
    return Metric(str(config.get("monitor")), goal)


def _at(curve: Curve, at: BestReached) -> float:
    """The value logged with the best one, or last in its epoch where the best one is none of the validation's."""
    points = list(zip(curve.steps, curve.epochs, curve.values, strict=True))
    same = [value for step, _, value in points if step == at.step]
    epoch = [value for _, epoch, value in points if epoch == at.epoch]
    return (same or epoch or [math.nan])[-1]


def _tested(folder: Path) -> Mapping[str, Any]:
    path = results_of(folder)
    content = read_json(path, "run mobanet.test again") if path else None
    if content is None:
        raise UserError(f"{folder} has not been tested; run mobanet.test on its best checkpoint.")
    return content if "scenarios" in content else {**content, "scenarios": {content.get("scenario"): content}}


def _summary(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The rows behind the scenarios, by name; tests of earlier versions expect nothing."""
    summary = content.get("summary", {})
    found = {row: summary[row] for row in SUMMARY if summary.get(row)}
    return found | {expected_label(Failure(each["failure"])): each for each in summary.get("expected", ())}


def _flat(content: Mapping[str, Any] | None) -> dict[str, float]:
    """A scenario's figures by name; absent ones are NaN."""
    if content is None:
        return {}
    names = ("oa", "kappa", "mean_f1", "miou", "fwiou", "drop", "ece", "ece_calibrated")
    figures = {name: content[name] for name in names if name in content}
    if "soft_per_image" in content:
        figures["soft_jaccard"] = content["soft_per_image"]["jaccard"]
    classes = {name.replace(" ", "_"): each for name, each in content["classes"].items()}
    figures |= {f"{kind}_{name}": each[kind] for kind in ("iou", "f1") for name, each in classes.items()}
    for kind in ("users_accuracy", "producers_accuracy"):  # of earlier versions there are none
        figures |= {f"{kind}_{name}": each[kind] for name, each in classes.items() if kind in each}
    figures |= content.get("details", {})  # of boundaries and objects, where they were measured
    return {name: math.nan if value is None else float(value) for name, value in figures.items()}


def _gathered(found: Sequence[Mapping[str, float]]) -> dict[str, Figure]:
    """One figure a name, in the order in which they come first."""
    # a class that one seed's test lacks still has a column of the others
    names = dict.fromkeys(name for each in found for name in each)
    return {name: Figure(tuple(each.get(name, math.nan) for each in found)) for name in names}
