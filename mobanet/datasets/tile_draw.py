"""Tiles of cut rasters dealt out to training, validation and test by a draw."""

import hashlib
import re
from collections.abc import Iterable

from mobanet.datasets.held_out import Role
from mobanet.datasets.tiling_settings import SplitBlocks
from mobanet.errors import UserError

_ROW_COLUMN = re.compile(r"(.*?)r(\d+)_c(\d+)")
_STEPS = 0.7548776662466927, 0.5698402909980532
"""One over the plastic number, the real root of x^3 = x + 1, and one over its square."""


def drawn_roles(names: Iterable[str], blocks: SplitBlocks) -> dict[str, Role]:
    """Tiles dealt out by a draw, in which the part of each depends on its name and the seed alone.

    So no tile changes sides where sensors, labels or mosaics are added or left out. Tiles that are named by row and
    column are spread evenly over the ground: their places are those of an additive recurrence by the plastic number
    (Roberts 2018, the R2 sequence), whose start and directions the seed draws. Others are dealt out one by one. A part
    that has a share and would get no tile is refused.
    """
    # the rest trains, also what rounding places at 1
    # test first, so that another share of validation leaves the test tiles as they are
    bounds: dict[Role, float] = {"test": blocks.test, "validation": blocks.test + blocks.validation, "train": 2.0}
    places = {name: _drawn_place(name, blocks.seed) for name in names}
    roles = {name: next(role for role, bound in bounds.items() if place < bound) for name, place in places.items()}
    wanted = [role for role, share in (("test", blocks.test), ("validation", blocks.validation), ("train", 1)) if share]
    if lacking := [role for role in wanted if role not in roles.values()]:
        raise UserError(
            f"splits.blocks deals none of {len(roles)} tile{'' if len(roles) == 1 else 's'} out to {lacking[0]}: give "
            "another seed, lower tiling.size, or name the ground of each part of the split under splits.areas."
        )
    return roles


def _drawn_place(name: str, seed: int) -> float:
    """Where from 0 to 1 a draw places a tile."""
    numbered = _ROW_COLUMN.fullmatch(name)
    # of what stands before row and column, so that each raster has a start of its own
    digest = hashlib.sha256(f"{seed}:{numbered[1] if numbered else name}".encode()).digest()
    # of a digest, as Python's own hash of a text differs from process to process
    start = int.from_bytes(digest[:8], "big") / 2**64
    if numbered is None:
        return start
    down, across = _STEPS if digest[8] & 1 else _STEPS[::-1]
    down, across = (-step if digest[8] & bit else step for step, bit in ((down, 2), (across, 4)))
    return (start + down * int(numbered[2]) + across * int(numbered[3])) % 1
