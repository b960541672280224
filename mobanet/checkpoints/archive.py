"""Checkpoints as files: an archive of uncompressed members, each with its checksum, and a pickle that runs no code."""

import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from mobanet.errors import UserError


def load_file(path: str | Path, option: str) -> Any:
    """The content of a checkpoint file, whatever it is, on the CPU.

    Args:
        path: of the file.
        option: what the user typed it behind, for messages.

    Raises:
        UserError: when the file is absent or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{option} {path} does not exist; give a file such as runs/…/checkpoints/best.ckpt.")
    try:
        stamp = path.stat()  # a file that is written anew in its place has another
        if (problem := _damage(path.resolve(), (stamp.st_ino, stamp.st_size, stamp.st_mtime_ns))) is None:
            # weights_only: other pickles run code as they are read; mmap: what nobody uses takes no memory
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # of a file of any content the readers raise anything, a KeyError among them
        raise _unreadable(path, option, type(error).__name__) from error
    raise _unreadable(path, option, problem)


# testzip goes through every byte of a file, and a command may open it several times
@lru_cache(maxsize=64)
def _damage(path: Path, stamp: tuple[int, int, int]) -> str | None:
    """What is wrong with an archive; None where all members have the checksums that were written with them.

    Looked at once a process as long as the file is the same one.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len({member.filename for member in members}) < len(members):
            # the format leaves open which of them is read
            return "it holds two members of one name"
        # torch.save compresses nothing, and mmap takes bytes as they lie in the file
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            return "it is compressed"
        broken = archive.testzip()  # torch.load looks at no checksum, and hands flipped bits out as weights
        return None if broken is None else f"{broken} has another checksum than was written"


def _unreadable(path: Path, option: str, reason: str) -> UserError:
    return UserError(
        f"{option} {path} cannot be read as a checkpoint ({reason}); it may be truncated: take another one of the run."
    )
