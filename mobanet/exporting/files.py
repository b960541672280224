"""Nothing half-written under a final name: a folder beside the place, from which finished files are moved."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mobanet.errors import UserError
from mobanet.files import named, put_in_place


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """An empty folder on the disk of a path; gone in the end, and with it folders that were made for nothing.

    Raises:
        OSError: with the path, when nothing can be written there.
    """
    # the innermost first, so that each is empty when its turn to go comes
    made = [folder for folder in path.absolute().parents if not folder.exists()]
    # beside it, as only within a disk a file gets another name in one step
    scratch = path.with_name(f"{path.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with named(path):
            scratch.mkdir(parents=True)
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def move_all(scratch: Path, folder: Path, last: str) -> None:
    """Move files to their places; the last is the one without which the others mean nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(scratch.iterdir(), key=lambda file: (file.name == last, file.name)):
        put_in_place(file, folder / file.name)


def check_place(output: Path, folder: bool) -> None:
    """Refuse a file where a folder is to be written, and the other way round."""
    if folder and output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file; give a folder for --format folder.")
    if not folder and output.is_dir():
        raise UserError(f"--output {output} is a folder; give the name of a file.")
