"""The scenario table: every combination of sensors evaluated, then mean, worst, and mean of the incomplete ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mobanet.evaluation.bootstrap import INTERVAL
from mobanet.evaluation.read_back import Evaluated
from mobanet.evaluation.scenario_table import ECE_AT_T, ScenarioResults, ScenarioRow, interval_text, rows_of
from mobanet.plain.text_tables import percent
from mobanet.reporting.markup import macro, render

_Row = tuple[list[str], list[str], str]
"""Label, words, and class of the element."""


def scenario_section(evaluated: Evaluated) -> Markup:
    """The table with its notes.

    Args:
        evaluated: one scenario or more.
    """
    results = evaluated.results
    several = len(results.scores) > 1
    lines = ["per cent; under each class its IoU"]
    if results.full in results.scores and several:
        lines.append(f"drop: points of mIoU below {results.full}")
    lines += results.explained() if several else []
    lines += table_notes(results)
    label, caption = "Figures of every scenario", "Per cent. Under each class its IoU."
    table = macro("parts", "table", label, caption, ["scenario"], _heads(results), _bodies(results))
    incomplete = sum(name != results.full for name in results.scores)
    return render("scenarios", table=table, lines=lines, several=several, incomplete=incomplete)


def table_notes(results: ScenarioResults) -> list[str]:
    """The table's notes without the protocol, which has a section of its own."""
    protocol = {f"{name}: {text}" for name, text in results.protocol.items()}
    return [line for line in results.notes() if line not in protocol]


def _heads(results: ScenarioResults) -> list[tuple[str, Sequence[int] | None]]:
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
    classes = results.classes
    marks = ["" if name in classes.averaged else "\N{NO-BREAK SPACE}*" for name in classes.names]
    names = [f"{name}{mark}" for name, mark in zip(classes.names, marks, strict=True)]
    return [*((word, None) for word in words), *zip(names, classes.colours, strict=True)]


def _bodies(results: ScenarioResults) -> list[list[_Row]]:
    """The scenarios, and behind them the summary where there is anything to sum up."""
    rows, count = rows_of(results), len(results.scores)
    scenarios, cells = rows[:count], [_cells(results, row) for row in rows]
    best = _best(cells[:count]) if count > 1 else []
    lacking = [each for row, each in zip(scenarios, cells, strict=False) if row.label != results.full]
    second = _best(lacking) if len(lacking) > 1 else []
    body: list[_Row] = []
    for row, each in zip(scenarios, cells, strict=False):
        full = row.label == results.full
        marked = [c.shown(_is(c, best, k), not full and _is(c, second, k)) for k, c in enumerate(each)]
        body.append(([row.label], marked, "full" if full else ""))
    summed = zip(rows[count:], cells[count:], strict=True)
    summary: list[_Row] = [([row.label], [cell.shown() for cell in each], "") for row, each in summed]
    return [body, summary] if count > 1 else [body]


@dataclass(frozen=True)
class _Cell:
    """A number of the table.

    Attributes:
        text: as it reads.
        value: of which the highest of a column is the best; NaN where none is to be marked, or none is there.
    """

    text: str
    value: float = math.nan

    def shown(self, best: bool = False, second: bool = False) -> str:
        """The text with the signs of print, marked where it is the best, or the best but for the full scenario's."""
        text = self.text
        text = text.replace("-", "\N{MINUS SIGN}") if text.startswith("-") else text.replace(" - ", "\N{EN DASH}")
        text = Markup("<u>{}</u>").format(text) if second else text
        return Markup("<strong>{}</strong>").format(text) if best else text


def _cells(results: ScenarioResults, row: ScenarioRow) -> list[_Cell]:
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
