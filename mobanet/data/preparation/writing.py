"""Writing store files so that each is there whole or not at all."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mobanet.errors import UserError
from mobanet.files import put_in_place

_PART = ".part"
_CHUNK = 1 << 24


def stage_array(target: Path, array: np.ndarray) -> Path:
    """Write an array to a temporary file beside `target`, and return that file.

    Raises:
        OSError: when the disk is full, with the file's name; numpy's own writer would hide both.
    """
    with _staged(target) as (part, file):
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        content = memoryview(array).cast("B")
        for start in range(0, len(content), _CHUNK):
            file.write(content[start : start + _CHUNK])
    return part


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
    for part in folder.glob(f"*{_PART}"):
        part.unlink(missing_ok=True)


@contextmanager
def _staged(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A temporary file beside `target`; gone again if the block fails."""
    part = target.with_name(f"{target.name}.{os.getpid()}{_PART}")
    try:
        with part.open("wb") as file:
            yield part, file
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
