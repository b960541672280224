"""Sizes that follow from `--data.crop` where nothing else is said, settled before a run begins and recorded with it."""

import math
import re
from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace

from mobanet.data.options import EvaluationSettings
from mobanet.models.registry import settings_groups
from mobanet.plain.command_words import listed


def follow_crop(config: Namespace, checkpoint: Mapping[str, Any] | None = None) -> None:
    """Fill in the windows of evaluation, and the size that a transformer without published weights is made for.

    A window is a crop, validation moves by a window and the test by half of one. A transformer's table of positions
    has the crop's patches, or as many as the checkpoint has that the run takes its weights from.

    Args:
        config: parsed, of a training run; changed in place.
        checkpoint: that a run goes on from, or begins with.
    """
    crop, given = config.data.crop, config.data.evaluation
    rule = EvaluationSettings(given.window, given.validation_stride, given.test_stride)
    given.window = rule.size(crop)
    given.validation_stride, given.test_stride = (
        rule.stride(s, crop, _step(config.data)) for s in ("validation", "test")
    )
    if "backbone" in settings_groups(config.model.architecture):
        config.model.backbone.options = _with_size(config.model.backbone, crop, checkpoint)


def _step(data: Namespace) -> int:
    """What strides are multiples of: described modalities may have pixels that are coarser than the grid's."""
    # other layouts have one grid for all modalities
    folder = data.get("folder")
    described = {} if folder is None else folder.get("modalities")
    used = listed(data.get("modalities")) or list(described)
    return math.lcm(*(described[name].get("pixel_ratio") or 1 for name in used if name in described))


def _with_size(backbone: Namespace, crop: int, checkpoint: Mapping[str, Any] | None) -> dict[str, Any]:
    options = dict(backbone.options)
    if "img_size" in options or backbone.pretrained or backbone.checkpoint:  # weights come with a size of their own
        return options
    if checkpoint is not None:
        saved = checkpoint["hyper_parameters"]["backbone"]["options"]
        return options | {key: saved[key] for key in ("img_size",) if key in saved}
    named = re.search(r"patch(\d+)", backbone.name)
    patch = options.get("patch_size", int(named[1]) if named else None)
    if not isinstance(patch, int) or isinstance(patch, bool) or patch < 1:  # what is wrong with it, the model says
        return options
    return {**options, "img_size": -(-crop // patch) * patch}  # inputs are padded to whole patches
