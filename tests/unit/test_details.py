"""Distances and classes as users give them, and boundaries and objects of tiles that come in strips."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mobanet.errors import UserError
from mobanet.evaluation.boundary import SharedTruths
from mobanet.evaluation.detail_table import boundary_csv, detail_heads, detail_notes, objects_csv
from mobanet.evaluation.details import DetailCounts, DetailScores, DetailSettings, Measures, chosen_objects
from mobanet.evaluation.distances import Distance, chosen_distances, pixel_distances
from mobanet.evaluation.maps import ScenarioEvaluation
from mobanet.evaluation.metrics import scores
from mobanet.evaluation.scenario_summary import figures_to_log
from mobanet.models.inputs import ModelBatch
from mobanet.scenarios.scenario import scenarios_of
from mobanet.stitching.windows import Strip
from mobanet.store.stored import StoredTile
from tests.unit.test_agreement import both, together
from tests.unit.test_boundary import CLASSES, by_pairs
from tests.unit.test_objects import by_pieces

UTM = "EPSG:32633"
PIXELS = {"a": (2, 4), "b": (3, 6)}
SETTINGS = DetailSettings((Distance(1.5, "m"), Distance(4, "px")), ("house", "mud"))
MEASURES = Measures(SETTINGS, CLASSES, PIXELS)


def tile(name="a", height=100, width=200, side=0.5, crs=UTM, down=None):
    place = None if side is None else (side, 0, 4e5, 0, -(down or side), 5.8e6)
    return StoredTile(name, Path(), height, width, "rgb", {}, {}, place, crs, ())


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ("3", ["3 px"]),
        ("3, 10px", ["3 px", "10 px"]),
        ("0.5m,.25 m,1e-1m", ["0.5 m", "0.25 m", "0.1 m"]),
        ("2%,3PX,1M", ["2 %", "3 px", "1 m"]),
        ("1e1,1000000", ["10 px", "1000000 px"]),
    ],
)
def test_distances_are_pixels_metres_or_a_share_of_the_diagonal(given, labels):
    found = chosen_distances(given)
    assert [distance.label for distance in found] == labels
    assert all(chosen_distances(distance.given) == (distance,) for distance in found)


@pytest.mark.parametrize("given", ["", "x", "3 m m", "nan", "inf", "1.2.3", "-1", "3,,4", "0x3", "3;4", "1e400m", "0%"])
def test_what_is_no_distance_is_refused(given):
    with pytest.raises(UserError, match=r"^--boundary names .*; give .*\.$"):
        chosen_distances(given)


def test_distances_in_pixels_are_those_of_each_tile():
    distances = chosen_distances("3,1m,2%")
    tiles = [tile("a"), tile("b", side=0.2), tile("c", side=0.28)]
    # UTM is true but for a thousandth
    assert pixel_distances(distances, tiles) == {"a": (3, 2, 4), "b": (3, 5, 4), "c": (3, 4, 4)}


def test_distances_that_do_not_fit_the_tiles_are_refused():
    for bare in (tile(side=None), tile(crs=None), tile(down=0.7)):
        with pytest.raises(
            UserError, match="--boundary 1m is in metres, and the pixels of the test tile a are of unkn"
        ):
            pixel_distances(chosen_distances("3,1m"), [tile("b"), bare])
        assert pixel_distances(chosen_distances("3"), [bare]) == {"a": (3,)}
    with pytest.raises(UserError, match=r"--boundary 0\.2m is 0\.4 of a pixel of the test tile a; give more"):
        pixel_distances(chosen_distances("0.2m"), [tile()])
    with pytest.raises(UserError, match=r"--boundary 0\.1% is 0\.22 of a pixel"):
        pixel_distances(chosen_distances("0.1%"), [tile()])
    with pytest.raises(
        UserError, match="--boundary 100 is 100 pixels, no less than the test tile a of 100 x 200 pixels"
    ):
        pixel_distances(chosen_distances("3,100"), [tile(), tile("b", 50)])
    # a remainder of a mosaic may be smaller
    assert pixel_distances(chosen_distances("60"), [tile(), tile("b", 50)]) == {"a": (60,), "b": (60,)}


def test_objects_are_of_classes_in_their_order():
    assert chosen_objects("mud, road", CLASSES) == ("road", "mud")
    for given in ("roads", "", "road,", "road,road"):
        with pytest.raises(UserError, match=r"^--objects names "):
            chosen_objects(given, CLASSES)


def drawn(seed, height, width=15):
    """Truth and map of a tile, (height, width) each."""
    random = np.random.default_rng(seed)
    label = random.integers(0, 3, (height // 3 + 1, width // 3 + 1)).repeat(3, 0).repeat(3, 1)[:height, :width]
    prediction = np.where(random.random(label.shape) < 0.9, label, random.integers(0, 3, label.shape))
    label = np.where(random.random(label.shape) < 0.05, 255, label)
    return label, prediction.astype(np.uint8)


def strips(name, label, prediction, height):
    for top in range(0, len(label), height):
        rows = slice(top, top + height)
        given = torch.from_numpy(prediction[rows]), torch.from_numpy(label[rows])
        yield Strip(name, top, *given, torch.ones(given[0].shape))


TILES = {"a": drawn(1, 23), "b": drawn(2, 14)}


def whole(tiles):
    """What is to be counted, from whole maps."""
    boundaries, objects = np.zeros((2, 3, 7), int), np.zeros((2, 5), int)
    for name in tiles:
        label, prediction = TILES[name]
        boundaries += by_pairs(prediction, label, PIXELS[name])
        found = [by_pieces((prediction == k) & (label != 255), label == k) for k in (1, 2)]
        objects += np.array(found)
    return [*boundaries.ravel().tolist(), *objects.ravel().tolist()]


def counted(tiles):
    counts = DetailCounts(MEASURES)
    for name in tiles:
        for strip in strips(name, *TILES[name], height=4):
            counts.update(strip)
    counts.update(None)
    return counts


def test_tiles_are_counted_one_after_the_other_each_at_its_own_distances():
    counts = counted("ab")
    assert counts.compute().tolist() == whole("ab")
    counts.update(None)  # nothing is left
    assert counts.compute().tolist() == whole("ab")
    counts.update(next(strips("a", *TILES["a"], height=4)))
    counts.reset()
    counts.update(None)
    assert not counts.compute().any()


def test_a_tile_that_was_not_evaluated_to_its_end_counts_as_far_as_it_was():
    counts = DetailCounts(MEASURES)
    label, prediction = (side[:8] for side in TILES["a"])
    for strip in strips("a", label, prediction, 4):
        counts.update(strip)
    counts.update(None)
    found = by_pairs(prediction, label, PIXELS["a"]).ravel().tolist()
    assert counts.compute()[: len(found)].tolist() == found


def count_share(rank, store, pipe):
    together(rank, store)
    pipe.send(counted("ab"[rank]).compute().tolist())


def count_nothing_on_one(rank, store, pipe):
    together(rank, store)
    pipe.send(counted("ab" if rank else "").compute().tolist())


@pytest.mark.parametrize("target", [count_share, count_nothing_on_one])
def test_two_ranks_count_what_one_does(target, tmp_path):
    assert both(tmp_path, target) == [whole("ab")] * 2


def test_scenarios_of_one_evaluation_share_the_truth_and_nothing_else():
    scenarios = scenarios_of(("rgb", "dsm"))
    evaluation = ScenarioEvaluation(scenarios, 3)
    evaluation.measure(MEASURES)
    label, prediction = TILES["a"]
    maps = [prediction, np.roll(prediction, 1, 0), np.where(label == 255, 0, label).astype(np.uint8)]
    places = [(top, left) for top in (0, 5, 10, 15) for left in (0, 4, 7)]
    for top, left in places:  # 23 rows and 15 columns in windows of 8
        window = slice(top, top + 8), slice(left, left + 8)
        batch = ModelBatch(
            {}, torch.ones(1, 2, dtype=torch.bool), torch.from_numpy(label[window])[None], ["a"],
            torch.tensor([[23, 15]]), torch.tensor([[top, left, 8, 8]])
        )  # fmt: skip
        for k, classes in enumerate(maps):
            logits = torch.nn.functional.one_hot(torch.from_numpy(classes[window]).long(), 3).permute(2, 0, 1)
            evaluation.add(k, batch, logits[None].float())
    evaluation.finish()
    found = evaluation.detail_counts()
    assert list(found) == ["rgb", "dsm", "rgb+dsm"]
    for counts, classes in zip(found.values(), maps, strict=True):
        assert counts[:42].view(2, 3, 7).tolist() == by_pairs(classes, label, PIXELS["a"]).tolist()
    right = MEASURES.scores(found["rgb+dsm"])
    assert right.boundary[0].mean_iou == right.boundary[1].mean_f1 == right.objects[0].f1 == 1
    evaluation.measure(None)
    assert evaluation.detail_counts() == {}


def test_figures_have_names_headings_and_files():
    found = {name: MEASURES.scores(counted(tiles).compute()) for name, tiles in (("rgb", "a"), ("rgb+dsm", "ab"))}
    figures = found["rgb"].figures()
    assert list(figures) == [
        *("boundary_iou_1.5m", "boundary_f1_1.5m", "boundary_iou_4px", "boundary_f1_4px"),
        *(f"objects_{name}_{key}" for name in ("house", "mud") for key in ("precision", "recall", "f1")),
    ]
    assert figures["boundary_iou_4px"] == found["rgb"].boundary[1].mean_iou
    heads = detail_heads(found["rgb"])
    assert list(heads) == list(figures)
    assert heads["objects_mud_recall"] == "mud\nrecall"
    assert "distances in whole pixels: 1.5 m 2 to 3 px" in detail_notes(found)
    assert detail_notes({}) == []
    table = list(csv.DictReader(io.StringIO(boundary_csv(found, CLASSES))))
    assert len(table) == 2 * 2 * 4
    assert table[3]["class"] == "mean"
    assert float(table[3]["boundary_iou"]) == pytest.approx(found["rgb"].boundary[0].mean_iou, abs=1e-6)
    assert [row["scenario"] for row in csv.DictReader(io.StringIO(objects_csv(found)))] == ["rgb"] * 2 + ["rgb+dsm"] * 2
    matrix = scores(torch.eye(3, dtype=torch.int64), CLASSES)
    logged = figures_to_log(
        dict.fromkeys(found, matrix), CLASSES, details={name: each.figures() for name, each in found.items()}
    )
    assert logged["boundary_f1_1.5m"] == found["rgb+dsm"].boundary[0].mean_f1
    assert logged["scenarios/rgb/objects_house_f1"] == found["rgb"].objects[0].f1


def test_nothing_counted_has_no_figures():
    empty = MEASURES.scores(DetailCounts(MEASURES).compute())
    assert all(math.isnan(value) for value in empty.figures().values())
    assert not DetailScores()
    assert DetailScores().figures() == {}


def test_what_scenarios_share_is_let_go_when_a_test_begins_anew():
    truths = SharedTruths(2)
    counts = DetailCounts(MEASURES, truths)
    for strip in strips("a", *TILES["a"], height=4):
        counts.update(strip)
    assert truths._held
    counts.reset()
    assert not truths._held
