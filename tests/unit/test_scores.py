import json
import math
from pathlib import Path

import numpy as np
import pytest

from mobanet.errors import SettingError
from mobanet.scenarios.scores import ScoreSettings, median_bandwidth, score_scenarios

CASES = json.loads((Path(__file__).parents[1] / "data" / "golden" / "scenario_scores.json").read_text())
TYPICAL = np.array([0.52, 0.61, 0.73, 0.31, 0.24, 0.42, 0.0])
SIZES = (1, 3, 7, 15, 31)


def random_distortion(seed, size, scale=1.0):
    distortion = scale * np.random.default_rng(seed).random(size)
    distortion[-1] = 0
    return distortion


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_golden_numbers_hold_within_their_own_tolerance(case):
    found = score_scenarios(
        np.array(case["D"], case["dtype"]), **{key: case[key] for key in ("alpha", "sigma", "ridge", "tau", "gamma")}
    )
    tolerance = case["suggested_tolerance"]
    largest = np.abs(case["r"]).max()
    np.testing.assert_allclose(found.kernel, case["kernel_matrix"], rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.scores, case["r"], rtol=0, atol=tolerance["r_rtol_of_max"] * largest)
    np.testing.assert_allclose(found.normalized, case["r_norm"], rtol=0, atol=tolerance["r_norm_atol"])
    np.testing.assert_allclose(found.softmax, case["softmax_probs"], rtol=0, atol=tolerance["probs_atol"])
    np.testing.assert_allclose(found.probabilities, case["final_probs"], rtol=0, atol=tolerance["probs_atol"])
    assert (not found.normalized.any()) == case["spread_guard_fired"]
    assert found.bandwidth == case["sigma"]
    arrays = (found.kernel, found.scores, found.normalized, found.softmax, found.probabilities)
    assert {array.dtype for array in arrays} == {np.dtype("float64")}


def test_the_golden_numbers_cover_both_precisions_and_the_guard():
    assert {case["dtype"] for case in CASES} == {"float32", "float64"}
    assert {case["spread_guard_fired"] for case in CASES} == {True, False}


@pytest.mark.parametrize("size", SIZES)
def test_another_order_of_the_scenarios_gives_the_same_numbers_in_that_order(size):
    distortion = random_distortion(size, size)
    order = np.random.default_rng(1).permutation(size)
    for sigma in (1.0, "median"):
        straight, shuffled = score_scenarios(distortion, sigma=sigma), score_scenarios(distortion[order], sigma=sigma)
        np.testing.assert_allclose(shuffled.scores, straight.scores[order], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(shuffled.probabilities, straight.probabilities[order], rtol=1e-9)


def test_utility_a_unit_scales_the_scores_and_leaves_the_probabilities_alone():
    once, thrice = score_scenarios(TYPICAL), score_scenarios(TYPICAL, alpha=3)
    np.testing.assert_allclose(thrice.scores, 3 * once.scores, rtol=1e-12)
    np.testing.assert_allclose(thrice.probabilities, once.probabilities, rtol=1e-11)
    np.testing.assert_allclose(score_scenarios(TYPICAL, alpha=0).probabilities, np.full(7, 1 / 7), rtol=1e-15)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_probabilities_sum_to_one_and_keep_their_floor(size, scale):
    for gamma in (0.0, 0.5, 0.9, 1.0):
        for tau in (0.0, 0.5, 50.0):
            p = score_scenarios(random_distortion(size, size, scale), gamma=gamma, tau=tau).probabilities
            assert p.sum() == pytest.approx(1, abs=1e-14)
            assert (p >= (1 - gamma) / size - 1e-15).all()


def test_without_the_softmax_or_its_factor_every_scenario_is_alike():
    for settings in ({"gamma": 0}, {"tau": 0}):
        np.testing.assert_allclose(score_scenarios(TYPICAL, **settings).probabilities, np.full(7, 1 / 7), rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-2, 0.1, 1.0])
def test_more_distortion_is_drawn_more_often(scale):
    # for spreads up to the bandwidth; beyond it smoothing can swap close neighbours
    for seed in range(30):
        distortion = np.sort(random_distortion(seed, 7, scale))
        assert (np.diff(score_scenarios(distortion).probabilities) > 0).all()


def test_a_single_scenario_has_probability_one():
    scores = score_scenarios([3.0], sigma="median")
    assert scores.probabilities.tolist() == [1.0]
    assert scores.kernel.tolist() == [[1.0]]
    assert scores.bandwidth == 1.0


@pytest.mark.parametrize("sigma", [1.0, "median"])
@pytest.mark.parametrize("ridge", [1e-12, 1e-3, 1e3])
def test_rounding_of_equal_distortions_does_not_become_a_distribution(sigma, ridge):
    noise = np.random.default_rng(0).random(7)
    for distortion in (1e6 * (1 + 1e-13 * noise), np.full(7, 1e6), np.full(7, 0.1) + 1e-16 * noise):
        scores = score_scenarios(distortion, sigma=sigma, ridge=ridge)
        assert not scores.normalized.any()
        np.testing.assert_allclose(scores.probabilities, np.full(7, 1 / 7), rtol=1e-15)


def test_the_least_ridge_still_solves_where_all_scenarios_are_alike():
    for size in (7, 31, 127):
        scores = score_scenarios(np.full(size, 0.5), ridge=1e-12)
        np.testing.assert_allclose(scores.scores, np.full(size, 0.5), rtol=1e-9)


def test_the_median_bandwidth_is_that_of_the_differences_that_are_not_zero():
    assert median_bandwidth(np.array([1.0, 1.0, 3.0])) == 2.0
    assert median_bandwidth(np.array([0.0, 1.0, 4.0])) == 3.0
    assert median_bandwidth(np.full(4, 0.3)) == 1.0
    scores = score_scenarios([0.0, 1.0, 4.0], sigma="median")
    assert scores.bandwidth == 3.0
    assert scores.kernel[0, 1] == pytest.approx(math.exp(-1 / 18))


def test_with_the_median_bandwidth_the_unit_of_distortion_does_not_matter():
    for scale in (1e-6, 1e-3, 1e3):
        found = score_scenarios(scale * TYPICAL, sigma="median")
        np.testing.assert_allclose(found.kernel, score_scenarios(TYPICAL, sigma="median").kernel, rtol=1e-9)
        np.testing.assert_allclose(
            found.probabilities, score_scenarios(TYPICAL, sigma="median").probabilities, rtol=1e-9
        )


def test_distortions_are_left_as_they_are():
    given = TYPICAL.copy()
    score_scenarios(given, sigma="median")
    assert (given == TYPICAL).all()


@pytest.mark.parametrize("wrong", [[], 0.5, [[0.1, 0.0]], [0.1, math.nan], [math.inf, 0.0], [-0.1, 0.0]], ids=str)
def test_distortions_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"^distortion (has|holds) "):
        score_scenarios(wrong)


WRONG = [
    ("alpha", -1.0),
    ("alpha", math.inf),
    ("ridge", 0.0),
    ("ridge", -1e-3),
    ("ridge", math.nan),
    ("bandwidth", 0.0),
    ("bandwidth", "mean"),
    ("bandwidth", math.inf),
    ("tau", -0.5),
    ("tau", math.nan),
    ("gamma", 1.5),
    ("gamma", -0.1),
    ("gamma", math.nan),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(SettingError, match=rf"^scenarios\.{name} is {value}; give ") as refused:
        ScoreSettings(**{name: value})
    assert refused.value.told() == f"--{refused.value}"
    argument = "sigma" if name == "bandwidth" else name
    with pytest.raises(ValueError, match=f"^{argument} is {value}: give "):
        score_scenarios(TYPICAL, **{argument: value})


def test_settings_score_as_the_function_with_the_same_values():
    settings = ScoreSettings(alpha=2.5, bandwidth=0.3, ridge=0.1, tau=2.0, gamma=0.9)
    expected = score_scenarios(TYPICAL, alpha=2.5, sigma=0.3, ridge=0.1, tau=2.0, gamma=0.9)
    found = settings.score(TYPICAL)
    assert (found.probabilities == expected.probabilities).all()
    assert (found.scores == expected.scores).all()
    assert (ScoreSettings().score(TYPICAL).probabilities == score_scenarios(TYPICAL).probabilities).all()
