import math

import pytest
import torch

from mobanet.checkpoints.finite import not_finite
from mobanet.evaluation.calibration import Calibration, Reliability
from mobanet.evaluation.temperature import (
    GRID,
    SAMPLED,
    TemperatureFit,
    known_temperatures,
    temperature_of,
    temperature_trouble,
    temperature_words,
    with_temperatures,
)
from mobanet.stitching.windows import Stitcher

CLASSES = 5


def drawn(temperature, count=200_000, seed=1):
    """Logits (K, N), and labels that softmax(logits / temperature) is the truth of."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(CLASSES, count, generator=generator)
    label = torch.multinomial((logits / temperature).softmax(0).T, 1, generator=generator)[:, 0]
    return logits, label


def fitted(*pixels):
    fit = TemperatureFit()
    for logits, label in pixels:
        fit.update(logits, label)
    return fit.compute()


def stitched(logits, label, size, stride, sampled=SAMPLED):
    """The strips of a tile (K, H, W), whose windows overlap and agree."""
    height, width = label.shape
    stitcher, strips = Stitcher(len(logits), sampled), []
    for top in range(0, height - size + 1, stride):
        rows = slice(top, top + size)
        strips += stitcher.add("a", (height, width), (top, 0, size, width), logits[:, rows], label[rows])
    return strips + stitcher.finish()


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.5])
def test_the_temperature_of_the_truth_is_found(temperature):
    assert fitted(drawn(temperature)) == pytest.approx(temperature, rel=0.03)


def test_the_fit_has_the_least_loss_that_any_temperature_has():
    logits, label = drawn(1.7, 20_000)
    loss = [float(torch.nn.functional.cross_entropy((logits / t).T, label)) for t in GRID]
    found = fitted((logits, label))
    assert found == pytest.approx(temperature_of(loss), rel=1e-4)
    assert float(torch.nn.functional.cross_entropy((logits / found).T, label)) < min(loss)


def test_parts_summed_in_any_order_are_the_whole_to_the_last_digit():
    logits, label = drawn(1.3, 40_000)
    halves = [(logits[:, :16_384], label[:16_384]), (logits[:, 16_384:], label[16_384:])]
    assert fitted(*halves) == fitted(*reversed(halves)) == fitted((logits, label))
    one, two = TemperatureFit(), TemperatureFit()
    one.update(*halves[0])
    two.update(*halves[1])
    one.sums += two.sums  # as ranks are reduced
    assert one.compute() == fitted((logits, label))


def test_pixels_without_a_label_do_not_count():
    logits, label = drawn(0.8, 30_000)
    wrong = 50 * torch.randn(CLASSES, 30_000)
    both, some = torch.cat([logits, wrong], 1), torch.cat([label, torch.full_like(label, 255)])
    assert fitted((both, some)) == pytest.approx(fitted((logits, label)), rel=1e-6)


@pytest.mark.parametrize(("temperature", "end"), [(0.05, GRID[0]), (60.0, GRID[-1])])
def test_beyond_the_grid_its_end_is_taken(temperature, end):
    assert fitted(drawn(temperature, 20_000)) == end
    assert (GRID[0], GRID[-1], len(GRID)) == (0.25, 8, 21)


def test_pixels_that_are_all_right_or_all_alike_give_a_number_of_the_grid():
    label = torch.randint(0, CLASSES, (1000,))
    sure = 1e4 * torch.nn.functional.one_hot(label, CLASSES).T.float()
    assert fitted((sure, label)) == GRID[0]
    assert fitted((torch.zeros(CLASSES, 1000), label)) in GRID
    assert fitted((-sure, label)) == GRID[-1]


def test_no_labelled_pixel_gives_none():
    assert math.isnan(TemperatureFit().compute())
    assert math.isnan(fitted((torch.zeros(3, 4, 4), torch.full((4, 4), 255))))


def test_a_reset_and_another_precision_of_the_weights_leave_whole_numbers():
    fit = TemperatureFit().to(torch.bfloat16)
    logits, label = drawn(2.0, 5000)
    fit.update(logits, label)
    assert fit.compute() == fitted((logits, label))
    fit.reset()
    assert fit.sums.dtype == torch.int64
    assert math.isnan(fit.compute())


def test_strips_give_every_fourth_row_and_column_of_the_tile_whatever_their_heights():
    logits, label = drawn(1.5, 61 * 43)
    logits, label = logits.view(CLASSES, 61, 43), label.view(61, 43)
    label[:7] = 255
    found = {}
    for size, stride in ((61, 61), (21, 20), (11, 5), (3, 1)):
        # windows that overlap at all agree, so that their mean is what each says
        strips = stitched(logits, label, size, stride)
        sampled = torch.cat([strip.sample[0] for strip in strips], 1)
        torch.testing.assert_close(sampled, logits[:, ::SAMPLED, ::SAMPLED])
        assert torch.equal(torch.cat([strip.sample[1] for strip in strips]), label[::SAMPLED, ::SAMPLED])
        found[size] = fitted(*(strip.sample for strip in strips))
    assert list(found.values()) == pytest.approx([found[61]] * 4, rel=1e-5)
    assert found[61] == pytest.approx(fitted((logits[:, ::SAMPLED, ::SAMPLED], label[::SAMPLED, ::SAMPLED])), rel=1e-5)


def test_a_stitcher_at_a_temperature_gives_its_confidence_and_the_same_classes():
    logits, label = (x.view(*x.shape[:-1], 20, 20) for x in drawn(1.5, 400))
    stitcher = Stitcher(CLASSES)
    stitcher.temperature = 1.5
    (strip,) = stitcher.add("a", (20, 20), (0, 0, 20, 20), logits, label)
    torch.testing.assert_close(strip.calibrated, (logits / 1.5).softmax(0).amax(0))
    torch.testing.assert_close(strip.confidence, logits.softmax(0).amax(0))
    assert strip.sample is None


def test_at_the_fitted_temperature_probabilities_mean_what_they_say():
    logits, label = drawn(2.5, 50_000)
    errors = []
    for temperature in (1.0, fitted((logits, label))):
        calibration = Calibration()
        calibration.update((logits / temperature).softmax(0).amax(0), logits.argmax(0), label)
        errors.append(Reliability.of(calibration.compute()).error)
    assert errors[0] > 0.1
    assert errors[1] < 0.01


def test_temperatures_of_a_state_are_added_checked_and_named():
    state = with_temperatures({"network.weight": torch.ones(1)}, 3)
    assert state["temperatures"].dtype == torch.float32
    assert state["temperatures"].isnan().tolist() == [True] * 3
    assert with_temperatures({"temperatures": torch.ones(3)}, 3)["temperatures"].tolist() == [1, 1, 1]
    assert not_finite(state) == []
    assert temperature_trouble(state) is None
    for bad in (0.0, -1.0, math.inf):
        assert "temperatures holds" in temperature_trouble({"temperatures": torch.tensor([math.nan, bad, 1])})
    found = known_temperatures(torch.tensor([1.5, math.nan, 0.25]), ["rgb", "dsm", "rgb+dsm"])
    assert found == {"rgb": 1.5, "rgb+dsm": 0.25}
    assert temperature_words(found) == "rgb 1.50, rgb+dsm 0.25"
    assert known_temperatures(None, ["rgb"]) == {}
