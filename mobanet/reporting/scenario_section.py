"""The scenario table: every combination of sensors evaluated, then mean, worst, and mean of the incomplete ones."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mobanet.reporting.markup import Markup, Part, element, joined, scenario_words, scrolling, swatch
from mobanet.reporting.tested import Evaluated
from mobanet.training.metrics import Scores
from mobanet.training.scenario_table import ScenarioResults, summarise
from mobanet.training.text_tables import percent


@dataclass(frozen=True)
class _Row:
    """Figures of a scenario, or of several."""

    label: str
    values: tuple[float, ...]


def scenario_section(evaluated: Evaluated) -> Markup:
    """The table with its notes.

    Args:
        evaluated: one scenario or more.
    """
    results = evaluated.results
    several = len(results.scores) > 1
    table = element(
        "table",
        element("caption", "Per cent. Under each class its IoU.", class_="hidden"),
        element("thead", element("tr", *_heads(results))),
        *_bodies(results),
        class_="figures",
    )
    lines = ["per cent; under each class its IoU"]
    if results.full in results.scores and several:
        lines.append(f"drop: points of mIoU below {results.full}")
    if several:
        lines.append("worst: the scenario with the lowest mIoU; incomplete: every scenario that lacks a modality")
    lines += table_notes(results)
    marks: list[Part] = []
    if several:
        marks = [element("strong", "bold"), ": best of all scenarios"]
    if len(_incomplete(results)) > 1:
        marks += ["; " if marks else None, element("u", "underlined"), ": best of the incomplete ones"]
    items = [element("li", *marks)] * bool(marks) + [element("li", line) for line in lines]
    notes = element("ul", *items, class_="notes")
    return joined(scrolling(table, "Figures of every scenario"), notes)


def table_notes(results: ScenarioResults) -> list[str]:
    """The table's notes without the protocol, which has a section of its own."""
    protocol = {f"{name}: {text}" for name, text in results.protocol.items()}
    return [line for line in results.notes() if line not in protocol]


def _incomplete(results: ScenarioResults) -> list[str]:
    return [name for name in results.scores if name != results.full]


def _heads(results: ScenarioResults) -> list[Markup]:
    words = [
        "OA",
        "mean\N{NO-BREAK SPACE}F1",
        "mIoU",
        *["soft J"] * bool(results.soft),
        *["drop"] * (results.full in results.scores),
    ]
    heads = [element("th", "scenario", scope="col")]
    heads += [element("th", word, scope="col", class_="number") for word in words]
    classes = results.classes
    for name, colour in zip(classes.names, classes.colours, strict=True):
        mark = "" if name in classes.averaged else "\N{NO-BREAK SPACE}*"
        heads.append(element("th", swatch(colour), f"{name}{mark}", scope="col", class_="number"))
    return heads


def _bodies(results: ScenarioResults) -> list[Markup]:
    """The scenarios, and behind them the summary where there is anything to sum up."""
    rows = {name: _row(results, name, figures, _soft(results, [name])) for name, figures in results.scores.items()}
    best = _best(list(rows.values())) if len(rows) > 1 else []
    lacking = [row for name, row in rows.items() if name != results.full]
    second = _best(lacking) if len(lacking) > 1 else []
    dropped = _drop_column(results)
    cells = []
    for name, row in rows.items():
        marked = [
            _cell(value, _is(value, best, k, dropped), name != results.full and _is(value, second, k, dropped))
            for k, value in enumerate(row.values)
        ]
        full = "full" if name == results.full else None
        cells.append(_table_row(row.label, marked, full))
    bodies = [element("tbody", *cells)]
    if len(rows) > 1:
        summed = (_table_row(row.label, map(_cell, row.values)) for row in _summary(results))
        bodies.append(element("tbody", *summed, class_="summary"))
    return bodies


def _summary(results: ScenarioResults) -> list[_Row]:
    summary, names = summarise(results.scores, results.full), list(results.scores)
    rows = [_row(results, "mean", summary.mean, _soft(results, names))]
    if summary.worst and summary.worst_name:
        rows.append(_row(results, f"worst ({summary.worst_name})", summary.worst, _soft(results, [summary.worst_name])))
    if summary.incomplete:
        rows.append(_row(results, "mean of incomplete", summary.incomplete, _soft(results, _incomplete(results))))
    return rows


def _row(results: ScenarioResults, label: str, figures: Scores, soft: float) -> _Row:
    values = [figures.overall_accuracy, figures.mean_f1, figures.mean_iou]
    values += [soft] if results.soft else []
    values += [results.drop(figures)] if results.full in results.scores else []
    return _Row(label, (*values, *figures.iou))


def _soft(results: ScenarioResults, names: Sequence[str]) -> float:
    values = [results.soft[name].jaccard for name in names if name in results.soft]
    return sum(values) / len(values) if values else math.nan


def _drop_column(results: ScenarioResults) -> int | None:
    """A drop says nothing that mIoU does not: its best is not marked."""
    return 3 + bool(results.soft) if results.full in results.scores else None


def _best(rows: Sequence[_Row]) -> list[float]:
    """The highest of each column; NaN where all are absent, or read alike."""
    best = []
    for column in zip(*(row.values for row in rows), strict=True):
        there = [value for value in column if not math.isnan(value)]
        differ = len({percent(value) for value in there}) > 1
        best.append(max(there) if differ else math.nan)
    return best


def _is(value: float, best: Sequence[float], column: int, excepted: int | None) -> bool:
    """Whether a number reads like the best one, so that equal figures are marked alike."""
    if not best or column == excepted or math.isnan(value):
        return False
    return percent(value) == percent(best[column])


def _table_row(label: str, cells: Iterable[Markup], kind: str | None = None) -> Markup:
    return element("tr", element("th", scenario_words(label), scope="row"), *cells, class_=kind)


def _cell(value: float, best: bool = False, second: bool = False) -> Markup:
    text: str | Markup = percent(value).replace("-", "\N{MINUS SIGN}")
    if math.isnan(value):
        text = element("span", text, class_="absent")
    if second:
        text = element("u", text)
    if best:
        text = element("strong", text)
    return element("td", text, class_="number")
