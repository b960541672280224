"""Which of several processes, on one machine or many, takes which scene: by files that only one of them can make.

A lock names its process, and is touched as long as that lives. One that is not is anybody's: at once where the process
was of this machine and is gone, else after a time that no living one lets pass.
"""

import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from mobanet.plain.json_files import read_json

# fifteen beats, so that a lock outlives a server of files that hangs for some minutes
LEASE = 900.0
"""Seconds after which a lock that nobody touches is nobody's."""

BEAT = 60.0
"""Seconds from touch to touch."""


class Claims:
    """Takes scenes for this process. A context manager, which keeps what is held fresh.

    Args:
        folder: of the locks, which all processes see; it is made.
        lease: seconds after which a lock that nobody touches is nobody's.
    """

    def __init__(self, folder: Path, lease: float = LEASE) -> None:
        # not the process's number, which comes again, and is another's on another machine
        self._folder, self._lease, self._own = folder, lease, uuid.uuid4().hex
        self._held: Path | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="claims", daemon=True)

    def __enter__(self) -> "Claims":
        """Begin to keep locks fresh."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.began = self.now()
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let go."""
        self._end.set()
        self._thread.join()
        self._clock.unlink(missing_ok=True)

    def now(self) -> float:
        """Seconds, by the clock of the file system, which machines share."""
        self._clock.touch()
        return self._clock.stat().st_mtime

    @contextmanager
    def taken(self, name: str) -> Iterator[bool]:
        """Hold a scene, if nobody else does.

        Args:
            name: of the scene, which can be that of a file.

        Yields:
            Whether it is held.
        """
        path = self._folder / f"{name}.lock"
        if not (self._made(path) or self._taken_over(path)):
            yield False
            return
        self._held = path
        try:
            yield True
        finally:
            self._held = None
            if _content(path).get("token") == self._own:  # and not another's, who took this process for dead
                path.unlink(missing_ok=True)

    @property
    def _clock(self) -> Path:
        return self._folder / f"{self._own}.clock"

    def _made(self, path: Path) -> bool:
        # exclusive: of several processes the file system lets one make it
        with suppress(FileExistsError), path.open("x") as file:
            json.dump({"token": self._own, "machine": machine(), "process": os.getpid()}, file)
            return True
        return False

    def _taken_over(self, path: Path) -> bool:
        """Replace the lock of a process that is gone; of several that find it, one does."""
        found = _content(path)
        if not self._gone(path, found):
            return False
        # for this very lock, so that nobody replaces the one of whoever was first
        right = path.with_name(f"{path.name}.{found.get('token', 'none')}")
        if not self._made(right):
            # left by a process that died before it let go of it
            if self._old(right):
                right.unlink(missing_ok=True)
            return False
        try:
            # replaced since it was looked at, by one that held the right and has let go of it again
            if _content(path) != found:
                return False
            path.unlink(missing_ok=True)
            return self._made(path)
        finally:
            right.unlink(missing_ok=True)

    def _gone(self, path: Path, found: dict[str, Any]) -> bool:
        if found.get("machine") == machine() and isinstance(found.get("process"), int):
            try:
                # signal 0 asks whether a process is there, and does nothing to it
                os.kill(found["process"], 0)
            except ProcessLookupError:
                return True
            except (OSError, OverflowError):  # alive, and another user's
                pass
        return self._old(path)

    def _old(self, path: Path) -> bool:
        try:
            return self.now() - path.stat().st_mtime > self._lease
        except FileNotFoundError:
            return False

    def _keep(self) -> None:
        # several times within a shorter lease, too
        while not self._end.wait(min(BEAT, self._lease / 4)):
            held = self._held
            if held is not None:
                with suppress(OSError):  # such as of a server of files that does not answer for a while
                    os.utime(held)


def machine() -> str:
    """What tells apart where process numbers mean something: a host's name, and the container in it."""
    with suppress(OSError):
        # containers may share a host's name, and count processes for themselves
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _content(path: Path) -> dict[str, Any]:
    """Of a lock; empty while it is being written, and where it is gone."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
