"""Confusion matrices, one scenario at a time; a choice of scenario and of unit that works without a script."""

from typing import Any

from markupsafe import Markup
from torch import Tensor

from mobanet.evaluation.read_back import Evaluated
from mobanet.reporting.markup import grouped, render

_STRONG = 0.6
"""Above this share a cell is filled so strongly that its text changes from ink to paper."""


def confusion_section(evaluated: Evaluated) -> Markup:
    """A radio button and a matrix for every scenario, the fullest chosen."""
    results = evaluated.results
    matrices = {name: _rows(matrix, results.classes.names) for name, matrix in results.matrices.items()}
    # all matrices are in the page, and style alone shows one: it is to work without a script
    return render("confusion", matrices=matrices, fullest=results.fullest, classes=results.classes)


def _rows(matrix: Tensor, names: tuple[str, ...]) -> list[tuple[int, list[dict[str, Any]]]]:
    """Of every row its sum and its cells."""
    return [
        (sum(counts), [_cell(names[k], names[j], count, sum(counts)) for j, count in enumerate(counts)])
        for k, counts in enumerate(matrix.tolist())
    ]


def _cell(truth: str, called: str, count: int, total: int) -> dict[str, Any]:
    share = count / total if total else 0.0
    # a dash where the truth has none of the class: a share of nothing, and not 0
    shown = "\N{EN DASH}" if not total else "0" if not count else f"{100 * share:.1f}"
    words = f"{truth} called {called}: {grouped(count)} of {grouped(total)} pixels, {shown} %"
    kind = ("right" if truth == called else "wrong") + (" strong" if share > _STRONG else "")
    return {"kind": kind, "share": share, "shown": shown, "count": count, "words": words}
