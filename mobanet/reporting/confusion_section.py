"""Confusion matrices, one scenario at a time; a choice of scenario and of unit that works without a script."""

from torch import Tensor

from mobanet.evaluation.read_back import Evaluated
from mobanet.rasters.contents import Classes
from mobanet.reporting.markup import Markup, element, grouped, scenario_words, scrolling, swatch

_STRONG = 0.6
"""Above this share a cell is filled so strongly that its text changes from ink to paper."""


def confusion_section(evaluated: Evaluated) -> Markup:
    """A radio button and a matrix for every scenario, the fullest chosen.

    Args:
        evaluated: one scenario or more.
    """
    results = evaluated.results
    parts = [element("legend", "Scenario", class_="hidden")]
    for number, (name, matrix) in enumerate(results.matrices.items()):
        key = f"confusion-{number}"
        chosen = name == results.fullest
        # in this order: the style sheet shows the matrix whose button stands before it and is checked
        parts.append(element("input", type="radio", name="confusion", id=key, checked=chosen, class_="hidden"))
        parts.append(element("label", scenario_words(name), for_=key))
        parts.append(element("div", _matrix(name, matrix, results.classes), class_="matrix"))
    unit = "confusion-unit"
    # before the matrices: what it changes are siblings behind it
    switch = element("input", type="checkbox", id=unit)
    label = element("label", "pixels instead of per cent of the row", for_=unit, class_="switch")
    return element("div", switch, label, element("fieldset", *parts, class_="choice"), class_="confusion")


def _matrix(name: str, matrix: Tensor, classes: Classes) -> Markup:
    columns = [element("th", _class(classes, k), scope="col") for k in range(len(classes))]
    head = element(
        "tr", element("th", "truth \\ prediction", scope="col"), *columns, element("th", "pixels", scope="col")
    )
    rows = []
    for k, counts in enumerate(matrix.tolist()):
        total = sum(counts)
        cells = [_cell(classes, k, j, count, total) for j, count in enumerate(counts)]
        pixels = element("td", grouped(total), class_="total")
        rows.append(element("tr", element("th", _class(classes, k), scope="row"), *cells, pixels))
    caption = element("caption", f"{name}: truth in rows, prediction in columns")
    table = element("table", caption, element("thead", head), element("tbody", *rows), class_="heat")
    return scrolling(table, f"Confusion matrix of {name}")


def _class(classes: Classes, k: int) -> Markup:
    return element("span", swatch(classes.colours[k]), classes.names[k], class_="class")


def _cell(classes: Classes, k: int, j: int, count: int, total: int) -> Markup:
    share = count / total if total else 0.0
    shown = "\N{EN DASH}" if not total else "0" if not count else f"{100 * share:.1f}"
    words = f"{classes.names[k]} called {classes.names[j]}: {grouped(count)} of {grouped(total)} pixels, {shown} %"
    kind = "right" if j == k else "wrong"
    return element(
        "td",
        element("span", shown, class_="share"),
        element("span", grouped(count), class_="count"),
        class_=f"{kind} strong" if share > _STRONG else kind,
        style=f"--v:{share:.3f}",
        title=words,
    )
