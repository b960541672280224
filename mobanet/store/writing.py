"""Writing store files so that each is there whole or not at all."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mobanet.errors import UserError
from mobanet.files import PART, named, part_of, write_bytes
from mobanet.store.chunks import CHUNK, chunked_shape, is_chunked, make_header, to_chunks

if TYPE_CHECKING:
    import numpy.typing as npt

_AT_ONCE = 1 << 24  # bytes


class ArrayWriter:
    """Writes an array, from its first row to its last, to a temporary file beside its place.

    A context manager: with its end the array must be whole. If the block fails, the file is gone. It holds the rows of
    one row of chunks (`mobanet.store.chunks`) in memory.

    Attributes:
        part: the temporary file.
    """

    def __init__(self, target: Path, shape: tuple[int, ...], dtype: "npt.DTypeLike") -> None:
        self.target, self.shape, self.dtype = target, tuple(map(int, shape)), np.dtype(dtype)
        self.part = part_of(target, own=True)
        self._rows = 0
        self._chunks: np.ndarray | None = None  # (w, CHUNK, CHUNK, ...), the row of them that is being filled
        self._stack = ExitStack()

    def __enter__(self) -> "ArrayWriter":
        with ExitStack() as stack:
            self._file = stack.enter_context(_staged(self.target))[1]
            if is_chunked(self.target.stem):
                # zeros, as nothing else fills the columns beyond the right edge
                self._chunks = np.zeros(chunked_shape(self.shape)[1:], self.dtype)
                self._file.write(make_header(self.shape, self.dtype))
            else:
                content = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False}
                np.lib.format.write_array_header_1_0(self._file, {**content, "shape": self.shape})
            self._stack = stack.pop_all()
        return self

    def write(self, values: np.ndarray) -> None:
        """Write the next rows, (h, ...), any number of them.

        Raises:
            OSError: when the disk is full, once the block has ended, with the target's name.
            ValueError: for rows that are not the array's, or more than it has.
        """
        before = self._rows
        self._rows += len(values)
        if values.shape[1:] != self.shape[1:] or values.dtype != self.dtype or self._rows > self.shape[0]:
            raise ValueError(f"{self.target} is {self.dtype} of {self.shape}: {values.dtype} of {values.shape} is none")
        if self._chunks is None:
            self._put(values)
            return
        while len(values):
            first = before % CHUNK
            rows, values = values[: CHUNK - first], values[CHUNK - first :]
            to_chunks(rows, self._chunks, first)
            before += len(rows)
            if before % CHUNK == 0:
                self._put(self._chunks)

    def _put(self, values: np.ndarray) -> None:
        # a view without bytes cannot be cast
        content = np.ascontiguousarray(values).data.cast("B") if values.size else memoryview(b"")
        for start in range(0, len(content), _AT_ONCE):
            self._file.write(content[start : start + _AT_ONCE])

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish the file, or remove it.

        Raises:
            OSError: when the disk is full, with the target's name; numpy's own writer would hide both.
            ValueError: when rows are lacking.
        """
        with self._stack:
            if error is not None:
                # again in here, so that the file's own context sees it and removes the file
                raise error
            if self._rows < self.shape[0]:
                raise ValueError(f"{self.target} has {self.shape[0]} rows, of which {self._rows} were written")
            if self._chunks is not None and (rest := self._rows % CHUNK):
                # where rows of the chunks above are left
                self._chunks[:, rest:] = 0
                self._put(self._chunks)


def stage_array(target: Path, array: np.ndarray) -> Path:
    """Write an array to a temporary file beside `target`, and return that file.

    Raises:
        OSError: when the disk is full, with the file's name.
    """
    with ArrayWriter(target, array.shape, array.dtype) as writer:
        writer.write(array)
    return writer.part


def write_json(target: Path, content: Any, synced: bool = True) -> None:
    """Write a JSON file, atomically.

    Without `synced` it is not brought to the disk, and may be empty or gone when the machine goes down soon after.
    """
    text = json.dumps(content).encode()
    if synced:
        write_bytes(target, text, own=True)
        return
    with _staged(target) as (part, file):
        file.write(text)
    with named(target):
        os.replace(part, target)


@contextmanager
def writable(folder: Path, remedy: str) -> Iterator[None]:
    """Make `folder`, and turn what keeps the block from writing to it into a sentence that ends with the remedy.

    Raises:
        UserError: when the place cannot be written to.
        OSError: when the disk is full.
    """
    with _in_words(folder, remedy):
        folder.mkdir(parents=True, exist_ok=True)
        yield


def check_writable(folder: Path, remedy: str) -> None:
    """Find out whether a folder could be made and written to, and leave nothing; errors as for `writable`."""
    with _in_words(folder, remedy):
        # tried with a file: `os.access` tells nothing of quotas, and little of disks in a network
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=there):
            pass


@contextmanager
def _in_words(folder: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{folder} cannot be written to ({error.strerror}): {remedy}.") from error


def clear_parts(folder: Path) -> None:
    """Delete temporary files that an interrupted writer left."""
    for part in folder.glob(f"*{PART}"):
        part.unlink(missing_ok=True)


@contextmanager
def _staged(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A temporary file beside `target`; gone again if the block fails."""
    part = part_of(target, own=True)
    try:
        with named(target), part.open("wb") as file:
            yield part, file
    except BaseException:
        part.unlink(missing_ok=True)
        raise
