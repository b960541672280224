import json
import shutil

import pytest
import torch

from mobanet.data.description import DataDescription
from mobanet.errors import UserError
from mobanet.evaluation.bootstrap import bootstrap
from mobanet.evaluation.boundary import boundary_scores
from mobanet.evaluation.calibration import BINS, Reliability
from mobanet.evaluation.details import DetailScores
from mobanet.evaluation.jaccard import SoftScores
from mobanet.evaluation.metrics import scores
from mobanet.evaluation.objects import ObjectScores
from mobanet.evaluation.read_back import read_evaluation
from mobanet.evaluation.results import result_files
from mobanet.evaluation.scenario_table import ScenarioResults, scenario_csv, scenario_table
from mobanet.rasters.contents import Classes, Modality
from mobanet.scenarios.failure import Failure
from mobanet.scenarios.scenario import scenarios_of

CLASSES = Classes(("road", "house", "mud"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), averaged=("road", "house"))
DATA = DataDescription("toy", (Modality("rgb", ("red",)), Modality("dsm", ("height",))), {}, CLASSES)
MATRICES = {"rgb": [[8, 2, 0], [2, 8, 0], [0, 0, 0]], "rgb+dsm": [[10, 0, 0], [0, 9, 1], [0, 0, 0]]}
PROTOCOL = {"data": "toy, 1 test tile", "labels": "full"}


def results(names=tuple(MATRICES), soft=False, told=False):
    matrices = {name: torch.tensor(MATRICES[name]) for name in names}
    failures = (Failure({"rgb": 0.1, "dsm": 0.2}),)
    more = {}
    if told:  # as from a test that has several tiles
        counts = torch.zeros(3, BINS, dtype=torch.int64)
        counts[:, 9] = torch.tensor([20, 15, 12 * 2**30])
        tiles = {name: torch.stack([matrix, matrix.flip(0)]) for name, matrix in matrices.items()}
        more = {
            "reliability": dict.fromkeys(names, Reliability.of(counts)),
            "temperatures": {names[-1]: 1.5},
            "calibrated": {names[-1]: Reliability.of(counts.flip(1))},
            "failures": failures,
            "tiles": ["a", "b"],
            "intervals": bootstrap(tiles, CLASSES, "rgb+dsm", failures),
            "details": {name: details(number) for number, name in enumerate(names)},
        }
    return ScenarioResults(
        scenarios=scenarios_of(["rgb", "dsm"]),
        classes=CLASSES,
        scores={name: scores(matrix, CLASSES) for name, matrix in matrices.items()},
        matrices=matrices,
        unmasked=dict.fromkeys(names, 2 if len(names) > 1 else 0),
        windows=5 if len(names) > 1 else 0,
        protocol=PROTOCOL,
        soft={name: SoftScores(0.5, 0.1, 0.6, 3) for name in names} if soft else {},
        **more,
    )


def details(number):
    """Of one scenario; a class has no boundary, and no mud was mapped."""
    counts = [[9, 8, 5 + number, 4, 4, 3, 2], [6, 7, 5, 3, 2, 2, 1], [0] * 7]
    distances = (("3 px", "3px", (3, 3)), ("0.5 m", "0.5m", (9, 10)))
    boundary = tuple(boundary_scores(*distance, counts, CLASSES) for distance in distances)
    return DetailScores(boundary, (ObjectScores("house", 9, 8 + number, 7, 2, 1), ObjectScores("mud", 3, 0, 0, 0, 0)))


def written(folder, given, stage="test"):
    place = folder / ("test" if stage == "test" else ".")
    for name, text in result_files(stage, given, 4).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return folder


@pytest.mark.parametrize("names", [("rgb", "rgb+dsm"), ("rgb", "dsm", "rgb+dsm"), ("rgb+dsm",)])
def test_intervals_calibration_and_expectation_come_back(names, tmp_path, monkeypatch):
    monkeypatch.setitem(MATRICES, "dsm", MATRICES["rgb"])
    given = results(names, told=True)
    found = read_evaluation(written(tmp_path, given), "test", DATA).results
    assert scenario_csv(found).splitlines()[:2] == scenario_csv(given).splitlines()[:2]
    assert repr(found.reliability) == repr(given.reliability)
    assert (found.temperatures, repr(found.calibrated)) == (given.temperatures, repr(given.calibrated))
    assert (found.tiles, found.intervals.scenarios) == (["a", "b"], given.intervals.scenarios)
    assert repr(found.details) == repr(given.details)
    if len(names) > 1:
        assert scenario_csv(found) == scenario_csv(given)
        assert scenario_table(found) == scenario_table(given)


def test_a_file_of_an_earlier_version_says_nothing_of_tiles_calibration_and_failures(tmp_path):
    path = written(tmp_path, results(told=True)) / "test/test_scenarios.json"
    content = json.loads(path.read_text())
    for name in ("tiles", "bootstrap", "failures"):
        del content[name]
    for name in ("expected", "deviation"):
        del content["summary"][name]
    for figures in (*content["scenarios"].values(), *filter(None, content["summary"].values())):
        for name in ("miou_interval", "ece", "calibration", "calibrated", "temperature", "ece_calibrated"):
            figures.pop(name, None)
        for name in ("fwiou", "details", "boundary", "objects"):
            figures.pop(name, None)
        for each in figures["classes"].values():
            del each["users_accuracy"], each["producers_accuracy"]
    path.write_text(json.dumps(content))
    found = read_evaluation(tmp_path, "test", DATA).results
    assert (found.tiles, found.intervals, found.failures, found.reliability) == (None, None, (), {})
    assert scenario_csv(found) == scenario_csv(results())
    assert found.notes() == results().notes()


@pytest.mark.parametrize("soft", [False, True])
def test_what_an_evaluation_wrote_comes_back(soft, tmp_path):
    given = results(soft=soft)
    found = read_evaluation(written(tmp_path, given), "test", DATA)
    assert (found.stage, found.epoch) == ("test", 4)
    assert scenario_csv(found.results) == scenario_csv(given)
    assert found.results.notes() == given.notes()
    assert all(torch.equal(found.results.matrices[name], given.matrices[name]) for name in MATRICES)


def test_a_single_scenario_and_a_validation_come_back_too(tmp_path):
    given = results(("rgb+dsm",))
    found = read_evaluation(written(tmp_path, given, "validation"), "validation", DATA)
    assert (found.stage, found.epoch) == ("validation", 4)
    assert scenario_csv(found.results) == scenario_csv(given)
    assert torch.equal(found.results.matrices["rgb+dsm"], given.matrices["rgb+dsm"])
    assert read_evaluation(tmp_path, "test", DATA) is None


GONE = object()


def edited(path, keys, value):
    """The JSON file with one entry changed, or dropped."""
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    path.write_text(json.dumps(content))


WRONG = {
    "protocol gone": (("protocol",), GONE),
    "accuracy gone": (("scenarios", "rgb", "oa"), GONE),
    "class gone": (("scenarios", "rgb", "classes", "road"), GONE),
    "matrix gone": (("scenarios", "rgb", "confusion"), GONE),
    "no scenario": (("scenarios",), {}),
    "foreign scenario": (("scenarios", "lidar"), {"oa": 1}),
    "a word for a number": (("scenarios", "rgb", "miou"), "high"),
    "a short matrix": (("scenarios", "rgb", "confusion"), [[1, 2], [3, 4]]),
    "negative counts": (("scenarios", "rgb", "confusion"), [[1, 2, 0], [3, -4, 0], [0, 0, 0]]),
    "a list": (("protocol",), ["full"]),
    "bins gone": (("scenarios", "rgb", "calibration", "pixels"), [1, 2]),
    "half an interval": (("summary", "mean", "miou_interval"), [0.5]),
    "boundaries of other classes": (("scenarios", "rgb", "boundary", 0, "classes"), {"road": {"counts": [0] * 7}}),
    "boundaries of one scenario alone": (("scenarios", "rgb", "boundary"), GONE),
    "a boundary without counts": (("scenarios", "rgb", "boundary", 1, "classes", "house"), {"iou": 0.5}),
    "half a count": (("scenarios", "rgb", "boundary", 1, "classes", "house", "counts"), [1.5] * 7),
    "a count too few": (("scenarios", "rgb", "boundary", 1, "classes", "house", "counts"), [1] * 6),
    "boundaries in a word": (("scenarios", "rgb", "boundary"), "none"),
    "objects of nothing": (("scenarios", "rgb", "objects", 0, "class"), "tree"),
    "fewer than no objects": (("scenarios", "rgb", "objects", 0, "matched"), -1),
    "a failure of nothing": (("failures",), [{"rgb": 0.1}]),
}
BROKEN = {"cut short": lambda content: content[:100], "no text": lambda content: b"\xff\xfe\x00"}


@pytest.mark.parametrize("case", [*WRONG, *BROKEN])
def test_damaged_results_are_named_in_one_sentence(case, tmp_path):
    path = written(tmp_path, results(told=True)) / "test/test_scenarios.json"
    if case in WRONG:
        edited(path, *WRONG[case])
    else:
        path.write_bytes(BROKEN[case](path.read_bytes()))
    with pytest.raises(UserError) as caught:
        read_evaluation(tmp_path, "test", DATA)
    assert str(caught.value).startswith(f"{path} is damaged (")
    assert str(caught.value).endswith("run mobanet.test again.")


def test_a_single_scenarios_matrix_that_is_gone_is_named(tmp_path):
    folder = written(tmp_path, results(("rgb",)))
    (folder / "test/test_confusion.csv").unlink()
    with pytest.raises(UserError, match=r"test\.json is damaged .*test_confusion\.csv"):
        read_evaluation(folder, "test", DATA)
    shutil.rmtree(folder / "test")
    assert read_evaluation(folder, "test", DATA) is None
