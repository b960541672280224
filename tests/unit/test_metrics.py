import math

import pytest
import torch

from mobanet.evaluation.metrics import confusion_matrix, scores
from mobanet.rasters.contents import Classes

CLASSES = Classes(("road", "house", "clutter"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), averaged=("road", "house"))


def test_confusion_counts_pairs_and_skips_ignored_pixels():
    matrix = confusion_matrix(torch.tensor([[0, 1, 2, 2]], dtype=torch.uint8), torch.tensor([[0, 0, 2, 255]]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    again = confusion_matrix(torch.tensor([[1, 1]]), torch.tensor([[1, 2]]), 3)
    assert again.tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_clutter_is_an_error_of_other_classes_but_is_not_averaged():
    # 10 road, 10 house, 5 clutter pixels; all of the clutter is taken for road
    figures = scores(torch.tensor([[10, 0, 0], [0, 10, 0], [5, 0, 0]]), CLASSES)
    assert figures.overall_accuracy == pytest.approx(20 / 25)
    assert figures.iou == pytest.approx((10 / 15, 1.0, 0.0))
    assert figures.mean_iou == pytest.approx((10 / 15 + 1) / 2)
    assert figures.mean_f1 == pytest.approx((20 / 25 + 1) / 2)


def test_kappa_by_hand():
    # agreement 0.7, chance 0.5
    figures = scores(torch.tensor([[20, 5, 0], [10, 15, 0], [0, 0, 0]]), CLASSES)
    assert figures.kappa == pytest.approx((0.7 - 0.5) / 0.5)


def test_absent_class_is_neither_zero_nor_one():
    figures = scores(torch.tensor([[4, 0, 0], [0, 0, 0], [0, 0, 2]]), CLASSES)
    assert math.isnan(figures.iou[1])
    assert figures.mean_iou == 1.0
    predicted_only = scores(torch.tensor([[3, 1, 0], [0, 0, 0], [0, 0, 2]]), CLASSES)
    assert predicted_only.iou[1] == 0.0
    assert predicted_only.mean_iou == pytest.approx(0.375)
