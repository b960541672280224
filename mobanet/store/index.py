"""What is known of all tiles of a store in one file: a line a tile, looked at when the tile is asked for.

    STORE/tiles.jsonl

A line has what the tile's own `tile.json` has, and the sizes of its files. `store.json` holds the sum of all lines, so
that the two belong together. The index is away while tiles are made anew.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mobanet.bounds import read_bounded

INDEX_FILE = "tiles.jsonl"

_MOST_BYTES = 1 << 30
"""Of the file, which has one or two thousand a tile."""


@dataclass(frozen=True)
class Line:
    """What there is to know of a tile without a closer look, none of it checked.

    Attributes:
        content: of `tile.json`.
        sizes: by the name of an array, bytes of its file.
    """

    content: dict[str, Any]
    sizes: dict[str, int]

    def to_text(self) -> str:
        """A line of the index."""
        return json.dumps({"tile": self.content, "sizes": self.sizes}, separators=(",", ":"))


class Index:
    """The lines of an index.

    Args:
        lines: texts, in the order of the tiles.
    """

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
    def of(cls, lines: Iterable[Line]) -> "Index":
        """The index of tiles."""
        return cls([line.to_text() for line in lines])

    @cached_property
    def content(self) -> bytes:
        """Of the file."""
        return "".join(f"{line}\n" for line in self.lines).encode()

    @property
    def sum(self) -> str:
        """A text that changes with any of it."""
        return hashlib.sha256(self.content).hexdigest()

    def line(self, number: int) -> Line:
        """The line of a tile.

        Raises:
            ValueError, TypeError, KeyError, RecursionError: when it is none.
        """
        content = json.loads(self.lines[number])
        return Line(content["tile"], content["sizes"])


class Tiles(Mapping[str, Any]):
    """The tiles of a store by id, in order, each made when it is asked for.

    Args:
        names: ids.
        make: a tile of its number and id.
    """

    def __init__(self, names: Iterable[str], make: Callable[[int, str], Any]) -> None:
        self._numbers = {name: number for number, name in enumerate(names)}
        self._make = make
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """The tile; the same one each time."""
        if name not in self._made:
            self._made[name] = self._make(self._numbers[name], name)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is a tile of that id; it is not made."""
        return name in self._numbers

    def __iter__(self) -> Iterator[str]:
        """The ids."""
        return iter(self._numbers)

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self._numbers)
