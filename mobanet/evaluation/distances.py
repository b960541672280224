"""Distances from a boundary, as a user gives them and as pixels of each tile."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mobanet.errors import UserError
from mobanet.rasters.pixel_size import pixel_side
from mobanet.store.stored import StoredTile

OPTION = "--boundary"

USUAL = "3,10"
"""Distances where a user names none; ISPRS erodes its labels by the first of them."""

# digits and dots only: float() would take nan, inf and 1_000, too
_GIVEN = re.compile(r"([\d.]+(?:e[+-]?\d+)?) ?(px|m|%|)", re.IGNORECASE)
Unit = Literal["px", "m", "%"]
_UNITS: dict[str, Unit] = {"": "px", "px": "px", "m": "m", "%": "%"}
_NAMES = {"px": "px", "m": "m", "%": "percent"}


@dataclass(frozen=True)
class Distance:
    """How far from a boundary pixels are looked at.

    Attributes:
        amount: above 0; a whole number of pixels.
        unit: pixels, metres on the ground, or per cent of a tile's diagonal (the dilation ratio of Cheng et al. 2021).
    """

    amount: float
    unit: Unit

    @property
    def label(self) -> str:
        """`3 px`, `0.5 m`, `2 %`."""
        return f"{self.amount:.10g} {self.unit}"

    @property
    def name(self) -> str:
        """In names of metrics and columns: `3px`, `0.5m`, `2percent`."""
        return f"{self.amount:.10g}{_NAMES[self.unit]}"

    @property
    def given(self) -> str:
        """As a user writes it."""
        return f"{self.amount:.10g}{'' if self.unit == 'px' else self.unit}"

    def pixels(self, tile: StoredTile) -> int:
        """The distance in pixels of a tile, rounded to whole ones.

        Raises:
            UserError: for metres on a tile of which it is not known how large its pixels are, and for less than half a
                pixel.
        """
        if self.unit == "px":
            return round(self.amount)
        if self.unit == "%":
            exact = self.amount / 100 * math.hypot(tile.height, tile.width)
        else:
            side = pixel_side(tile.grid)
            if side is None:
                raise UserError(
                    f"{OPTION} {self.given} is in metres, and the pixels of the test tile {tile.id} are of unknown "
                    f"size or not square on the ground; give pixels, such as {OPTION} 3."
                )
            exact = self.amount / side
        # it would be rounded to 0, within which there is nothing but the pixel itself
        if exact < 0.5:
            raise UserError(
                f"{OPTION} {self.given} is {exact:.2g} of a pixel of the test tile {tile.id}; give more, or pixels, "
                f"such as {OPTION} 1."
            )
        return math.floor(exact + 0.5)  # round() would make 2 of 2.5, and 4 of 3.5


def chosen_distances(given: str) -> tuple[Distance, ...]:
    """The distances that a user names.

    Args:
        given: joined by commas: `3` or `3px` pixels, `0.5m` metres, `2%` of the diagonal.

    Raises:
        UserError: for what is no distance, is 0, or is named twice.
    """
    found: list[Distance] = []
    for word in given.split(","):
        match = _GIVEN.fullmatch(word.strip())
        try:
            amount = float(match[1]) if match else math.nan
        except ValueError:
            amount = math.nan
        unit = _UNITS[match[2].lower()] if match else "px"
        if math.isnan(amount) or (unit == "px" and amount != round(min(amount, 1e9))):  # round() of infinity raises
            raise UserError(
                f"{OPTION} names {word.strip() or 'nothing'}, which is no distance; give whole pixels, metres or per "
                f"cent of a tile's diagonal by commas, such as {OPTION} 3,0.5m,2%."
            )
        if not 0 < amount < math.inf:
            raise UserError(f"{OPTION} names the distance {word.strip()}; give one above 0, such as {OPTION} 3.")
        distance = Distance(amount, unit)
        if distance in found:
            raise UserError(f"{OPTION} names {distance.label} twice; leave one of them out.")
        found.append(distance)
    return tuple(found)


def pixel_distances(distances: Sequence[Distance], tiles: Sequence[StoredTile]) -> Mapping[str, tuple[int, ...]]:
    """The distances in pixels of each tile to be evaluated, by its id.

    Raises:
        UserError: where one has no length in pixels, or reaches across every tile.
    """
    found = {tile.id: tuple(distance.pixels(tile) for distance in distances) for tile in tiles}
    for number, distance in enumerate(distances):
        # of a small one among larger ones, all may well be near a boundary
        if tiles and all(found[tile.id][number] >= min(tile.height, tile.width) for tile in tiles):
            widest = max(tiles, key=lambda tile: min(tile.height, tile.width))
            raise UserError(
                f"{OPTION} {distance.given} is {found[widest.id][number]} pixels, no less than the test tile "
                f"{widest.id} of {widest.height} x {widest.width} pixels is wide; give less."
            )
    return found
