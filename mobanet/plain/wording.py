"""Wording shared by messages about data: choices, lists and natural order."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from mobanet.errors import UserError

Value = TypeVar("Value")


def choose_from(choices: Mapping[str, Value], name: str, complaint: str) -> Value:
    """Entry `name` of `choices`.

    Args:
        choices: what there is.
        name: the user's word.
        complaint: start of the sentence when there is none, such as `layout potsdam has no split`.

    Raises:
        UserError: lists the choices and suggests the nearest.
    """
    if name in choices:
        return choices[name]
    hint = did_you_mean(name, choices, quoted=True)
    raise UserError(f"{complaint} {name!r}{hint}: choose from {', '.join(choices)}.")


def nearest(word: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name that is most like a word, as `difflib` has it, whatever their case; None where none is like enough.

    Args:
        word: the user's.
        known: names that there are.
        cutoff: likeness that a name must have, from 0 to 1.
    """
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(word).lower(), names, n=1, cutoff=cutoff)
    return names[near[0]] if near else None


def did_you_mean(word: object, known: Iterable[str], cutoff: float = 0.6, quoted: bool = False) -> str:
    """` (did you mean rgb?)` for the middle of a sentence, or nothing; arguments as for `nearest`."""
    near = nearest(word, known, cutoff)
    return "" if near is None else f" (did you mean {near!r}?)" if quoted else f" (did you mean {near}?)"


def name_differences(wanted: Iterable[str], found: Iterable[str], most: int | None = 3) -> list[str]:
    """`lacks a, b, c and 2 more` and `has unknown d`, of what does not fit; none where all does.

    Args:
        wanted: names that there should be.
        found: those that there are.
        most: names that are shown of a kind; None for all.
    """
    wanted, found = set(wanted), set(found)
    kinds = (("lacks", sorted(wanted - found)), ("has unknown", sorted(found - wanted)))
    return [f"{words} {shorten(names, len(names) if most is None else most)}" for words, names in kinds if names]


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key that orders `2_10` after `2_9`."""
    # `isdecimal`, as `\d` is: "²" is a digit, too, of which `int` makes no number
    # pairs, as a number and a text cannot be compared; -1 puts words before numbers
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def absent_note(counts: Iterable[float], names: Sequence[str], where: str) -> str:
    """A remark on classes that occur nowhere, as where ids are off by one; empty where all occur, or none.

    Args:
        counts: pixels or shares by class.
        names: of the classes.
        where: what was looked at, such as `training tile`.
    """
    absent = [name for name, count in zip(names, counts, strict=True) if not count]
    if not absent or len(absent) == len(names):
        return ""
    classes = f"the class {absent[0]}" if len(absent) == 1 else f"the classes {', '.join(absent)}"
    return (
        f"no {where} has a pixel of {classes}, which cannot be learnt so: look whether the label's colours, numbers or "
        "values are those that the classes are given"
    )


def shorten(items: Iterable[str], most: int = 6) -> str:
    """`a, b and 3 more`."""
    names = list(items)
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
