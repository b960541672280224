"""Rasters brought to a tile's grid as wholes: what strips are held against."""

import numpy as np

from mobanet.rasters.alignment import align, align_label, stretched
from mobanet.rasters.contents import IGNORE_INDEX


def aligned(values, valid, own, target, fit):
    """(bands, H, W) values and (H, W) validity, None for all, on the target grid."""
    if fit == "same":
        return values, valid
    if fit == "edge":
        here = cut_or_padded(np.ones(values.shape[1:], bool) if valid is None else valid, target, False)
        return cut_or_padded(values, target, 0), None if here.all() else here
    return align(values, valid, *(stretched(own, target) if fit == "stretch" else (own, target)))


def aligned_label(classes, own, target, fit):
    """(H, W) class indices on the target grid."""
    if fit == "same":
        return classes
    return cut_or_padded(classes, target, IGNORE_INDEX) if fit == "edge" else align_label(classes, own, target)


def cut_or_padded(array, target, fill):
    height, width = min(array.shape[-2], target.height), min(array.shape[-1], target.width)
    result = np.full((*array.shape[:-2], target.height, target.width), fill, array.dtype)
    result[..., :height, :width] = array[..., :height, :width]
    return result
