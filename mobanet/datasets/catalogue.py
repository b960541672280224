"""Every file below a root, those inside zip archives included, without unpacking more than is needed to list them."""

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from mobanet.datasets.origins import how_to_get
from mobanet.errors import UserError
from mobanet.files import write_text
from mobanet.plain.json_files import read_json
from mobanet.rasters.archives import check_name, open_archive, reported
from mobanet.rasters.contents import FileRef

LOCK_FILE = "store.lock"
"""Present in every store from its first moment; folders that hold it are never searched for rasters."""

STORE_FILE = "store.json"
"""Present in every store that is finished."""

_ARCHIVE = ".zip"


@dataclass(frozen=True)
class Entry:
    """One file of a data set.

    Attributes:
        location: its path below the root with `/` between folders; an archive counts as a folder called like it,
            without `.zip`.
        size: in bytes, unpacked.
        stamp: changes whenever the content may have changed.
    """

    file: FileRef
    location: str
    size: int
    stamp: str

    @property
    def name(self) -> str:
        """The file name."""
        return self.location.rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        """The file name without its last suffix."""
        return self.name.rsplit(".", 1)[0]

    @property
    def suffix(self) -> str:
        """The last suffix in lower case, such as `.tif`."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def folder(self) -> str:
        """The location without the file name."""
        return self.location.rpartition("/")[0]


@dataclass(frozen=True)
class Catalogue:
    """The files below `root`, sorted by location; `listings` holds what archives contain, for the next time."""

    root: Path
    entries: tuple[Entry, ...]
    listings: "Listings"

    @cached_property
    def by_file(self) -> dict[FileRef, Entry]:
        """The entries by the files they describe."""
        return {entry.file: entry for entry in self.entries}


@dataclass
class Listings:
    """What was found out about large files, remembered so that they are not opened again.

    Attributes:
        members: by archive path below the root and the archive's stamp, `(member, size, CRC)` of its files.
        cuts: plain descriptions of how rasters are cut into tiles, by a text that changes with the files.
        cuts_used: of these, and of new ones, those that are still of use, to be saved.
    """

    members: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    cuts: dict[str, Any] = field(default_factory=dict)
    cuts_used: dict[str, Any] = field(default_factory=dict)

    @property
    def filled(self) -> bool:
        """Whether there is anything to save."""
        return bool(self.members or self.cuts_used)

    @classmethod
    def load(cls, path: Path) -> "Listings":
        """What `save` wrote; empty where there is nothing usable, since it can be made again."""
        try:
            content = read_json(path)
            members, cuts = content["archives"], content["cuts"]
            return cls(
                {key: [(name, size, crc) for name, size, crc in rows] for key, rows in members.items()}, {**cuts}
            )
        except (OSError, ValueError, AttributeError, TypeError, KeyError):
            return cls()

    def save(self, path: Path) -> None:
        """Write to `path`, atomically."""
        # only the cuts of this start, or those of files that have changed would gather for ever
        write_text(path, json.dumps({"archives": self.members, "cuts": self.cuts_used}))


def list_files(root: Path, scratch: Path | None = None, known: Listings | None = None) -> Catalogue:
    """All files below `root` but hidden ones, what macOS adds to archives, and tile stores.

    Args:
        root: a folder, or a single zip archive.
        scratch: folder for inner archives that have to be unpacked to be listed; a temporary one for None.
        known: listings of an earlier call; archives that have not changed since are not opened.

    Raises:
        UserError: when `root` does not exist, or an archive is damaged or has an entry that leads out of its folder.
    """
    root = Path(root)
    check_root(root)
    known = known or Listings()
    # filled with members of the archives that are met alone, or those of archives that are gone would gather for ever
    fresh = Listings(cuts=known.cuts)
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory(prefix="mobanet-") as temporary:
        for path, location in _walk(root):
            if location.lower().endswith(_ARCHIVE):
                entries.extend(_archived(path, location, scratch or Path(temporary), known, fresh))
            else:
                entries.append(_plain(path, location))
    # `os.walk` goes by the order of the file system, which differs from disk to disk
    return Catalogue(root, tuple(sorted(entries, key=lambda entry: entry.location)), fresh)


def check_root(root: Path, layout: str = "") -> None:
    """Refuse a root that is not there, with how to come by the layout's data, or is a file but no zip archive."""
    if not root.exists():
        raise UserError(f"{root} does not exist: {how_to_get(layout, root)}")
    if root.is_file() and root.suffix.lower() != _ARCHIVE:
        raise UserError(f"{root} is a file but no zip archive: give as root the folder that holds the data set.")


def _unreadable(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read ({error.strerror}): mend its permissions or remove it.")


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    if root.is_file():
        yield root, root.name
        return
    seen: set[str] = set()
    # without `onerror`, folders that cannot be read are passed over in silence
    # links are followed, as folders of a data set often lie on several disks
    for folder, subfolders, names in os.walk(root, onerror=_unreadable, followlinks=True):
        place = os.path.realpath(folder)
        if LOCK_FILE in names or STORE_FILE in names or place in seen:  # a link back to a folder above would never end
            subfolders.clear()
            continue
        seen.add(place)
        # in place: `os.walk` goes on with this very list
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        here = Path(folder)
        below = here.relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in names:
            if not name.startswith("."):
                yield here / name, f"{prefix}{name}"


def _plain(path: Path, location: str) -> Entry:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): mend or remove it.") from error
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for ever
        raise UserError(f"{path} is no file but a pipe, a socket or a device: remove it.")
    return Entry(FileRef(path), location, status.st_size, f"{status.st_size}:{status.st_mtime_ns}")


def _archived(path: Path, location: str, scratch: Path, known: Listings, fresh: Listings) -> Iterator[Entry]:
    outer = _plain(path, location)
    key = f"{location}:{outer.stamp}"
    members = known.members.get(key)
    if members is None:
        members = [*_members(path, None, scratch)]
        # of a copy, as the list grows meanwhile
        for name, _, _ in list(members):
            if name.lower().endswith(_ARCHIVE):
                # one level down and no further: an archive within an inner archive is left alone
                members.extend((f"{name}!{inner}", size, crc) for inner, size, crc in _members(path, name, scratch))
    fresh.members[key] = members
    for name, size, crc in members:
        if not name.lower().endswith(_ARCHIVE):
            inside = "/".join(part[: -len(_ARCHIVE)] for part in (location, *name.split("!")[:-1]))
            # ! stands between the names of an archive and of a file in it, as in `FileRef`
            yield Entry(FileRef(path, name), f"{inside}/{name.split('!')[-1]}", size, f"{outer.stamp}:{crc}:{size}")


def _members(path: Path, inner: str | None, scratch: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and CRC of the files in an archive."""
    where = FileRef(path, inner)
    with open_archive(path, inner, scratch) as archive, reported(where):
        for info in archive.infolist():
            # before hidden ones are passed over: an entry that leads out of the folder is refused whatever it is called
            check_name(info.filename, where)
            parts = PurePosixPath(info.filename).parts
            hidden = "__MACOSX" in parts or any(part.startswith(".") for part in parts)
            if not info.is_dir() and not hidden:
                yield info.filename, info.file_size, info.CRC
