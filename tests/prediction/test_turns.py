import pytest
import torch

from mobanet.prediction.symmetries import SYMMETRIES, mean_over_turns, turned, turned_back

X = torch.arange(2 * 3 * 25, dtype=torch.float64).reshape(2, 3, 5, 5)


def test_there_are_eight_different_turns_and_the_first_changes_nothing():
    assert torch.equal(turned(X, SYMMETRIES[0]), X)
    seen = [turned(X, turn) for turn in SYMMETRIES]
    assert len(seen) == 8
    assert not any(torch.equal(seen[i], seen[j]) for i in range(8) for j in range(i))


@pytest.mark.parametrize("turn", SYMMETRIES)
def test_turned_back_is_the_inverse(turn):
    assert torch.equal(turned_back(turned(X, turn), turn), X)
    assert torch.equal(turned(turned_back(X, turn), turn), X)


def test_the_mean_of_a_function_that_turns_with_its_input_is_that_function():
    inputs = {"a": X, "b": X.flip(-1) ** 2}
    expected = inputs["a"] - 2 * inputs["b"] + inputs["a"].amax((-1, -2), keepdim=True)
    # eight equal numbers and a division by eight, which is exact
    assert torch.equal(
        mean_over_turns(lambda x: x["a"] - 2 * x["b"] + x["a"].amax((-1, -2), keepdim=True), inputs), expected
    )


def test_all_modalities_turn_together():
    def segment(inputs):
        return inputs["a"] * inputs["b"]

    assert torch.equal(mean_over_turns(segment, {"a": X, "b": X + 1}), X * (X + 1))


def test_the_mean_of_a_function_of_position_is_another():
    ramp = torch.arange(5, dtype=torch.float64)
    mean = mean_over_turns(lambda x: x["a"] * 0 + ramp, {"a": X})
    assert not torch.equal(mean, X * 0 + ramp)
    # of all eight: half the sum of the ramp down, up, right and left
    assert torch.allclose(mean, torch.full_like(X, 2.0))
    corner = torch.zeros(5, 5, dtype=torch.float64)
    corner[0, 1] = 8
    spread = mean_over_turns(lambda x: x["a"] * 0 + corner, {"a": X})[0, 0]
    assert spread.sum() == 8
    assert (spread > 0).sum() == 8
    assert all(torch.equal(turned(spread, turn), spread) for turn in SYMMETRIES)


def test_every_turn_is_given_once():
    seen = []
    mean_over_turns(lambda x: seen.append(x["a"]) or x["a"], {"a": X})
    assert all(torch.equal(x, turned(X, turn)) for x, turn in zip(seen, SYMMETRIES, strict=True))
