"""Boundaries and objects: the means in every scenario, then each class and object of the fullest one."""

from markupsafe import Markup

from mobanet.evaluation.boundary import BoundaryScores
from mobanet.evaluation.detail_table import detail_notes
from mobanet.evaluation.read_back import Evaluated
from mobanet.evaluation.scenario_table import rows_to_show
from mobanet.reporting.figure_table import figure_table
from mobanet.reporting.markup import render


def detail_section(evaluated: Evaluated) -> Markup:
    """Tables with their notes, of an evaluation that measured boundaries or objects."""
    results = evaluated.results
    count = len(results.scores)
    rows = rows_to_show(results)
    heads = [head.replace("\n", " ") for head in results.detail_heads().values()]
    means = [(row.label, [*row.details.values()]) for row in rows]
    parts = [("", figure_table("scenario", heads, means, "Boundaries and objects in every scenario", count))]
    fullest = results.details[results.fullest]
    if fullest.boundary:
        words = f"Boundaries of each class, {results.fullest}"
        each = [(f"{kind} {of.distance}", [*figures]) for of in fullest.boundary for kind, figures in _kinds(of)]
        parts.append((words, figure_table("boundary", [], each, words, len(each), results.classes)))
    if fullest.objects:
        words, columns = f"Objects, {results.fullest}", ["precision", "recall", "F1"]
        columns += ["in the truth", "in the map", "matched", "cut (truth)", "cut (map)"]
        # shares are floats and counts whole numbers, by which the table words them
        objects = [(each.of, [*each.shares().values(), *each.counts().values()]) for each in fullest.objects]
        parts.append((words, figure_table("class", columns, objects, words, len(objects))))
    lines = ["per cent; absent where neither map has any", *detail_notes(results.details)]
    return render("details", parts=parts, lines=lines)


def _kinds(scores: BoundaryScores) -> tuple[tuple[str, tuple[float, ...]], ...]:
    return ("IoU", scores.iou), ("F1", scores.f1)
