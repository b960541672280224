"""User's and producer's accuracy of each class in every scenario, and the IoU weighted by how frequent classes are."""

from markupsafe import Markup

from mobanet.evaluation.metrics import Scores
from mobanet.evaluation.read_back import Evaluated
from mobanet.evaluation.scenario_table import ACCURACIES, FWIOU, rows_to_show
from mobanet.reporting.figure_table import figure_table
from mobanet.reporting.markup import render


def accuracy_section(evaluated: Evaluated) -> Markup:
    """Two tables with their notes."""
    results = evaluated.results
    count, classes = len(results.scores), results.classes
    rows = rows_to_show(results)

    def users(figures: Scores) -> tuple[float, ...]:
        return figures.frequency_weighted_iou, *figures.users_accuracy

    heads = [FWIOU.replace(" ", "\N{NO-BREAK SPACE}")]
    user = [(row.label, users(row.figures)) for row in rows]
    producer = [(row.label, row.figures.producers_accuracy) for row in rows]
    return render(
        "accuracy",
        users=figure_table("scenario", heads, user, "User's accuracy of each class", count, classes),
        producers=figure_table("scenario", [], producer, "Producer's accuracy of each class", count, classes),
        notes=["per cent", ACCURACIES],
    )
