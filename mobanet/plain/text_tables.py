"""Tables as plain text: numbers, headings on several lines, and columns that wrap into further tables."""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

ABSENT = "absent"
"""In the place of a figure that there is not."""

Columns = Sequence[tuple[str, Sequence[str]]]
"""Heading, on several lines where it is long, and one word a row."""


def stacked(name: str) -> str:
    """A class's name on several lines, broken between words only, so that its column is not much wider than numbers."""
    # blanks, hyphens and slashes stay with their words, so that the lines together are the name
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
    # a width is given, or rich would fold to that of the terminal, or to 80
    console = Console(file=out, width=text_width(tables), color_system=None)
    for table in tables:
        console.print(table)
        console.print()
    return "\n" + "\n".join(line.rstrip() for line in [*out.getvalue().rstrip().splitlines(), *notes])


def csv_text(lines: Iterable[Iterable[Any]]) -> str:
    """Lines of a table, its head first, as CSV."""
    out = io.StringIO()
    # by itself it ends lines as on Windows
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def percent(value: float) -> str:
    """0..1 as `12.34`, or `absent`."""
    return ABSENT if math.isnan(value) else f"{round(100 * value, 2) + 0.0:.2f}"  # + 0.0: no -0.00


def decimal(value: float) -> str:
    """For CSV: six decimals, empty where absent."""
    return "" if math.isnan(value) else f"{round(value, 6) + 0.0:.6f}"


def none_if_absent(value: float) -> float | None:
    """For JSON."""
    return None if math.isnan(value) else value


def fitted(
    corner: str,
    labels: Sequence[str],
    summary: int,
    first: Columns,
    more: Columns,
    width: int,
    split: str | None = None,
) -> list[Table]:
    """One table where that fits, otherwise one of the first columns and as few as possible of the others.

    Args:
        corner: heading of the labels.
        labels: one a row, repeated in every table.
        summary: row above which there is a line; as many as there are labels for none.
        first: columns that stay together; may be none.
        more: columns that may be split.
        width: characters of a line.
        split: heading of the labels in tables of the others; None for the same.
    """
    tables = [_table(corner, labels, summary, [*first, *more])]
    parts = 0
    while text_width(tables) > width and parts < len(more):
        parts += 1
        # as even as they come: to fill each in turn would leave a stump at the end
        bounds = [len(more) * i // parts for i in range(parts + 1)]
        tables = [_table(corner, labels, summary, first)] if first else []
        tables += [_table(split or corner, labels, summary, more[low:high]) for low, high in pairwise(bounds)]
    return tables


def _table(corner: str, labels: Sequence[str], summary: int, columns: Columns) -> Table:
    table = Table(box=box.HORIZONTALS, pad_edge=False, collapse_padding=True)
    table.add_column(corner, no_wrap=True, vertical="bottom")
    # Text: in a str rich would take brackets in a class's name for markup
    for head, _ in columns:
        table.add_column(Text(head), no_wrap=True, justify="right", vertical="bottom")
    for i, label in enumerate(labels):
        if i == summary:
            table.add_section()
        table.add_row(Text(label), *(Text(words[i]) for _, words in columns))
    return table


def text_width(tables: Sequence[Table]) -> int:
    """Characters that the widest needs."""
    console = Console(file=io.StringIO(), width=10_000)  # wider than any: rich measures within the console's width
    return max(console.measure(table).maximum for table in tables)
