"""Degraded sensors: a table of what is left at each severity, and a chart a degradation."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup
from torch import Tensor

from mobanet.data.description import DataDescription
from mobanet.errors import UserError
from mobanet.evaluation.degradations import DEGRADATIONS, Degradation
from mobanet.evaluation.degraded_table import STRENGTHS, DegradedFigure, DegradedResults, DegradedRow
from mobanet.evaluation.metrics import scores
from mobanet.plain.json_files import read_json
from mobanet.plain.text_tables import percent
from mobanet.reporting.charts import Chart, Line, charts_of
from mobanet.reporting.markup import macro, render


def read_degraded(run: Path, data: DataDescription) -> DegradedResults | None:
    """What the latest test of a run found of degraded sensors; None where it degraded none.

    Raises:
        UserError: for a file that is damaged, or of other modalities or classes than the run.
    """
    path = run / "test" / "test_degraded.json"
    if not path.is_file():
        return None
    try:
        return _results(read_json(path), data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is damaged ({reason}); run mobanet.test --degrade again, or remove it.") from error


def _results(content: Mapping[str, Any], data: DataDescription) -> DegradedResults:
    names = [modality.name for modality in data.modalities]
    if content["classes"] != list(data.classes.names):
        raise ValueError("its classes are not the run's")
    figures = []
    for each in content["degraded"]:
        degradation = DEGRADATIONS[each["degradation"]]
        if each["modality"] not in names or each["severity"] not in degradation.severities:
            raise ValueError(f"{each['modality']} {degradation.name} {each['severity']} is nothing that is tested")
        matrix = _matrix(each["confusion"], len(data.classes))
        figures.append(
            DegradedFigure(each["modality"], degradation, float(each["severity"]), scores(matrix, data.classes), matrix)
        )
    whole = content["undegraded"]
    results = DegradedResults(
        figures=figures,
        full="+".join(names),
        whole=None if whole is None else _matrix(whole["confusion"], len(data.classes)),
        classes=data.classes,
        protocol={str(name): str(text) for name, text in content["protocol"].items()},
    )
    # tables have a column for each of three severities, whatever a file has
    if not figures or any(len(row.mious) != len(STRENGTHS) for row in results.rows()):
        raise ValueError("a degradation lacks a severity, or has one twice")
    return results


def _matrix(rows: Any, count: int) -> Tensor:
    matrix = torch.tensor(rows, dtype=torch.int64)
    if matrix.shape != (count, count) or (matrix < 0).any():
        raise ValueError(f"a confusion matrix is not {count} times {count} counts")
    return matrix


def degraded_section(results: DegradedResults) -> Markup:
    """The table with its notes, and the charts."""
    dropped = results.undegraded is not None
    heads = [(word, None) for strength in STRENGTHS for word in (strength, "mIoU", *["drop"] * dropped)]
    bodies = [[_row(row, dropped) for row in rows] for rows in (results.rows(), results.means())]
    label, caption = "Figures of every degraded sensor", "mIoU in per cent with one sensor degraded."
    table = macro("parts", "table", label, caption, ["sensor", "degradation"], heads, bodies)
    whole = results.undegraded
    lines = [] if whole is None else [f"{results.full} undegraded: {percent(whole.mean_iou)}"]
    lines += [*results.notes(), results.protocol.get("degradations", "")]
    charts = charts_of(degraded_charts(results))
    return render("degraded", table=table, lines=list(filter(None, lines)), charts=charts)


def degraded_charts(results: DegradedResults) -> list[Chart]:
    """One a degradation: mIoU over severities, a line a sensor; those without a figure are left out."""
    whole = math.nan if results.undegraded is None else 100 * results.undegraded.mean_iou
    charts = []
    for degradation in results.degradations():
        rows = [row for row in results.rows() if row.label == degradation.name]
        lines = [
            Line(row.modality, degradation.severities, [100 * miou for miou in row.mious])
            for row in rows
            if not all(map(math.isnan, row.mious))
        ]
        if lines:
            level, label = (None, "") if math.isnan(whole) else (whole, f"{results.full}, undegraded")
            charts.append(Chart(_title(degradation), "severity", lines, 0, level, label, degradation.meaning))
    return charts


def _title(degradation: Degradation) -> str:
    measure = f" ({degradation.measure})" if degradation.measure else ""
    return f"{degradation.name}{measure}, mIoU %"


def _row(row: DegradedRow, dropped: bool) -> tuple[list[str], list[str], str]:
    cells: list[str] = []
    for words, miou, drop in zip(row.severities, row.mious, row.drops, strict=True):
        # a drop below 0 is a gain
        cells += [words, *(percent(x).replace("-", "\N{MINUS SIGN}") for x in [miou, drop][: 1 + dropped])]
    return [row.modality or "mean", row.label], cells, ""
