"""Writing store files so that each is there whole or not at all."""

import errno
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from mobanet.errors import UserError
from mobanet.files import PART, part_of, put_in_place

_CHUNK = 1 << 24


class ArrayWriter:
    """Writes an array, from its first row to its last, to a temporary file beside its place.

    A context manager: with its end the array must be whole. If the block fails, the file is gone.

    Args:
        target: where the array is to be.
        shape: of the whole array; rows first.
        dtype: of it.

    Attributes:
        part: the temporary file.
    """

    def __init__(self, target: Path, shape: tuple[int, ...], dtype: np.dtype | str) -> None:
        self.target, self.shape, self.dtype = target, tuple(map(int, shape)), np.dtype(dtype)
        self.part = part_of(target, own=True)
        self._rows = 0
        self._stack = ExitStack()

    def __enter__(self) -> "ArrayWriter":
        """Begin the file.

        Raises:
            OSError: when the disk is full, with the target's name.
        """
        with ExitStack() as stack:
            self._file = stack.enter_context(_staged(self.target))[1]
            header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(self._file, header)
            self._stack = stack.pop_all()
        return self

    def write(self, values: np.ndarray) -> None:
        """Write the next rows, any number of them.

        Args:
            values: (h, ...), as the array from its second axis on.

        Raises:
            OSError: when the disk is full, once the block has ended, with the target's name.
            ValueError: for rows that are not the array's, or more than it has.
        """
        self._rows += len(values)
        if values.shape[1:] != self.shape[1:] or values.dtype != self.dtype or self._rows > self.shape[0]:
            raise ValueError(f"{self.target} is {self.dtype} of {self.shape}: {values.dtype} of {values.shape} is none")
        content = memoryview(np.ascontiguousarray(values)).cast("B") if values.size else b""
        for start in range(0, len(content), _CHUNK):
            self._file.write(content[start : start + _CHUNK])

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish the file, or remove it.

        Raises:
            OSError: when the disk is full, with the target's name; numpy's own writer would hide both.
            ValueError: when rows are lacking.
        """
        with self._stack:
            if error is not None:
                raise error
            if self._rows < self.shape[0]:
                raise ValueError(f"{self.target} has {self.shape[0]} rows, of which {self._rows} were written")


def stage_array(target: Path, array: np.ndarray) -> Path:
    """Write an array to a temporary file beside `target`, and return that file.

    Raises:
        OSError: when the disk is full, with the file's name.
    """
    with ArrayWriter(target, array.shape, array.dtype) as writer:
        writer.write(array)
    return writer.part


def write_json(target: Path, content: Any) -> None:
    """Write a JSON file, atomically."""
    with _staged(target) as (part, file):
        file.write(json.dumps(content, indent=1).encode())
    put_in_place(part, target)


@contextmanager
def writable(folder: Path, remedy: str) -> Iterator[None]:
    """Make `folder`, and turn what keeps the block from writing to it into a sentence.

    Args:
        folder: to write to.
        remedy: the end of the sentence.

    Raises:
        UserError: when the place cannot be written to.
        OSError: when the disk is full.
    """
    with _in_words(folder, remedy):
        folder.mkdir(parents=True, exist_ok=True)
        yield


def check_writable(folder: Path, remedy: str) -> None:
    """Find out whether a folder could be made and written to, and leave nothing.

    Args:
        folder: to write to.
        remedy: the end of the sentence.

    Raises:
        UserError: when it cannot.
        OSError: when the disk is full.
    """
    with _in_words(folder, remedy):
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
        with part.open("wb") as file:
            yield part, file
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
