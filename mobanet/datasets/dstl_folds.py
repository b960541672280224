"""Five folds of the labelled DSTL scenes, in two ways.

Scenes: a region is a mosaic of neighbouring scenes, and the regions 6110 and 6140 show the same ground at two dates
(the published class shares of 6110_1_2 and 6140_1_2, and of 6110_3_1 and 6140_3_1, nearly agree), so whole regions are
dealt out, those two together. Every fold has five scenes, two of them at least with crops.

Patches: as in the CBC-SLP and scenario-sampling papers (arXiv 2604.15856, 2605.20372; their published scripts): patches
of 224 pixels, of which the 25 scenes give 5985, are put into a random order; fold f tests the f-th fifth of it, and of
the remaining ones the first tenth validates. Two neighbouring patches of a scene are then often on two sides. The
authors' own order is a file of theirs; here it is that of a hash of the patches' names.
"""

import hashlib
from collections.abc import Iterable

from mobanet.datasets.base import Split
from mobanet.errors import UserError

PATCH = 224
"""Pixels a side."""

FOLDS = 5

LEAK = (
    "patches of one scene are in training, validation and test alike, so that the figures say little about new scenes"
)

SCENES = (
    ("6110_1_2", "6110_3_1", "6110_4_0", "6140_1_2", "6140_3_1"),
    ("6010_1_2", "6010_4_2", "6010_4_4", "6120_2_0", "6120_2_2"),
    ("6040_1_0", "6040_1_3", "6040_2_2", "6040_4_4", "6090_2_0"),
    ("6070_2_3", "6100_1_3", "6100_2_2", "6100_2_3", "6160_2_1"),
    ("6060_2_3", "6150_2_3", "6170_0_4", "6170_2_4", "6170_4_1"),
)
"""The 25 labelled scenes by fold."""


def scene_fold(fold: int) -> Split:
    """Fold 1 to 5 tests its own scenes, validates on those of the next fold and trains on the other fifteen."""
    test, validation = SCENES[fold - 1], SCENES[fold % FOLDS]
    train = [scene for scenes in SCENES if scenes not in (test, validation) for scene in scenes]
    return Split(tuple(sorted(train)), validation, test)


def patch_fold(fold: int, patches: Iterable[str]) -> Split:
    """Fold 1 to 5 of the patches there are, refused where these are too few for each part to have one."""
    # not Python's own hash, which is another one in every process
    order = sorted(patches, key=lambda patch: hashlib.sha256(patch.encode()).digest())
    if len(order) < 2 * FOLDS:
        raise UserError(
            f"the split fold{fold}_patches needs at least {2 * FOLDS} patches of {PATCH} pixels and the scenes give "
            f"{len(order)}: add scenes, or choose a split by scenes such as fold{fold}_scenes."
        )
    # one fold begins where the last one ends, also where the patches cannot be divided by five
    first, last = ((fold - 1 + step) * len(order) // FOLDS for step in (0, 1))
    rest = [*order[:first], *order[last:]]
    held = max(1, len(rest) // 10)
    return Split(tuple(rest[held:]), tuple(rest[:held]), tuple(order[first:last]), PATCH, LEAK)


def splits() -> dict[str, Split]:
    """By name, `fold1_scenes` to `fold5_patches`; the lists of those by patches depend on the scenes there are."""
    folds = range(1, FOLDS + 1)
    return {f"fold{fold}_scenes": scene_fold(fold) for fold in folds} | {
        f"fold{fold}_patches": Split((), (), (), PATCH, LEAK) for fold in folds
    }
