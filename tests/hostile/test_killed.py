"""Preparing and predicting, killed outright: what is left is whole or known as unfinished, and is gone on with."""

import os
import random

import pytest
import torch
from lightning.fabric import Fabric

from mobanet.errors import UserError
from mobanet.files import write_text
from mobanet.prediction.plan import MapSettings, output_paths
from mobanet.prediction.request import find_scenes
from mobanet.prediction.run import clear_way, describe_model, make_maps
from mobanet.prediction.scene import place
from mobanet.store.build import build_store
from mobanet.store.stored import TileStore
from tests.cli.conftest import leftovers
from tests.data_files.fake_files import georeferenced, noise, surface, write
from tests.exporting.small import DSM, RGB, keep, make
from tests.hostile.killer import killed_after, killed_at, touches
from tests.hostile.kinds import OWN, check_store, raster_files

KILLS = int(os.environ.get("MOBANET_KILLS", "4"))


def contents(folder):
    """All files but locks, which stay."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def points(work, folder):
    """Some of the touches of the disk that an undisturbed run makes, the last one among them."""
    count = touches(work, folder)
    return sorted({count, *random.Random(7).sample(range(1, count), min(KILLS, count - 1))})


def test_a_file_is_the_old_or_the_new_one(tmp_path):
    def work():
        write_text(tmp_path / "a.json", "new" * 100)

    count = touches(work, tmp_path)
    assert count >= 3
    (tmp_path / "a.json").write_text("old")
    found = []
    for number in range(1, count + 1):
        assert killed_at(work, tmp_path, number)
        found.append((tmp_path / "a.json").read_text())
    assert set(found) == {"old", "new" * 100}
    work()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_preparing(tmp_path):
    data, store = tmp_path / "data", tmp_path / "store"
    raster_files(random.Random(3), data)

    def work():
        build_store(OWN, data, store, workers=1)

    at = points(work, store)
    whole = contents(store)
    assert {"store.json", "tiles/a/tile.json", "tiles/a/rgb.npy"} <= whole.keys()
    for number in at:
        for path in sorted(store.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        assert killed_at(work, store, number)
        if (store / "store.json").exists():
            check_store(store)
        else:
            with pytest.raises(UserError, match="holds no finished tile store"):
                TileStore(store)
        work()
        assert contents(store) == whole, number


@pytest.fixture
def predicting(tmp_path):
    """Predicts a scene of several parts; goes on with what is there."""
    torch.set_num_threads(1)
    place_of = georeferenced(1000, 2000, 1)
    write(tmp_path / "rgb.tif", noise("rgb", 3, (270, 40)), **place_of)
    write(tmp_path / "dsm.tif", surface("dsm", (270, 40)), **place_of)
    model = describe_model(keep(make((RGB, DSM)), tmp_path / "a.ckpt", RasterDataModule=_SCALING))
    settings = MapSettings(64, 64, probabilities="uint8", scenarios=True)
    (given,) = find_scenes([f"rgb={tmp_path}/rgb.tif", f"dsm={tmp_path}/dsm.tif"], list(model.modalities))

    def work(folder, resume=True):
        scenes = [place(given, model.modalities)]
        paths = output_paths(f"{folder}/map.tif", ["map"])
        left, paths = clear_way(scenes, paths, settings, resume, not resume)
        make_maps(model, left, paths, settings, Fabric(accelerator="cpu", devices=1), 32)

    return work


_SCALING = {
    "scaling": {"rgb": [[0.0] * 3, [255.0] * 3], "dsm": [[0.0], [7.3]]},
    "windows": {"size": 64, "stride": 64},
}


def test_predicting(predicting, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()

    def work():
        predicting(folder)

    at = points(work, folder)
    whole = contents(folder)
    assert "map.tif" in whole
    for number in at:
        for name in whole:
            (folder / name).unlink(missing_ok=True)
        assert killed_at(work, folder, number)
        for name, content in contents(folder).items():
            assert content == whole.get(name, content), f"{name} is half-written at {number}"
        work()
        assert contents(folder) == whole, number
        assert leftovers(folder) == []


def test_a_child_that_is_killed_by_the_clock(predicting, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    predicting(folder)
    whole = contents(folder)
    for seconds in (0.05,):
        assert killed_after(lambda: predicting(folder, resume=False), seconds) in (True, False)
        assert {name: content for name, content in contents(folder).items() if name in whole}.items() <= whole.items()
        predicting(folder)
        assert contents(folder) == whole
