"""Archives that no packer would make: a sentence with the archive's name and the member's, without much memory."""

import os
import struct
import zipfile

import pytest

from mobanet.datasets.catalogue import list_files
from mobanet.errors import UserError
from mobanet.rasters.archives import extract, local_copy
from mobanet.rasters.contents import FileRef
from mobanet.store.build import build_store
from tests.hostile.children import verdicts

CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"
CONTENT = bytes(range(256)) * 40
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


def archive(path, method=zipfile.ZIP_DEFLATED, members=("a.tif", "b.tif")):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as packed:
        for name in members:
            packed.writestr(name, CONTENT)
    return path


def change(path, place, offset, value):
    """Replace bytes behind the last entry of the central directory, or the first local header."""
    content = bytearray(path.read_bytes())
    start = content.rindex(place) if place == CENTRAL else content.index(place)
    content[start + offset : start + offset + len(value)] = value
    path.write_bytes(bytes(content))


def unpack_all(folder):
    for entry in list_files(folder / "data", folder / "scratch").entries:
        with local_copy(entry.file, folder / "scratch") as path:
            assert path.stat().st_size == len(CONTENT)


ENTRIES = {
    "an offset before the file": (CENTRAL, 42, struct.pack("<I", 0xFFFFFFF0)),
    "an offset behind the file": (CENTRAL, 42, struct.pack("<I", 0x7FFFFFF0)),
    "an offset into another member": (CENTRAL, 42, struct.pack("<I", 77)),
    "encrypted": (CENTRAL, 8, struct.pack("<H", 1)),
    "an unknown method": (CENTRAL, 10, struct.pack("<H", 77)),
    "another size": (CENTRAL, 24, struct.pack("<I", 3)),
    "another checksum": (CENTRAL, 16, b"abcd"),
    "a name in no encoding": (CENTRAL, 46, b"\xff\xfe"),
    "another name than at its place": (CENTRAL, 46, b"c"),
    "a version of the future": (CENTRAL, 6, b"\xf0"),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_damaged_entries(tmp_path, case):
    path = archive(tmp_path / "data/all.zip")
    place, offset, value = ENTRIES[case]
    change(path, place, offset, value)
    if case == "a name in no encoding":
        change(path, place, 8, struct.pack("<H", 0x800))  # UTF-8, it says
    with pytest.raises(UserError, match=r"all\.zip.* (is damaged|is encrypted|holds)"):
        unpack_all(tmp_path)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("nested", [False, True])
def test_damaged_content_names_archive_and_member(tmp_path, method, nested):
    path = archive(tmp_path / "data/all.zip", METHODS[method])
    content = bytearray(path.read_bytes())
    middle = len(content) // 5
    content[middle : middle + 8] = bytes(255 - value for value in content[middle : middle + 8])
    path.write_bytes(bytes(content))
    if nested:
        with zipfile.ZipFile(tmp_path / "data/outer.zip", "w", METHODS[method]) as outer:
            outer.write(path, "all.zip")
        path.unlink()
    names = r"outer\.zip!all\.zip!a\.tif" if nested else r"all\.zip!a\.tif"
    with pytest.raises(UserError, match=rf"{names} is damaged or cut short: fetch it again"):
        unpack_all(tmp_path)
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.suffix in (".tif", ".part")]


def test_more_than_the_disk_holds_is_not_begun(tmp_path):
    path = archive(tmp_path / "data/all.zip")
    extra = struct.pack("<HHQ", 1, 8, 1 << 60)  # ZIP64: the size unpacked
    content = bytearray(path.read_bytes())
    start = content.rindex(CENTRAL)
    end = content.rindex(b"PK\x05\x06")
    name = struct.unpack_from("<H", content, start + 28)[0]
    struct.pack_into("<I", content, start + 24, 0xFFFFFFFF)
    struct.pack_into("<H", content, start + 30, len(extra))
    content[start + 46 + name : start + 46 + name] = extra
    size = struct.unpack_from("<I", content, end + len(extra) + 12)[0]
    struct.pack_into("<I", content, end + len(extra) + 12, size + len(extra))
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"all\.zip!b\.tif has 1\.15e\+09 GB unpacked and .* GB free"):
        unpack_all(tmp_path)


def test_two_files_of_one_name(tmp_path):
    path = tmp_path / "data/all.zip"
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(path, members=("a.tif", "a.tif"))
    assert len({entry.location for entry in list_files(tmp_path / "data").entries}) == 1
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as packed:
        packed.writestr("a.tif", "other")
    with pytest.raises(UserError, match=r"all\.zip holds two different files 'a\.tif'"):
        list_files(tmp_path / "data")


def test_a_bomb_is_unpacked_in_little_memory(tmp_path):
    """Of 128 MB from 600 kB, of zeros, a child with a few MB to spare reads all."""
    path = tmp_path / "data/bomb.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed, packed.open("a.tif", "w") as out:
        for _ in range(128):
            out.write(bytes(1 << 20))

    def unpack():
        (entry,) = list_files(path.parent, tmp_path / "scratch").entries
        with local_copy(entry.file, tmp_path / "scratch") as copy:
            assert copy.stat().st_size == 128 << 20

    (verdict,) = verdicts([unpack], 30, memory=48 << 20)
    assert verdict.end == "success", verdict.text


def test_an_archive_in_an_archive_in_an_archive_is_left_alone(tmp_path, potsdam):
    archive(tmp_path / "1.zip")
    for number in (2, 3):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as packed:
            packed.write(tmp_path / f"{number - 1}.zip", f"{number - 1}.zip")
    (tmp_path / "data").mkdir()
    (tmp_path / "3.zip").rename(tmp_path / "data/3.zip")
    assert list_files(tmp_path / "data").entries == ()
    with pytest.raises(UserError, match="holds no"):
        build_store(potsdam, tmp_path / "data", workers=1)


def test_a_pipe_in_a_data_set_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif is no file but a pipe, a socket or a device: remove it"):
        list_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "size", "packed", "words"),
    [
        ("b.tif", 5 << 30, 1 << 20, r"all\.zip!b\.tif has 5\.37 GB unpacked and 0\.00105 GB packed, .* by hand"),
        ("b.TFW", 1 << 27, 1 << 26, r"b\.TFW beside .*!b\.tif has 0\.134 GB unpacked, where 64 MB are the most"),
    ],
)
def test_members_have_a_size_that_files_of_their_kind_have(tmp_path, name, size, packed, words):
    path = archive(tmp_path / "data/all.zip", members=(name,))
    with zipfile.ZipFile(path) as opened:
        info = opened.getinfo(name)
        info.file_size, info.compress_size = size, packed
        with pytest.raises(UserError, match=words):
            extract(opened, name, tmp_path / "copy", FileRef(path, "b.tif"))
    assert not (tmp_path / "copy").exists()
