"""Tables of figures in which nothing is marked: a heading a row, and shares in per cent or counts."""

from collections.abc import Sequence

from markupsafe import Markup

from mobanet.plain.text_tables import percent
from mobanet.rasters.contents import Classes
from mobanet.reporting.markup import grouped, macro

Row = tuple[str, Sequence[float | int]]
"""What stands before a row, and its cells: floats are shares, whole numbers are counts."""


def figure_table(
    corner: str, heads: Sequence[str], rows: Sequence[Row], caption: str, summed: int, classes: Classes | None = None
) -> Markup:
    """A table that scrolls where it is wider than the page.

    Args:
        corner: heading of what stands before the rows.
        heads: of the cells.
        rows: as many cells each as there are headings.
        caption: what it shows, for those who do not see it.
        summed: number of the first row of a summary; as many as there are rows for none.
        classes: whose names and colours are the last headings; None for none.
    """
    named = [] if classes is None else [*zip(classes.names, classes.colours, strict=True)]
    # the second is the colour of a heading's swatch
    columns = [*((head, None) for head in heads), *named]
    words = [([label], [grouped(x) if isinstance(x, int) else percent(x) for x in each], "") for label, each in rows]
    return macro("parts", "table", caption, caption, [corner], columns, [words[:summed], words[summed:]])
