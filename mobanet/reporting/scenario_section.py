"""The scenario table: every combination of sensors evaluated, then mean, worst, and mean of the incomplete ones."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mobanet.evaluation.bootstrap import INTERVAL
from mobanet.evaluation.read_back import Evaluated
from mobanet.evaluation.scenario_table import ECE_AT_T, Row, ScenarioResults, interval_text, rows_of
from mobanet.plain.text_tables import ABSENT, percent
from mobanet.reporting.markup import Markup, Part, element, joined, scenario_words, scrolling, swatch


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
    lines += results.explained() if several else []
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
        *[INTERVAL.replace(" ", "\N{NO-BREAK SPACE}")] * bool(results.intervals),
        *["soft J"] * bool(results.soft),
        *["drop"] * (results.full in results.scores),
        *["ECE"] * bool(results.reliability),
        *[ECE_AT_T.replace(" ", "\N{NO-BREAK SPACE}")] * bool(results.calibrated),
        *["gap"] * bool(results.regained),
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
    rows, count = rows_of(results), len(results.scores)
    scenarios, cells = rows[:count], [_cells(results, row) for row in rows]
    best = _best(cells[:count]) if count > 1 else []
    lacking = [each for row, each in zip(scenarios, cells, strict=False) if row.label != results.full]
    second = _best(lacking) if len(lacking) > 1 else []
    body = []
    for row, each in zip(scenarios, cells, strict=False):
        full = row.label == results.full
        marked = [_markup(cell, _is(cell, best, k), not full and _is(cell, second, k)) for k, cell in enumerate(each)]
        body.append(_table_row(row.label, marked, "full" if full else None))
    bodies = [element("tbody", *body)]
    if count > 1:
        summed = (
            _table_row(row.label, map(_markup, each)) for row, each in zip(rows[count:], cells[count:], strict=True)
        )
        bodies.append(element("tbody", *summed, class_="summary"))
    return bodies


@dataclass(frozen=True)
class _Cell:
    """A number of the table.

    Attributes:
        text: as it reads.
        value: of which the highest of a column is the best; NaN where none is to be marked, or none is there.
    """

    text: str
    value: float = math.nan


def _cells(results: ScenarioResults, row: Row) -> list[_Cell]:
    """In the order of the headings; only of figures the best is marked."""
    f = row.figures
    cells = [_figure(value) for value in (f.overall_accuracy, f.mean_f1, f.mean_iou)]
    cells += [_Cell(interval_text(row.interval))] if results.intervals else []
    cells += [_figure(row.soft)] if results.soft else []
    # a drop says nothing that mIoU does not
    cells += [_Cell("" if row.drop is None else percent(row.drop))] if results.full in results.scores else []
    # of errors the lowest is the best
    cells += [_Cell(percent(row.error), -row.error)] if results.reliability else []
    if results.calibrated:
        cells.append(_Cell("" if math.isnan(row.calibrated) else percent(row.calibrated), -row.calibrated))
    if results.regained:
        cells.append(_Cell("" if row.regained is None else percent(row.regained)))
    return [*cells, *map(_figure, f.iou)]


def _figure(value: float) -> _Cell:
    return _Cell(percent(value), value)


def _best(rows: Sequence[Sequence[_Cell]]) -> list[str | None]:
    """How the best of each column reads; None where all are absent, or read alike."""
    best = []
    for column in zip(*rows, strict=True):
        there = [cell for cell in column if not math.isnan(cell.value)]
        differ = len({cell.text for cell in there}) > 1
        # what reads alike is marked alike, though further digits differ
        best.append(max(there, key=lambda cell: cell.value).text if differ else None)
    return best


def _is(cell: _Cell, best: Sequence[str | None], column: int) -> bool:
    """Whether a number reads like the best one, so that equal figures are marked alike."""
    return bool(best) and not math.isnan(cell.value) and cell.text == best[column]


def _table_row(label: str, cells: Iterable[Markup], kind: str | None = None) -> Markup:
    return element("tr", element("th", scenario_words(label), scope="row"), *cells, class_=kind)


def _markup(cell: _Cell, best: bool = False, second: bool = False) -> Markup:
    text: str | Markup = cell.text
    if text == ABSENT:
        text = element("span", text, class_="absent")
    elif text.startswith("-"):
        text = text.replace("-", "\N{MINUS SIGN}")
    else:
        text = text.replace(" - ", "\N{EN DASH}")
    if second:
        text = element("u", text)
    if best:
        text = element("strong", text)
    return element("td", text, class_="number")
