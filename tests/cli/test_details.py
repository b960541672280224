"""`mobanet.test --boundary --objects`: figures of the very maps that are written, in all files, and what is refused."""

import csv
import json
import shutil

import numpy as np
import pytest
import rasterio

from mobanet import report
from mobanet.cli.commands import main
from tests.cli.conftest import start, wait
from tests.reporting.conftest import opened
from tests.reporting.html_tree import parse
from tests.unit.test_objects import by_pieces

FULL = ("--data.evaluation.labels", "full")
NAMES = ["impervious surfaces", "building", "low vegetation", "tree", "car", "clutter"]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tested(finished, tmp_path_factory):
    """A copy of the finished run, tested with distances of every kind and objects of two classes."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("details") / "run")
    words = ["--ckpt_path", str(run / "checkpoints/best.ckpt"), *FULL]
    main("test", [*words, "--boundary", "2,1.5m,5%", "--objects", "car,building"])
    return run


def near(mask, distance):
    """Pixels within a distance of a mask's, by moving it there and everywhere between."""
    height, width = mask.shape
    padded, found = np.pad(mask, distance), np.zeros_like(mask)
    for down in range(-distance, distance + 1):
        for right in range(-distance, distance + 1):
            if down**2 + right**2 <= distance**2:
                rows, columns = distance + down, distance + right
                found |= padded[rows : rows + height, columns : columns + width]
    return found


def test_figures_are_those_of_the_map_that_is_written(tested):
    data = opened(tested)
    data.evaluation.labels = "full"
    (tile,) = data.tiles("test")
    with rasterio.open(tested / f"test/maps/{tile.id}.tif") as raster:
        mapped = raster.read(1)
    truth = np.array(data.picture(tile.id, slice(0, 160), slice(0, 160)).label)
    full = json.loads((tested / "test/test_scenarios.json").read_text())["scenarios"]["rgb+ir+dsm"]
    # pixels of 0.4 m, and a diagonal of 226 pixels
    assert [each["pixels"] for each in full["boundary"]] == [[2, 2], [4, 4], [11, 11]]
    for each in full["boundary"]:
        distance, ious, f1s = each["pixels"][0], [], []
        for k, name in enumerate(NAMES):
            own = [truth == k, mapped == k]
            others = [(truth != k) & (truth != 255), (mapped != k) & (truth != 255)]
            own[1] &= truth != 255
            bands = [a & near(b, distance) for a, b in zip(own, others, strict=True)]
            contours = [a & near(b, 1) for a, b in zip(own, others, strict=True)]
            figures = each["classes"][name]
            union = (bands[0] | bands[1]).sum()
            assert figures["iou"] == (pytest.approx((bands[0] & bands[1]).sum() / union) if union else None)
            hits = [(a & near(b, distance)).sum() for a, b in (contours, contours[::-1])]
            for key, hit, of in (("recall", hits[0], contours[0].sum()), ("precision", hits[1], contours[1].sum())):
                assert figures[key] == (pytest.approx(hit / of) if of else None)
            if name != "clutter":
                ious.append(figures["iou"])
                f1s.append(figures["f1"])
        assert each["iou"] == pytest.approx(np.mean([x for x in ious if x is not None]))
        assert each["f1"] == pytest.approx(np.mean([x for x in f1s if x is not None]))
    for name, found in zip(("building", "car"), full["objects"], strict=True):
        k = NAMES.index(name)
        counts = [found[key] for key in ("truth", "mapped", "matched", "truth_cut", "map_cut")]
        assert found["class"] == name
        assert counts == by_pieces((mapped == k) & (truth != 255), truth == k)


def test_figures_stand_in_every_file(tested, command):
    content = json.loads((tested / "test/test_scenarios.json").read_text())
    scenarios = list(content["scenarios"])
    boundaries, objects = (rows(tested / f"test/test_{kind}.csv") for kind in ("boundary", "objects"))
    distances = ["2 px", "1.5 m", "5 %"]
    assert [(row["scenario"], row["distance"], row["class"]) for row in boundaries] == [
        (scenario, distance, name) for scenario in scenarios for distance in distances for name in [*NAMES, "mean"]
    ]
    assert [(row["scenario"], row["class"]) for row in objects] == [
        (scenario, name) for scenario in scenarios for name in ("building", "car")
    ]
    assert len({row["truth"] for row in objects if row["class"] == "building"}) == 1
    table = {row["scenario"]: row for row in rows(tested / "test/test_scenarios.csv")}
    for name, scenario in content["scenarios"].items():
        first = scenario["boundary"][0]
        assert float(table[name]["boundary_iou_2px"]) == pytest.approx(first["iou"], abs=1e-6)
        assert scenario["details"]["boundary_f1_2px"] == first["f1"]
        assert scenario["details"]["objects_building_recall"] == scenario["objects"][0]["recall"]
    mean = np.mean([scenario["boundary"][1]["iou"] for scenario in content["scenarios"].values()])
    assert float(table["mean"]["boundary_iou_1.5m"]) == pytest.approx(mean, abs=1e-6)
    assert content["summary"]["mean"]["details"]["boundary_iou_1.5m"] == pytest.approx(mean)
    single = json.loads((tested / "test/test.json").read_text())
    assert single["boundary"] == content["scenarios"]["rgb+ir+dsm"]["boundary"]
    assert command(report.main, [str(tested), "--output", str(tested / "report.html")]).code == 0
    page = parse((tested / "report.html").read_text().removeprefix("<!DOCTYPE html>\n"))
    several, classes, found = page.one("section", id="details").all("table")
    shown = {row[0]: row[1] for row in several.rows()[1:]}
    assert shown["rgb"] == f"{100 * content['scenarios']['rgb']['boundary'][0]['iou']:.2f}"
    assert [row[0] for row in classes.rows()[1:3]] == ["IoU 2 px", "F1 2 px"]
    assert found.rows()[1][0] == "building"
    assert found.rows()[1][4:7] == [objects[-2][key] for key in ("truth", "mapped", "matched")]


def test_without_being_asked_a_test_measures_neither_and_leaves_nothing_stale(tested, command, tmp_path):
    run = shutil.copytree(tested, tmp_path / "run")
    words = ["--ckpt_path", str(run / "checkpoints/best.ckpt"), "--scenarios.evaluate", "full"]
    ended = command(main, "test", [*words, "--boundary"])  # eroded labels, as in training
    assert ended.code == 0
    told = "labels are eroded, and what lies around the boundaries of the truth is ignored with them"
    assert f"warning: {told}" in ended.err
    assert ended.err.count(told) == 2
    assert "rgb+ir+dsm" in ended.err.partition("boundary")[2]
    assert [row["distance"] for row in rows(run / "test/test_boundary.csv")[::7]] == ["3 px", "10 px"]
    assert not (run / "test/test_objects.csv").exists()
    assert command(report.main, [str(run), "--output", str(run / "report.html")]).code == 0
    page = parse((run / "report.html").read_text().removeprefix("<!DOCTYPE html>\n"))
    one, classes = page.one("section", id="details").all("table")
    assert [row[0] for row in one.rows()] == ["scenario", "rgb+ir+dsm"]
    assert len(classes.rows()) == 1 + 2 * 2
    assert command(main, "test", [*words, "--objects"]).code == 0
    assert [row["class"] for row in rows(run / "test/test_objects.csv")] == ["building"]
    assert not (run / "test/test_boundary.csv").exists()
    ended = command(main, "test", words)
    assert ended.code == 0
    assert "boundary" not in ended.err + ended.out
    assert not list((run / "test").glob("test_[bo]*"))
    assert "details" not in (run / "test/test.json").read_text()


NONE = (
    "which is no distance; give whole pixels, metres or per cent of a tile's diagonal by commas, such as --boundary "
    "3,0.5m,2%."
)
REFUSED = {
    "0": "--boundary names the distance 0; give one above 0, such as --boundary 3.",
    "3,-2": f"--boundary names -2, {NONE}",
    "2.5": f"--boundary names 2.5, {NONE}",
    "3,": f"--boundary names nothing, {NONE}",
    "3,3px": "--boundary names 3 px twice; leave one of them out.",
    "0.1m": "--boundary 0.1m is 0.25 of a pixel of the test tile 2_13; give more, or pixels, such as --boundary 1.",
    "3,160": "--boundary 160 is 160 pixels, no less than the test tile 2_13 of 160 x 160 pixels is wide; give less.",
    "100m": "--boundary 100m is 250 pixels, no less than the test tile 2_13 of 160 x 160 pixels is wide; give less.",
}


def test_what_cannot_be_measured_is_refused_before_anything_is_tested(command, fit, finished, tmp_path):
    words = ["--ckpt_path", str(finished / "checkpoints/best.ckpt"), "--run", str(tmp_path / "run")]
    for given, sentence in REFUSED.items():
        assert command(main, "test", [*words, f"--boundary={given}"]).sentence() == sentence
    assert command(main, "test", [*words, "--objects", "house"]).sentence() == (
        "--objects names house, which is no class of the model; choose from impervious surfaces, building, low "
        "vegetation, tree, car, clutter by commas."
    )
    assert (
        command(main, "test", [*words, "--objects", "cars"])
        .sentence()
        .startswith("--objects names cars, which is no class of the model (did you mean car?); choose from ")
    )
    assert command(main, "test", [*words, "--objects", "car, car"]).sentence() == (
        "--objects names car twice; leave one of them out."
    )
    for option in ("--boundary", "--objects"):
        sentence = f"{option} is for mobanet.test --ckpt_path FILE; leave it out here."
        assert fit(option, "car").sentence() == sentence
        assert command(main, "adapt", [*words, f"{option}=car"]).sentence() == sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_two_processes_measure_what_one_does_to_the_last_bit(finished, prepared, command, tmp_path):
    more = tmp_path / "more"
    shutil.copytree(prepared, more, ignore=shutil.ignore_patterns("mobanet_store", ".mobanet*"))
    for old, new in (("2_10", "2_14"), ("3_11", "3_13")):
        padded = [(f"{name[0]:0>2}_{name[2:]}", name) for name in (old, new)]
        for path in [path for path in more.rglob("*.*") if old in path.name or padded[0][0] in path.name]:
            shutil.copy(path, path.with_name(path.name.replace(padded[0][0], padded[1][0]).replace(old, new)))
    # alone in its batch, a window's logits are the same wherever it is predicted
    words = ["--ckpt_path", str(finished / "checkpoints/best.ckpt"), *FULL, "--root", str(more)]
    words += ["--boundary", "2,1.5m,20", "--objects", "building,low vegetation", "--data.evaluation.batch_size", "1"]
    words += ["--stride", "32"]
    two = ("--accelerator", "cpu", "--devices", "2", "--trainer.strategy", "ddp")
    ended = wait(start("mobanet.test", *words, *two, "--run", str(tmp_path / "two"), folder=tmp_path))
    assert ended.code == 0, ended.err
    assert command(main, "test", [*words, "--run", str(tmp_path / "one")]).code == 0
    for name in ("boundary.csv", "objects.csv", "scenarios.csv"):
        assert (tmp_path / "two/test" / f"test_{name}").read_text() == (
            tmp_path / "one/test" / f"test_{name}"
        ).read_text()
