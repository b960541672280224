"""Boundaries and objects: the means in every scenario, then each class and object of the fullest one."""

from mobanet.evaluation.detail_table import detail_notes
from mobanet.evaluation.read_back import Evaluated
from mobanet.evaluation.scenario_table import rows_of
from mobanet.reporting.figure_table import figure_table
from mobanet.reporting.markup import Markup, element, joined, swatch


def detail_section(evaluated: Evaluated) -> Markup:
    """Tables with their notes.

    Args:
        evaluated: one scenario or more, of which boundaries or objects were measured.
    """
    results = evaluated.results
    count = len(results.scores)
    rows = rows_of(results) if count > 1 else rows_of(results)[:1]
    heads = [head.replace("\n", " ") for head in results.detail_heads().values()]
    parts = [
        figure_table(
            "scenario",
            heads,
            [(row.label, [*row.details.values()]) for row in rows],
            "Boundaries and objects in every scenario",
            count,
        )
    ]
    fullest = results.details[results.fullest]
    if fullest.boundary:
        parts += [element("h3", f"Boundaries of each class, {results.fullest}"), _boundaries(evaluated)]
    if fullest.objects:
        columns = ["precision", "recall", "F1", "in the truth", "in the map", "matched", "cut (truth)", "cut (map)"]
        objects = [
            (o.of, [o.precision, o.recall, o.f1, o.truth, o.mapped, o.matched, o.truth_cut, o.map_cut])
            for o in fullest.objects
        ]
        table = figure_table("class", columns, objects, f"Objects, {results.fullest}", len(objects))
        parts += [element("h3", f"Objects, {results.fullest}"), table]
    lines = ["per cent; absent where neither map has any", *detail_notes(results.details)]
    return joined(*parts, element("ul", *(element("li", line) for line in lines), class_="notes"))


def _boundaries(evaluated: Evaluated) -> Markup:
    """Boundary IoU and F1 of each class at each distance."""
    results = evaluated.results
    rows = []
    for each in results.details[results.fullest].boundary:
        rows.append((f"IoU {each.distance}", [*each.iou]))
        rows.append((f"F1 {each.distance}", [*each.f1]))
    names, colours = results.classes.names, results.classes.colours
    heads = [joined(swatch(colour), name) for name, colour in zip(names, colours, strict=True)]
    return figure_table("boundary", heads, rows, f"Boundaries of each class, {results.fullest}", len(rows))
