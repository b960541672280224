"""The words of `mobanet.init`: which modality is which file, folder or pattern."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobanet.errors import UserError
from mobanet.plain.bounds import shown

SHORT = ("rgb", "irrg", "ir", "ndsm", "dsm")
"""Modalities that have an option of their own, in the order in which they come."""

_BANDS = re.compile(r"(.+)\[(\d+(?:\s*,\s*\d+)*)\]")


@dataclass(frozen=True)
class Given:
    """What the user names.

    Attributes:
        name: of the modality; `labels` for the labels.
        text: path of a raster, of a folder, or a pattern with `{tile}` or `*`.
        option: how it was typed, for messages.
        bands: 0-based; None for those that the raster's own words make likely.
    """

    name: str
    text: str
    option: str
    bands: tuple[int, ...] | None = None


def given_modalities(short: Mapping[str, str | None], named: Sequence[str]) -> list[Given]:
    """The modalities of a command line, in order.

    Args:
        short: path by the name of an option of `SHORT`; None for one that is not given.
        named: words such as `rgb=ortho.tif` or `ir=rgbir.tif[4]`, with bands from 1 in brackets.
    """
    found = [_given(name, text, f"--{name} {text}") for name, text in short.items() if text is not None]
    for word in named:
        # at the first sign: a path may hold others
        name, equals, text = (part.strip() for part in word.partition("="))
        if not equals or not name:
            raise UserError(f"--input {word} names no modality; write NAME=PATH, such as --input rgb={word or 'FILE'}.")
        found.append(_given(name, text, f"--input {word}"))
    if not found:
        raise UserError("no raster is given; name at least one, such as --rgb ortho.tif or --input ndvi=ndvi.tif.")
    seen: dict[str, Given] = {}
    for each in found:
        if each.name in seen:
            raise UserError(
                f"{each.option} and {seen[each.name].option} are both called {each.name}; give one of them another "
                "name with --input NAME=PATH."
            )
        seen[each.name] = each
    return found


def given_labels(text: str) -> Given:
    """The labels of a command line."""
    return Given("labels", text, f"--labels {text}")


def _given(name: str, text: str, option: str) -> Given:
    if not text:
        raise UserError(f"{option} has no path; give a raster, a folder, or a pattern with {{tile}}.")
    told = _BANDS.fullmatch(text)
    # brackets may be a part of the file's own name
    if told is None or Path(text).exists():
        return Given(name, text, option)
    numbers = [int(number) for number in told[2].split(",")]
    if min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise UserError(f"{option}: name each band once, counted from 1, such as {shown(told[1])}[1,2,3].")
    return Given(name, told[1], option, tuple(number - 1 for number in numbers))
