"""Packs a drawn data set the way its benchmark ships: zip archives, or zip archives inside one."""

from collections.abc import Iterable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from mobanet.files import put_in_place

EPOCH = (2026, 1, 1, 0, 0, 0)
"""Date of every member: the same city gives the same archive."""


def pack(archive: Path, members: Iterable[tuple[str, str, Path]], scratch: Path) -> None:
    """Write a zip of zips, which lie in a folder of its stem, in one step.

    Args:
        archive: the outer one.
        members: for every file the stem of its inner zip, its name in there, and where it is now.
        scratch: existing folder for what is not finished.
    """
    by_zip: dict[str, list[tuple[str, Path]]] = {}
    for stem, name, path in members:
        by_zip.setdefault(stem, []).append((name, path))
    outer_part = scratch / archive.name
    with ZipFile(outer_part, "w", ZIP_STORED) as outer:  # its members are compressed already
        for stem in sorted(by_zip):
            inner_part = scratch / f"{stem}.zip"
            _fill(inner_part, by_zip[stem])
            _add(outer, f"{archive.stem}/{stem}.zip", inner_part, ZIP_STORED)
            inner_part.unlink()
    put_in_place(outer_part, archive)


def pack_flat(archive: Path, members: Iterable[tuple[str, Path]], scratch: Path) -> None:
    """Write one zip in one step, of files by their names in there; `scratch` as for `pack`."""
    part = scratch / archive.name
    _fill(part, list(members))
    put_in_place(part, archive)


def _fill(part: Path, members: list[tuple[str, Path]]) -> None:
    with ZipFile(part, "w") as archive:
        for folder in sorted({name.rpartition("/")[0] for name, _ in members} - {""}):
            # folders have entries of their own, as in the official archives
            archive.writestr(ZipInfo(f"{folder}/", EPOCH), b"")
        # by name, so that the same city gives the same bytes
        for name, path in sorted(members):
            _add(archive, name, path, ZIP_DEFLATED)


def _add(archive: ZipFile, name: str, path: Path, method: int) -> None:
    # permissions lie in the upper 16 bits; by its size zipfile chooses ZIP64 before it writes
    entry = ZipInfo(name, EPOCH)
    entry.compress_type, entry.external_attr, entry.file_size = method, 0o644 << 16, path.stat().st_size
    with path.open("rb") as source, archive.open(entry, "w") as target:
        # 4 MB at a time, and no raster as a whole
        while block := source.read(1 << 22):
            target.write(block)
