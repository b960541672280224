"""Which files the patterns of one's own data stand for, and which tile each of them is of."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache

from mobanet.datasets.catalogue import Catalogue, Entry
from mobanet.errors import UserError
from mobanet.plain.wording import shorten
from mobanet.rasters.contents import FileRef
from mobanet.rasters.elsewhere import elsewhere

_GLOB = re.compile(r"(\*\*/|\*|\{tile[1-9]?\})")
_TILE = re.compile(r"\{(tile[1-9]?)\}")

SortedFiles = dict[str, dict[str, list[Entry]]]
"""By pattern and tile, the files; under the empty name where a pattern names no tile."""


def placeholders(pattern: str) -> tuple[str, ...]:
    """`tile` where it stands for an id in a pattern; or what stands for its parts, `tile1` and so on, in order."""
    return tuple(sorted(set(_TILE.findall(pattern))))


def filled(pattern: str, parts: Mapping[str, str]) -> str:
    """A pattern with the parts of an id in their places; what is not among them stays."""
    return _TILE.sub(lambda match: parts.get(match[1], match[0]), pattern)


def parts_of(pattern: str, location: str) -> dict[str, str]:
    """The parts of an id in a location that matches a pattern; none where it does not."""
    # the second time without the first folder, which may be an archive's name
    match = expression(pattern).fullmatch(location) or expression(pattern).fullmatch(_inside(location))
    return match.groupdict() if match else {}


def at_address(pattern: str, tile: str) -> Entry:
    """The file that a pattern which is an address stands for; nobody is asked whether it is there."""
    place = elsewhere(filled(pattern, {"tile": tile}))
    assert place is not None  # the pattern is an address, with any id in it
    return Entry(FileRef(place), place.shown, 0, place.shown)


def check_alone(pattern: str, use: str, tile: str, entries: Sequence[Entry]) -> None:
    """Refuse two files for one tile; the same file once packed and once unpacked is one."""
    if (other := another(entries)) is not None:
        raise UserError(
            f"the pattern {pattern!r} of {use} matches two files of the tile {tile}, {entries[0].location} and "
            f"{other.location}: make it tell them apart, or remove one."
        )


def another(entries: Sequence[Entry]) -> Entry | None:
    """The first of some files that is another than the first; the same once packed and once unpacked is one."""
    first, *others = entries
    for other in others:
        same = (other.name, other.size) == (first.name, first.size)
        if not same or (other.file.member is None) == (first.file.member is None):
            return other
    return None


def sort_files(catalogue: Catalogue, patterns: set[str]) -> SortedFiles:
    """Each file goes to the pattern with the most literal text that it matches."""
    # the pattern itself breaks ties, as a set has no order from run to run
    order = sorted(patterns, key=lambda pattern: (-len(_GLOB.sub("", pattern)), pattern))
    rules = [(pattern, expression(pattern), placeholders(pattern)) for pattern in order]
    found: SortedFiles = {pattern: defaultdict(list) for pattern in patterns}
    for entry in catalogue.entries:
        # an archive's own name need not be part of the pattern
        inside = _inside(entry.location) if entry.file.member is not None else entry.location
        for pattern, rule, parts in rules:
            match = rule.fullmatch(entry.location) or rule.fullmatch(inside)
            if match:
                found[pattern]["_".join(match[name] for name in parts)].append(entry)
                break
    return found


def why_nothing(pattern: str, catalogue: Catalogue) -> str:
    """A clause on why a pattern may match nothing."""
    # file names are matched by case on every system, so that a description works on all of them
    anyhow = re.compile(expression(pattern).pattern, re.IGNORECASE)
    near = next((entry.location for entry in catalogue.entries if anyhow.fullmatch(entry.location)), None)
    if near:
        return f", where upper and lower case differ ({near})"
    if odd := re.findall(r"[\[\]?{}]", _TILE.sub("", pattern)):
        return f": {' and '.join(dict.fromkeys(odd))} in it stand for themselves, only *, **/ and {{tile}} for more"
    shown = shorten((entry.location for entry in catalogue.entries), 3)
    return f", which holds {shown}" if shown else ", which holds none"


def _inside(location: str) -> str:
    """Without the first folder."""
    return location.split("/", 1)[-1]


# a description has a few patterns, and each is asked of every file
@lru_cache(maxsize=64)
def expression(pattern: str) -> re.Pattern[str]:
    """What a pattern matches, with a group `tile`, or `tile1` and so on, for the id."""
    parts, named = [], set[str]()
    for part in _GLOB.split(pattern.removeprefix("./")):
        if match := _TILE.fullmatch(part):
            # named a second time, it must be the same tile, as in {tile}/{tile}_rgb.tif
            parts.append(f"(?P={match[1]})" if match[1] in named else f"(?P<{match[1]}>[^/]+)")
            named.add(match[1])
        else:
            parts.append({"**/": "(?:[^/]+/)*", "*": "[^/]*"}.get(part, re.escape(part)))
    return re.compile("".join(parts))
