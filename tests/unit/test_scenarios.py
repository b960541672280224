"""Scenarios by name, what they leave of the data's availability, and how they are drawn."""

import numpy as np
import pytest
import torch

from mobanet.errors import SettingError, UserError
from mobanet.models.draws import rounding
from mobanet.scenarios.probabilities import read_probabilities
from mobanet.scenarios.sampling import (
    ScenarioSettings,
    draw_availability,
    draw_for_batch,
    share_availability,
    share_batches,
    with_full_share,
)
from mobanet.scenarios.scenario import (
    MOST,
    chosen_scenarios,
    lowered,
    scenario_masks,
    scenarios_of,
    scenarios_with,
    usual_scenarios,
)
from mobanet.scenarios.words import named, never_drawn, never_drawn_words

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


def test_scenarios_are_chosen_by_how_many_sensors_are_there():
    assert names(chosen_scenarios("single", NAMES, "--x")) == ["rgb", "ir", "dsm"]
    assert names(chosen_scenarios("full, all_but_one", NAMES, "--x")) == ["rgb+ir", "rgb+dsm", "ir+dsm", "rgb+ir+dsm"]
    assert names(chosen_scenarios(["single"], ["rgb"], "--x")) == ["rgb"]
    assert chosen_scenarios("single,all_but_one,full", "abcdef", "--x") == usual_scenarios("abcdef")
    assert names(chosen_scenarios("single", ["rgb", "single"], "--x")) == ["single"]  # a sensor of that name
    with pytest.raises(UserError, match="names all_but_one, which is no scenario of rgb"):
        chosen_scenarios("all_but_one", ["rgb"], "--x")


def test_a_strategy_draws_from_the_scenarios_that_are_named():
    def drawn(sampled, modalities=NAMES):
        scenarios = usual_scenarios(modalities)
        return [
            scenarios[place].name for place in ScenarioSettings(strategy="uniform", sampled=sampled).drawn(scenarios)
        ]

    assert drawn("auto") == ALL
    assert drawn(["full", "dsm+rgb", "single"]) == ["rgb", "ir", "dsm", "rgb+dsm", "rgb+ir+dsm"]
    assert drawn("auto", ["rgb"]) == drawn("full", ["rgb"]) == ["rgb"]
    with pytest.raises(UserError, match=r"names rgb\+dms, which is no scenario"):
        drawn("rgb+dms")
    with pytest.raises(UserError, match=r"names the full scenario alone: set `scenarios\.strategy` full"):
        drawn("full")
    with pytest.raises(
        UserError, match=r"names a\+b, and of 6 modalities training knows single ones, all but one, and"
    ):
        drawn("a+b,single", "abcdef")


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


def shared(probabilities, available, at, seed=0):
    masks = scenario_masks(scenarios_of(NAMES))
    generator = torch.Generator().manual_seed(seed)
    return share_availability(torch.tensor(probabilities), masks, available, generator, at)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 6, 7, 8, 23, 24, 64])
@pytest.mark.parametrize("share", [0.0, 1 / 3, 0.5, 0.9, 1.0])
def test_a_share_of_every_batch_is_full_and_over_steps_it_is_exact(batch, share):
    p = with_full_share(np.full(7, 1 / 7), scenarios_of(NAMES), share).tolist()
    counts = torch.zeros(7)
    everything, masks = torch.ones(batch, 3, dtype=torch.bool), scenario_masks(scenarios_of(NAMES))
    for step in range(100):
        left = shared(p, everything, rounding(7, step), seed=step)
        found = (left[:, None] == masks).all(2).float().sum(0)
        assert ((found - batch * torch.tensor(p)).abs() < 1 + 1e-4).all()  # rounded up or down, and no more
        if float(batch * share).is_integer():
            assert found[-1] == batch * share
        counts += found
    assert abs(float(counts[-1]) - 100 * batch * share) <= 3
    assert (counts - 100 * batch * torch.tensor(p)).abs().max() <= 6


@pytest.mark.parametrize("batch", [1, 3, 8, 24])
@pytest.mark.parametrize("share", [0.0, 0.25, 1 / 3, 0.5, 0.9, 1.0])
def test_a_share_of_the_batches_is_full_and_the_others_are_dealt_out_exactly(batch, share):
    p = with_full_share(np.full(7, 1 / 7), scenarios_of(NAMES), share)
    everything, masks = torch.ones(batch, 3, dtype=torch.bool), scenario_masks(scenarios_of(NAMES))
    given, counts, complete = torch.tensor(p), torch.zeros(7), []
    for step in range(200):
        ranks = [
            share_batches(given, masks, everything, torch.Generator().manual_seed(step), 5, step, own) for own in (1, 2)
        ]
        whole = [left.all(1) for left in ranks]
        assert whole[0].all() or not whole[0].any()
        assert torch.equal(*whole)  # all ranks at the same time
        complete.append(bool(whole[0].all()))
        counts += (ranks[0][:, None] == masks).all(2).float().sum(0)
        assert abs(sum(complete) - share * len(complete)) <= 1
    # and no scenario is rounded up for ever
    assert (counts[:-1] - counts[:-1].sum() / 6).abs().max() <= 4


def test_a_scenario_is_drawn_for_a_whole_batch_in_exact_shares_over_steps():
    p, masks = np.array([0.3, 0.2, 0.0, 0.1, 0.1, 0.1, 0.2]), scenario_masks(scenarios_of(NAMES))
    everything, counts = torch.ones(5, 3, dtype=torch.bool), torch.zeros(7)
    for step in range(100):
        left = draw_for_batch(torch.tensor(p), masks, everything, rounding(3, step))
        assert (left == left[0]).all()
        counts += (left[0] == masks).all(1)
    assert counts[2] == 0
    assert np.abs(counts.numpy() - 100 * p).max() <= 3


def test_a_scenario_of_a_batch_respects_the_data():
    masks, available = scenario_masks(scenarios_of(NAMES)), torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1]]).bool()
    left = draw_for_batch(torch.tensor([0.0, 0, 0, 0, 1, 0, 0]), masks, available, 0.4)  # rgb+dsm
    assert left.int().tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_incomplete_batches_may_be_of_one_scenario_each(share):
    p = torch.tensor(with_full_share(np.full(7, 1 / 7), scenarios_of(NAMES), share))
    everything, masks = torch.ones(4, 3, dtype=torch.bool), scenario_masks(scenarios_of(NAMES))
    counts = torch.zeros(7)
    for step in range(240):
        left = share_batches(p, masks, everything, torch.Generator().manual_seed(step), 5, step, 1, one_scenario=True)
        shared = share_batches(p, masks, everything, torch.Generator().manual_seed(step), 5, step, 1)
        assert left.all() == shared.all()  # the same batches are complete
        assert (left == left[0]).all()
        counts += (left[0] == masks).all(1)
    assert abs(counts[-1] - 240 * share) <= 1
    assert (counts[:-1] - counts[:-1].sum() / 6).abs().max() <= 3


def test_which_samples_a_scenario_gets_is_drawn():
    p, everything = with_full_share(np.full(7, 1 / 7), scenarios_of(NAMES), 0.5).tolist(), torch.ones(4, 3).bool()
    full = torch.stack([shared(p, everything, rounding(1, step), seed=step).all(1) for step in range(2000)])
    assert (full.sum(1) == 2).all()
    torch.testing.assert_close(full.float().mean(0), torch.full((4,), 0.5), atol=0.04, rtol=0)
    together = full.float().T @ full.float() / len(full)  # of 4 samples, two are full together in one of 6 draws
    torch.testing.assert_close(together[0, 1:], torch.full((3,), 1 / 6), atol=0.04, rtol=0)


def test_shares_respect_the_data():
    available = torch.tensor([[1, 0, 1], [0, 1, 0]]).bool().repeat(50, 1)
    left = shared(with_full_share(np.full(7, 1 / 7), scenarios_of(NAMES), 0.5).tolist(), available, 0.3)
    assert not (left & ~available).any()
    assert left.any(1).all()


def test_the_rest_keeps_its_proportions():
    scenarios, p = scenarios_of(NAMES), np.array([0.1, 0.2, 0.1, 0.0, 0.1, 0.1, 0.4])
    found = with_full_share(p, scenarios, 0.25)
    np.testing.assert_allclose(found, [*(0.75 * p[:-1] / 0.6), 0.25], rtol=1e-12)
    assert with_full_share(p, scenarios, None) is p
    only_full = np.array([0.0] * 6 + [1.0])
    np.testing.assert_allclose(with_full_share(only_full, scenarios, 1.0), only_full)
    with pytest.raises(UserError, match=r"gives no incomplete scenario a probability above 0, and .* leaves them 0.5"):
        with_full_share(only_full, scenarios, 0.5)
    np.testing.assert_allclose(with_full_share(np.ones(1), scenarios_of(["rgb"]), 0.5), [1.0])  # nothing else is there


@pytest.mark.parametrize(
    ("given", "epochs", "expected"), [(0, 4, 0), (2, 4, 2), (0.5, 4, 2), (0.7, 4, 3), (0.01, 4, 1)]
)
def test_a_warm_up_is_epochs_or_a_share_of_the_run(given, epochs, expected):
    assert ScenarioSettings(warmup_epochs=given).warmup(epochs) == expected


def test_a_share_of_a_run_without_an_end_is_refused():
    assert ScenarioSettings(warmup_epochs=3).warmup(None) == 3
    with pytest.raises(UserError, match="a share of a run without an end: give a number of epochs"):
        ScenarioSettings(warmup_epochs=0.5).warmup(None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "latents"}, "--scenarios.strategy is latents; choose one of full, uniform, latent, fixed"),
        ({"strategy": "fixed"}, "fixed and --scenarios.probabilities go together"),
        ({"probabilities": {"rgb": 1.0}}, "fixed and --scenarios.probabilities go together"),
        ({"warmup_epochs": -1}, "--scenarios.warmup_epochs is -1"),
        ({"warmup_epochs": 1.5}, "--scenarios.warmup_epochs is 1.5; give a whole number of epochs, or a share"),
        ({"warmup_epochs": float("nan")}, "--scenarios.warmup_epochs is nan"),
        ({"strategy": "uniform", "full_share": 1.1}, "--scenarios.full_share is 1.1; give a share from 0 to 1"),
        ({"strategy": "uniform", "full_share": -0.1}, "--scenarios.full_share is -0.1"),
        ({"full_share": 0.5}, "--scenarios.strategy full, with which every sample sees all; choose uniform"),
        ({"every_n_epochs": 0}, "--scenarios.every_n_epochs is 0"),
        ({"num_windows": 1}, "--scenarios.num_windows is 1"),
        ({"num_scenarios": 0}, "--scenarios.num_scenarios is 0; give a number of at least 1, or null for all"),
        ({"sampled": "single"}, "sampled is for the strategies uniform and latent, and --scenarios.strategy is full"),
        ({"gamma": 2.0}, "--scenarios.gamma"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, words):
    with pytest.raises(SettingError) as refused:
        ScenarioSettings(**options)
    assert words in refused.value.told()


def test_a_model_that_was_adapted_to_what_it_meets_is_warned_of_in_other_words():
    never, modalities = frozenset(["rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm"]), ["rgb", "ir", "dsm"]
    said = never_drawn_words(["rgb", "dsm"], never, modalities, ["rgb", "dsm"])
    assert "never in rgb, dsm: mobanet.adapt has fitted its normalisation to that since, which is less than" in said
    said = never_drawn_words(["rgb", "dsm", "rgb+ir+dsm"], never, modalities, ["dsm"])
    assert "never in rgb, dsm: expect little of it in rgb; mobanet.adapt has fitted its normalisation to dsm (" in said
    assert never_drawn_words(["rgb+ir+dsm"], never, modalities, ["dsm"]) is None


@pytest.mark.parametrize(
    ("probabilities", "met", "words"),
    [
        ([0, 0, 0, 0, 0, 0, 1], ["rgb"], "trained with every sensor there, and never in rgb: expect"),
        ([0, 0, 0, 0, 0, 0, 1], ["rgb+ir", "rgb"], "never in rgb+ir, rgb: expect"),
        (
            [0, 0, 0, 0, 0.5, 0, 0.5],
            ["ir", "dsm", "rgb+ir", "ir+dsm"],
            "other scenarios, and not in ir, dsm, rgb+ir and 1 more:",
        ),
        ([0, 0, 0, 0, 0.5, 0, 0.5], ["rgb+dsm", "rgb+ir"], "and not in rgb+ir: expect"),
        ([0, 0, 0, 0, 0.5, 0, 0.5], ["rgb+dsm", "rgb+ir+dsm"], None),
        ([1 / 7] * 7, ["rgb", "ir"], None),
        ([0, 0, 1], ["rgb"], None),  # of other modalities than it should be: nothing is known
    ],
)
def test_a_model_that_meets_what_it_was_not_trained_in_is_warned_of(probabilities, met, words):
    modalities = ["rgb", "ir", "dsm"]
    never = never_drawn({"scenario_probabilities": torch.tensor(probabilities, dtype=torch.float32)}, modalities)
    said = never_drawn_words(met, never, modalities)
    assert said is None if words is None else words in said
    assert never_drawn({}, modalities) == frozenset()


def test_what_complete_samples_are_seen_with_has_learnt_in_the_warm_up_where_others_have_parts_of_their_own():
    modalities = ["rgb", "ir", "dsm"]
    state = {"scenario_probabilities": torch.tensor([0.5, 0, 0.5, 0, 0, 0, 0])}
    assert "rgb+ir+dsm" in never_drawn(state, modalities)
    state["network.incomplete.decoder.classifier.bias"] = torch.zeros(6)
    assert never_drawn(state, modalities) == {"ir", "rgb+ir", "rgb+dsm", "ir+dsm"}
