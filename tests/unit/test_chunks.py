"""Arrays in chunks: whatever part is read has the right pixels, and few bytes beside them are."""

import errno
import os
import pickle
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from mobanet.data.reading import TileReader, TileWindow
from mobanet.errors import UserError
from mobanet.store.arrays import OpenArrays, read_array
from mobanet.store.chunks import CHUNK, HEADER, chunked_shape, chunked_size, make_header
from mobanet.store.patches import cut_tile
from mobanet.store.stored import LabelRecord, ModalityRecord, StoredTile
from mobanet.store.writing import ArrayWriter

SIZES = [(1, 1), (63, 64), (64, 65), (130, 200), (256, 256), (300, 40)]


def noise(size, bands, dtype):
    return np.random.default_rng(0).integers(0, 250, (*size, bands)).astype(dtype)


def tile_of(folder, height, width, bands=3, dtype="uint8"):
    """A tile without arrays."""
    return StoredTile(
        "t", folder, height, width, "rgb", {"rgb": ModalityRecord(bands, dtype, True, 1.0, (), "", "")},
        {"full": LabelRecord((1,), 0, 0, 0, "", "")}, None, None, (),
    )  # fmt: skip


def stored(folder, values):
    tile = tile_of(folder, *values.shape, str(values.dtype))
    for name, array in (("rgb", values), ("label_full", values[:, :, 0].astype(np.uint8))):
        with ArrayWriter(tile.path(name), array.shape, array.dtype) as writer:
            writer.write(array)
        writer.part.rename(writer.target)
    return tile


@pytest.fixture
def counted(monkeypatch):
    """Sizes of what is read at a time."""
    sizes = []
    preadv, pread = os.preadv, os.pread

    def count(function):
        def counting(*given):
            read = function(*given)
            sizes.append(read if isinstance(read, int) else len(read))
            return read

        return counting

    monkeypatch.setattr(os, "preadv", count(preadv))
    monkeypatch.setattr(os, "pread", count(pread))
    return sizes


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("bands", "dtype"), [(1, "uint8"), (3, "uint8"), (4, "uint16"), (1, "float32")])
def test_every_part_is_the_arrays_own(tmp_path, size, bands, dtype):
    values = noise(size, bands, dtype)
    tile = stored(tmp_path, values)
    assert np.array_equal(read_array(tile, "rgb"), values)
    arrays, draw = OpenArrays(), np.random.default_rng(1)
    for _ in range(60):
        (top, bottom), (left, right) = (np.sort(draw.integers(0, side + 1, 2)) for side in size)
        for part in (
            read_array(tile, "rgb", slice(top, bottom), slice(left, right)),
            arrays.cut(tile, "rgb", top, left, bottom - top, right - left),
        ):
            assert part.dtype == values.dtype
            assert np.array_equal(part, values[top:bottom, left:right])
            assert part.flags.owndata
            assert part.flags.c_contiguous
    assert np.array_equal(read_array(tile, "label_full", slice(-1, None)), values[-1:, :, 0])


def test_the_file_is_one_that_numpy_reads(tmp_path):
    values = noise((130, 70), 3, "uint16")
    chunks = np.load(stored(tmp_path, values).path("rgb"))
    assert chunks.shape == (3, 2, CHUNK, CHUNK, 3)
    whole = chunks.swapaxes(1, 2).reshape(192, 128, 3)
    assert np.array_equal(whole[:130, :70], values)
    assert not whole[130:].any()
    assert not whole[:, 70:].any()


def test_a_patch_is_read_by_its_own_rows(tmp_path):
    values = noise((150, 170), 2, "uint8")
    for patch in cut_tile(stored(tmp_path, values), 70):
        part = np.s_[patch.top : patch.top + patch.height, patch.left : patch.left + patch.width]
        assert np.array_equal(read_array(patch, "rgb"), values[part])
        assert np.array_equal(read_array(patch, "rgb", slice(3, 9))[:, 5], values[part][3:9, 5])


@pytest.mark.parametrize(("bands", "dtype"), [(1, "uint8"), (3, "uint8"), (1, "float32"), (8, "uint16")])
def test_crops_of_a_wide_array_read_few_bytes_beside_their_own(tmp_path, counted, bands, dtype):
    """In pages, as a disk reads them."""
    tile = tile_of(tmp_path, 8000, 8000, bands, dtype)
    for name, shape, kind in (("rgb", (8000, 8000, bands), dtype), ("label_full", (8000, 8000), "uint8")):
        tile.path(name).write_bytes(make_header(shape, kind))
        os.truncate(tile.path(name), chunked_size(shape, kind))  # sparse
    reader, draw = TileReader([tile], {"rgb": bands}, "full", 256), np.random.default_rng(0)
    reader.read(TileWindow(0, 0, 0, 256, 256))
    counted.clear()
    wanted = 0
    for top, left in draw.integers(0, 8000 - 256 + 1, (50, 2)):
        sample = reader.read(TileWindow(0, int(top), int(left), 256, 256))
        wanted += sample.inputs["rgb"].nbytes + sample.label.nbytes
    assert all(size % 4096 == 0 for size in counted)
    assert HEADER % 4096 == 0
    assert sum(counted) <= 1.6 * wanted
    assert len(counted) <= 50 * 2 * 5


def test_a_file_is_opened_once_and_few_stay_open(tmp_path, counted):
    tiles = []
    for number in range(150):
        folder = tmp_path / str(number)
        folder.mkdir()
        tiles.append(stored(folder, noise((8, 8), 1, "uint8")))
    before = len(os.listdir("/proc/self/fd"))
    reader = TileReader(tiles, {"rgb": 1}, "full", 8)
    for number in range(150):
        reader.read(TileWindow(number, 0, 0, 8, 8))
    assert 100 < len(os.listdir("/proc/self/fd")) - before <= 128
    counted.clear()
    reader.read(TileWindow(149, 0, 0, 8, 8))
    assert len(counted) == 2
    del reader
    assert len(os.listdir("/proc/self/fd")) == before


def _read(reader, window, results):
    results.put(reader.read(window).inputs["rgb"])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_goes_to_other_processes(tmp_path, method):
    values = noise((200, 200), 3, "uint8")
    reader = TileReader([stored(tmp_path, values)], {"rgb": 3}, "full", 64)
    reader.read(TileWindow(0, 0, 0, 64, 64))
    assert len(pickle.dumps(reader)) < 2000
    context = get_context(method)
    results = context.SimpleQueue()
    windows = [TileWindow(0, 10 * number, 5 * number, 64, 64) for number in range(4)]
    processes = [context.Process(target=_read, args=(reader, window, results)) for window in windows]
    for process in processes:
        process.start()
    found = [results.get() for _ in windows]
    for process in processes:
        process.join()
    wanted = [values[w.top : w.top + 64, w.left : w.left + 64] for w in windows]
    assert all(any(np.array_equal(one, other) for other in found) for one in wanted)
    assert np.array_equal(reader.read(windows[1]).inputs["rgb"], wanted[1])


HEADERS = {
    "empty": b"",
    "nonsense": b"nonsense" * 1000,
    "half": make_header((100, 90, 3), "uint8")[:2000],
    "other type": make_header((100, 90, 3), "int8"),
    "other bands": make_header((100, 90, 2), "uint8"),
    "smaller": make_header((64, 90, 3), "uint8"),
    "a plane": make_header((100, 90), "uint8"),
    "brackets": make_header((1, 1), "uint8")[:10] + b"(" * (HEADER - 10),
    "signs": make_header((1, 1), "uint8")[:10] + b"-" * (HEADER - 10),
    "objects": make_header((100, 90, 3), "uint8").replace(b"'|u1'", b"'|O8'"),
    "huge": make_header((2**40, 2**40, 3), "uint8"),
    "negative": make_header((100, 90, 3), "uint8").replace(b"(2, 2,", b"(-2,-2,"),
}


@pytest.mark.parametrize("case", [*HEADERS, "short", "rows"])
def test_damaged_arrays_are_said_to_be(tmp_path, case):
    tile = stored(tmp_path, noise((100, 90), 3, "uint8"))
    path = tile.path("rgb")
    content = path.read_bytes()
    if case == "rows":
        np.save(path, noise((100, 90), 3, "uint8"))
    else:
        path.write_bytes(content[:-1] if case == "short" else HEADERS[case] + content[HEADER:])
    for read in (lambda: read_array(tile, "rgb"), lambda: OpenArrays().cut(tile, "rgb", 0, 0, 9, 9)):
        with pytest.raises(UserError, match=r"rgb\.npy is damaged: delete it and run python -m mobanet\.prepare"):
            read()
    assert not [link for link in os.listdir("/proc/self/fd") if _leads_to(link, path)]


def _leads_to(link, path):
    try:
        return os.readlink(f"/proc/self/fd/{link}") == str(path)
    except OSError:
        return False


def test_a_file_that_is_cut_while_it_is_open_is_damaged(tmp_path):
    tile = stored(tmp_path, noise((100, 90), 3, "uint8"))
    arrays = OpenArrays()
    arrays.cut(tile, "rgb", 0, 0, 9, 9)
    os.truncate(tile.path("rgb"), HEADER + 10)
    with pytest.raises(UserError, match="is damaged"):
        arrays.cut(tile, "rgb", 0, 0, 9, 9)


def test_what_comes_in_pieces_is_put_together(tmp_path, monkeypatch):
    values = noise((200, 200), 3, "uint8")
    tile = stored(tmp_path, values)
    preadv = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda handle, rooms, at: preadv(handle, [memoryview(rooms[0]).cast("B")[:999]], at)
    )
    assert np.array_equal(read_array(tile, "rgb"), values)


def test_a_disk_that_fails_is_said_of_the_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    tile = stored(tmp_path, noise((100, 90), 3, "uint8"))
    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(OSError, match=r"Input/output error: .*rgb\.npy"):
        read_array(tile, "rgb")


def test_an_array_larger_than_a_tile_serves_a_part_of_it(tmp_path):
    tile = stored(tmp_path, noise((100, 90), 3, "uint8"))
    assert read_array(replace(tile, height=40), "rgb").shape == (40, 90, 3)
    assert chunked_shape((100, 90, 3)) == (2, 2, CHUNK, CHUNK, 3)
