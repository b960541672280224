"""One confusion matrix, from which every figure is derived.

Rows are the truth, columns the prediction. Leaving clutter out of a mean is not ignoring its pixels: they stay in the
matrix as errors of other classes (torchmetrics' `ignore_index` would delete them).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mobanet.rasters.contents import IGNORE_INDEX, Classes


def confusion_matrix(prediction: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Count pixels.

    Args:
        prediction: class indices, any shape.
        label: class indices of the same shape, `IGNORE_INDEX` where a pixel does not count.
        num_classes: K.

    Returns:
        (K, K) int64.
    """
    counts = label != IGNORE_INDEX
    # of bytes, as labels may be, the product would wrap around
    pairs = label[counts].long() * num_classes + prediction[counts].long()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


@dataclass(frozen=True)
class Scores:
    """Figures of one confusion matrix.

    A class that occurs neither in the truth nor in the prediction has no IoU and no F1: NaN, left out of the means.

    Attributes:
        overall_accuracy: share of pixels that are right, over all classes.
        kappa: Cohen's kappa, over all classes.
        mean_f1: over the averaged classes.
        mean_iou: over the averaged classes.
        iou: one a class.
        f1: one a class.
        pixels: of the truth, one a class.
        users_accuracy: one a class: of the pixels that the map gives it, the share that is right, also called
            precision (user's accuracy, Congalton 1991, A review of assessing the accuracy of classifications of
            remotely sensed data); NaN where the map has none.
        producers_accuracy: one a class: of its pixels in the truth, the share that the map has right, also called
            recall; NaN where the truth has none.
        frequency_weighted_iou: the mean over all classes by their share of the truth (Long et al. 2015, Fully
            convolutional networks for semantic segmentation).
    """

    overall_accuracy: float
    kappa: float
    mean_f1: float
    mean_iou: float
    iou: tuple[float, ...]
    f1: tuple[float, ...]
    pixels: tuple[int, ...]
    users_accuracy: tuple[float, ...]
    producers_accuracy: tuple[float, ...]
    frequency_weighted_iou: float


def scores(matrix: Tensor, classes: Classes) -> Scores:
    """All figures of a confusion matrix."""
    m = matrix.cpu().double()  # in this order: not every device has float64
    hit, truth, predicted, total = m.diagonal(), m.sum(1), m.sum(0), m.sum()
    iou = hit / (truth + predicted - hit)  # 0 / 0 is NaN: the class is absent
    f1 = 2 * hit / (truth + predicted)
    # in float64: the square of 10^10 pixels is beyond int64
    # Cohen's expected agreement: that of two maps with these shares of classes, drawn independently
    chance = (truth * predicted).sum() / total**2
    averaged = [classes.names.index(name) for name in classes.averaged]
    return Scores(
        overall_accuracy=float(hit.sum() / total),
        kappa=float((hit.sum() / total - chance) / (1 - chance)),
        mean_f1=mean_of(f1[averaged].tolist()),
        mean_iou=mean_of(iou[averaged].tolist()),
        iou=tuple(iou.tolist()),
        f1=tuple(f1.tolist()),
        pixels=tuple(int(x) for x in truth.tolist()),
        users_accuracy=tuple((hit / predicted).tolist()),
        producers_accuracy=tuple((hit / truth).tolist()),
        frequency_weighted_iou=float((truth * iou.nan_to_num(0)).sum() / total),  # of NaN the share is 0
    )


def share_of(part: float, whole: float) -> float:
    """NaN of nothing."""
    return part / whole if whole else math.nan


def nan_if_none(value: float | None) -> float:
    """A figure as JSON has it."""
    return math.nan if value is None else float(value)


def mean_of(values: Iterable[float]) -> float:
    """The mean of those that there are; NaN of none."""
    present = [value for value in values if not math.isnan(value)]
    return sum(present) / len(present) if present else math.nan
