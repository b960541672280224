"""Reading inside zip archives, and archives inside archives, without ever writing into the source folder."""

import errno
import hashlib
import io
import lzma
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock

from mobanet.errors import UserError
from mobanet.files import named, part_of
from mobanet.rasters.contents import FileRef
from mobanet.rasters.elsewhere import Place

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# endings, in place of the raster's, of texts beside it that GDAL reads along: statistics, and world files by their
# short and their long names
TEXTS = (".aux.xml", ".wld", *(f".{short}w" for short in ("tf", "jg", "pg", "bp", "j2")), ".tifw", ".tiffw")
TEXTS += tuple(f".{ending}w" for ending in ("jpg", "jpeg", "png", "bmp", "jp2"))

BEHIND = (".aux.xml", ".msk")  # endings behind a raster's whole name, `a.tif.msk`: GDAL's own files

_CHUNK = 1 << 20

SHAPES = (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx")
"""Endings, in place of `.shp`, of the files that a shapefile consists of."""

# bytes of a text beside a raster: a world file has a hundred, statistics of many bands a few million
MOST_BESIDE = 1 << 26

# bytes from which on the packing of a member is looked at, and how many times smaller it may be: rasters of one value
# everywhere come to that and more, but not in such sizes
LARGE, DENSEST = 1 << 32, 200

# of names in no encoding, members that are not there, sizes and places beyond all bounds
_ODD = (ValueError, LookupError, OverflowError, MemoryError, struct.error)


# of its own, since up to Python 3.11 zipfile seeks in a stored member by reading it, and later ones do so on the way
# back (cpython issues 88339, 128131)
class _FileSlice(io.RawIOBase):
    """A byte range of an open file, seekable: an uncompressed archive inside an archive, read in place.

    Closing the slice closes the file.
    """

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        # `zipfile` looks for the directory from the end, and a buffered reader asks for where it is
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer)
        count = max(0, min(len(target), self._size - self._at))
        self._file.seek(self._start + self._at)
        data = self._file.read(count)
        target[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def open_archive(path: Path, inner: str | None, scratch: Path) -> Iterator[zipfile.ZipFile]:
    """The archive at `path`, or the archive `inner` inside it.

    An inner one that is stored without compression is read in place; another is unpacked into `scratch` by whichever
    process comes first, and stays there for the others.

    Raises:
        UserError: when an archive is damaged, encrypted, or compressed in a way Python cannot undo.
    """
    where = FileRef(path, inner)
    with reported(where):
        if inner is None:
            source: BinaryIO = path.open("rb")
        else:
            source = _stored_in_place(path, inner) or _unpacked(path, inner, scratch).open("rb")
    with source:
        with reported(where):
            archive = zipfile.ZipFile(source)
        with archive:
            # cut short behind an archive it contains, it would pass for that one, which does not start at byte 0
            if min((info.header_offset for info in archive.infolist()), default=0) != 0:
                raise damaged(where)
            _check_twins(archive, where)
            yield archive


@contextmanager
def reported(where: FileRef) -> Iterator[None]:
    """Turn what `zipfile` and its decompressors raise of any bytes into a sentence about `where`.

    An `OSError` of the system, such as a file that may not be read, passes.
    """
    try:
        yield
    # of a compression that zipfile does not know, and of a member that wants a password
    except (NotImplementedError, RuntimeError) as error:
        raise UserError(f"{where} is encrypted or packed in a way Python cannot read: unpack it by hand.") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # of bzip2, and of places before a file's beginning
            raise
        raise damaged(where) from error
    except (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, *_ODD) as error:
        raise damaged(where) from error


def damaged(where: FileRef) -> UserError:
    """The error for an archive or a member of one that cannot be read."""
    return UserError(f"{where} is damaged or cut short: fetch it again.")


@contextmanager
def local_copy(file: FileRef, scratch: Path) -> Iterator[Place]:
    """A path that GDAL can open: the file itself, or a copy of the archive member that lives as long as the block.

    World files and other sidecars of the member come along.

    Raises:
        UserError: when the archive or the member is damaged.
    """
    if file.member is None:
        yield file.path
        return
    inner, name = split_member(file.member)
    scratch.mkdir(parents=True, exist_ok=True)
    # a folder each: members of two folders may have one name, and GDAL goes by names for what lies beside
    folder = Path(tempfile.mkdtemp(prefix="raster-", dir=scratch))
    try:
        with open_archive(file.disk_path, inner, scratch) as archive:
            names = set(archive.namelist())
            stem = name.rsplit(".", 1)[0]
            ends = SHAPES if name.lower().endswith(".shp") else TEXTS
            beside = [stem + end for end in ends] + [stem + end.upper() for end in ends] + [name + e for e in BEHIND]
            for member in (name, *(other for other in beside if other in names)):
                extract(archive, member, folder / PurePosixPath(member).name, file)
        yield folder / file.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def disk_copy(file: FileRef, scratch: Path) -> Iterator[Path]:
    """As `local_copy`, of a file that is known to lie on this disk, for what is not read by GDAL.

    Raises:
        TypeError: for a raster elsewhere.
    """
    with local_copy(file, scratch) as place:
        yield FileRef(place).disk_path


def read_text(file: FileRef, scratch: Path) -> str:
    """Content of a small text file; of a large one the beginning."""
    with disk_copy(file, scratch) as path, path.open("rb") as text:
        # latin-1 has a character for any byte: what is no text is refused by who looks for numbers in it
        return text.read(_CHUNK).decode("latin-1")


def extract(archive: zipfile.ZipFile, member: str, target: Path, where: FileRef) -> None:
    """Write one member to `target`, whole or not at all.

    Messages name it, or the raster that it belongs to, by `where`.

    Raises:
        UserError: when the member is damaged, or larger, unpacked, than such a file or what is free on the disk.
        OSError: when it cannot be written.
    """
    part = part_of(target)
    try:
        with reported(where):
            info = archive.getinfo(member)
        # `zipfile` gives out no more bytes than the directory declares, so that these checks hold for what is written
        _check_room(info.file_size, target.parent, where)
        _check_size(info, where)
        with part.open("wb") as copy:
            for block in _blocks(archive, member, where):
                with named(target):
                    copy.write(block)
                    # at once: what closing flushes, it would complain of without a name
                    copy.flush()
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _blocks(archive: zipfile.ZipFile, member: str, where: FileRef) -> Iterator[bytes]:
    with reported(where), archive.open(member) as packed:
        while block := packed.read(_CHUNK):
            yield block


def _check_size(info: zipfile.ZipInfo, where: FileRef) -> None:
    """Refuse a text beside a raster, or a member, of a size that only an archive made to fill disks would declare."""
    size, packed = info.file_size, max(info.compress_size, 1)
    if size > MOST_BESIDE and info.filename.lower().endswith(TEXTS):
        raise UserError(
            f"{info.filename} beside {where} has {size / 1e9:.3g} GB unpacked, where {MOST_BESIDE >> 20} MB are the "
            "most: fetch the archive again, or remove it."
        )
    if size > LARGE and size > DENSEST * packed:
        raise UserError(
            f"{where} has {size / 1e9:.3g} GB unpacked and {packed / 1e9:.3g} GB packed, which hardly any raster comes "
            "to: unpack it by hand if it is one, and give the folder it is in."
        )


def _check_room(size: int, folder: Path, where: FileRef) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(
            f"{where} has {size / 1e9:.3g} GB unpacked and {folder} is on a disk with {free / 1e9:.3g} GB free: fetch "
            "it again if it is not so large, or free some space."
        )


def _check_twins(archive: zipfile.ZipFile, where: FileRef) -> None:
    """Refuse an archive that holds two different files of one name, of which Python would read the last."""
    seen: dict[str, tuple[int, int]] = {}
    for info in archive.infolist():
        # sums of the directory, for which nothing is unpacked; a file that is listed twice does no harm
        content = (info.file_size, info.CRC)
        if seen.setdefault(info.filename, content) != content:
            raise UserError(f"{where} holds two different files {info.filename!r}: unpack it by hand and remove one.")


def split_member(member: str) -> tuple[str | None, str]:
    """`inner.zip!folder/name.tif` -> (`inner.zip`, `folder/name.tif`); None for a member of the outer archive."""
    inner, mark, name = member.partition("!")
    return (inner, name) if mark else (None, member)


def check_name(member: str, where: FileRef) -> None:
    """Refuse a member whose name leads out of the folder it would be unpacked into.

    Raises:
        UserError: naming the entry and the archive.
    """
    parts = PurePosixPath(member.replace("\\", "/")).parts
    if ".." in parts or parts[:1] == ("/",) or PureWindowsPath(member).drive:
        raise UserError(f"the entry {member!r} in {where} leads out of its folder: do not use this archive.")


def _stored_in_place(path: Path, inner: str) -> BinaryIO | None:
    """The inner archive as a slice of the outer one, None where it is compressed."""
    with zipfile.ZipFile(path) as outer:
        info = outer.getinfo(inner)
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1:  # 0x1: encrypted
        return None
    file = path.open("rb")
    file.seek(info.header_offset)
    header = file.read(30)  # local file header: 26 fixed bytes, then the lengths of name and extra field
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        file.close()
        raise zipfile.BadZipFile
    # here and not from the directory: a member's extra field there may have another length
    length = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return io.BufferedReader(_FileSlice(file, info.header_offset + 30 + length, info.file_size), _CHUNK // 8)


def _unpacked(path: Path, inner: str, scratch: Path) -> Path:
    scratch.mkdir(parents=True, exist_ok=True)
    # of the whole path, as archives in several folders may have one name
    key = hashlib.sha256(f"{path.absolute()}!{inner}".encode()).hexdigest()[:16]
    target = scratch / f"inner-{key}.zip"
    with FileLock(f"{target}.lock"):
        if not target.exists():
            with zipfile.ZipFile(path) as outer:
                extract(outer, inner, target, FileRef(path, inner))
    return target
