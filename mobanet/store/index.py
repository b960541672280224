"""What is known of all tiles of a store in one file: a line a tile, looked at when the tile is asked for.

    STORE/tiles.jsonl

A line has what the tile's own `tile.json` has. `store.json` holds the sum of all lines, so that the two belong
together. The index is away while tiles are made anew.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mobanet.plain.bounds import read_bounded
from mobanet.plain.json_files import parse_json

INDEX_FILE = "tiles.jsonl"

_MOST_BYTES = 1 << 30  # of the file, which has one or two thousand a tile


class Index:
    """The lines of an index, in the order of the tiles."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    @classmethod
    def read(cls, path: Path) -> "Index":
        """An index; lines are not looked into.

        Raises:
            OSError: when it is not there or cannot be read.
            ValueError: when it is too large, or no text.
        """
        # behind the last line's end there is nothing; a line that is cut short is left out, and missed by the sum
        return cls(read_bounded(path, _MOST_BYTES).split("\n")[:-1])

    @classmethod
    def of(cls, descriptions: Iterable[Any]) -> "Index":
        """The index of tiles, by the contents of their `tile.json`."""
        # JSON escapes a line feed in a text, so that a tile is always one line
        return cls([json.dumps({"tile": content}, separators=(",", ":")) for content in descriptions])

    @cached_property
    def content(self) -> bytes:
        """Of the file."""
        return "".join(f"{line}\n" for line in self.lines).encode()

    @property
    def sum(self) -> str:
        """A text that changes with any of it."""
        return hashlib.sha256(self.content).hexdigest()

    def description(self, number: int) -> Any:
        """What a line has of its tile, not checked any further.

        Raises:
            ValueError, TypeError, KeyError: when it is no line of an index.
        """
        return parse_json(self.lines[number])["tile"]


class Tiles(Mapping[str, Any]):
    """The tiles of a store by id, in order, each made, of its number and id, when it is asked for."""

    def __init__(self, names: Iterable[str], make: Callable[[int, str], Any]) -> None:
        self._numbers = {name: number for number, name in enumerate(names)}
        self._make = make
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._make(self._numbers[name], name)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)
