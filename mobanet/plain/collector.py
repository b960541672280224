"""Python's search for objects that hold one another, at rest where millions are made that all stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Within, nothing is searched: while thousands of tiles are made, all that torch has loaded would be, many times.

    Not for a long task, whose garbage would pile up.
    """
    was_at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_at_work:
            gc.enable()
