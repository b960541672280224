"""The paper's soft Jaccard, by hand."""

import pytest
import torch

from mobanet.evaluation.jaccard import SoftJaccard, soft_scores
from mobanet.rasters.contents import IGNORE_INDEX


def test_soft_scores_of_a_few_pixels():
    p, y = torch.tensor([0.9, 0.6, 0.2, 0.0]), torch.tensor([1, 0, 1, 0])
    jaccard, f1 = soft_scores(p, y)
    assert float(jaccard) == pytest.approx(1.1 / (1.1 + 0.9 + 0.6))
    recall, precision = 1.1 / 2, 1.1 / 1.7
    assert float(f1) == pytest.approx(2 * recall * precision / (recall + precision))


def test_an_image_without_target_is_scored_on_its_background():
    jaccard, _ = soft_scores(torch.full((50,), 0.2), torch.zeros(50))
    assert float(jaccard) == pytest.approx(0.8)


def logits_of(probability):
    x = torch.logit(torch.tensor(probability, dtype=torch.float64))
    return torch.stack([torch.zeros_like(x), x], dim=1)


def test_images_are_averaged_whatever_the_batches_and_ignored_pixels_left_out():
    p = [[[0.9, 0.6], [0.2, 0.01]], [[0.2, 0.2], [0.2, 0.7]]]
    label = torch.tensor([[[1, 0], [1, 0]], [[0, 0], [0, IGNORE_INDEX]]])
    one, two = SoftJaccard(), SoftJaccard()
    one.update(logits_of(p), label)
    for i in range(2):
        two.update(logits_of(p)[i : i + 1], label[i : i + 1])
    two.update(logits_of(p)[:1], torch.full((1, 2, 2), IGNORE_INDEX))
    first = 1.1 / (1.1 + 0.9 + 0.61)
    for found in (one.compute(), two.compute()):
        assert found.images == 2
        assert found.jaccard == pytest.approx((first + 0.8) / 2)
        assert found.jaccard_deviation == pytest.approx(abs(first - 0.8) / 2)
