"""Reads what Weights & Biases writes offline: a log in LevelDB's format, of protocol buffers."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK, _HEAD = 32768, 7
_FULL, _LAST = 1, 4


@dataclass
class Record:
    """One start of a run, as recorded."""

    run: Any
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def values(self, name: str) -> dict[int, Any]:
        """A metric by step; it must not stand at one step twice."""
        found = [(row["_step"], row[name]) for row in self.rows if name in row]
        assert len(dict(found)) == len(found)
        return dict(found)


def records(run: Path) -> list[Record]:
    """The records in a run folder, in the order of their starts."""
    return [_record(path) for path in sorted(run.glob("wandb/offline-run-*/run-*.wandb"))]


def _record(path: Path) -> Record:
    found = Record(None)
    for message in _messages(path.read_bytes()):
        kind = message.WhichOneof("record_type")
        if kind == "run":
            found.run = message.run
            found.config |= _items(message.run.config.update)
        elif kind == "config":
            found.config |= _items(message.config.update)
        elif kind == "history":
            found.rows.append(_items(message.history.item))
        elif kind == "summary":
            found.summary |= _items(message.summary.update)
    return found


def _messages(content: bytes) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    assert content[:4] == b":W&B"
    place, collected = _HEAD, b""
    while place + _HEAD <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _HEAD:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        collected += content[place + _HEAD : place + _HEAD + length]
        place += _HEAD + length
        if kind in (_FULL, _LAST):
            message = wandb_internal_pb2.Record()
            message.ParseFromString(collected)
            collected = b""
            yield message


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
