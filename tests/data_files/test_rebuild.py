"""Building again: resuming, adding, changed sources, several builders, full disks."""

import errno
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobanet.data.datamodule import RasterDataModule
from mobanet.data.options import EvaluationSettings
from mobanet.errors import UserError
from mobanet.store import stored
from mobanet.store.build import build_store
from mobanet.store.elevation import ground_of, read_blocks
from mobanet.store.stored import TileStore, default_store
from tests.data_files.fake_files import ages, files, load, potsdam_tile, surface, truncate, vaihingen_area, write

MAIN = Path(__file__).parents[2]


def test_adding_a_modality_builds_only_that(potsdam, root):
    potsdam_tile(root, 2, 10)
    build_store(potsdam, root, modalities=["rgb", "dsm"], workers=1)
    store = root / "mobanet_store"
    before = ages(store)
    assert list(build_store(potsdam, root, modalities=["dsm", "irrg"], workers=1).modalities) == ["rgb", "irrg", "dsm"]
    after = ages(store)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"tiles/2_10/irrg.npy"}
    assert list(TileStore(store).tiles["2_10"].modalities) == ["rgb", "irrg", "dsm"]


def test_a_changed_source_is_read_again_and_nothing_else(potsdam, root):
    potsdam_tile(root, 2, 10)
    potsdam_tile(root, 2, 11)
    build_store(potsdam, root, workers=1)
    store = root / "mobanet_store"
    before = ages(store)
    assert ages(build_store(potsdam, root, workers=1).path) == before
    path = write(root / "1_DSM/dsm_potsdam_02_11.tif", surface("new"))
    os.utime(path, ns=(1, 1))
    tile = build_store(potsdam, root, workers=1).tiles["2_11"]
    assert np.array_equal(load(tile, "dsm")[:, :, 0], surface("new")[0])
    after = ages(store)
    assert {name for name in after if after[name] != before[name]} == {
        "tiles/2_11/dsm.npy",
        "tiles/2_11/dsm.blocks.npy",
    }


def test_a_store_made_before_elevations_had_blocks_gets_them(potsdam, root):
    potsdam_tile(root, 2, 10)
    folder = build_store(potsdam, root, workers=1).tiles["2_10"].folder
    description = json.loads((folder / "tile.json").read_text())
    before = (folder / "dsm.blocks.npy").read_bytes(), ages(folder)
    description["modalities"]["dsm"].pop("blocks")
    description["modalities"]["dsm"]["stamp"] = "0" * 16
    (folder / "tile.json").write_text(json.dumps(description))
    (folder / "dsm.blocks.npy").unlink()
    (root / "mobanet_store/tiles.jsonl").unlink()
    assert build_store(potsdam, root, workers=1).tiles["2_10"].modalities["dsm"].blocks
    assert (folder / "dsm.blocks.npy").read_bytes() == before[0]
    assert ages(folder)["rgb.npy"] == before[1]["rgb.npy"]


def test_a_store_made_before_whose_rasters_are_gone_says_what_it_lacks(potsdam, root):
    potsdam_tile(root, 2, 10)
    tile = build_store(potsdam, root, workers=1).tiles["2_10"]
    older = replace(tile, modalities={**tile.modalities, "dsm": replace(tile.modalities["dsm"], blocks=False)})
    with pytest.raises(UserError, match=r"store was prepared by an earlier mobanet.*--data\.scaling\.dsm robust"):
        ground_of(older, "dsm", 256)


HEADER = b"\x93NUMPY\x01\x00\x76\x00%-117b\n"
"""Of an array as numpy writes it."""


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"nonsense", "short", "other", "nan"),
        b"PK\x05\x06" + bytes(18),  # an archive without members, which `numpy.load` opens as arrays by name
        HEADER % b"{'descr': '<f4', 'fortran_order': False, 'shape': (1%s, 1, 4)}" % (b"0" * 30),
        HEADER % b"{[]: 1}",
        HEADER % (b"(" * 100),
    ],
    ids=["empty", "nonsense", "short", "other", "nan", "archive", "huge", "no mapping", "deep"],
)
def test_damaged_blocks_are_said_to_be(content, potsdam, root):
    potsdam_tile(root, 2, 10)
    tile = build_store(potsdam, root, workers=1).tiles["2_10"]
    path, blocks = tile.path("dsm.blocks"), read_blocks(tile, "dsm")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        changed = {"short": blocks[:1], "other": blocks.astype(np.float64), "nan": blocks * np.float32(np.nan)}
        np.save(path, changed[content])
    with pytest.raises(UserError, match=r"dsm\.blocks\.npy is damaged: delete it"):
        read_blocks(tile, "dsm")


def test_a_changed_size_renews_the_whole_tile(potsdam, root):
    potsdam_tile(root, 2, 10)
    build_store(potsdam, root, modalities=["rgb", "dsm", "irrg"], workers=1)
    potsdam_tile(root, 2, 10, size=(80, 72))
    tile = build_store(potsdam, root, modalities=["rgb", "dsm"], workers=1).tiles["2_10"]
    assert (tile.height, tile.width, list(tile.modalities)) == (80, 72, ["rgb", "dsm"])
    assert not tile.path("irrg").exists()


def test_goes_on_after_a_kill(potsdam, root):
    for column in (10, 11):
        potsdam_tile(root, 2, column)
    build_store(potsdam, root, workers=1)
    store = root / "mobanet_store"
    (store / "store.json").unlink()
    (store / "tiles.jsonl").unlink()
    (store / "tiles/2_11/tile.json").unlink()
    (store / "tiles/2_11/rgb.npy.4242.part").write_bytes(b"x")
    (store / "scratch").mkdir()
    (store / "scratch/dsm_potsdam_02_12.tif").write_bytes(b"x")
    before = ages(store)
    assert len(build_store(potsdam, root, workers=1).tiles) == 2
    after = ages(store)
    assert all((after[name] == before[name]) == name.startswith("tiles/2_10") for name in after)
    assert not list(store.rglob("*.part"))
    assert not (store / "scratch").exists()


@pytest.mark.parametrize("victim", ["tiles/2_10/rgb.npy", "tiles.jsonl", "store.json"])
def test_a_damaged_store_is_refused_and_mended(potsdam, root, victim):
    potsdam_tile(root, 2, 10)
    path = build_store(potsdam, root, workers=1).path
    good = (path / victim).read_bytes()
    truncate(path / victim)
    with pytest.raises(UserError, match=rf"{Path(victim).name} is damaged: delete it and run python -m mob"):
        TileStore(path).tiles["2_10"]
    build_store(potsdam, root, workers=1)
    assert (path / victim).read_bytes() == good


@pytest.mark.parametrize("removed", [(), ("tiles.jsonl",), ("store.json",), ("tiles.jsonl", "store.json")])
def test_a_tiles_own_description_counts_while_there_is_no_index(potsdam, root, removed):
    for column in (10, 11):
        potsdam_tile(root, 2, column)
    path = build_store(potsdam, root, workers=1).path
    whole = {name: (path / name).read_bytes() for name in ("tiles.jsonl", "store.json", "tiles/2_10/tile.json")}
    truncate(path / "tiles/2_10/tile.json")
    for name in removed:
        (path / name).unlink()
    before = ages(path)
    build_store(potsdam, root, workers=1)
    changed = {name for name, age in ages(path).items() if age != before[name]}
    assert {name.split("/")[1] for name in changed} == ({"2_10"} if removed else set())
    for name, content in whole.items():
        assert (path / name).read_bytes() == content or not removed


def test_an_index_that_is_another_stores_is_said_to_be(potsdam, root):
    potsdam_tile(root, 2, 10)
    path = build_store(potsdam, root, workers=1).path
    lines = (path / "tiles.jsonl").read_text()
    for content in (lines + lines, lines.replace("2_10", "2_11"), "", lines.rstrip("\n")):
        (path / "tiles.jsonl").write_text(content)
        with pytest.raises(UserError, match=r"tiles\.jsonl is damaged: delete it and run python -m mobanet\.prepare"):
            TileStore(path)
    build_store(potsdam, root, workers=1)
    assert (path / "tiles.jsonl").read_text() == lines


WRONG = {
    "no line": lambda line: "[]",
    "no mapping": lambda line: json.dumps({"tile": 3, "sizes": {}}),
    "another's": lambda line: line.replace('"id":"2_10"', '"id":"2_11"'),
    "a text for a number": lambda line: line.replace('"height":60', '"height":"60"'),
    "huge": lambda line: line.replace('"height":60', '"height":6' + "0" * 30),
    "negative": lambda line: line.replace('"height":60', '"height":-60'),
    "another version": lambda line: line.replace('"version":2', '"version":1'),
    "deep": lambda line: "[" * 3000,
}


@pytest.mark.parametrize("case", WRONG)
def test_a_line_is_checked_when_its_tile_is_asked_for_and_mended(potsdam, root, case):
    potsdam_tile(root, 2, 10)
    path = build_store(potsdam, root, workers=1).path
    good = (path / "tiles.jsonl").read_text()
    bad = WRONG[case](good.rstrip("\n")) + "\n"
    assert bad != good
    content = json.loads((path / "store.json").read_text())
    (path / "tiles.jsonl").write_text(bad)
    (path / "store.json").write_text(json.dumps(content | {"index": hashlib.sha256(bad.encode()).hexdigest()}))
    store = TileStore(path)
    assert list(store.tiles) == ["2_10"]
    with pytest.raises(UserError, match=r"tiles\.jsonl is damaged: delete it and run python -m mobanet\.prepare"):
        store.tiles["2_10"]
    (path / "tiles.jsonl").unlink()
    build_store(potsdam, root, workers=1)
    assert (path / "tiles.jsonl").read_text() == good


@pytest.mark.parametrize("lines", [0, 2])
def test_an_index_with_too_few_or_too_many_lines_is_made_anew(potsdam, root, lines):
    potsdam_tile(root, 2, 10)
    path = build_store(potsdam, root, workers=1).path
    good = (path / "tiles.jsonl").read_text()
    content = json.loads((path / "store.json").read_text())
    (path / "tiles.jsonl").write_text(good * lines)
    sum_of = hashlib.sha256((good * lines).encode()).hexdigest()
    (path / "store.json").write_text(json.dumps(content | {"index": sum_of}))
    build_store(potsdam, root, workers=1)
    assert (path / "tiles.jsonl").read_text() == good


def test_a_description_that_came_from_another_tiles_folder_does_not_count(potsdam, root):
    potsdam_tile(root, 2, 10)
    path = build_store(potsdam, root, workers=1).path
    own = path / "tiles/2_10/tile.json"
    good = own.read_text()
    own.write_text(good.replace('"id": "2_10"', '"id": "2_11"'))
    (path / "tiles.jsonl").unlink()
    with pytest.raises(UserError, match=r"tile\.json is damaged: delete it and run python -m mobanet\.prepare"):
        TileStore(path)
    assert build_store(potsdam, root, workers=1).tiles["2_10"].id == "2_10"
    assert own.read_text() == good


def as_version_1(path):
    """What an earlier version left: arrays in rows, descriptions without a version, no index."""
    for tile in TileStore(path).tiles.values():
        for name in tile.sizes():
            np.save(tile.path(name), load(tile, name))
        content = json.loads((tile.folder / "tile.json").read_text())
        del content["version"]
        (tile.folder / "tile.json").write_text(json.dumps(content))
    content = json.loads((path / "store.json").read_text())
    del content["index"]
    (path / "store.json").write_text(json.dumps(content | {"version": 1}))
    (path / "tiles.jsonl").unlink()


def test_a_store_of_version_1_is_prepared_again(potsdam, root, capfd):
    potsdam_tile(root, 2, 10)
    path = build_store(potsdam, root, workers=1).path
    whole = {name: (path / name).read_bytes() for name in files(path) if name != "store.lock"}
    as_version_1(path)
    capfd.readouterr()
    assert np.array_equal(load(build_store(potsdam, root, workers=1).tiles["2_10"], "dsm")[:, :, 0], surface("2_10")[0])
    said = capfd.readouterr().err
    assert said.count("was prepared by an earlier mobanet") == 1
    assert "(version 1, now 2): all tiles are prepared again" in said
    assert {name: (path / name).read_bytes() for name in whole} == whole
    build_store(potsdam, root, workers=1)
    assert "earlier" not in capfd.readouterr().err


def test_a_store_of_version_1_whose_rasters_are_gone_says_what_to_do(potsdam, root, tmp_path):
    potsdam_tile(root, 2, 10)
    path = build_store(potsdam, root, tmp_path / "store", workers=1).path
    as_version_1(path)
    shutil.rmtree(root)
    data = RasterDataModule(str(root), "potsdam", str(path))
    data.prepare_data()
    with pytest.raises(
        UserError, match=r"earlier mobanet.*version 1; this one reads 2\): run python -m mobanet\.prepare"
    ):
        data.setup()


def test_a_start_reads_one_index_and_no_tiles_own_description(potsdam, root, monkeypatch):
    for column in (10, 11, 12):
        potsdam_tile(root, 2, column, size=(8, 8))
    path = build_store(potsdam, root, workers=1).path
    read = []
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *given, **named: (read.append(path.name), real(path, *given, **named))[1]
    )
    store = build_store(potsdam, root, workers=1)
    assert "tile.json" not in read
    read.clear()
    assert "2_11" in store.tiles
    assert list(TileStore(path).tiles) == ["2_10", "2_11", "2_12"]
    assert sorted(read) == ["store.json", "tiles.jsonl"]
    assert store.tiles["2_11"] is store.tiles["2_11"]


def test_a_start_of_the_data_module_reads_the_index_once_and_makes_each_tile_once(potsdam, root, monkeypatch):
    names = [(2, 10), (2, 11), (2, 12), (3, 10), (2, 13), (2, 14)]
    for row, column in names:
        potsdam_tile(root, row, column, size=(8, 8))
    path = build_store(potsdam, root, workers=1).path
    read, made = [], []
    real, make = Path.open, stored.make_tile
    monkeypatch.setattr(
        Path, "open", lambda path, *given, **named: (read.append(path.name), real(path, *given, **named))[1]
    )
    monkeypatch.setattr(
        stored, "make_tile", lambda content, folder: (made.append(folder.name), make(content, folder))[1]
    )
    data = RasterDataModule(str(root), "potsdam", str(path), evaluation=EvaluationSettings(labels="full"))
    data.prepare_data()
    data.setup("fit")
    assert data.tiles("train")
    assert read.count("tiles.jsonl") == 1
    assert "tile.json" not in read
    assert sorted(made) == sorted(f"{row}_{column}" for row, column in names)


@pytest.mark.parametrize("how", ["prepared again", "index away", "not prepared here"])
def test_a_store_that_has_changed_since_it_was_prepared_is_read_again(potsdam, root, how):
    for column in (10, 11, 12, 13):
        potsdam_tile(root, 2, column)
    data = RasterDataModule(str(root), "potsdam", evaluation=EvaluationSettings(labels="full"))
    if how != "not prepared here":
        data.prepare_data()
    os.utime(write(root / "1_DSM/dsm_potsdam_02_11.tif", surface("new")), ns=(1, 1))
    path = build_store(potsdam, root, workers=1).path
    if how == "index away":  # as of a builder that was stopped half-way
        (path / "tiles.jsonl").unlink()
    data.setup("fit")
    (tile,) = (tile for tile in data.tiles("train") if tile.id == "2_11")
    assert tile.modalities["dsm"] == TileStore(path).tiles["2_11"].modalities["dsm"]


def test_a_large_store_is_opened_without_looking_at_its_tiles(potsdam, root, monkeypatch):
    potsdam_tile(root, 2, 10)
    path = build_store(potsdam, root, workers=1).path
    names = ["2_10", *(f"other_{number}" for number in range(50_000))]
    line = (path / "tiles.jsonl").read_text()
    text = "".join(line.replace("2_10", name) for name in names)
    (path / "tiles.jsonl").write_text(text)
    content = json.loads((path / "store.json").read_text())
    content |= {"tiles": names, "index": hashlib.sha256(text.encode()).hexdigest()}
    (path / "store.json").write_text(json.dumps(content))
    made = []
    monkeypatch.setattr("mobanet.store.stored.make_tile", lambda content, folder: made.append(content["id"]))
    store = TileStore(path)
    assert len(store.tiles) == 50_001
    assert not made
    store.tiles["2_10"]
    assert made == ["2_10"]


def test_newer_store_and_other_layout(potsdam, vaihingen, root):
    potsdam_tile(root, 2, 10)
    vaihingen_area(root, 1)
    path = build_store(potsdam, root, workers=1).path
    with pytest.raises(UserError, match="was prepared with layout potsdam, not vaihingen: give another place"):
        build_store(vaihingen, root)
    content = json.loads((path / "store.json").read_text())
    (path / "store.json").write_text(json.dumps(content | {"version": 99}))
    for attempt in (lambda: TileStore(path), lambda: build_store(potsdam, root)):
        with pytest.raises(UserError, match="has version 99, this mobanet reads up to 2: update"):
            attempt()


BUILDER = """
import sys, time
from pathlib import Path
from mobanet.store import build
from mobanet.datasets import get_layout
real = build.build_tile
def slow(job):
    Path(sys.argv[2]).touch()
    time.sleep(float(sys.argv[3]))
    return real(job)
build.build_tile = slow
build.build_store(get_layout("potsdam"), Path(sys.argv[1]), workers=1)
"""


def builder(root, started, seconds):
    command = [sys.executable, "-c", BUILDER, str(root), str(started), str(seconds)]
    return subprocess.Popen(command, cwd=MAIN, stderr=subprocess.PIPE, text=True)


def wait_for(path):
    for _ in range(400):
        if path.exists():
            return
        time.sleep(0.05)
    raise TimeoutError(path)


def test_a_second_builder_waits(potsdam, root, tmp_path, capfd):
    potsdam_tile(root, 2, 10)
    first = builder(root, tmp_path / "started", 1.0)
    wait_for(tmp_path / "started")
    store = build_store(potsdam, root, workers=1)
    assert first.wait(30) == 0
    assert len(store.tiles) == 1
    output = capfd.readouterr().err
    assert "another process is preparing" in output
    assert "preparing tiles" not in output


def test_a_killed_builder_leaves_nothing_that_passes_for_finished(potsdam, root, tmp_path):
    potsdam_tile(root, 2, 10)
    process = builder(root, tmp_path / "started", 30)
    wait_for(tmp_path / "started")
    process.kill()
    process.wait()
    with pytest.raises(UserError, match="holds no finished tile store"):
        TileStore(root / "mobanet_store")
    assert len(build_store(potsdam, root, workers=1).tiles) == 1


def test_full_disk(potsdam, root, monkeypatch):
    potsdam_tile(root, 2, 10)
    potsdam_tile(root, 2, 11)
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            if len(data) > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

    def opened(path, mode="r", *args, **kwargs):
        file = real(path, mode, *args, **kwargs)
        return Full(file) if "2_11" in str(path) and "w" in mode else file

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(OSError, match=r"No space left on device: .*2_11/.*\.npy") as caught:
        build_store(potsdam, root, workers=1)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    store = root / "mobanet_store"
    assert not list(store.rglob("*.part"))
    assert not (store / "tiles/2_11").exists()
    assert len(build_store(potsdam, root, workers=1).tiles) == 2


def test_a_place_that_cannot_be_written(potsdam, root):
    potsdam_tile(root, 2, 10)
    (root / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot be written to .*: give another place with --store"):
        build_store(potsdam, root, root / "file/store", workers=1)


def test_nothing_is_made_for_a_wrong_root(potsdam, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        build_store(potsdam, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no file of layout potsdam"):
        build_store(potsdam, tmp_path / "empty")
    assert files(tmp_path) == []
    assert not default_store(tmp_path / "empty").exists()


def test_a_finished_store_needs_stat_calls_only(potsdam, root, monkeypatch):
    for row in (2, 3, 4, 5):
        for column in range(10, 19):
            potsdam_tile(root, row, column, size=(8, 8))
    build_store(potsdam, root, workers=1)
    monkeypatch.setattr("mobanet.store.build.only_builder", None)
    monkeypatch.setattr("mobanet.rasters.opening.opened", None)
    assert len(build_store(potsdam, root).tiles) == 36


def test_store_can_be_used_without_its_sources(potsdam, root, tmp_path):
    potsdam_tile(root, 2, 10)
    path = build_store(potsdam, root, tmp_path / "store", workers=1).path
    shutil.rmtree(root)
    assert load(TileStore(path).tiles["2_10"], "rgb").shape == (60, 64, 3)


REBUILDER = """
import sys, time
from pathlib import Path
from mobanet.datasets import get_layout
from mobanet.store import build
from mobanet.store import build_tile as tiles
real = tiles.write_json
def slow(*given, **named):
    Path(sys.argv[2]).touch()
    time.sleep(1)
    real(*given, **named)
tiles.write_json = slow
build.build_store(get_layout("potsdam"), Path(sys.argv[1]), workers=1)
"""


def rebuilder(root, started):
    command = [sys.executable, "-c", REBUILDER, str(root), str(started)]
    return subprocess.Popen(command, cwd=MAIN, stderr=subprocess.PIPE, text=True)


def test_a_reader_waits_for_a_store_that_is_being_rebuilt(potsdam, root, tmp_path, capfd):
    potsdam_tile(root, 2, 10)
    path = build_store(potsdam, root, workers=1).path
    os.utime(write(root / "1_DSM/dsm_potsdam_02_10.tif", surface("new")), ns=(1, 1))
    capfd.readouterr()
    first = rebuilder(root, tmp_path / "started")
    wait_for(tmp_path / "started")  # tile.json is away now
    tile = TileStore(path).tiles["2_10"]
    assert first.wait(30) == 0
    assert np.array_equal(load(tile, "dsm")[:, :, 0], surface("new")[0])
    assert capfd.readouterr().err == f"another process is preparing {path}; waiting for it to finish\n"


def test_a_reader_of_a_damaged_store_that_cannot_be_locked_says_what_is_damaged(potsdam, root):
    potsdam_tile(root, 2, 10)
    path = build_store(potsdam, root, workers=1).path
    (path / "tiles/2_10/tile.json").unlink()
    (path / "tiles.jsonl").unlink()
    (path / "store.lock").unlink()
    with pytest.raises(UserError, match=r"tiles/2_10 is damaged: delete it and run python -m mobanet\.prepare"):
        TileStore(path)
    assert not (path / "store.lock").exists()


def test_a_builder_that_has_waited_for_one_that_failed_says_what_is_wrong(potsdam, root, tmp_path):
    potsdam_tile(root, 2, 10)
    write(root / "1_DSM/dsm_potsdam_02_10.tif", surface("x", (30, 32)))
    first = builder(root, tmp_path / "started", 1.0)
    wait_for(tmp_path / "started")
    waiting = [builder(root, tmp_path / f"started_{number}", 0.2) for number in range(2)]
    with pytest.raises(UserError, match=r"has a problem: .*is 32 x 30 pixels where the tile is 64 x 60"):
        build_store(potsdam, root, workers=1)
    for other in (first, *waiting):
        assert "is 32 x 30 pixels where the tile is 64 x 60" in other.communicate(timeout=600)[1].splitlines()[-1]
    assert not (root / "mobanet_store").exists()


def test_a_store_can_be_pickled(potsdam, root):
    potsdam_tile(root, 2, 10)
    store = build_store(potsdam, root, workers=1)
    again = pickle.loads(pickle.dumps(store))
    assert again.tiles["2_10"] == store.tiles["2_10"]
