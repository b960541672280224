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


def test_users_and_producers_accuracy_are_precision_and_recall():
    # truth in rows: 8 of 10 road pixels are called road, and 8 of the 12 that are called road are road
    figures = scores(torch.tensor([[8, 2, 0], [4, 6, 0], [0, 0, 0]]), CLASSES)
    assert figures.producers_accuracy[:2] == pytest.approx((8 / 10, 6 / 10))
    assert figures.users_accuracy[:2] == pytest.approx((8 / 12, 6 / 8))
    assert math.isnan(figures.users_accuracy[2])
    assert math.isnan(figures.producers_accuracy[2])
    one_way = scores(torch.tensor([[3, 0, 1], [0, 0, 0], [0, 0, 0]]), CLASSES)
    assert one_way.users_accuracy[2] == 0.0
    assert math.isnan(one_way.producers_accuracy[2])


def test_frequency_weighted_iou_by_hand():
    # IoU 6/8, 1/2 and, of a class that is only predicted, 0, weighed 8 : 1 : 0
    figures = scores(torch.tensor([[6, 1, 1], [0, 1, 0], [0, 0, 0]]), CLASSES)
    assert figures.iou == pytest.approx((6 / 8, 1 / 2, 0))
    assert figures.frequency_weighted_iou == pytest.approx((8 * 6 / 8 + 1 / 2) / 9)
    assert math.isnan(scores(torch.zeros(3, 3, dtype=torch.int64), CLASSES).frequency_weighted_iou)


@pytest.mark.parametrize("seed", range(5))
def test_figures_of_classes_are_those_of_torchmetrics(seed):
    from torchmetrics.functional.classification import multiclass_precision, multiclass_recall

    generator = torch.Generator().manual_seed(seed)
    label, prediction = torch.randint(0, 3, (2, 50), generator=generator)
    label[:5] = 255
    found = scores(confusion_matrix(prediction, label, 3), CLASSES)
    given = {"num_classes": 3, "average": "none", "ignore_index": 255}
    torch.testing.assert_close(torch.tensor(found.users_accuracy), multiclass_precision(prediction, label, **given))
    torch.testing.assert_close(torch.tensor(found.producers_accuracy), multiclass_recall(prediction, label, **given))
