"""Grids and draws: where they lie, how often, and that a trial's are its own."""

import math

import numpy as np
import pytest

from mobanet.errors import UserError
from mobanet.trials.draws import draw, grid, grid_size
from mobanet.trials.parameters import read_parameter

COUNT = 600


def parameters(**contents):
    return [read_parameter(name, content, "FILE") for name, content in contents.items()]


def drawn(content, seed=0):
    given = parameters(a=content)
    return [draw(given, seed, number)["a"] for number in range(1, COUNT + 1)]


def test_a_grid_is_the_product_in_the_order_of_the_file():
    given = parameters(b={"values": ["x", None]}, a={"value": 7}, c={"min": 1, "max": 3})
    points = list(grid(given, "FILE"))
    assert points == [{"b": b, "a": 7, "c": c} for b in ("x", None) for c in (1, 2, 3)]
    assert grid_size(given, "FILE") == 6


@pytest.mark.parametrize(
    ("low", "high", "q", "expected"),
    [(0.0, 0.5, 0.1, [0.0, 0.1, 0.2, 0.3, 0.4]), (0.0, 0.3, 0.1, [0.0, 0.1, 0.2]), (1, 8, 3, [1, 4, 7])],
)
def test_quantised_values_of_a_grid_end_before_the_maximum_as_at_wandb(low, high, q, expected):
    given = parameters(a={"distribution": "q_uniform", "min": low, "max": high, "q": q})
    values = [point["a"] for point in grid(given, "FILE")]
    assert values == expected
    assert [type(value) for value in values] == [type(value) for value in expected]
    assert np.allclose(values, np.arange(low, high, q)[: len(values)])


@pytest.mark.parametrize(
    "content",
    [
        {"min": 0.0, "max": 1.0},
        {"distribution": "normal"},
        {"values": [1, 2], "probabilities": [0.5, 0.5]},
        {"distribution": "q_uniform", "min": 1, "max": 1},
    ],
)
def test_what_cannot_be_enumerated_is_refused_in_a_grid(content):
    with pytest.raises(UserError, match=r"^FILE: parameters\.a has .*\.$"):
        grid_size(parameters(a=content), "FILE")


def test_a_trials_draw_is_a_function_of_seed_and_number_alone():
    given = parameters(a={"min": 0.0, "max": 1.0}, b={"distribution": "normal"})
    later = draw(given, 3, 9)
    assert [draw(given, 3, number) for number in range(1, 10)][-1] == later
    assert draw(given, 3, 8) != later
    assert draw(given, 4, 9) != later
    assert len({draw(given, seed, number)["a"] for seed in range(5) for number in range(5)}) == 25


@pytest.mark.parametrize(
    ("content", "low", "high", "middle"),
    [
        ({"min": 2.0, "max": 4.0}, 2, 4, 3),
        ({"distribution": "log_uniform", "min": -4, "max": 0}, math.exp(-4), 1, math.exp(-2)),
        ({"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}, 1e-5, 1e-1, 1e-3),
        ({"distribution": "inv_log_uniform", "min": 0, "max": 4}, math.exp(-4), 1, math.exp(-2)),
        ({"distribution": "inv_log_uniform_values", "min": 1e-5, "max": 1e-1}, 1e-5, 1e-1, 1e-3),
        ({"distribution": "normal", "mu": 5, "sigma": 2}, -5, 15, 5),
        ({"distribution": "log_normal", "mu": 1, "sigma": 0.5}, 0, math.exp(4), math.exp(1)),
        ({"distribution": "beta", "a": 2, "b": 2}, 0, 1, 0.5),
    ],
)
def test_continuous_draws_fill_their_range_around_the_median(content, low, high, middle):
    values = drawn(content)
    assert all(type(value) is float and low <= value <= high for value in values)
    share = sum(value < middle for value in values) / COUNT
    assert abs(share - 0.5) < 0.08  # four standard errors
    assert len(set(values)) == COUNT


@pytest.mark.parametrize("kind", ["uniform", "log_uniform_values", "log_uniform", "normal", "log_normal", "beta"])
@pytest.mark.parametrize("q", [2, 0.1])
def test_quantised_draws_are_the_plain_ones_rounded(kind, q):
    bounds = {} if kind in ("normal", "log_normal", "beta") else {"min": 1, "max": 3}
    plain = drawn({"distribution": kind, **bounds})
    quantised = drawn({"distribution": f"q_{kind}", "q": q, **bounds})
    assert np.allclose(quantised, np.round(np.array(plain) / q) * q)
    assert {type(value) for value in quantised} == {type(q)}
    if q == 0.1:
        assert all(len(repr(value)) <= len("-100.1") for value in quantised)


def test_whole_numbers_reach_both_ends_and_are_ints():
    values = drawn({"min": -1, "max": 2})
    assert {(value, type(value)) for value in values} == {(number, int) for number in (-1, 0, 1, 2)}


def test_values_are_as_frequent_as_asked_for():
    values = drawn({"values": [None, True, ["rgb"]], "probabilities": [0.0, 0.2, 0.8]})
    assert None not in values
    assert abs(values.count(["rgb"]) / COUNT - 0.8) < 0.07
    alike = drawn({"values": ["a", "b", "c"]})
    assert all(abs(alike.count(value) / COUNT - 1 / 3) < 0.08 for value in "abc")
    assert drawn({"value": "x"}) == ["x"] * COUNT
