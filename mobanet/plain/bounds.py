"""How large, deep and odd a file of text may be that is read as a whole: no file of ours or of a user comes near.

What goes beyond is a `ValueError`, whose text is a clause without a subject.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# PyYAML in Python recurses, and ends with a RecursionError near 500; no file of ours has ten
DEEPEST = 64
"""Brackets in brackets, mappings in mappings."""

_AT_ONCE = 1 << 20  # bytes

LARGEST = 2**63 - 1
"""Of whole numbers, without their sign; beyond, neither arrays nor tensors can hold them."""


def read_bounded(path: Path, most: int) -> str:
    """A file's text.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is larger, or not in UTF-8.
    """
    content = bytearray()
    with path.open("rb") as file:
        while len(content) <= most and (part := file.read(_AT_ONCE)):  # room for all that there may be would be much
            content += part
    if len(content) > most:
        raise ValueError(f"has more than {size_in_words(most)}")
    try:
        # editors on Windows begin a file with a byte order mark, at which `json` stops
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not in UTF-8 (byte {error.start})") from error


def size_in_words(size: int) -> str:
    """`32 MB`, from 2^25."""
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} kB"


def check_values(content: Any, finite: bool = False) -> None:
    """Look through what a file or a word holds, however deep.

    Args:
        content: mappings, lists, texts and numbers.
        finite: refuse NaN and infinity, too.

    Raises:
        ValueError: for more than `DEEPEST` levels, a whole number beyond `LARGEST`, and a text with a NUL, a control
            character or half of a character in it, which neither files nor tables nor log lines can take.
    """
    # a list instead of recursion, which would end in Python's own error for what its parser took
    waiting = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            raise ValueError(f"has more than {DEEPEST} levels of brackets or mappings in one another")
        kind = type(value)  # a store's descriptions are millions of plain values
        if kind is str or isinstance(value, str):
            if odd := odd_character(value):
                raise ValueError(f"holds the text {shown(value)} with the character {odd!r}")
        elif kind is float or isinstance(value, float):
            if finite and not math.isfinite(value):
                raise ValueError(f"holds the number {value}")
        elif kind is int or isinstance(value, int):
            if not -LARGEST <= value <= LARGEST:
                raise ValueError(f"holds a whole number of {_digits(value)} digits; {LARGEST} is the largest")
        elif kind is dict or isinstance(value, Mapping):
            waiting += [(each, depth + 1) for pair in value.items() for each in pair]
        elif isinstance(value, list | tuple | set):
            waiting += [(each, depth + 1) for each in value]


def check_digits(text: str) -> None:
    """Refuse what is a whole number beyond `LARGEST` once it is one: to make it of thousands of digits takes long.

    Raises:
        ValueError: for such a number; any other text is left alone.
    """
    # leading zeros make a text longer and a number no larger
    digits = text.strip().lstrip("+-").lstrip("0")
    # of equally long ones the texts are compared: digits are in the order of their characters
    if digits.isdecimal() and (len(digits), digits) > (len(str(LARGEST)), str(LARGEST)):
        raise ValueError(f"holds a whole number of {len(digits)} digits; {LARGEST} is the largest")


def whole_number(text: str) -> int:
    """A number out of a table.

    Raises:
        ValueError: for another text, and for a number beyond `LARGEST`.
    """
    check_digits(text)
    return int(text)


def odd_character(text: str) -> str | None:
    """The first control character but tab and line feeds, or half a character of UTF-16; None for plain text."""
    # at once where all is printable, as nearly always: a loop over characters takes a hundred times as long
    return None if text.isprintable() else next(filter(_odd, text), None)


def shown(text: str, most: int = 40) -> str:
    """A text as a sentence can hold it: in quotation marks, on one line, and short."""
    return repr(text if len(text) <= most else f"{text[:most]}…")


def _odd(character: str) -> bool:
    # halves come of `\ud800` in JSON and of file names that are not in UTF-8; to write one is an error
    return (character < " " and character not in "\t\n\r") or character == "\x7f" or "\ud800" <= character <= "\udfff"


def shorten_text(text: str, most: int = 400) -> str:
    """A long text without its middle: messages of parsers repeat values whole."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def _digits(number: int) -> int:
    bits = abs(number).bit_length()
    return len(str(abs(number))) if bits < 10_000 else int(bits * math.log10(2)) + 1  # too long a text for Python
