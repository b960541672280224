import json
import math
from dataclasses import replace

import pytest
import torch

from mobanet.errors import UserError
from mobanet.evaluation.metrics import scores
from mobanet.evaluation.results import result_files
from mobanet.evaluation.scenario_table import ScenarioResults, rows_of, scenario_csv, scenario_json, scenario_table
from mobanet.evaluation.specialists import read_specialists
from mobanet.rasters.contents import Classes
from mobanet.scenarios.scenario import scenarios_of

CLASSES = Classes(("road", "house"), ((1, 1, 1), (2, 2, 2)), averaged=("road", "house"))
PROTOCOL = {"data": "toy, 2 test tiles", "labels": "full"}
MODALITIES = ("rgb", "dsm")


def measured(
    right, names=("rgb", "dsm", "rgb+dsm"), protocol=PROTOCOL, classes=CLASSES, pixels=100, modalities=MODALITIES
):
    """A test in which so many of 100 pixels of each class are right, by scenario."""
    matrices = {n: torch.tensor([[k, pixels - k], [pixels - k, k]]) for n, k in zip(names, right, strict=True)}
    return ScenarioResults(
        scenarios=scenarios_of(modalities),
        classes=classes,
        scores={name: scores(matrix, classes) for name, matrix in matrices.items()},
        matrices=matrices,
        unmasked=dict.fromkeys(matrices, 0),
        windows=4,
        protocol=protocol,
    )


def miou(right):
    return right / (200 - right)


@pytest.fixture
def runs(tmp_path):
    """Run folders with tests of a model trained with all sensors there, and of specialists for rgb and dsm."""

    def write(name, results):
        folder = tmp_path / name
        for file, text in result_files("test", results, 0).items():
            path = folder / "test" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(folder)

    write("full", measured([20, 40, 90]))
    write("rgb", measured([60], ["rgb"], modalities=("rgb",)))  # has no other sensor, and so no other scenario
    write("dsm", measured([10, 50, 80]))  # trained with all of them, but in one scenario
    return write, {name: str(tmp_path / name) for name in ("full", "rgb", "dsm")}


def compared(given, results):
    specialists = read_specialists(given, MODALITIES, CLASSES)
    specialists.check(results.protocol)
    return replace(results, regained=specialists.regained(results.scores, "rgb+dsm"))


def test_the_share_is_that_of_the_gap_between_the_full_model_and_the_specialist(runs):
    found = compared(runs[1], measured([40, 45, 88]))
    rgb = (miou(40) - miou(20)) / (miou(60) - miou(20))
    dsm = (miou(45) - miou(40)) / (miou(50) - miou(40))
    assert found.regained.shares == pytest.approx({"rgb": rgb, "dsm": dsm})
    won, gap = miou(40) + miou(45) - miou(20) - miou(40), miou(60) + miou(50) - miou(20) - miou(40)
    assert found.regained.incomplete == pytest.approx(won / gap)
    rows = {row.label: row.regained for row in rows_of(found)}
    assert rows["rgb"] == rows["worst (rgb)"] == pytest.approx(rgb)
    assert (rows["rgb+dsm"], rows["mean"]) == (None, None)
    assert rows["mean of incomplete"] == pytest.approx(won / gap)
    text = scenario_table(found)
    assert f" {100 * rgb:.2f} " in next(line for line in text.splitlines() if line.startswith(" rgb "))
    assert "gap: share that is regained of the gap between a model trained with all sensors there" in text
    content = scenario_json(found, 0)
    assert content["scenarios"]["dsm"]["gap_regained"] == pytest.approx(dsm)
    assert "gap_regained" not in content["scenarios"]["rgb+dsm"]
    assert scenario_csv(found).splitlines()[1].endswith(f",{rgb:.6f}")
    assert "gap" not in scenario_table(measured([40, 45, 88])) + scenario_csv(measured([40, 45, 88]))


def test_a_json_file_can_be_given_and_one_specialist_is_enough(runs):
    given = {"full": runs[1]["full"] + "/test/test_scenarios.json", "rgb": runs[1]["rgb"] + "/test/test.json"}
    found = compared(given, measured([60, 45, 88]))
    assert found.regained.shares == pytest.approx({"rgb": 1.0})
    typed = f"{{full:{given['full']},rgb:{given['rgb']}}}"  # without YAML's blanks
    assert compared(typed, measured([60, 45, 88])).regained.shares == found.regained.shares
    assert math.isnan(found.regained.incomplete)  # unless each has a specialist


def test_a_specialist_that_is_no_better_leaves_no_gap(runs):
    write, given = runs
    write("rgb", measured([20], ["rgb"], modalities=("rgb",)))
    found = compared(given, measured([40, 45, 88]))
    assert math.isnan(found.regained.shares["rgb"])
    assert scenario_json(found, 0)["scenarios"]["rgb"]["gap_regained"] is None


def test_what_does_not_fit_is_refused_by_name(runs, tmp_path):
    write, given = runs
    ours = measured([40, 45, 88])

    def refusal(**changed):
        with pytest.raises(UserError) as caught:
            compared({**given, **changed}, ours)
        return str(caught.value)

    eroded = write("eroded", measured([60], ["rgb"], {**PROTOCOL, "labels": "eroded"}, modalities=("rgb",)))
    told = refusal(rgb=eroded)
    assert told.startswith(
        f"--scenarios.specialists rgb: {eroded}/test/test.json was measured with labels: eroded, and"
    )
    other = Classes(("road", "tree"), CLASSES.colours, averaged=("road",))
    trees = write("trees", measured([60], ["rgb"], classes=other, modalities=("rgb",)))
    assert "is of the classes road, tree, not of road, house" in refusal(rgb=trees)
    assert "was not tested with dsm" in refusal(dsm=given["rgb"])
    assert f"--scenarios.specialists dsm: {tmp_path}/none has no test in it" in refusal(dsm=str(tmp_path / "none"))
    (tmp_path / "bad.json").write_text(json.dumps({"scenarios": [1]}))
    assert "bad.json is no test (" in refusal(dsm=str(tmp_path / "bad.json"))
    assert "--scenarios.specialists names lidar, which is no scenario" in refusal(lidar=given["rgb"])
    for lacking, words in (("full", "no full: FILE"), ("rgb", "no test of a specialist")):
        some = {name: path for name, path in given.items() if name != lacking and name != "dsm"}
        with pytest.raises(UserError, match=words):
            read_specialists(some, MODALITIES, CLASSES)


def test_other_test_pixels_are_noticed(runs):
    write, given = runs
    write("rgb", measured([60], ["rgb"], pixels=99, modalities=("rgb",)))
    specialists = read_specialists(given, MODALITIES, CLASSES)
    assert specialists.unlike((100, 100)) == ["rgb"]
    assert specialists.unlike((99, 99)) == ["full", "dsm"]
