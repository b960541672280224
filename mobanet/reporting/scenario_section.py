"""The scenario table: every combination of sensors evaluated, then mean, worst, and mean of the incomplete ones."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from mobanet.evaluation.bootstrap import INTERVAL
from mobanet.evaluation.read_back import Evaluated
from mobanet.evaluation.scenario_table import (
    FigureColumn,
    ScenarioResults,
    ScenarioRow,
    class_columns,
    figure_columns,
    rows_to_show,
)
from mobanet.reporting.markup import macro, render

_UNBROKEN = {
    head: head.replace("\n", " ").replace(" ", "\N{NO-BREAK SPACE}") for head in ("mean\nF1", INTERVAL, "ECE\nat T")
}
"""Headings as they stand in the page, which breaks lines where it is narrow."""

_Row = tuple[list[str], list[str], str]
"""Label, words, and class of the element."""


def scenario_section(evaluated: Evaluated) -> Markup:
    """The table with its notes."""
    results = evaluated.results
    several = len(results.scores) > 1
    lines = ["per cent; under each class its IoU"]
    if results.full in results.scores and several:
        lines.append(f"drop: points of mIoU below {results.full}")
    lines += results.explained() if several else []
    lines += table_notes(results)
    label, caption = "Figures of every scenario", "Per cent. Under each class its IoU."
    rows, classes = rows_to_show(results), results.classes
    figures, ious = figure_columns(results, rows), class_columns(results, rows)
    heads = [(_UNBROKEN.get(column.head, column.head), None) for column in figures]
    marks = ["" if name in classes.averaged else "\N{NO-BREAK SPACE}*" for name in classes.names]
    names = [f"{name}{mark}" for name, mark in zip(classes.names, marks, strict=True)]
    columns = [*heads, *zip(names, classes.colours, strict=True)]
    bodies = _bodies(results, rows, [*figures, *ious])
    table = macro("parts", "table", label, caption, ["scenario"], columns, bodies)
    # one alone has no best among them
    incomplete = sum(name != results.full for name in results.scores)
    return render("scenarios", table=table, lines=lines, several=several, incomplete=incomplete)


def table_notes(results: ScenarioResults) -> list[str]:
    """The table's notes without the protocol, which has a section of its own."""
    protocol = {f"{name}: {text}" for name, text in results.protocol.items()}
    return [line for line in results.notes() if line not in protocol]


def _bodies(results: ScenarioResults, rows: Sequence[ScenarioRow], columns: Sequence[FigureColumn]) -> list[list[_Row]]:
    """The scenarios, and behind them the summary where there is anything to sum up."""
    count = len(results.scores)
    incomplete = [k for k in range(count) if rows[k].label != results.full]
    words = zip(*(_marked(column, range(count), incomplete) for column in columns), strict=True)
    kinds = ["full" if row.label == results.full else "" for row in rows]
    body = [([row.label], [*each], kind) for row, each, kind in zip(rows, words, kinds, strict=True)]
    return [body[:count], body[count:]]


def _marked(column: FigureColumn, scenarios: Sequence[int], incomplete: Sequence[int]) -> list[str]:
    """Words with the signs of print, the best of all scenarios bold, and the best of the incomplete ones underlined."""
    words = [
        # a dash in front is a sign, one between blanks an interval's
        word.replace("-", "\N{MINUS SIGN}") if word.startswith("-") else word.replace(" - ", "\N{EN DASH}")
        for word in column.words
    ]
    for k in _best(column, incomplete):
        words[k] = Markup("<u>{}</u>").format(words[k])
    for k in _best(column, scenarios):
        words[k] = Markup("<strong>{}</strong>").format(words[k])
    return words


def _best(column: FigureColumn, rows: Sequence[int]) -> list[int]:
    """Which of some rows are best; none where all are absent, or read alike."""
    there = [k for k in rows if not math.isnan(column.values[k])]
    if len({column.words[k] for k in there}) < 2:
        return []
    best = column.words[max(there, key=lambda k: column.values[k])]
    # what reads alike is marked alike, though further digits differ
    return [k for k in there if column.words[k] == best]
