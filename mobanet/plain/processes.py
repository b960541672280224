"""Processes that do not outlive the one they work for."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """In a process of `multiprocessing`: end as soon as the one that started it has ended, however it did.

    A parent that is killed outright tells nobody. Its workers would go on to the end of their job and then wait for
    the next one for ever, since each of them holds the queue open for the others.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end, args=(parent.sentinel,), name="end-with-parent", daemon=True).start()


def _end(sentinel: int) -> None:
    # ready as soon as the other process has ended, also by a signal that it could not catch
    wait([sentinel])
    # `sys.exit` would end this thread alone
    os._exit(1)  # what was being written is a file without a name, which the next attempt clears away
