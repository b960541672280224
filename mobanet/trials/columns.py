"""Tables of words that are split below each other where a terminal is too narrow."""

from collections.abc import Sequence
from itertools import pairwise

from rich import box
from rich.table import Table
from rich.text import Text

from mobanet.training.text_tables import text_width

Columns = Sequence[tuple[str, Sequence[str]]]
"""Heading, on several lines where it is long, and one word a row."""


def fitted(corner: str, labels: Sequence[str], summary: int, first: Columns, more: Columns, width: int) -> list[Table]:
    """One table where that fits, otherwise one of the first columns and as few as possible of the others.

    Args:
        corner: heading of the labels.
        labels: one a row, repeated in every table.
        summary: row above which there is a line; as many as there are labels for none.
        first: columns that stay together; may be none.
        more: columns that may be split.
        width: characters of a line.
    """
    tables = [_table(corner, labels, summary, [*first, *more])]
    parts = 0
    while text_width(tables) > width and parts < len(more):
        parts += 1
        bounds = [len(more) * i // parts for i in range(parts + 1)]
        tables = [_table(corner, labels, summary, first)] if first else []
        tables += [_table(corner, labels, summary, more[low:high]) for low, high in pairwise(bounds)]
    return tables


def _table(corner: str, labels: Sequence[str], summary: int, columns: Columns) -> Table:
    table = Table(box=box.HORIZONTALS, pad_edge=False, collapse_padding=True)
    table.add_column(corner, no_wrap=True, vertical="bottom")
    for head, _ in columns:
        table.add_column(Text(head), no_wrap=True, justify="right", vertical="bottom")
    for i, label in enumerate(labels):
        if i == summary:
            table.add_section()
        table.add_row(Text(label), *(Text(words[i]) for _, words in columns))
    return table
