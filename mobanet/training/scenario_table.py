"""The figures of all scenarios beside each other: what is lost when a sensor is missing, as table, CSV and JSON."""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from mobanet.data.layout import Classes
from mobanet.scenarios.scenario import Scenario
from mobanet.training.metrics import Scores

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
        scenarios: all of the data, the last the full one.
        classes: of the confusion matrices.
        scores: by name of the evaluated scenarios, at least one, in the usual order.
        matrices: likewise, (K, K) counts, truth in rows.
        kept: likewise, number of windows that have nothing of the scenario and were evaluated with what they have.
        windows: number of windows of the evaluation.
        protocol: how the figures came about, in words.
    """

    scenarios: Sequence[Scenario]
    classes: Classes
    scores: Mapping[str, Scores]
    matrices: Mapping[str, Tensor]
    kept: Mapping[str, int]
    windows: int
    protocol: Mapping[str, str]

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
    drop = f"no drop, as {results.full} was not evaluated"
    if results.full in results.scores:
        shown.append(("drop", [row.drop for row in rows]))
        drop = f"drop: points of mIoU below {results.full}"
    ious = [
        (stacked(name) + ("" if name in results.classes.averaged else " *"), [row.figures.iou[k] for row in rows])
        for k, name in enumerate(results.classes.names)
    ]
    tables = _tables([row.label for row in rows], summary, shown, ious, width)
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
    writer.writerow(["scenario", "oa", "kappa", "mean_f1", "miou", "drop", *ious, "kept_windows"])
    for row in _rows(results):
        f = row.figures
        numbers = (f.overall_accuracy, f.kappa, f.mean_f1, f.mean_iou, row.drop, *f.iou)
        writer.writerow([row.label, *map(decimal, numbers), "" if row.kept is None else row.kept])
    return out.getvalue()


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


def stacked(name: str) -> str:
    """A class's name on several lines, broken between words only, so that its column is not much wider than numbers."""
    words = re.findall(r"[\s_/-]*[^\s_/-]+[\s_/-]*", name) or [name]
    most = max(8, *(len(word.rstrip()) for word in words))
    lines = [words[0]]
    for word in words[1:]:
        if len((lines[-1] + word).rstrip()) <= most:
            lines[-1] += word
        else:
            lines.append(word)
    return "\n".join(line.rstrip() for line in lines)


def as_text(tables: Sequence[Table], notes: Iterable[str]) -> str:
    """Tables as wide as they need to be, and lines below them; begins with an empty line."""
    out = io.StringIO()
    console = Console(file=out, width=_width(tables), color_system=None)
    for table in tables:
        console.print(table)
        console.print()
    return "\n" + "\n".join(line.rstrip() for line in [*out.getvalue().rstrip().splitlines(), *notes])


def percent(value: float) -> str:
    """0..1 as `12.34`, or `absent`."""
    return "absent" if math.isnan(value) else f"{round(100 * value, 2) + 0.0:.2f}"  # + 0.0: no -0.00


def decimal(value: float) -> str:
    """For CSV: six decimals, empty where absent."""
    return "" if math.isnan(value) else f"{round(value, 6) + 0.0:.6f}"


def none_if_absent(value: float) -> float | None:
    """For JSON."""
    return None if math.isnan(value) else value


@dataclass(frozen=True)
class _Row:
    label: str
    figures: Scores
    drop: float
    kept: int | None = None


def _rows(results: ScenarioResults) -> list[_Row]:
    """One a scenario, then the summary's."""
    rows = [_Row(name, f, results.drop(f), results.kept[name]) for name, f in results.scores.items()]
    summary = summarise(results.scores, results.full)
    rows.append(_Row("mean", summary.mean, results.drop(summary.mean)))
    if summary.worst:
        kept = results.kept[summary.worst_name]
        rows.append(_Row(f"worst ({summary.worst_name})", summary.worst, results.drop(summary.worst), kept))
    if summary.incomplete:
        rows.append(_Row("mean of incomplete", summary.incomplete, results.drop(summary.incomplete)))
    return rows


def _averaged(several: Sequence[Scores]) -> Scores:
    def mean(values: Iterable[float]) -> float:
        present = [value for value in values if not math.isnan(value)]
        return sum(present) / len(present) if present else math.nan

    return Scores(
        overall_accuracy=mean(f.overall_accuracy for f in several),
        kappa=mean(f.kappa for f in several),
        mean_f1=mean(f.mean_f1 for f in several),
        mean_iou=mean(f.mean_iou for f in several),
        iou=tuple(mean(values) for values in zip(*(f.iou for f in several), strict=True)),
        f1=tuple(mean(values) for values in zip(*(f.f1 for f in several), strict=True)),
        pixels=several[0].pixels,  # of the truth, which is the same in every scenario
    )


_Columns = Sequence[tuple[str, Sequence[float]]]
"""Heading and one value a row."""


def _tables(labels: Sequence[str], summary: int, figures: _Columns, ious: _Columns, width: int) -> list[Table]:
    """One table where that fits, otherwise one of the figures and as few as possible of the classes."""
    tables = [_beside("scenario", labels, summary, [*figures, *ious])]
    parts = 0
    while _width(tables) > width and parts < len(ious):
        parts += 1
        bounds = [len(ious) * i // parts for i in range(parts + 1)]
        tables = [_beside("scenario", labels, summary, figures)]
        tables += [_beside("IoU %", labels, summary, ious[first:last]) for first, last in pairwise(bounds)]
    return tables


def _beside(corner: str, labels: Sequence[str], summary: int, columns: _Columns) -> Table:
    """A table with a line above row `summary`."""
    table = Table(box=box.HORIZONTALS, pad_edge=False, collapse_padding=True)
    table.add_column(corner, no_wrap=True, vertical="bottom")
    for head, _ in columns:
        table.add_column(Text(head), no_wrap=True, justify="right", vertical="bottom")
    for i, label in enumerate(labels):
        if i == summary:
            table.add_section()
        table.add_row(Text(label), *(percent(values[i]) for _, values in columns))
    return table


def _width(tables: Sequence[Table]) -> int:
    """Characters that the widest needs."""
    console = Console(file=io.StringIO(), width=10_000)
    return max(console.measure(table).maximum for table in tables)
