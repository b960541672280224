"""Work that is killed outright in the middle: a forked child that ends itself at one of its touches of the disk."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.hostile.children import silence

_TOUCHES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def touches(work: Callable[[], None], folder: Path) -> int:
    """How often work opens, moves, removes or makes something below a folder."""
    receiver, sender = os.pipe()
    if not (child := os.fork()):
        _run(work, folder, lambda count: None, sender)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return int(told)


def killed_at(work: Callable[[], None], folder: Path, number: int) -> bool:
    """Whether a child was killed at the touch of that number, before which it had done those before it."""
    if not (child := os.fork()):

        def end(count: int) -> None:
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

        _run(work, folder, end)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def killed_after(work: Callable[[], None], seconds: float) -> bool:
    """Whether a child was killed that had so much time."""
    if not (child := os.fork()):
        _run(work, Path("/nowhere"), lambda count: None)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _run(work: Callable[[], None], folder: Path, told: Callable[[int], None], sender: int | None = None) -> None:
    """In the child: never returns."""
    code, count, place = 1, 0, str(folder)
    try:
        silence()

        def hook(event: str, arguments: tuple) -> None:
            nonlocal count
            if event in _TOUCHES and any(place in str(argument) for argument in arguments[:2]):
                count += 1
                told(count)

        sys.addaudithook(hook)
        work()
        if sender is not None:
            os.write(sender, str(count).encode())
        code = 0
    finally:
        os._exit(code)
