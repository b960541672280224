"""Scenarios by name, what they leave of the data's availability, and how they are drawn."""

import pytest
import torch

from mobanet.errors import UserError
from mobanet.scenarios.sampling import ScenarioSettings, draw_availability
from mobanet.scenarios.scenario import chosen_scenarios, lowered, scenario_masks, scenarios_of

NAMES = ("rgb", "ir", "dsm")
ALL = ["rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm", "rgb+ir+dsm"]


def names(scenarios):
    return [scenario.name for scenario in scenarios]


def test_scenarios_come_by_size_and_then_by_modality():
    scenarios = scenarios_of(NAMES)
    assert names(scenarios) == ALL
    assert [s.full for s in scenarios] == [False] * 6 + [True]
    masks = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]]
    assert scenario_masks(scenarios).int().tolist() == masks
    assert names(scenarios_of(["rgb"])) == ["rgb"]
    assert len(scenarios_of(["a", "b", "c", "d"])) == 15


def test_scenarios_are_chosen_by_name_in_any_order():
    assert names(chosen_scenarios("all", NAMES, "--x")) == ALL
    assert names(chosen_scenarios("full", NAMES, "--x")) == ["rgb+ir+dsm"]
    assert names(chosen_scenarios("dsm + rgb, rgb", NAMES, "--x")) == ["rgb", "rgb+dsm"]
    assert names(chosen_scenarios(["full", "dsm", "dsm"], NAMES, "--x")) == ["dsm", "rgb+ir+dsm"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("rgb+dms", r"--x names rgb\+dms.*did you mean rgb\+dsm\?"),
        ("", "--x names nothing"),
        ([], "--x names no scenario"),
        ("rgb+rgb+lidar", "no scenario of rgb, ir, dsm"),
    ],
)
def test_unknown_scenarios_are_refused(given, words):
    with pytest.raises(UserError, match=words):
        chosen_scenarios(given, NAMES, "--x")


def test_what_a_scenario_leaves_is_never_nothing():
    available = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 1]]).bool()
    left = lowered(available, torch.tensor([False, False, True]))
    assert left.int().tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]  # the second has no dsm and keeps all it has
    each = lowered(available, torch.tensor([[1, 0, 0], [1, 0, 0], [1, 1, 0]]).bool())
    assert each.int().tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]


def drawn(probabilities, available, seed=0):
    scenarios = scenarios_of(NAMES)
    generator = torch.Generator().manual_seed(seed)
    return draw_availability(torch.tensor(probabilities), scenario_masks(scenarios), available, generator)


def test_draws_follow_the_probabilities_sample_by_sample():
    p = [0.05, 0.1, 0.15, 0.0, 0.3, 0.25, 0.15]
    left = drawn(p, torch.ones(200_000, 3, dtype=torch.bool))
    masks = scenario_masks(scenarios_of(NAMES))
    counts = (left[:, None] == masks).all(2).float().mean(0)
    assert counts[3] == 0  # of probability zero: never, not rarely
    torch.testing.assert_close(counts, torch.tensor(p), atol=0.004, rtol=0)


def test_a_certain_scenario_is_always_drawn_wherever_it_stands():
    everything = torch.ones(100_000, 3, dtype=torch.bool)
    for k, mask in enumerate(scenario_masks(scenarios_of(NAMES))):
        p = [0.0] * 7
        p[k] = 1.0
        assert bool((drawn(p, everything) == mask).all())


def test_draws_depend_on_the_generator_alone_and_respect_the_data():
    available = torch.tensor([[1, 0, 1], [0, 1, 0]]).bool().repeat(500, 1)
    left = drawn([1 / 7] * 7, available, seed=5)
    torch.manual_seed(99)
    assert torch.equal(left, drawn([1 / 7] * 7, available, seed=5))
    assert not torch.equal(left, drawn([1 / 7] * 7, available, seed=6))
    assert not (left & ~available).any()
    assert left.any(1).all()
    before = torch.get_rng_state()
    drawn([1 / 7] * 7, available)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "latents"}, "--scenarios.strategy is latents; choose one of full, uniform, latent, fixed"),
        ({"strategy": "fixed"}, "fixed and --scenarios.probabilities go together"),
        ({"probabilities": {"rgb": 1.0}}, "fixed and --scenarios.probabilities go together"),
        ({"warmup_epochs": -1}, "--scenarios.warmup_epochs is -1"),
        ({"every_n_epochs": 0}, "--scenarios.every_n_epochs is 0"),
        ({"num_windows": 1}, "--scenarios.num_windows is 1"),
        ({"gamma": 2.0}, "--scenarios.gamma"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        ScenarioSettings(**options)
