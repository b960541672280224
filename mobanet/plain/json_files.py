"""JSON files of runs, stores, exports and users: read within bounds."""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from mobanet.plain.bounds import DEEPEST, check_digits, check_values, read_bounded

MOST_BYTES = 32 << 20
"""Of a file. The largest that we write are the confusion matrices of many scenarios and the listings of archives."""


def read_json(path: Path) -> Any:
    """The content of a file.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is no JSON or beyond bounds, with a clause that has no subject.
    """
    return parse_json(read_bounded(path, MOST_BYTES))


def parse_json(text: str) -> Any:
    """The content of a text; NaN and infinity are no JSON.

    Raises:
        ValueError: as `read_json`.
    """
    try:
        content = json.loads(text, parse_constant=_refuse, parse_float=_number, parse_int=_whole)
    # `json` recurses by bracket, and has no limit of its own
    except RecursionError as error:
        raise ValueError(f"has more than {DEEPEST} levels of brackets or mappings in one another") from error
    if not _is_harmless(text):
        check_values(content)
    return content


def _is_harmless(text: str) -> bool:
    """Whether a text has no levels and no characters in it that are to be refused; to look at each value is slower."""
    # brackets side by side and in texts count, too: too many of them only cost the look
    shallow = text.count("[") + text.count("{") <= DEEPEST
    # a line feed is not printable: this is for content on one line, as a store's thousands of tiles have it
    return shallow and text.isprintable() and "\\" not in text  # which may stand for any character


def _number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(str(value))  # such as 1e999


def _whole(text: str) -> int:
    if len(text) > 18:  # `LARGEST` has 19 digits
        check_digits(text)
    return int(text)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"holds the number {word}")
