"""Arrays of a store are written strip by strip, and are there whole or not at all."""

import errno
import os
import resource
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from mobanet.datasets import get_layout
from mobanet.store import build_tile
from mobanet.store.build import build_store
from mobanet.store.writing import ArrayWriter, stage_array
from tests.data_files.fake_files import potsdam_tile
from tests.hostile.children import verdicts

CUTS = [[200], [64, 64, 64, 8], [1] * 200, [70, 1, 129], [0, 100, 0, 100]]


def noise(*shape, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize(
    ("shape", "dtype"), [((200, 130, 3), "uint16"), ((200, 64), "uint8"), ((200, 1, 1), "float32")]
)
def test_the_file_does_not_depend_on_how_rows_are_cut(tmp_path, cuts, shape, dtype):
    values = noise(*shape, dtype=dtype)
    whole = stage_array(tmp_path / "whole.npy", values)
    with ArrayWriter(tmp_path / "cut.npy", shape, dtype) as writer:
        for rows in np.split(values, np.cumsum(cuts)[:-1]):
            writer.write(rows)
    assert writer.part.read_bytes() == whole.read_bytes()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".part", ".part"]


def test_rows_may_lie_anyhow_in_memory(tmp_path):
    values = noise(130, 90, 3)
    planes = np.ascontiguousarray(values.transpose(2, 0, 1))
    assert stage_array(tmp_path / "a.npy", planes.transpose(1, 2, 0)).read_bytes() == (
        stage_array(tmp_path / "b.npy", values).read_bytes()
    )


@pytest.mark.parametrize(
    "rows", [noise(9, 20, 3), noise(11, 20, 3), noise(10, 21, 3), noise(10, 20), noise(10, 20, 3, dtype="uint16")]
)
def test_what_does_not_make_the_array_is_refused_and_leaves_nothing(tmp_path, rows):
    def write():
        with ArrayWriter(tmp_path / "x.npy", (10, 20, 3), "uint8") as writer:
            writer.write(rows)

    with pytest.raises(ValueError, match=r"x\.npy"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_fails_leaves_nothing(tmp_path):
    def fail():
        with ArrayWriter(tmp_path / "x.npy", (200, 20), "uint8") as writer:
            writer.write(noise(100, 20))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", [0, 50_000])
def test_a_full_disk_is_said_of_the_file(tmp_path, room):
    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        with pytest.raises(OSError, match="File too large") as caught:
            stage_array(tmp_path / "x.npy", noise(300, 300, 3))
        assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "x.npy"))
        assert list(tmp_path.iterdir()) == []

    (end,) = verdicts([work], 20)
    assert end.end == "success", end.text


def test_little_is_held_in_memory(tmp_path):
    import tracemalloc

    strip = noise(64, 4000, 3)
    tracemalloc.start()
    with ArrayWriter(tmp_path / "x.npy", (64 * 20, 4000, 3), "uint8") as writer:
        for _ in range(20):
            writer.write(strip)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * strip.nbytes


def test_a_tiles_arrays_are_on_the_disk_before_it_counts_as_finished(tmp_path, synced):
    potsdam_tile(tmp_path, 2, 10)
    build_store(get_layout("potsdam"), tmp_path, workers=1)
    name = synced.index("name tile.json")
    arrays = [call for call in synced if call.startswith("file") and ".npy" in call]
    assert len(arrays) == 6
    assert all(synced.index(call) < name for call in arrays)
    assert synced[name - 1] == "folder 2_10"
    assert synced[-5:] == [
        "name tiles.jsonl",
        "folder mobanet_store",
        synced[-3],
        "name store.json",
        "folder mobanet_store",
    ]
    assert "store.json" in synced[-3]
    assert len([call for call in synced[: name + 1] if not call.startswith("name")]) == 7


def test_an_array_goes_to_the_disk_while_the_next_one_is_made_and_what_the_disk_refuses_is_said(tmp_path, monkeypatch):
    potsdam_tile(tmp_path, 2, 10)
    made, begun, real = threading.Event(), [], build_tile.Products.label

    def label(products, *given):
        assert made.wait(30)  # the first array is being synced before the last one is read
        return real(products, *given)

    def refuse(path):
        begun.append(path.name.split(".")[0])
        made.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(build_tile.Products, "label", label)
    monkeypatch.setattr("mobanet.files.sync", refuse)
    with pytest.raises(OSError, match=r"Input/output error: '.*/tiles/2_10/rgb\.npy'"):
        build_store(get_layout("potsdam"), tmp_path, workers=1)
    assert begun[0] == "rgb"
    assert not list((tmp_path / "mobanet_store").rglob("*.npy*"))


@pytest.fixture
def synced(monkeypatch):
    """What is brought to the disk or gets a name, in order."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def kept(handle):
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        calls.append(f"{'folder' if path.is_dir() else 'file'} {path.name}")
        fsync(handle)

    def named(part, path):
        calls.append(f"name {Path(path).name}")
        replace(part, path)

    monkeypatch.setattr(os, "fsync", kept)
    monkeypatch.setattr(os, "replace", named)
    return calls
