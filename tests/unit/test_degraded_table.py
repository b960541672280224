"""Tables and figure of degraded sensors say what the confusion matrices say."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mobanet.evaluation.degradations import DEGRADATIONS
from mobanet.evaluation.degraded_table import (
    DegradedFigure,
    DegradedResults,
    degraded_csv,
    degraded_json,
    degraded_table,
)
from mobanet.evaluation.metrics import scores
from mobanet.figures.canvas import write_png
from mobanet.figures.degraded import degraded_figure
from mobanet.rasters.contents import Classes

CLASSES = Classes(("road", "house", "mud"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), averaged=("road", "house"))
SENSORS = {"blocks": ("rgb", "dsm"), "gaussian": ("rgb", "dsm"), "offset": ("dsm",)}


def matrix(wrong):
    return torch.tensor([[100 - wrong, wrong, 0], [wrong, 100 - wrong, 0], [0, 0, 0]])


def results(sensors=None, whole=5, wrong=10):
    """Each severity has more wrong pixels than the one before, and each sensor more than that before."""
    figures = []
    for name, modalities in (sensors or SENSORS).items():
        for k, modality in enumerate(modalities):
            for level, severity in enumerate(DEGRADATIONS[name].severities):
                counts = matrix(wrong + 5 * level + 3 * k)
                figures.append(DegradedFigure(modality, DEGRADATIONS[name], severity, scores(counts, CLASSES), counts))
    protocol = {"data": "toy, 1 test tile", "degradations": "one sensor at a time; seed 3"}
    return DegradedResults(figures, "rgb+dsm", None if whole is None else matrix(whole), CLASSES, protocol)


def iou(wrong):
    return (100 - wrong) / (100 + wrong)


def test_rows_go_sensor_by_sensor_and_the_literatures_measures_are_means_over_sensors():
    given = results()
    rows = given.rows()
    assert [(row.modality, row.label) for row in rows] == [
        ("rgb", "blocks"),
        ("rgb", "gaussian"),
        ("dsm", "blocks"),
        ("dsm", "gaussian"),
        ("dsm", "offset"),
    ]
    assert rows[0].severities == ("25 %", "50 %", "75 %")
    assert rows[4].severities == ("0.5 m", "5 m", "45 m")
    assert rows[0].mious == pytest.approx([iou(10), iou(15), iou(20)])
    assert rows[0].drops == pytest.approx([iou(5) - iou(10), iou(5) - iou(15), iou(5) - iou(20)])
    rmm, nm = given.means()
    assert rmm.mious == pytest.approx([(iou(10) + iou(13)) / 2, (iou(15) + iou(18)) / 2, (iou(20) + iou(23)) / 2])
    assert (rmm.label, nm.label) == ("RMM (blocks)", "NM (gaussian)")
    assert results({"haze": ("rgb",)}).means() == []


@pytest.mark.parametrize("whole", [5, None])
def test_the_table_reads_well_at_any_width(whole):
    given = results(whole=whole)
    text = degraded_table(given)
    line = next(line for line in text.splitlines() if line.startswith(" rgb blocks "))
    first = ["rgb", "blocks", "25", "%", f"{100 * iou(10):.2f}"]
    assert line.split()[: 6 if whole else 5] == first + ([f"{100 * (iou(5) - iou(10)):.2f}"] if whole else [])
    assert ("rgb+dsm undegraded: 90.48" in text) == bool(whole)
    assert ("no drop, as rgb+dsm was not evaluated" in text) == (not whole)
    assert "degradations: one sensor at a time; seed 3" in text
    assert "blocks: square blocks" in text
    narrow = degraded_table(given, 50)
    shown = [line for line in narrow.splitlines() if line.startswith(" ")]
    assert max(map(len, shown)) <= 50
    assert narrow.count("\n rgb blocks ") == 3


def test_files_hold_every_figure():
    given = results()
    first, *rows = csv.DictReader(io.StringIO(degraded_csv(given)))
    assert (first["modality"], first["degradation"], first["severity"], first["drop"]) == ("", "none", "", "0.000000")
    assert len(rows) == 15
    assert (rows[-1]["modality"], rows[-1]["degradation"], rows[-1]["severity"]) == ("dsm", "offset", "45")
    assert float(rows[-1]["miou"]) == pytest.approx(iou(20), abs=1e-6)
    assert float(rows[-1]["drop"]) == pytest.approx(iou(5) - iou(20), abs=1e-6)
    assert rows[-1]["iou_mud"] == ""
    content = json.loads(degraded_json(given))
    assert content["undegraded"]["miou"] == pytest.approx(iou(5))
    assert content["degraded"][-1]["confusion"] == matrix(20).tolist()
    assert content["means"]["RMM"]["miou"] == pytest.approx(list(given.means()[0].mious))
    assert json.loads(degraded_json(results(whole=None)))["undegraded"] is None
    assert given.to_log()["test/degraded/dsm/gaussian/0.5/miou"] == pytest.approx(iou(23))


def test_absent_figures_are_absent():
    given = results()
    nothing = torch.zeros(3, 3, dtype=torch.int64)
    given = replace(given, figures=[replace(f, matrix=nothing, scores=scores(nothing, CLASSES)) for f in given.figures])
    assert "absent" in degraded_table(given)
    assert json.loads(degraded_json(given))["degraded"][0]["miou"] is None
    degraded_figure(given).canvas.draw()


@pytest.mark.parametrize("sensors", [SENSORS, {"haze": ("rgb",)}, dict.fromkeys(DEGRADATIONS, ("rgb", "dsm"))])
@pytest.mark.parametrize("whole", [5, None])
def test_the_figure_has_a_panel_a_degradation_with_all_points_inside(sensors, whole, tmp_path):
    given = results(sensors, whole)
    figure = degraded_figure(given)
    figure.canvas.draw()
    assert [axes.get_title().split()[0] for axes in figure.axes] == list(sensors)
    for axes in figure.axes:
        low, high = axes.get_ylim()
        values = np.concatenate([line.get_ydata() for line in axes.get_lines()]).astype(float)
        assert low == 0
        assert values.max() < high
        assert len(axes.get_lines()) == len(sensors[axes.get_title().split()[0]]) + bool(whole)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[: len(given.modalities())] == given.modalities()
    assert ("rgb+dsm, undegraded: 90.5" in labels) == bool(whole)
    write_png(figure, tmp_path / "f.png", dpi=200)
    assert (tmp_path / "f.png").stat().st_size > 5000
    assert math.isnan(given.drop(0.5)) != bool(whole)
