"""Room for what is unpacked while a data set is looked at, cleared away even after a process that was killed."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX, _LOCK = ".check-", "in_use.lock"

# seconds after which a folder without a lock is nobody's: its owner was killed before it had one
_LONG_AGO = 24 * 3600.0


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the prepared tiles, where there is room; the catalogue passes over hidden folders.

    The store's folder is made. Where nothing can be written there, as with data that is read-only, it is one of the
    system's.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_left(folder)
        scratch = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
    except OSError:
        with tempfile.TemporaryDirectory(prefix="mobanet-") as temporary:
            yield Path(temporary)
        return
    try:
        with FileLock(scratch / _LOCK):  # the system lets go of it when this process ends, however it does
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def clear_left(folder: Path) -> None:
    """Remove what processes that were killed have left in the folder of a tile store."""
    for scratch in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError, Timeout):
            if (scratch / _LOCK).is_file():
                # not to be had while its owner lives
                with FileLock(scratch / _LOCK, timeout=0):
                    shutil.rmtree(scratch, ignore_errors=True)
            elif time.time() - scratch.stat().st_mtime > _LONG_AGO:  # a younger one may be about to be locked
                shutil.rmtree(scratch, ignore_errors=True)
