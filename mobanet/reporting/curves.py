"""Which curves of a run are drawn: losses, validation, learning rate, and what latent sampling measured."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from mobanet.reporting.charts import Chart, Line, charts_of
from mobanet.reporting.logged import Curve, finite, read_curves
from mobanet.reporting.markup import note
from mobanet.scenarios.callback import HISTORY_FILE
from mobanet.scenarios.history import ScoreRecord, read_history

_STEP, _EPOCH = "optimiser step", "epoch"
_BANDS = 8
"""With more lines than these, bands around them hide each other."""
_FIGURES = {"val/miou": "mIoU", "val/mean_f1": "mean F1", "val/oa": "OA"}


def curves_section(run: Path) -> Markup:
    """The charts of `metrics.csv`.

    Raises:
        UserError: for a damaged file.
    """
    logged = {name: curve for name, curve in read_curves(run / "metrics.csv").items() if finite(curve)}
    charts = metric_charts(logged)
    if not charts:
        return note("`metrics.csv` holds no curves: it is written while `mobanet.fit` trains.")
    return charts_of(charts)


def sampling_section(run: Path) -> Markup:
    """The charts of `scenario_scores.jsonl`.

    Raises:
        UserError: for a damaged file.
    """
    path = run / HISTORY_FILE
    records = read_history(path) if path.is_file() else []
    if not records:
        return note(
            "No scenario probabilities were recorded: they are when training with `--scenarios.strategy latent`."
        )
    return charts_of(history_charts(records))


def metric_charts(logged: Mapping[str, Curve]) -> list[Chart]:
    """Charts of curves by name, each with something finite; those of which nothing was logged are left out."""
    from mobanet.training.objective import LOSSES  # torch with it

    # the loss and its terms, of which a run logs those that it has
    losses = ("train/loss", *(f"train/{name}" for name in LOSSES), "val/loss")
    auxiliary = _beginning(logged, "train/auxiliary_")
    classes = {name: label.replace("_", " ") for name, label in _beginning(logged, "val/iou_").items()}
    scenarios = {
        name: label.removesuffix("/miou")
        # of several figures a scenario mIoU alone; means over scenarios have no `/` before theirs
        for name, label in _beginning(logged, "val/scenarios/").items()
        if label.endswith("/miou")
    }
    drawn: list[tuple[str, Mapping[str, str], float]] = [
        ("Loss", {name: name for name in losses}, 1),
        ("Auxiliary losses, before their weight", auxiliary, 1),
        ("Validation, %", _FIGURES, 100),
        ("IoU of each class in validation, %", classes, 100),
        ("mIoU of each scenario in validation, %", scenarios, 100),
    ]
    charts = [
        Chart(title, _STEP, [_line(logged[name], labels[name], factor) for name in labels if name in logged], floor=0)
        for title, labels, factor in drawn
    ]
    if "train/lr" in logged:
        curve = logged["train/lr"]
        # the rates of an epoch's start are written as it ends, under a step that is an epoch too late
        known = all(curve.epochs)
        x, label = (curve.epochs, f"{_EPOCH}, at its start") if known else (curve.steps, _STEP)
        charts.append(Chart("Learning rate", label, [Line("learning rate", x, curve.values)], floor=0))
    return [chart for chart in charts if chart.lines]


def history_charts(records: Sequence[ScoreRecord]) -> list[Chart]:
    """Probabilities and distortion of each scenario by epoch; scenarios that a record lacks have gaps there."""
    names = list(dict.fromkeys(name for record in records for name in record.scenarios))
    # recorded from 0, told from 1
    epochs = [record.epoch + 1 for record in records]
    # records name no modalities: the longest combination has them all
    full = max(names, key=lambda name: name.count("+"))

    def lines(attribute: str, error: str | None = None) -> list[Line]:
        return [
            Line(
                name,
                epochs,
                [_of(record, attribute, name) for record in records],
                emphasised=name == full,
                error=[_of(record, error, name) for record in records] if error else (),
            )
            for name in names
        ]

    bands = len(names) <= _BANDS
    uniform = f"uniform, 1/{len(names)}"
    at = f"{_EPOCH}, at its start"
    return [
        Chart("Scenario probabilities", at, lines("probabilities"), 0, 1 / len(names), uniform),
        Chart(
            "Distortion of the latent",
            at,
            lines("distortion", "standard_error" if bands else None),
            floor=0,
            remark="bands: one standard error over windows" if bands else "",
        ),
    ]


def _beginning(logged: Iterable[str], prefix: str) -> dict[str, str]:
    """What follows a prefix in names that begin with it, by name."""
    return {name: name.removeprefix(prefix) for name in logged if name.startswith(prefix)}


def _line(curve: Curve, label: str, factor: float) -> Line:
    return Line(label, curve.steps, [factor * value for value in curve.values])


def _of(record: ScoreRecord, attribute: str, name: str) -> float:
    if name not in record.scenarios:
        return math.nan
    return getattr(record, attribute)[record.scenarios.index(name)]
