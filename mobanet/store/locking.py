"""One process at a time writes to a tile store; who comes meanwhile waits, and says so."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mobanet.datasets.catalogue import LOCK_FILE

if TYPE_CHECKING:
    from filelock import FileLock


@contextmanager
def only_builder(folder: Path) -> Iterator["FileLock"]:
    """Hold a store's lock, once nobody else does; the folder is made.

    Raises:
        OSError: when the lock file cannot be written.
    """
    lock = None
    # again and again: a builder that fails takes the folder away with the lock that others wait for
    while lock is None:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _acquired(folder)  # None where a builder that failed has removed the folder meanwhile
    try:
        yield lock
    finally:
        lock.release()


@contextmanager
def no_builder(folder: Path) -> Iterator[bool]:
    """Keep builders from a store that is read, once none is at work.

    Yields:
        Whether that can be: not in a folder without lock, and not in one that this process may not write to.
    """
    lock = None
    if (folder / LOCK_FILE).is_file():
        with suppress(OSError):  # read-only: builders do not come here either, or not from this machine
            lock = _acquired(folder)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def _acquired(folder: Path) -> "FileLock | None":
    """The lock of a folder, held; None where the folder has gone meanwhile."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_FILE)
    try:
        try:
            # at once or not at all, to be able to say what is waited for
            lock.acquire(timeout=0)
        except Timeout:
            print(f"another process is preparing {folder}; waiting for it to finish", file=sys.stderr, flush=True)
            lock.acquire()
    except FileNotFoundError:
        return None
    # a file that was removed meanwhile can still be locked, and keeps nobody out
    if (folder / LOCK_FILE).is_file():
        return lock
    lock.release()
    return None
