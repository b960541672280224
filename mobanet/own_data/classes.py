"""What labels say: the classes, what of them is ignored, and how often each occurs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mobanet.datasets.vector_settings import IGNORED
from mobanet.plain.bounds import shown
from mobanet.rasters.distinct_colours import distinct_colours

MOST = 254
"""Classes that a label can tell apart; 255 is ignored."""

_NOTHING = {
    *("ignored", "ignore", "unclassified", "unlabelled", "unlabeled", "unknown", "undefined", "nodata", "no data"),
    *("no_data", "void", "none", "not classified"),
}
"""Names, in lower case, that mean no class."""


@dataclass
class FoundClass:
    """A class, or what is ignored.

    Attributes:
        name: of the class; `ignored` for none.
        value: what the labels have for it: a number, a text, a colour, or None for no value.
        count: of polygons or pixels.
        share: of the labelled ground; None where it was not looked at.
    """

    name: str
    value: Any
    count: int
    share: float | None = None
    note: str = ""

    @property
    def ignored(self) -> bool:
        """Whether it is no class."""
        return self.name == IGNORED


@dataclass
class LabelLook:
    """What the labels are.

    Attributes:
        kind: polygons, numbers or colours.
        found: classes and what is ignored, in the order of the classes' indices.
        colours: by class, in the same order, for pictures, or as the labels have them.
        what: of which `count` counts.
        unlabelled: share of the ground that no polygon covers.
        background: name of the class under no polygon; None where it is ignored.
        sampled: whether counts are of a part of the labels alone.
    """

    kind: str
    found: list[FoundClass]
    colours: list[tuple[int, int, int]]
    what: str
    attribute: str = ""
    layer: str | None = None
    crs: str | None = None
    unlabelled: float = 0.0
    background: str | None = None
    sampled: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Of the classes, in index order; polygons of several values may be of one class."""
        # last, so that it moves no index of those that polygons have
        listed = [self.background] if self.background else []
        return list(dict.fromkeys([*(each.name for each in self.found if not each.ignored), *listed]))


def class_name(value: Any, taken: Iterable[str]) -> str:
    """A name, not taken yet, for a class that is known by a text or a number; `ignored` for a value that says so."""
    text = " ".join(str(value).split())
    if text.lower() in _NOTHING:
        return IGNORED
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", text):
        # a bare number would be taken for a value of the labels, or for the class's index
        text = f"class_{text}"
    if not text.isprintable() or not text:
        text = "class_" + re.sub(r"\W+", "_", shown(text)).strip("_")
    # as many letters as a description takes (`check_settings`)
    text, others = text[:60], set(taken)
    name, number = text, 2
    while name in others:
        name, number = f"{text[:55]}_{number}", number + 1  # room for the number within the 60
    return name


def colours_for(count: int, known: Mapping[int, tuple[int, int, int]] | None = None) -> list[tuple[int, int, int]]:
    """Colours of so many classes that eyes tell apart; those that are known by index are settled."""
    settled = dict(known or {})
    # as many more as are settled, since each of these may be one of them
    spare = iter([colour for colour in distinct_colours(count + len(settled)) if colour not in settled.values()])
    return [settled[index] if index in settled else next(spare) for index in range(count)]
