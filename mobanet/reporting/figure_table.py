"""Tables of figures in which nothing is marked: a heading a row, and shares in per cent or counts."""

import math
from collections.abc import Sequence

from mobanet.plain.text_tables import ABSENT, percent
from mobanet.reporting.markup import Markup, element, grouped, scenario_words, scrolling

Row = tuple[str, Sequence[float | int]]
"""What stands before a row, and its cells: floats are shares, whole numbers are counts."""


def figure_table(corner: str, heads: Sequence[str | Markup], rows: Sequence[Row], caption: str, summed: int) -> Markup:
    """A table that scrolls where it is wider than the page.

    Args:
        corner: heading of what stands before the rows.
        heads: of the cells.
        rows: as many cells each as there are headings.
        caption: what it shows, for those who do not see it.
        summed: number of the first row of a summary; as many as there are rows for none.
    """
    columns = [element("th", corner, scope="col"), *(element("th", h, scope="col", class_="number") for h in heads)]
    bodies = [element("tbody", *map(_row, rows[:summed]))]
    bodies += [element("tbody", *map(_row, rows[summed:]), class_="summary")] if rows[summed:] else []
    table = element(
        "table",
        element("caption", caption, class_="hidden"),
        element("thead", element("tr", *columns)),
        *bodies,
        class_="figures",
    )
    return scrolling(table, caption)


def _row(row: Row) -> Markup:
    label, values = row
    return element("tr", element("th", scenario_words(label), scope="row"), *map(_cell, values))


def _cell(value: float | int) -> Markup:
    if isinstance(value, int):
        return element("td", grouped(value), class_="number")
    text = element("span", ABSENT, class_="absent") if math.isnan(value) else percent(value)
    return element("td", text, class_="number")
