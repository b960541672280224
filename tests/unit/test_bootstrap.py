import math

import numpy as np
import pytest
import torch

from mobanet.evaluation.bootstrap import bootstrap
from mobanet.evaluation.metrics import scores
from mobanet.evaluation.scenario_summary import summarise
from mobanet.rasters.contents import Classes
from mobanet.scenarios.failure import usual_failures
from mobanet.scenarios.scenario import scenarios_of

CLASSES = Classes(("a", "b", "c"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), averaged=("a", "b"))
MODALITIES = ("rgb", "dsm")
NAMES = [scenario.name for scenario in scenarios_of(MODALITIES)]


def some_tiles(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randint(0, 50, (count, 3, 3), generator=generator) for name in NAMES}


def test_intervals_are_the_quantiles_of_figures_of_tiles_drawn_with_replacement():
    tiles, failures = some_tiles(7), usual_failures(MODALITIES)
    found = bootstrap(tiles, CLASSES, "rgb+dsm", failures)
    rng = np.random.default_rng(5)  # other draws than those of the bootstrap
    values = {name: [] for name in (*NAMES, "mean", "incomplete", *(f.label for f in failures))}
    for _ in range(1000):
        drawn = torch.from_numpy(rng.integers(0, 7, 7))
        figures = {name: scores(each[drawn].sum(0), CLASSES) for name, each in tiles.items()}
        summary = summarise(figures, "rgb+dsm", failures)
        for name in NAMES:
            values[name].append(figures[name].mean_iou)
        values["mean"].append(summary.mean.mean_iou)
        values["incomplete"].append(summary.incomplete.mean_iou)
        for failure, expected in summary.expected:
            values[failure.label].append(expected.mean_iou)
    told = {**found.scenarios, "mean": found.mean, "incomplete": found.incomplete}
    told |= {failure.label: each for failure, each in zip(failures, found.expected, strict=True)}
    assert list(told) == list(values)
    for name, interval in told.items():
        low, high = np.quantile(values[name], [0.025, 0.975])
        assert interval == pytest.approx((low, high), abs=0.08 * (high - low)), name


def test_of_two_tiles_the_interval_goes_from_one_to_the_other():
    right, wrong = torch.diag(torch.tensor([9, 9, 9])), torch.ones(3, 3, dtype=torch.int64)
    found = bootstrap({"rgb": torch.stack([wrong, right])}, CLASSES, "rgb+dsm", usual_failures(MODALITIES))
    assert found.scenarios["rgb"] == pytest.approx((scores(wrong, CLASSES).mean_iou, 1.0))
    assert found.mean == found.incomplete == found.scenarios["rgb"]
    assert found.expected == ()  # where scenarios were not evaluated, nothing is expected


def test_the_same_tiles_give_the_same_intervals_and_tiles_without_a_pixel_change_nothing():
    tiles = some_tiles(4)
    first = bootstrap(tiles, CLASSES, "rgb+dsm", usual_failures(MODALITIES))
    empty = torch.zeros(2, 3, 3, dtype=torch.int64)
    again = {name: torch.cat([each[:2], empty, each[2:]]) for name, each in tiles.items()}
    assert bootstrap(again, CLASSES, "rgb+dsm", usual_failures(MODALITIES)) == first


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_tiles_have_no_interval(count):
    assert bootstrap(some_tiles(count), CLASSES, "rgb+dsm") is None


def test_a_scenario_without_figures_has_no_interval_and_is_left_out_of_the_mean():
    tiles = some_tiles(5)
    tiles["dsm"] = torch.zeros_like(tiles["dsm"])
    found = bootstrap(tiles, CLASSES, "rgb+dsm", usual_failures(MODALITIES))
    assert list(found.scenarios) == ["rgb", "rgb+dsm"]
    assert found.incomplete == found.scenarios["rgb"]
    assert found.expected == (None, None, None)


def test_a_class_that_a_draw_lacks_is_absent_from_it():
    only_a = torch.tensor([[8, 0, 0], [0, 0, 0], [0, 0, 0]])
    half_b = torch.tensor([[0, 0, 0], [4, 4, 0], [0, 0, 0]])
    found = bootstrap({"rgb": torch.stack([only_a, half_b])}, CLASSES, "rgb")
    assert found.scenarios["rgb"] == pytest.approx((0.25, 1.0))
    assert not any(math.isnan(end) for end in found.mean)
