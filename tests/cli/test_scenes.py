"""`mobanet.predict --scenes`: a list of scenes, shared by processes, on after failures, and again for the rest."""

import csv
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely

from mobanet.predict import main, predict
from mobanet.prediction.claims import Claims, machine
from mobanet.prediction.scene_list import ListedScene, part_of
from mobanet.prediction.workspace import Workspace
from tests.cli.conftest import leftovers, start, wait
from tests.cli.test_predict import copy_with, files_of, model, read

__all__ = ["model"]

WORDS = ("--preset", "test", "--stride", "64", "--accelerator", "cpu", "--batch_size", "1")
OPTIONS = {"preset": "test", "stride": 64, "accelerator": "cpu", "batch_size": 1}
NAMES = ("north", "south", "west", "east", "middle")


@pytest.fixture
def folder(prepared, tmp_path) -> Path:
    """Rasters of five scenes, and a list of them."""
    folder = tmp_path / "delivery"
    files = files_of(prepared)
    for number, name in enumerate(NAMES):
        copy_with(files["rgb"], folder / f"{name}.tif", lambda values, n=number: values[:, n * 8 : n * 8 + 96, :96])
        copy_with(files["dsm"], folder / f"{name}_dsm.tif", lambda values, n=number: values[:, n * 8 : n * 8 + 96, :96])
    write_list(folder, {name: (f"{name}.tif", f"{name}_dsm.tif") for name in NAMES})
    return folder


def write_list(folder, rows, heading=("id", "rgb", "dsm")):
    with (folder / "scenes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([heading, *((name, *cells) for name, cells in rows.items())])


def words_of(model, folder, *more):
    return ["--ckpt_path", str(model), "--scenes", f"{folder}/scenes.csv", "--output", f"{folder}/maps/", *WORDS, *more]


def maps_of(folder):
    return {path.stem: path for path in (folder / "maps").glob("*.tif")}


def failures(folder):
    with (folder / "maps/failed.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["sentence"] for row in csv.DictReader(file)}


def test_a_list_goes_on_after_failures_and_is_taken_up_again(model, folder, command):
    rows = {name: (f"{name}.tif", f"{name}_dsm.tif") for name in NAMES}
    rows["middle"] = ("middle.tif", "")  # without a surface model
    rows["south"] = ("absent.tif", "south_dsm.tif")
    rows["west"] = ("http://127.0.0.1:1/west.tif?key=hidden", "")
    write_list(folder, rows)
    ended = command(main, words_of(model, folder))
    assert ended.code == 2
    last = ended.err.splitlines()[-1]
    assert last.startswith(f"error: 2 scenes of the list failed, and {folder}/maps/failed.csv says why (south: ")
    assert "give the same command again, which takes up what is missing" in last
    assert "3 scenes predicted, 2 failed" in ended.out
    assert ended.out.count("map_scenarios") == 0
    assert maps_of(folder).keys() == {"north", "east", "middle"}
    assert failures(folder).keys() == {"south", "west"}
    assert "absent.tif (rgb of south) does not exist: mend its path in the list" in failures(folder)["south"]
    assert "http://127.0.0.1:1/west.tif?… cannot be reached" in failures(folder)["west"]
    written = b"".join(path.read_bytes() for path in (folder / "maps").rglob("*") if path.is_file())
    assert b"hidden" not in written
    assert "hidden" not in ended.out + ended.err
    before = {name: path.stat().st_mtime_ns for name, path in maps_of(folder).items()}
    (folder / "absent.tif").write_bytes((folder / "south.tif").read_bytes())
    write_list(folder, {**rows, "west": ("west.tif", "")})
    ended = command(main, words_of(model, folder))
    assert ended.code == 0, ended.err
    assert "2 scenes predicted, 3 were there" in ended.out
    assert maps_of(folder).keys() == set(NAMES)
    assert {name: maps_of(folder)[name].stat().st_mtime_ns for name in before} == before
    assert not (folder / "maps/failed.csv").exists()
    assert leftovers(folder) == []
    assert [path.name for path in (folder / "maps/.scenes").iterdir()] == ["settings.json"]
    alone = {"rgb": f"{folder}/north.tif", "dsm": f"{folder}/north_dsm.tif"}
    predict(str(model), alone, str(folder / "alone.tif"), **OPTIONS)
    assert (folder / "alone.tif").read_bytes() == maps_of(folder)["north"].read_bytes()
    predict(str(model), {"rgb": f"{folder}/middle.tif"}, str(folder / "bare.tif"), **OPTIONS)
    assert (folder / "bare.tif").read_bytes() == maps_of(folder)["middle"].read_bytes()
    assert len(np.unique(read(folder / "alone.tif"))) >= 2


def test_any_error_in_a_scene_is_kept_and_the_next_one_predicted(model, folder, command, monkeypatch):
    save = Workspace.save

    def fail(self, part, maps):
        if self.folder.name.startswith("south"):
            raise RuntimeError("of http://me:hidden@host/south.tif?key=hidden")
        save(self, part, maps)

    monkeypatch.setattr(Workspace, "save", fail)
    ended = command(main, words_of(model, folder))
    assert ended.code == 2
    assert failures(folder) == {"south": "RuntimeError: of http://host/south.tif?…"}
    assert "hidden" not in ended.out + ended.err
    kept = json.loads((folder / "maps/.scenes/south.failed").read_text())
    assert "in fail" in kept["trace"]
    assert "hidden" not in kept["trace"]
    monkeypatch.undo()
    ended = command(main, words_of(model, folder))
    assert ended.code == 0, ended.err
    assert "1 scene predicted, 4 were there" in ended.out


def test_a_full_disk_ends_the_list(model, folder, command, monkeypatch):
    def full(self, part, maps):
        raise OSError(28, "No space left on device", str(self.folder / part.name))

    monkeypatch.setattr(Workspace, "save", full)
    ended = command(main, words_of(model, folder))
    assert ended.code == 2
    assert "No space left" in ended.err or "full" in ended.err
    assert not (folder / "maps/failed.csv").exists()
    assert not list((folder / "maps/.scenes").glob("*.lock"))


def test_the_model_is_loaded_once(model, folder, command, monkeypatch):
    import mobanet.prediction.run as run

    loaded, real = [], run.load_module
    monkeypatch.setattr(run, "load_module", lambda *given: loaded.append(given) or real(*given))
    assert command(main, words_of(model, folder)).code == 0
    assert len(loaded) == 1


def test_processes_share_a_list_and_do_no_scene_twice(model, folder):
    words = words_of(model, folder)
    running = [start("mobanet.predict", *words, folder=folder) for _ in range(3)]
    ended = [wait(process) for process in running]
    assert [each.code for each in ended] == [0, 0, 0], [each.err for each in ended]
    counts = [int(each.out.splitlines()[-1].split()[0]) for each in ended]
    assert sum(counts) == len(NAMES)
    assert maps_of(folder).keys() == set(NAMES)
    assert leftovers(folder) == []


def test_parts_are_shares_that_make_up_the_list(model, folder, command):
    for part, names in (("9/9", set()), ("2/2", {"south", "east"}), ("1/2", set(NAMES))):
        ended = command(main, words_of(model, folder, "--part", part, "--factor", "dsm=1"))
        assert ended.code == 0, ended.err
        assert maps_of(folder).keys() == names
    scenes = [ListedScene(name, {}, folder, {}) for name in NAMES]
    shares = [part_of(scenes, f"{number}/3") for number in (1, 2, 3)]
    assert sorted(scene.id for share in shares for scene in share) == sorted(NAMES)
    assert part_of(scenes, "9/16") == []


def test_ctrl_c_lets_go_and_the_same_command_goes_on(model, folder, command, monkeypatch):
    save = Workspace.save

    def save_and_interrupt(self, part, maps):
        save(self, part, maps)
        if self.folder.name.startswith("south"):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Workspace, "save", save_and_interrupt)
    ended = command(main, words_of(model, folder))
    assert ended.code == 130
    told = ended.err.splitlines()[-1]
    assert told.endswith(f"go on with: python -m mobanet.predict {' '.join(words_of(model, folder))}")
    assert not list((folder / "maps/.scenes").glob("*.lock"))
    monkeypatch.undo()
    assert command(main, words_of(model, folder)).code == 0
    assert maps_of(folder).keys() == set(NAMES)


def test_a_killed_process_leaves_its_scene_to_the_next(model, folder, command):
    slow = "import time, mobanet.prediction.workspace as w\nsave = w.Workspace.save\n"
    slow += "def wait(*given):\n    save(*given)\n    time.sleep(60)\nw.Workspace.save = wait\n"
    slow += "from mobanet.predict import main\nmain()\n"
    (folder / "slow.py").write_text(slow)
    process = start("slow", *words_of(model, folder), folder=folder, PYTHONPATH=f"{folder}:{Path(__file__).parents[2]}")
    deadline = time.monotonic() + 60
    while not list(folder.glob("maps/*.parts/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert [path.name for path in (folder / "maps/.scenes").glob("*.lock")] == ["north.lock"]
    ended = command(main, words_of(model, folder))
    assert ended.code == 0, ended.err
    assert "going on with 1 of 1 parts" in ended.err
    assert maps_of(folder).keys() == set(NAMES)


def test_a_scene_that_another_machine_is_at_is_left_to_it_until_its_lease_ends(model, folder, command):
    work = folder / "maps/.scenes"
    work.mkdir(parents=True)
    lock = work / "west.lock"
    lock.write_text(json.dumps({"token": "theirs", "machine": "another", "process": 1}))
    ended = command(main, words_of(model, folder))
    assert ended.code == 0, ended.err
    assert "4 scenes predicted, other processes are at 1" in ended.out
    assert "west" not in maps_of(folder)
    assert json.loads(lock.read_text())["token"] == "theirs"
    os.utime(lock, (time.time() - 3600, time.time() - 3600))
    ended = command(main, words_of(model, folder))
    assert "1 scene predicted, 4 were there" in ended.out
    assert "west" in maps_of(folder)
    assert not lock.exists()


def test_of_many_that_find_a_lock_of_nobody_one_takes_it(tmp_path):
    """In threads, which begin at once."""
    for kind in ({}, {"token": "x", "machine": machine(), "process": 2**22 + 1}, {"machine": "another"}):
        lock = tmp_path / "a.lock"
        lock.write_text(json.dumps(kind) if kind else "")
        os.utime(lock, (1, 1))
        held, begin = [], threading.Barrier(8)

        def take(held=held, begin=begin):
            with Claims(tmp_path) as claims:
                begin.wait()
                with claims.taken("a") as mine:
                    held.append(mine)
                    time.sleep(0.3)

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(held) == 1
        assert list(tmp_path.iterdir()) == []


def test_a_lock_is_kept_fresh_and_only_its_own_is_let_go(tmp_path):
    with Claims(tmp_path, lease=0.4) as claims, claims.taken("a") as mine:
        assert mine
        time.sleep(1)
        with Claims(tmp_path, lease=0.4) as others, others.taken("a") as theirs:
            assert not theirs
        (tmp_path / "a.lock").write_text('{"token": "of one that took this process for dead"}')
    assert (tmp_path / "a.lock").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "scenes.csv does not exist; give a CSV file"),
        ("", "has no column id in its first row; write id,rgb,ir,dsm or some of them"),
        ("id;rgb\na;b.tif\n", "has no column id in its first row; write id,rgb,ir,dsm or some of them, with commas"),
        ("id,rgb\n", "lists no scene; add a row each"),
        ("id\na\n", "has no column of a modality"),
        ("id,rgb,swir\na,b.tif,c.tif\n", "has the column 'swir', which the model does not take"),
        ("id,rgb,rgb\na,b.tif,c.tif\n", "has a column twice"),
        ("id,rgb\na,b.tif\na,c.tif\n", "has the id a more than once"),
        ("id,rgb\na,b.tif\nA,c.tif\n", "has the id a, A more than once"),
        ("id,rgb\na,b.tif,c.tif\n", "row 2, has 3 columns and the heading 2"),
        ("id,rgb\na,\n", "row 2, names no raster"),
        ("id,rgb\n../a,b.tif\n", "row 2, has the id '../a', of which no file can be named"),
        ("id,rgb\n.a,b.tif\n", "no dot at the beginning"),
        ("id,rgb\n,b.tif\n", "row 2, has the id ''"),
        ("id,rgb\na,b.tif\na_confidence,b.tif\n", "has the ids a and a_confidence, which is what a file of the first"),
        ('id,rgb\na,"b.tif\n', "is no CSV file"),
        (b"id,rgb\n\xff,b.tif\n", "is no CSV file (is not in UTF-8"),
    ],
)
def test_what_is_no_list_is_one_sentence(content, told, model, tmp_path, command):
    if content is not None:
        (tmp_path / "scenes.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert told in command(main, words_of(model, tmp_path)).sentence()
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--input", "rgb=a.tif"], "--input names the rasters of one scene, and --scenes those of many: give one"),
        (["--part", "3/2"], "--part 3/2 is none; write 3/16"),
        (["--part", "0/2"], "--part 0/2 is none"),
        (["--part", "x"], "--part x is none"),
        (["--overwrite"], "--overwrite: with --scenes, maps that are there stay"),
        (["--resume"], "--resume: with --scenes, what is missing is taken up in any case"),
        (["--devices", "2"], "--devices 2: with --scenes, start a process a device"),
        (["--polygons", "all.gpkg"], "--polygons all.gpkg names one file for many scenes"),
        (["--polygons", "--right_angles", "trees"], "'trees', which is no class of the model (did you mean 'tree'?)"),
        (["--factor", "ir=2"], "scenes.csv gives no ir; leave it out"),
        (["--output", "maps.tif"], "--output maps.tif names one file for the scenes of a list; name a folder"),
    ],
)
def test_what_does_not_go_with_a_list_is_one_sentence(words, told, model, folder, command):
    assert told in command(main, [*words_of(model, folder), *words]).sentence()
    assert not (folder / "maps").exists()


def test_without_a_list_or_rasters_something_is_missing(model, command):
    words = ["--ckpt_path", str(model), "--output", "map.tif"]
    assert "--input is missing; give it, such as rgb=ortho.tif" in command(main, words).sentence()
    assert "--output is missing; give the GeoTIFF" in command(main, [*words[:2], "--input", "rgb=a.tif"]).sentence()
    ended = command(main, [*words, "--input", "rgb=a.tif", "--part", "1/2"])
    assert "--part 1/2 is a share of a list: give --scenes, too" in ended.sentence()


def test_no_raster_and_no_other_file_passes_for_a_map(model, folder, command):
    said = command(main, [*words_of(model, folder), "--output", str(folder)]).sentence()
    assert said == f"{folder}/north.tif is a raster of --scenes, which the map would replace: name another --output."
    (folder / "maps").mkdir()
    (folder / "maps/west.tif").write_bytes((folder / "west.tif").read_bytes())
    said = command(main, words_of(model, folder)).sentence()
    assert said == f"{folder}/maps/west.tif is there already, and was not made from a list: name another --output."
    (folder / "maps/west.tif").unlink()
    (folder / "maps/.scenes").write_text("")
    assert f"{folder}/maps/.scenes" in command(main, words_of(model, folder)).sentence()


def test_maps_made_otherwise_are_not_added_to(model, folder, command):
    assert command(main, words_of(model, folder, "--part", "1/5")).code == 0
    said = command(main, words_of(model, folder, "--stride", "32")).sentence()
    assert said.startswith(f"--output {folder}/maps holds maps that were made with another --stride (64, now 32)")
    said = command(main, words_of(model, folder, "--factor", "dsm=2")).sentence()
    assert "made with another --factor" in said
    (folder / "maps/.scenes/settings.json").write_text("[")
    assert "settings.json is damaged" in command(main, words_of(model, folder)).sentence()


def test_right_angles_are_those_of_all_maps(model, folder, command):
    words = words_of(model, folder, "--polygons", "--part", "1/5", "--right_angles")
    ended = command(main, [*words, "building", "car"])
    assert ended.code == 0, ended.err
    assert "of building kept their outline" in ended.out
    assert "0 scenes predicted, 1 were there" in command(main, [*words, "building", "car"]).out
    said = command(main, [*words, "building"]).sentence()
    assert "made with another --right_angles (['building', 'car'], now ['building'])" in said


def test_zones_are_those_of_all_maps(model, folder, command):
    """Of many, which a text of them would have with its ends alone."""
    with rasterio.open(folder / "north.tif") as raster:
        left, bottom, right, top = raster.bounds
    lefts = np.linspace(left, right, 1201)[:-1]
    boxes = shapely.box(lefts, bottom, lefts + (right - left) / 1200, top)

    def words(attribute="name"):
        columns = [np.array([f"parcel {number}" for number in range(1200)], object), np.arange(1200)]
        given = {"crs": "EPSG:32633", "geometry_type": "Polygon"}
        pyogrio.raw.write(str(folder / "z.gpkg"), shapely.to_wkb(boxes), columns, ["name", "number"], **given)
        more = ("--zones", str(folder / "z.gpkg"), "--zones_attribute", attribute)
        return words_of(model, folder, "--part", "1/5", "--crs", "EPSG:32633", *more)

    ended = command(main, words())
    assert ended.code == 0, ended.err
    assert "0 scenes predicted, 1 were there" in command(main, words()).out
    assert "made with another --zones_attribute (name, now number)" in command(main, words("number")).sentence()
    boxes[600] = shapely.box(left, bottom, right, top)
    assert "made with another --zones (z.gpkg " in command(main, words()).sentence()
