"""Scenarios by name, what they leave of the data's availability, and how they are drawn."""

import pytest
import torch

from mobanet.errors import UserError
from mobanet.scenarios.probabilities import read_probabilities
from mobanet.scenarios.sampling import ScenarioSettings, draw_availability
from mobanet.scenarios.scenario import (
    MOST,
    chosen_scenarios,
    lowered,
    scenario_masks,
    scenarios_of,
    scenarios_with,
    usual_scenarios,
)
from mobanet.scenarios.words import named

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


@pytest.mark.parametrize("count", range(1, 10))
def test_of_too_many_scenarios_the_usual_ones_are_taken(count):
    modalities = "abcdefghi"[:count]
    everything, usual = scenarios_of(modalities), usual_scenarios(modalities)
    assert chosen_scenarios("auto", modalities, "--x") == usual
    assert chosen_scenarios("all", modalities, "--x") == everything
    if 2**count - 1 <= MOST:
        assert usual == everything
        return
    assert usual == tuple(s for s in everything if sum(s.available) in (1, count - 1, count))
    assert len(usual) == 2 * count + 1
    other = everything[count + 1].name  # of two modalities
    assert scenarios_with([usual[0].name], modalities) == usual
    assert scenarios_with([usual[0].name, other], modalities) == everything
    assert names(chosen_scenarios(f"full,{other},auto", modalities, "--x")) == names(
        s for s in everything if s in usual or s.name == other
    )
    with pytest.raises(UserError, match=r"no scenario of a, b, .* that is trained on, where single ones"):
        read_probabilities({other: 1.0}, usual)


def test_scenarios_are_named_so_that_the_same_ones_are_chosen_again():
    for modalities in (("rgb",), NAMES, "abcdefgh"):
        for given in ("auto", "all", "full", modalities[0]):
            chosen = chosen_scenarios(given, modalities, "--x")
            assert chosen_scenarios(named(chosen), modalities, "--x") == chosen
    assert named(scenarios_of(NAMES)) == "all"
    assert named(scenarios_of(NAMES)[-1:]) == "full"


@pytest.mark.parametrize(
    ("options", "validated", "monitor"),
    [
        ({}, "full", "val/miou"),
        ({"validate": "all"}, "all", "val/miou"),
        ({"strategy": "uniform"}, "auto", "val/scenarios/mean_miou"),
        ({"strategy": "uniform", "validate": "full"}, "full", "val/miou"),
        ({"strategy": "latent", "validate": "rgb,full"}, "rgb,full", "val/scenarios/mean_miou"),
        ({"strategy": "fixed", "probabilities": {"rgb": 1.0}}, "auto", "val/scenarios/mean_miou"),
    ],
)
def test_what_training_samples_is_what_the_best_epoch_is_kept_by(options, validated, monitor):
    settings = ScenarioSettings(**options)
    assert settings.validated == validated
    assert settings.monitor(len(chosen_scenarios(settings.validated, NAMES, "--x"))) == monitor


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
