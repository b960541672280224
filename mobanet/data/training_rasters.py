"""What the rasters were that a model was trained on, and how they were read; it travels in the checkpoint.

A model takes decimetres for metres if its training's files were read so, and knows roofs as so many pixels wide.
Without word of that, the same files would be mapped ten times too high, and others at a third of the size, in silence.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mobanet.plain.schema import MismatchError, check_value, to_plain
from mobanet.plain.typed import build
from mobanet.rasters.pixel_size import pixel_area
from mobanet.rasters.reader import ReadingRule
from mobanet.store.stored import StoredTile

FAR = 1.5
"""Times as large or as small as in training; beyond it pixels are said to be others than the model knows."""

_MEASURED = 16  # tiles at most; each takes milliseconds, and data sets have thousands

_SYSTEMS = 3  # so many reference systems are kept


@dataclass(frozen=True)
class TrainingRasters:
    """Of the tiles that a model was trained on.

    Attributes:
        rules: by modality, how most of its rasters were read.
        side: of a pixel on the ground, in metres; None where that is not known.
        systems: coordinate reference systems, the most frequent first.
    """

    rules: dict[str, ReadingRule] = field(default_factory=dict)
    side: float | None = None
    systems: tuple[str, ...] = ()

    @classmethod
    def of(cls, tiles: Sequence[StoredTile], modalities: Sequence[str]) -> "TrainingRasters":
        """From tiles of a store to train on, and the modalities in use."""
        rules = {}
        for name in modalities:
            found = [tile.modalities[name].rule for tile in tiles if name in tile.modalities]
            # the most frequent: tiles may have come from several deliveries
            known = Counter(rule for rule in found if rule is not None)
            if known:
                rules[name] = known.most_common(1)[0][0]
        systems = Counter(tile.crs for tile in tiles if tile.crs is not None)
        return cls(rules, ground_side(tiles), tuple(name for name, _ in systems.most_common(_SYSTEMS)))

    def to_plain(self) -> dict[str, Any]:
        """Lists, dicts, strings and numbers only."""
        return to_plain(asdict(self))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any] | None) -> "TrainingRasters":
        """The inverse of `to_plain`; nothing is known of what checkpoints made before do not say."""
        return cls() if plain is None else build(cls, plain)

    def times_as_large(self, side: float | None) -> float | None:
        """Pixels of a size beside those of the training: 2 for such as are twice as large; None where not known."""
        return None if side is None or self.side is None else side / self.side


def ground_side(tiles: Sequence[StoredTile]) -> float | None:
    """Side on the ground of most tiles' pixels in metres, by some of them; None where they do not say so."""
    some = tiles[:: -(-len(tiles) // _MEASURED) or 1]  # evenly; `or 1` of none, since a step of 0 is an error
    known = [area for tile in some if (area := pixel_area(tile.grid)) is not None]
    # of areas, since pixels of a raster in degrees are not square on the ground
    return float(np.sqrt(np.median(known))) if known else None


def check_rasters(plain: Any, where: str) -> None:
    """Refuse a plain description, of a file, that describes no training rasters.

    Raises:
        MismatchError: naming the entry.
    """
    check_value(plain, TrainingRasters, where)
    side = plain.get("side")
    if side is not None and not 0 < side < 1e6:
        raise MismatchError(f"{where}.side", f"is {side}, no size of a pixel in metres")
    for name, rule in plain.get("rules", {}).items():
        factor, bands = rule.get("factor", 1.0), rule["bands"]
        if not factor or not math.isfinite(factor) or not bands or not all(0 <= band < rule["count"] for band in bands):
            raise MismatchError(f"{where}.rules.{name}", f"has the factor {factor} and the bands {bands}")
