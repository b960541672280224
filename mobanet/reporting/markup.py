"""HTML put together from parts, with everything that is not markup already escaped."""

from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """Text that is HTML; any other string is escaped when it becomes part of an element."""

    __slots__ = ()


Part = str | int | Markup | None
"""What an element may hold: text or a number, markup, or nothing."""

_VOID = frozenset({"img", "input", "link", "meta", "br", "hr", "wbr", "line", "path"})
"""Elements without content and end tag; those of SVG end in a slash."""


def element(name: str, /, *parts: Part, **attributes: str | int | float | bool | None) -> Markup:
    """An element of HTML or SVG.

    Args:
        name: of the tag.
        parts: its content.
        attributes: an underscore stands for a dash, one at the end for nothing (`class_`, `aria_label`); None and False
            leave an attribute out, True gives it no value.
    """
    opened = name
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        opened += f" {key.rstrip('_').replace('_', '-')}"
        opened += "" if value is True else f'="{escape(str(value))}"'
    if name in _VOID:
        return Markup(f"<{opened}/>")
    return Markup(f"<{opened}>{joined(*parts)}</{name}>")


def joined(*parts: Part) -> Markup:
    """Parts one behind the other."""
    return Markup(
        "".join(part if isinstance(part, Markup) else escape(str(part)) for part in parts if part is not None)
    )


def note(sentence: str) -> Markup:
    """A plain sentence where something of a run is not there, with `code` between grave accents."""
    pieces = sentence.split("`")
    marked = (element("code", piece) if k % 2 else piece for k, piece in enumerate(pieces))
    return element("p", *marked, class_="note")


def scrolling(table: Markup, label: str) -> Markup:
    """A table in a box of its own, which scrolls where the table is wider, also by keyboard."""
    return element("div", table, class_="scroll", role="region", aria_label=label, tabindex=0)


def scenario_words(name: str) -> Markup:
    """A scenario's name, or words with it, that may be broken behind each plus."""
    first, *rest = name.split("+")
    return joined(first, *(joined("+", element("wbr"), part) for part in rest))


def swatch(colour: Sequence[int]) -> Markup:
    """A square of a class's colour, RGB."""
    return element("span", class_="swatch", style=f"background:rgb({','.join(map(str, colour))})")


def pairs(entries: Iterable[tuple[str, Part]]) -> Markup:
    """Words and what they stand for, beside each other."""
    rows = (element("div", element("dt", word), element("dd", meaning)) for word, meaning in entries)
    return element("dl", *rows, class_="pairs")


def grouped(count: int) -> str:
    """A number with its thousands apart by narrow spaces that do not break."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
