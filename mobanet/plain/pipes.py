"""Output that nobody reads to its end, as in `mobanet --help | head -1`."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

UNREAD = 128 + getattr(signal, "SIGPIPE", 13)
"""The exit code that shells give a process which wrote to a closed pipe."""


@contextmanager
def unread_output_ends_quietly() -> Iterator[None]:
    """End without a word where standard output or standard error is a pipe that has been closed.

    The signal itself stays ignored, as Python has it: connections to trackers and other processes break, too.

    Raises:
        SystemExit: with `UNREAD`.
    """
    try:
        try:
            yield
        finally:
            for stream in _streams():
                stream.flush()  # here and not when the interpreter ends, where it could not be caught
    except BrokenPipeError:
        if not _close_unread():
            raise
        raise SystemExit(UNREAD) from None
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich's way to end
            _close_unread()
            raise SystemExit(UNREAD) from None
        raise


def _streams() -> list[TextIO]:
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None]


def _close_unread() -> bool:
    """Whether one of the two was closed; what is still to be written to it goes nowhere."""
    closed = [stream for stream in _streams() if _is_closed(stream)]
    for stream in closed:
        # the interpreter flushes once more as it ends, and would complain of the pipe there
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return bool(closed)


def _is_closed(stream: TextIO) -> bool:
    """Asks the system: what could not be written may still wait in a buffer, or be gone from it."""
    try:
        number = stream.fileno()
    except OSError:  # no file of the system's, as in notebooks
        return False
    look = select.poll()
    # nothing is asked for: errors and hang-ups are told in any case
    look.register(number, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in look.poll(0))
