import csv
import json
import logging
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from mobanet.evaluation.calibration import BINS, Reliability
from mobanet.evaluation.evaluation import Found
from mobanet.evaluation.metrics import scores
from mobanet.rasters.contents import Classes
from mobanet.runs.results import ResultFiles
from mobanet.scenarios.failure import usual_failures
from mobanet.scenarios.scenario import scenarios_of

CLASSES = Classes(("road", "house", "clutter"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), averaged=("road", "house"))
MATRICES = {
    "rgb": [[8, 2, 0], [2, 8, 0], [0, 0, 0]],  # IoU 8/12 twice, no clutter anywhere
    "dsm": [[5, 5, 0], [5, 5, 0], [0, 0, 0]],  # IoU 5/15 twice
    "rgb+dsm": [[10, 0, 0], [0, 9, 1], [0, 0, 0]],  # IoU 1, 9/10, and a pixel wrongly called clutter
}
PLAIN = {"test.csv", "test.json", "test_confusion.csv", "test_calibration.png"}
SEVERAL = PLAIN | {
    "test_scenarios.csv",
    "test_scenarios.json",
    "test_scenarios.png",
    "confusion/test_rgb.csv",
    "confusion/test_dsm.csv",
    "confusion/test_rgb+dsm.csv",
}


def evaluated(*names, stage="test"):
    """What the callback reads of a module that was evaluated in these scenarios."""
    matrices = {name: torch.tensor(MATRICES[name]) for name in names}
    counts = torch.zeros(3, BINS, dtype=torch.int64)
    counts[:, 9] = torch.tensor([20, 15, 12 * 2**30])  # 20 pixels at 0.6 of which 15 are right
    found = Found(
        scores={name: scores(matrix, CLASSES) for name, matrix in matrices.items()},
        matrices=matrices,
        tiles={name: torch.stack([matrix, matrix]) for name, matrix in matrices.items()},
        tile_names=["a", "b"],
        reliability=dict.fromkeys(names, Reliability.of(counts)),
        calibrated={},
        windows=40,
        unmasked={name: 3 * (name == "dsm") for name in names},
    )
    return SimpleNamespace(
        scenarios=scenarios_of(("rgb", "dsm")),
        data=SimpleNamespace(classes=CLASSES),
        settings=SimpleNamespace(network=SimpleNamespace(scenario_statistics=[])),
        evaluation=SimpleNamespace(found={stage: found}, failures=usual_failures(("rgb", "dsm")), specialists=None),
        known_temperatures={},
    )


def trainer(zero=True, sanity_checking=False):
    data = SimpleNamespace(protocol=lambda stage: {"data": f"toy, 1 {stage} tile"})
    return SimpleNamespace(is_global_zero=zero, sanity_checking=sanity_checking, current_epoch=4, datamodule=data)


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def matrix(path):
    with path.open(newline="") as file:
        head, *body = csv.reader(file)
    assert head[1:] == [row[0] for row in body] == list(CLASSES.names)
    return [[int(count) for count in row[1:]] for row in body]


@pytest.fixture
def said():
    """What was told to the user so far."""
    told = []
    logger, handler = logging.getLogger("lightning.pytorch"), logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda: "\n".join(told)
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_test_of_several_scenarios_writes_all_of_them(tmp_path, said):
    ResultFiles(tmp_path).on_test_end(trainer(), evaluated(*MATRICES))
    assert files(tmp_path) == SEVERAL
    content = json.loads((tmp_path / "test_scenarios.json").read_text())
    assert content["epoch"] == 4
    assert content["protocol"] == {"data": "toy, 1 test tile"}
    for name, counts in MATRICES.items():
        assert content["scenarios"][name]["confusion"] == counts
        assert matrix(tmp_path / f"confusion/test_{name}.csv") == counts
    with (tmp_path / "test_scenarios.csv").open(newline="") as file:
        table = {row["scenario"]: row for row in csv.DictReader(file)}
    assert float(table["dsm"]["drop"]) == pytest.approx(0.95 - 1 / 3, abs=1e-6)
    assert float(table["mean"]["miou"]) == pytest.approx(0.65, abs=1e-6)
    assert Image.open(tmp_path / "test_scenarios.png").size[0] > 400
    assert "mean of incomplete" in said()
    assert "dsm: 3 of 40 windows have nothing of it" in said()
    assert f"figures and confusion matrices are in {tmp_path}" in said()
    # the plain files are of the fullest one
    content = json.loads((tmp_path / "test.json").read_text())
    assert (content["scenario"], content["miou"]) == ("rgb+dsm", pytest.approx(0.95))
    assert matrix(tmp_path / "test_confusion.csv") == MATRICES["rgb+dsm"]
    with (tmp_path / "test.csv").open(newline="") as file:
        table = {row["class"]: row for row in csv.DictReader(file)}
    house = {"class": "house", "iou": "0.900000", "f1": "0.947368", "pixels": "10", "averaged": "1"}
    assert table["house"] == {**house, "users_accuracy": "1.000000", "producers_accuracy": "0.900000"}
    assert (table["clutter"]["users_accuracy"], table["clutter"]["producers_accuracy"]) == ("0.000000", "")
    assert table["frequency weighted"]["iou"] == "0.950000"
    assert (table["clutter"]["iou"], table["clutter"]["averaged"]) == ("0.000000", "0")
    assert table["mean"]["iou"] == "0.950000"
    # rows of confusion matrices stand on one line of the JSON
    text = (tmp_path / "test_scenarios.json").read_text()
    assert "[10, 0, 0],\n" in text
    assert '"accuracy": [null, null, null, null, null, null, null, null, null, 0.75, null' in text  # and those by bin
    assert '"miou_interval": [0.95, 0.95]' in text


def test_one_scenario_has_only_its_own_table(tmp_path, said):
    ResultFiles(tmp_path).on_test_end(trainer(), evaluated("rgb+dsm"))
    assert files(tmp_path) == PLAIN
    lines = [line.replace("│", " ").split() for line in said().splitlines()]
    assert ["house", "90.00", "94.74", "100.00", "90.00", "50.0"] in lines
    assert ["clutter", "*", "0.00", "0.00", "0.00", "absent", "0.0"] in lines
    assert ["frequency", "weighted", "95.00"] in lines
    assert "user's accuracy: of the pixels that the map gives a class" in said()
    assert ["mean", "95.00", "97.37"] in lines
    assert "* counts as an error where it is confused, but is not averaged" in said()
    assert "data: toy, 1 test tile" in said()
    assert "scenario:" not in said()
    assert "\nmIoU 95.00 - 95.00 (95 % interval)\nECE 15.00\n" in said()
    content = json.loads((tmp_path / "test.json").read_text())
    assert (content["tiles"], content["miou_interval"]) == (["a", "b"], pytest.approx([0.95, 0.95]))
    assert (content["ece"], content["calibration"]["pixels"][9]) == (pytest.approx(0.15), 20)


def test_one_scenario_that_is_not_full_is_named(tmp_path, said):
    ResultFiles(tmp_path).on_test_end(trainer(), evaluated("dsm"))
    assert json.loads((tmp_path / "test.json").read_text())["scenario"] == "dsm"
    assert "scenario: dsm\n" in said()
    assert "dsm: 3 of 40 windows have nothing of it" in said()
    assert "absent" in said()


def test_nothing_of_an_earlier_evaluation_is_left(tmp_path):
    callback = ResultFiles(tmp_path)
    callback.on_validation_end(trainer(), evaluated(*MATRICES, stage="validation"))
    validation = files(tmp_path)
    callback.on_test_end(trainer(), evaluated(*MATRICES))
    assert files(tmp_path) == validation | SEVERAL
    callback.on_test_end(trainer(), evaluated("rgb", "rgb+dsm"))
    assert files(tmp_path) == validation | SEVERAL - {"confusion/test_dsm.csv"}
    callback.on_test_end(trainer(), evaluated("dsm"))
    assert files(tmp_path) == validation | PLAIN
    callback.on_validation_end(trainer(), evaluated("rgb+dsm", stage="validation"))
    assert files(tmp_path) == PLAIN | {"validation.csv", "validation.json", "validation_confusion.csv"}
    assert not (tmp_path / "confusion").exists()


def test_validation_writes_tables_without_a_picture_or_words(tmp_path, said):
    ResultFiles(tmp_path / "run").on_validation_end(trainer(), evaluated(*MATRICES, stage="validation"))
    assert files(tmp_path / "run") == {
        name.replace("test", "validation") for name in SEVERAL if not name.endswith(".png")
    }
    assert said() == ""


@pytest.mark.parametrize("one", [{"zero": False}, {"sanity_checking": True}])
def test_other_ranks_and_the_sanity_check_write_nothing(tmp_path, one):
    callback = ResultFiles(tmp_path / "run")
    callback.on_validation_end(trainer(**one), evaluated(*MATRICES, stage="validation"))
    if "zero" in one:
        callback.on_test_end(trainer(**one), evaluated(*MATRICES))
    assert not (tmp_path / "run").exists()
