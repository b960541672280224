"""The metric that trials are compared by, and what one trial reached."""

import difflib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobanet.errors import UserError
from mobanet.reporting.logged import Curve, read_curves

Goal = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Metric:
    """A metric by the name under which it is logged, and which way is better."""

    name: str
    goal: Goal


@dataclass(frozen=True)
class BestReached:
    """The best value of a run, the epoch (from 1) and step in which it was first logged, and the last one.

    `last` is None where it is not finite.
    """

    best: float
    epoch: int
    step: int
    last: float | None


def reached(path: Path, metric: Metric) -> BestReached:
    """The best and the last value of a metric in a run's `metrics.csv`.

    Raises:
        UserError: where it was never logged, or never finite.
    """
    curves = read_curves(path)
    if metric.name not in curves:
        near = difflib.get_close_matches(metric.name, curves, n=3, cutoff=0.4)
        known = f"did you mean {' or '.join(near)}" if near else f"logged were {', '.join(curves) or 'none'}"
        raise UserError(f"{path}: the metric {metric.name} was never logged ({known}); name one that is.")
    found = best(curves[metric.name], metric)
    if found is None:
        raise UserError(
            f"{path}: the metric {metric.name} was never finite; lower the learning rate, or look at log.txt."
        )
    return found


def best(curve: Curve, metric: Metric) -> BestReached | None:
    """The first of the best values; None where none is finite."""
    finite = [i for i, value in enumerate(curve.values) if math.isfinite(value)]
    if not finite:
        return None
    # min and max give the first of equals
    at = (max if metric.goal == "maximize" else min)(finite, key=curve.values.__getitem__)
    last = curve.values[-1] if math.isfinite(curve.values[-1]) else None
    return BestReached(curve.values[at], curve.epochs[at], curve.steps[at], last)
