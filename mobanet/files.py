"""Files that are there as a whole or not at all, whatever ends the process, and also when the machine goes down.

A file grows under another name beside its place, is brought to the disk, and then gets its name; the folder is brought
to the disk, too, since a name is part of it. Every complaint of the system names the file that was to be written.
"""

import errno
import io
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

PART = ".part"
"""Ending of a file that is not finished."""

_PROBE = 4 << 20
"""Bytes, more than any block of a raster has, that a disk is asked to take to learn why it took no block."""

_AT_ONCE = 8
"""Files that are brought to the disk at a time: as many as a tile has arrays."""


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an `OSError` of the block name a file: writing, flushing and syncing know of no name, a move of two.

    Raises:
        OSError: of the block, with the path.
    """
    try:
        yield
    except OSError as error:
        # an error that names another file, such as one that was read, is left as it is
        if error.errno is None or not (error.filename is None or _unfinished(error.filename)):
            raise
        raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error


def _unfinished(name: str | bytes | Path) -> bool:
    return any(part.endswith(PART) for part in Path(os.fsdecode(name)).parts)


@contextmanager
def whole_file(path: Path, part: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write into, which gets its name, in place of an older one, when the block ends without an error.

    Args:
        path: of the file; its folder is made.
        part: its name until then, in the same folder; None for the usual one.

    Raises:
        OSError: with the path, when the disk is full or the file cannot be written; nothing new is left then.
    """
    # in the same folder, as only within a file system a name is given in one step
    part = part or part_of(path)
    try:
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                yield file
            put_in_place(part, path)
    except BaseException:
        with suppress(OSError):  # what went wrong before says more
            part.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes | memoryview, own: bool = False) -> None:
    """Write a file in one go; errors as for `whole_file`.

    Args:
        path: of the file; its folder is made.
        content: of it.
        own: use a name of this process until then, for files that several processes may write.
    """
    with whole_file(path, part_of(path, own)) as file:
        file.write(content)


def write_buffer(path: Path, buffer: io.BytesIO, own: bool = False) -> None:
    """Write what has been collected in memory, without a copy of it; arguments and errors as for `write_bytes`.

    The view of it is given back at once: a traceback would keep it, and from Python 3.13 on a buffer that goes away
    with a view left prints a `BufferError` of its own behind the sentence about the disk.
    """
    with buffer.getbuffer() as content:
        write_bytes(path, content, own)


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8 in one go; errors as for `whole_file`."""
    write_bytes(path, text.encode())


def make_room_for(path: Path) -> None:
    """Make the folder of a file that another library writes.

    Raises:
        IsADirectoryError: where the file would be in a folder's place, which only its renaming would tell.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)


def put_in_place(part: Path, path: Path) -> None:
    """Give a finished file, which may be another library's, its name.

    Args:
        part: what was written, in the same folder or on the same disk.
        path: its place; an older file there is replaced.

    Raises:
        OSError: with the path, when the disk did not take all of it.
    """
    put_all_in_place({path: part})


class SyncAhead:
    """Brings finished files to the disk in threads, while the next ones are made.

    A disk takes milliseconds for a file, and hardly more for several at once: file systems commit them together. A
    context manager, whose end waits for the disk; what it refused is raised by `put_all_in_place`.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_AT_ONCE, "sync")
        self._begun: dict[Path, Future[None]] = {}

    def __enter__(self) -> "SyncAhead":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # waits, so that no thread works on files that are then removed
        self._pool.shutdown()

    def begin(self, part: Path) -> None:
        """Begin with a file that is written and closed."""
        self._begun[part] = self._pool.submit(sync, part)

    def wait(self, part: Path) -> None:
        """Have a file on the disk, begun with or not.

        Raises:
            OSError: when the disk did not take it.
        """
        if part in self._begun:
            self._begun[part].result()
        else:
            sync(part)


def put_all_in_place(parts: Mapping[Path, Path], ahead: SyncAhead | None = None) -> None:
    """Give finished files of one folder their names; to sync is what takes time, and the folder is synced once.

    Args:
        parts: by place what was written; older files there are replaced.
        ahead: what has begun to sync them.

    Raises:
        OSError: with the path, when the disk did not take all of one.
    """
    for path, part in parts.items():
        with named(path):
            (ahead.wait if ahead is not None else sync)(part)
    for path, part in parts.items():
        with named(path):
            # only now that all are on the disk: a full one leaves all older files in their places
            os.replace(part, path)
    # or a machine that goes down may forget the new names, though not the content
    for folder in {path.parent for path in parts}:
        sync_folder(folder)


def part_of(path: Path, own: bool = False) -> Path:
    """Where a file grows; `own`: a name that no other process uses."""
    return path.with_name(f"{path.name}.{os.getpid()}{PART}" if own else f"{path.name}{PART}")


def sync(path: Path) -> None:
    """Bring a file's content to the disk.

    Raises:
        OSError: when the disk did not take it.
    """
    # to read, which is enough: fsync() is for the file, whoever has written to it
    with open(path, "rb") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of file systems that know no such thing
                raise


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    with suppress(OSError):  # not every file system can, nor can Windows open a folder; the files themselves are there
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def refusal(*paths: Path) -> int:
    """Why a disk takes no more bytes, as an error number: GDAL says only that it did not.

    Args:
        paths: files that were being written, of which the last ends are written to.
    """
    for path in paths:
        try:
            with path.open("ab") as more:
                more.write(bytes(_PROBE))
                more.flush()
                # a quota, or a disk behind a network, may say no only here
                os.fsync(more.fileno())
        except OSError as error:
            return error.errno or errno.EIO
    return errno.EIO
