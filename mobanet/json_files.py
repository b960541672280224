"""JSON files of runs, stores, exports and users: read within bounds."""

import json
import re
from pathlib import Path
from typing import Any

from mobanet.bounds import DEEPEST, check_values, read_bounded

MOST_BYTES = 32 << 20
"""Of a file. The largest that we write are the confusion matrices of many scenarios and the listings of archives."""

_NOTABLE = re.compile(r"\\|[0-9]{19}|[0-9][eE]")
"""Of a text: what may become any character, a whole number beyond bounds, or infinity."""


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
        content = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError(f"has more than {DEEPEST} levels of brackets or mappings in one another") from error
    if not _is_harmless(text):
        check_values(content, finite=True)  # 1e999 is infinity
    return content


def _is_harmless(text: str) -> bool:
    """Whether a text has nothing in it that a value beyond bounds takes; to look at each value is much slower."""
    shallow = text.count("[") + text.count("{") <= DEEPEST
    return shallow and text.isprintable() and _NOTABLE.search(text) is None


def _refuse(word: str) -> None:
    raise ValueError(f"holds the number {word}")
