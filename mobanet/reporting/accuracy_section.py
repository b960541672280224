"""User's and producer's accuracy of each class in every scenario, and the IoU weighted by how frequent classes are."""

from mobanet.evaluation.metrics import Scores
from mobanet.evaluation.read_back import Evaluated
from mobanet.evaluation.scenario_table import ACCURACIES, FWIOU, rows_of
from mobanet.reporting.figure_table import figure_table
from mobanet.reporting.markup import Markup, element, joined, swatch


def accuracy_section(evaluated: Evaluated) -> Markup:
    """Two tables with their notes.

    Args:
        evaluated: one scenario or more.
    """
    results = evaluated.results
    count = len(results.scores)
    rows = rows_of(results) if count > 1 else rows_of(results)[:1]
    classes = [joined(swatch(c), name) for name, c in zip(results.classes.names, results.classes.colours, strict=True)]

    def users(figures: Scores) -> tuple[float, ...]:
        return figures.frequency_weighted_iou, *figures.users_accuracy

    user = figure_table(
        "scenario",
        [FWIOU.replace(" ", "\N{NO-BREAK SPACE}"), *classes],
        [(row.label, users(row.figures)) for row in rows],
        "User's accuracy of each class",
        count,
    )
    producer = figure_table(
        "scenario",
        classes,
        [(row.label, row.figures.producers_accuracy) for row in rows],
        "Producer's accuracy of each class",
        count,
    )
    notes = element("ul", element("li", "per cent"), element("li", ACCURACIES), class_="notes")
    return joined(element("h3", "User's accuracy"), user, element("h3", "Producer's accuracy"), producer, notes)
