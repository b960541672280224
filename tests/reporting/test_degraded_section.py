"""The report's part about degraded sensors, and files of them that are damaged."""

import json

import pytest

from mobanet.data.description import DataDescription
from mobanet.errors import UserError
from mobanet.evaluation.degraded_table import degraded_csv, degraded_json
from mobanet.rasters.contents import Modality
from mobanet.reporting.degraded_section import degraded_section, read_degraded
from tests.reporting.html_tree import parse
from tests.unit.test_degraded_table import CLASSES, SENSORS, results

DATA = DataDescription("toy", (Modality("rgb", ("red",)), Modality("dsm", ("height",), "elevation")), {}, CLASSES)


def written(folder, given):
    path = folder / "test" / "test_degraded.json"
    path.parent.mkdir()
    path.write_text(degraded_json(given))
    return path


@pytest.mark.parametrize("whole", [5, None])
def test_what_a_test_wrote_comes_back_and_is_shown(whole, tmp_path):
    assert read_degraded(tmp_path, DATA) is None
    given = results(whole=whole)
    written(tmp_path, given)
    found = read_degraded(tmp_path, DATA)
    assert degraded_csv(found) == degraded_csv(given)
    shown = parse(f"<div>{degraded_section(found)}</div>")
    head, *rows = shown.one("table").rows()
    columns = ["mIoU", *["drop"] * bool(whole)]
    assert head == ["sensor", "degradation", "mild", *columns, "medium", *columns, "strong", *columns]
    assert [row[:3] for row in rows[:2]] == [["rgb", "blocks", "25 %"], ["rgb", "gaussian", "0.1"]]
    assert rows[0][3 : 4 + bool(whole)] == ["81.82", "8.66"][: 1 + bool(whole)]
    assert [row[:2] for row in rows[-2:]] == [["mean", "RMM (blocks)"], ["mean", "NM (gaussian)"]]
    charts = shown.all("figure", class_="chart")
    assert [chart.one("figcaption").text for chart in charts] == [
        "blocks (RMM), mIoU %",
        "gaussian (NM), mIoU %",
        "offset, mIoU %",
    ]
    assert ("rgb+dsm undegraded: 90.48" in shown.text) == bool(whole)
    assert "seed 3" in shown.text


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("degraded"),
        lambda content: content.update(degraded=[]),
        lambda content: content.update(classes=["a", "b", "c"]),
        lambda content: content["degraded"].pop(),
        lambda content: content["degraded"].append(content["degraded"][0]),
        lambda content: content["degraded"][0].update(degradation="fog"),
        lambda content: content["degraded"][0].update(modality="nir"),
        lambda content: content["degraded"][0].update(severity=3),
        lambda content: content["degraded"][0].update(confusion=[[1, 2], [3, 4]]),
        lambda content: content["degraded"][0].update(confusion=[[-1, 0, 0]] * 3),
        lambda content: content["degraded"][0].update(confusion="x"),
        lambda content: content["undegraded"].update(confusion=[[10**40, 0, 0]] * 3),
    ],
)
def test_a_damaged_file_is_named(damage, tmp_path):
    path = written(tmp_path, results(SENSORS))
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        read_degraded(tmp_path, DATA)
    sentence = str(error.value)
    assert sentence.startswith(f"{path} is damaged (")
    assert sentence.endswith("; run mobanet.test --degrade again, or remove it.")
