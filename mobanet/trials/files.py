"""Files that are there as a whole or not at all, and folders that one process works in at a time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mobanet.errors import UserError
from mobanet.files import write_text
from mobanet.plain import json_files


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file in one go."""
    # NaN is no JSON, and other programs refuse the whole file
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, remedy: str) -> dict[str, Any] | None:
    """The mapping that a JSON file holds; None where there is no file.

    Raises:
        UserError: for a file that holds something else, with the remedy.
    """
    if not path.is_file():
        return None
    try:
        content = json_files.read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (it holds no mapping); {remedy}.")
    return content


@contextmanager
def held(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a lock, whose file stays, and which the system lets go of when the process ends, however it does.

    Args:
        path: of the lock file.
        wait: for whoever holds it, rather than go without.

    Yields:
        Whether it is held.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    # a lock of the system, not a file that is there: that of a killed process would stay
    lock = FileLock(path)
    # whether it is held is told by the lock itself
    with suppress(Timeout):
        lock.acquire(timeout=-1 if wait else 0)
    try:
        yield lock.is_locked
    finally:
        lock.release()
