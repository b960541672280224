import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from mobanet.evaluation.calibration import BINS, Calibration, Reliability


def some_pixels(sharpness=2.0, seed=0):
    """Probabilities (1, 4, 60, 50) and a label, of which a fifth is ignored."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = (sharpness * torch.randn(1, 4, 60, 50, generator=generator)).softmax(1)
    label = torch.multinomial(probabilities[0].flatten(1).T, 1, generator=generator).view(1, 60, 50)
    label[torch.rand(1, 60, 50, generator=generator) < 0.2] = 255
    return probabilities, label


def counted(*batches):
    calibration = Calibration()
    for probabilities, label in batches:
        confidence, prediction = probabilities.max(1)
        calibration.update(confidence, prediction.to(torch.uint8), label)
    return Reliability.of(calibration.compute())


@pytest.mark.parametrize("sharpness", [0.3, 2.0, 6.0])
def test_the_error_is_that_of_torchmetrics(sharpness):
    probabilities, label = some_pixels(sharpness)
    # which keeps all pixels: the reason for a metric of our own
    reference = MulticlassCalibrationError(4, n_bins=15, norm="l1", ignore_index=255)
    assert counted((probabilities, label)).error == pytest.approx(float(reference(probabilities, label)), abs=1e-6)


def test_bins_hold_what_plain_numpy_counts():
    probabilities, label = some_pixels()
    found = counted((probabilities, label))
    there = label.numpy() != 255
    p, right = probabilities.numpy().max(1)[there], (probabilities.argmax(1) == label).numpy()[there]
    bins = np.minimum((p * 15).astype(int), 14)
    assert found.pixels == tuple(np.bincount(bins, minlength=15))
    assert sum(found.pixels) == there.sum() < label.numel()
    for k in range(BINS):
        inside = bins == k
        if inside.any():
            assert found.confidence[k] == pytest.approx(p[inside].mean(), abs=1e-6)
            assert found.accuracy[k] == pytest.approx(right[inside].mean())
        else:
            assert math.isnan(found.confidence[k])
            assert math.isnan(found.accuracy[k])


def test_batches_add_up_to_the_same_in_any_order():
    parts = [some_pixels(seed=seed) for seed in range(3)]
    together = tuple(torch.cat(each) for each in zip(*parts, strict=True))
    assert repr(counted(*parts)) == repr(counted(*parts[::-1])) == repr(counted(together))


def test_certain_pixels_are_in_the_last_bin_and_no_pixel_has_no_error():
    certain = torch.zeros(1, 4, 2, 2)
    certain[:, 1] = 1
    label = torch.tensor([[[1, 1], [0, 255]]])
    found = counted((certain, label))
    assert (found.pixels[-1], found.confidence[-1], found.accuracy[-1]) == (3, 1.0, pytest.approx(2 / 3))
    assert found.error == pytest.approx(1 / 3)
    assert math.isnan(counted((certain, torch.full_like(label, 255))).error)
    assert math.isnan(Reliability.absent().error)


def test_its_memory_does_not_grow():
    calibration = Calibration()
    for seed in range(3):
        probabilities, label = some_pixels(seed=seed)
        calibration.update(probabilities.amax(1), probabilities.argmax(1), label)
    assert calibration.metric_state["counts"].shape == (3, BINS)


def test_logits_that_are_no_numbers_do_not_break_the_count():
    calibration = Calibration()
    calibration.update(torch.tensor([math.nan, 0.5]), torch.tensor([0, 0]), torch.tensor([0, 0]))
    assert calibration.compute()[0].sum() == 2
