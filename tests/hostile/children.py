"""Work in children of this process that may hang, eat memory or die: a fork has all imports done."""

import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobanet.errors import UserError

MEMORY = 1 << 30
"""Bytes that a child may add to what this process has."""


@dataclass(frozen=True)
class Verdict:
    """How a case ended: `success`, `sentence`, or what must not be: `exception`, `hang`, `death`."""

    end: str
    text: str = ""


def verdicts(cases: Sequence[Callable[[], None]], seconds: float, memory: int = MEMORY) -> Iterator[Verdict]:
    """How each case ends; one that takes longer than `seconds` is a hang, and the next ones go on in another child."""
    first = 0
    while first < len(cases):
        for verdict in _in_child(cases[first:], seconds, memory):
            first += 1
            yield verdict


def _in_child(cases: Sequence[Callable[[], None]], seconds: float, memory: int) -> Iterator[Verdict]:
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        _work(cases, sender, memory)
    os.close(sender)
    try:
        with os.fdopen(receiver, "rb") as pipe:
            told = 0
            for verdict in _told(pipe, seconds):
                told += 1
                yield verdict
                if verdict.end == "hang":
                    return
            if told < len(cases):
                yield Verdict("death", f"status {_end(child)}")
    finally:
        _end(child)


def _told(pipe, seconds: float) -> Iterator[Verdict]:
    """A verdict a line, until the child has ended or hangs."""
    pending, deadline = b"", time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            yield Verdict("hang", f"after {seconds:g} s")
            return
        piece = os.read(pipe.fileno(), 1 << 16)
        if not piece:
            return
        *lines, pending = (pending + piece).split(b"\0")
        for line in lines:
            end, _, text = line.decode(errors="replace").partition(" ")
            yield Verdict(end, text)
            deadline = time.monotonic() + seconds


def _work(cases: Sequence[Callable[[], None]], sender: int, memory: int) -> None:
    """In the child: never returns."""
    try:
        silence()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        for case in cases:
            verdict = judged(case)
            os.write(
                sender, f"{verdict.end} {verdict.text}".replace("\0", "\\0").encode(errors="replace")[:8000] + b"\0"
            )
    finally:
        os._exit(0)


def judged(case: Callable[[], None]) -> Verdict:
    """Run a case here."""
    try:
        case()
    except UserError as error:
        return Verdict("sentence", str(error))
    except SystemExit as error:
        return Verdict("success" if error.code in (0, 2, None) else "exception", f"exit {error.code}")
    except BaseException:
        return Verdict("exception", traceback.format_exc()[-6000:])
    return Verdict("success")


def silence() -> None:
    """Let a child say nothing."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def _end(child: int) -> int | None:
    """End a child and collect it; its status, None where that was done before."""
    try:
        done, status = os.waitpid(child, os.WNOHANG)
        if not done:
            time.sleep(0.02)  # one that is about to end says more by itself
            os.kill(child, signal.SIGKILL)
            done, status = os.waitpid(child, 0)
        return status
    except ChildProcessError:
        return None
