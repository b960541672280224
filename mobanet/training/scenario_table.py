"""The figures of all scenarios beside each other: what is lost when a sensor is missing, as table, CSV and JSON."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from torch import Tensor

from mobanet.rasters.contents import Classes
from mobanet.scenarios.scenario import Scenario
from mobanet.training.jaccard import SoftScores
from mobanet.training.metrics import Scores
from mobanet.training.text_tables import as_text, decimal, fitted, none_if_absent, percent, stacked

SOFT = (
    "soft J: Jaccard of probabilities, mean over windows, of the background where a window has no target (as in "
    "arXiv 2605.20372; not comparable with IoU)"
)
SCENARIO_COLUMNS = ("scenario", "OA", "mean F1", "mIoU", "drop")
NOT_AVERAGED = "* counts as an error where it is confused, but is not averaged"


@dataclass(frozen=True)
class ScenarioSummary:
    """What several scenarios come to; absent figures (NaN) are left out of every mean.

    Attributes:
        mean: over the evaluated scenarios, the full one among them.
        worst: the figures of the scenario with the lowest mIoU; None where no scenario has one.
        worst_name: that scenario's name.
        incomplete: the mean over the scenarios that lack a modality; None where none was evaluated.
    """

    mean: Scores
    worst: Scores | None
    worst_name: str | None
    incomplete: Scores | None


@dataclass(frozen=True)
class ScenarioResults:
    """What one evaluation found.

    Attributes:
        scenarios: of the data, the last the full one.
        classes: of the confusion matrices.
        scores: by name of the evaluated scenarios, at least one, in the usual order.
        matrices: likewise, (K, K) counts, truth in rows.
        kept: likewise, number of windows that have nothing of the scenario and were evaluated with what they have.
        windows: number of windows of the evaluation.
        protocol: how the figures came about, in words.
        soft: of binary targets, the scenario paper's figures by name of the scenario; empty otherwise.
    """

    scenarios: Sequence[Scenario]
    classes: Classes
    scores: Mapping[str, Scores]
    matrices: Mapping[str, Tensor]
    kept: Mapping[str, int]
    windows: int
    protocol: Mapping[str, str]
    soft: Mapping[str, SoftScores] = field(default_factory=dict)

    @property
    def full(self) -> str:
        """Name of the full scenario, evaluated or not."""
        return self.scenarios[-1].name

    @property
    def fullest(self) -> str:
        """Name of the last of the evaluated scenarios."""
        return list(self.scores)[-1]

    def drop(self, figures: Scores) -> float:
        """What is missing to the full scenario's mIoU, 0..1; NaN where that was not evaluated."""
        return self.scores[self.full].mean_iou - figures.mean_iou if self.full in self.scores else math.nan

    def notes(self) -> list[str]:
        """What has to stand below every table: classes left out, protocol, windows that have nothing of a scenario."""
        lines = [NOT_AVERAGED] if len(self.classes.averaged) < len(self.classes) else []
        lines += [SOFT] if self.soft else []
        lines += [f"{name}: {text}" for name, text in self.protocol.items()]
        for name in self.scores:
            count, of = self.kept[name], f"of {self.windows} windows"
            if count == 1:
                lines.append(f"{name}: 1 {of} has nothing of it and was evaluated with what it has")
            elif count:
                lines.append(f"{name}: {count} {of} have nothing of it and were evaluated with what they have")
        return lines


def summarise(scores: Mapping[str, Scores], full: str) -> ScenarioSummary:
    """Mean, worst, and mean of the incomplete scenarios.

    Args:
        scores: by name of the scenario, at least one.
        full: name of the full scenario.
    """
    known = [name for name, figures in scores.items() if not math.isnan(figures.mean_iou)]
    worst = min(known, key=lambda name: scores[name].mean_iou, default=None)
    incomplete = [figures for name, figures in scores.items() if name != full]
    return ScenarioSummary(
        mean=_averaged(list(scores.values())),
        worst=scores[worst] if worst else None,
        worst_name=worst,
        incomplete=_averaged(incomplete) if incomplete else None,
    )


def scenario_table(results: ScenarioResults, width: int = 120) -> str:
    """One row a scenario, then the summary, and the protocol, for people.

    Args:
        results: of one evaluation.
        width: characters of a line; classes that do not fit go into further tables below.
    """
    rows, summary = _rows(results), len(results.scores)
    shown = [("OA", [row.figures.overall_accuracy for row in rows])]
    shown.append(("mean\nF1", [row.figures.mean_f1 for row in rows]))
    shown.append(("mIoU", [row.figures.mean_iou for row in rows]))
    if results.soft:
        shown.append(("soft J", [row.soft for row in rows]))
    drop = f"no drop, as {results.full} was not evaluated"
    if results.full in results.scores:
        shown.append(("drop", [row.drop for row in rows]))
        drop = f"drop: points of mIoU below {results.full}"
    ious = [
        (stacked(name) + ("" if name in results.classes.averaged else " *"), [row.figures.iou[k] for row in rows])
        for k, name in enumerate(results.classes.names)
    ]
    figures, classes = ([(head, [*map(percent, values)]) for head, values in columns] for columns in (shown, ious))
    tables = fitted("scenario", [row.label for row in rows], summary, figures, classes, width, split="IoU %")
    explained = [
        f"per cent; under a class's name its IoU; {drop}",
        "worst: the scenario with the lowest mIoU; incomplete: every scenario that lacks a modality",
    ]
    return as_text(tables, [*explained, *results.notes()])


def scenario_csv(results: ScenarioResults) -> str:
    """One row a scenario, then the summary, 0..1; absent figures are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ious = [f"iou_{name.replace(' ', '_')}" for name in results.classes.names]
    soft = ["soft_jaccard"] if results.soft else []
    writer.writerow(["scenario", "oa", "kappa", "mean_f1", "miou", "drop", *ious, *soft, "kept_windows"])
    for row in _rows(results):
        f = row.figures
        numbers = (f.overall_accuracy, f.kappa, f.mean_f1, f.mean_iou, row.drop, *f.iou, *[row.soft] * len(soft))
        writer.writerow([row.label, *map(decimal, numbers), "" if row.kept is None else row.kept])
    return out.getvalue()


def scenario_rows(results: ScenarioResults) -> list[list[str | float | None]]:
    """One row a scenario, then the summary, in the order of `SCENARIO_COLUMNS`; 0..1, None where absent."""
    return [
        [row.label, *map(none_if_absent, (f.overall_accuracy, f.mean_f1, f.mean_iou, row.drop))]
        for row, f in ((row, row.figures) for row in _rows(results))
    ]


def scenario_json(results: ScenarioResults, epoch: int) -> dict:
    """Everything, for JSON; absent figures are null.

    Args:
        results: of one evaluation.
        epoch: in which it was made.
    """

    def plain(figures: Scores) -> dict:
        return {**as_plain(figures, results.classes), "drop": none_if_absent(results.drop(figures))}

    summary = summarise(results.scores, results.full)
    return {
        "protocol": dict(results.protocol),
        "epoch": epoch,
        "modalities": [scenario.name for scenario in results.scenarios if sum(scenario.available) == 1],
        "windows": results.windows,
        "scenarios": {
            name: {
                **plain(figures),
                **soft_as_plain(results, name),
                "kept_windows": results.kept[name],
                "confusion": results.matrices[name].tolist(),
            }
            for name, figures in results.scores.items()
        },
        "summary": {
            "mean": plain(summary.mean),
            "worst": {"scenario": summary.worst_name, **plain(summary.worst)} if summary.worst else None,
            "incomplete": plain(summary.incomplete) if summary.incomplete else None,
        },
    }


def as_plain(figures: Scores, classes: Classes) -> dict:
    """One scenario's figures for JSON; absent classes are null."""
    per_class = {
        name: {"iou": none_if_absent(figures.iou[k]), "f1": none_if_absent(figures.f1[k]), "pixels": figures.pixels[k]}
        for k, name in enumerate(classes.names)
    }
    return {
        "oa": none_if_absent(figures.overall_accuracy),
        "kappa": none_if_absent(figures.kappa),
        "mean_f1": none_if_absent(figures.mean_f1),
        "miou": none_if_absent(figures.mean_iou),
        "classes": per_class,
    }


def soft_as_plain(results: ScenarioResults, scenario: str) -> dict:
    """The soft figures of one scenario for JSON; nothing where the target is not binary."""
    if not results.soft:
        return {}
    return {"soft_per_image": {name: none_if_absent(value) for name, value in asdict(results.soft[scenario]).items()}}


@dataclass(frozen=True)
class _Row:
    label: str
    figures: Scores
    drop: float
    kept: int | None = None
    soft: float = math.nan


def _rows(results: ScenarioResults) -> list[_Row]:
    """One a scenario, then the summary's."""
    soft = {name: figures.jaccard for name, figures in results.soft.items()}
    rows = [
        _Row(name, f, results.drop(f), results.kept[name], soft.get(name, math.nan))
        for name, f in results.scores.items()
    ]
    summary = summarise(results.scores, results.full)
    rows.append(_Row("mean", summary.mean, results.drop(summary.mean), soft=_mean(list(soft.values()))))
    if summary.worst:
        kept = results.kept[summary.worst_name]
        rows.append(
            _Row(
                f"worst ({summary.worst_name})",
                summary.worst,
                results.drop(summary.worst),
                kept,
                soft.get(summary.worst_name, math.nan),
            )
        )
    if summary.incomplete:
        lacking = [value for name, value in soft.items() if name != results.full]
        rows.append(
            _Row("mean of incomplete", summary.incomplete, results.drop(summary.incomplete), soft=_mean(lacking))
        )
    return rows


def _averaged(several: Sequence[Scores]) -> Scores:
    return Scores(
        overall_accuracy=_mean(f.overall_accuracy for f in several),
        kappa=_mean(f.kappa for f in several),
        mean_f1=_mean(f.mean_f1 for f in several),
        mean_iou=_mean(f.mean_iou for f in several),
        iou=tuple(_mean(values) for values in zip(*(f.iou for f in several), strict=True)),
        f1=tuple(_mean(values) for values in zip(*(f.f1 for f in several), strict=True)),
        pixels=several[0].pixels,  # of the truth, which is the same in every scenario
    )


def _mean(values: Iterable[float]) -> float:
    present = [value for value in values if not math.isnan(value)]
    return sum(present) / len(present) if present else math.nan
