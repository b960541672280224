import logging

import numpy as np
import pytest
import rasterio
import torch
from lightning.pytorch import Callback

from mobanet.data.datamodule import RasterDataModule
from mobanet.data.options import EvaluationSettings
from mobanet.datasets.base import Split
from mobanet.evaluation.test_maps import TestMaps, map_names
from mobanet.rasters.opening import grid_of
from mobanet.synthetic import synthesize
from tests.data_files.fake_satellites import dstl

pytestmark = pytest.mark.filterwarnings(
    "ignore::rasterio.errors.NotGeoreferencedWarning", "ignore:.*num_workers", "ignore:.*does not have many workers"
)


class Kept(Callback):
    """The strips of a test, by tile, as the loop hands them to callbacks."""

    def on_test_start(self, trainer, pl_module):
        self.strips = {}

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        for strip in outputs:
            self.strips.setdefault(strip.tile, []).append(strip.prediction.numpy())


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Potsdam's tiles, of a size that no window, stride or block divides."""
    root = tmp_path_factory.mktemp("odd") / "potsdam"
    synthesize("potsdam", root, tiles=8, size=173, seed=5, workers=0)
    return root


@pytest.fixture
def tested(make_data, make_module, make_trainer, odd, tmp_path):
    """Runs a test with maps; the data module, the strips, and the maps by file name."""

    def run(scenarios="full", data=None, callbacks=(), **options):
        data = data or make_data(root=str(odd), evaluation=EvaluationSettings(window=64, test_stride=40))
        data.prepare_data()
        data.setup("fit")
        torch.manual_seed(0)
        module = make_module(data)
        module.evaluate_on(test=scenarios)
        kept = Kept()
        trainer = make_trainer(callbacks=[kept, TestMaps(tmp_path / "maps"), *callbacks], **options)
        trainer.test(module, datamodule=data, verbose=False)
        maps = {path.name: path for path in (tmp_path / "maps").glob("*")}
        return data, {tile: np.concatenate(strips) for tile, strips in kept.strips.items()}, maps

    return run


def test_every_test_tile_has_its_map(tested, caplog):
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        data, strips, maps = tested(scenarios="rgb,rgb+dsm")
    tiles = data.tiles("test")
    assert len(tiles) > 1
    assert sorted(maps) == sorted(f"{tile.id}{ending}" for tile in tiles for ending in (".qml", ".tif", ".tif.aux.xml"))
    for tile in tiles:
        with rasterio.open(maps[f"{tile.id}.tif"]) as raster:
            assert raster.shape == (173, 173)
            assert np.array_equal(raster.read(1), strips[tile.id])
            grid = grid_of(raster)
            assert (grid.transform, grid.crs) == (tile.transform, tile.crs)
            assert tile.transform is not None
            assert raster.tags()["TILE"] == tile.id
            assert raster.tags()["SCENARIO"] == "rgb+dsm"
            assert raster.tags(1)["CLASS_1"] == data.layout.classes.names[1]
            assert raster.colormap(1)[1] == (*data.layout.classes.colours[1], 255)
    assert "maps of the test tiles are in" in caplog.text


def test_the_maps_are_of_the_fullest_scenario(tested):
    _, full, _ = tested()
    _, strips, maps = tested(scenarios="all")
    for tile, prediction in strips.items():
        with rasterio.open(maps[f"{tile}.tif"]) as raster:
            assert np.array_equal(raster.read(1), prediction)
            assert np.array_equal(prediction, full[tile])
            assert raster.tags()["SCENARIO"] == "rgb+ir+dsm"


def test_a_tile_that_was_not_evaluated_to_its_end_has_no_map_and_old_maps_go(tested, tmp_path, caplog):
    folder = tmp_path / "maps"
    folder.mkdir()
    stale = ("old.tif", "old.tif.aux.xml", "old.tif.ovr", "old.tif.part", "old.tif.part.aux.xml")
    for name in (*stale, "legend.qml"):
        (folder / name).write_text("of an earlier test")
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        data, strips, maps = tested(limit_test_batches=6)  # 24 windows; a tile has 16
    first, second, *_ = [tile.id for tile in data.tiles("test")]
    assert strips[first].shape == (173, 173)
    assert 0 < len(strips[second]) < 173
    assert sorted(maps) == sorted([f"{first}.qml", f"{first}.tif", f"{first}.tif.aux.xml", "legend.qml"])
    told = [record.getMessage() for record in caplog.records if "have a map" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith(f"only 1 of {len(data.tiles('test'))} test tiles have a map in {folder}: ")
    tested(limit_test_batches=2)
    assert sorted(path.name for path in folder.iterdir()) == ["legend.qml"]


class Failing(Callback):
    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 5:
            assert list((trainer.callbacks[1].folder).glob("*.part"))
            raise RuntimeError("in the middle of a tile")


def test_a_test_that_fails_leaves_whole_maps_only(tested, tmp_path):
    with pytest.raises(RuntimeError, match="in the middle of a tile"):
        tested(callbacks=[Failing()])
    names = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert len(names) == 3
    assert names[1].endswith(".tif")
    assert names[0] == f"{names[1].removesuffix('.tif')}.qml"
    assert names[2] == f"{names[1]}.aux.xml"


def test_maps_of_patches_lie_where_they_were_cut(tested, make_data, odd, monkeypatch):
    ids = ("2_13_r0_c0", "2_13_r1_c2", "2_13_r2_c2")
    patches = {"patches": Split(("2_10_r0_c0",), ("2_12_r0_c0",), ids, patch=64)}
    monkeypatch.setattr("mobanet.datasets.potsdam.PotsdamLayout.splits", patches)
    _, strips, maps = tested(data=make_data(root=str(odd), split="patches"))
    assert sorted(name for name in maps if name.endswith(".tif")) == [f"{name}.tif" for name in ids]
    left, top, pixel = 364832.0, 5811872.0, 0.3699421965
    shapes = {}
    for name in ids:
        with rasterio.open(maps[f"{name}.tif"]) as raster:
            assert np.array_equal(raster.read(1), strips[name])
            row, column = int(name[-4]), int(name[-1])
            corner = (left + 64 * column * pixel, top - 64 * row * pixel)
            assert (raster.bounds.left, raster.bounds.top) == pytest.approx(corner, abs=1e-3)
            shapes[name] = raster.shape
    assert list(shapes.values()) == [(64, 64), (64, 45), (45, 45)]


def test_maps_of_tiles_that_lie_nowhere(tested, tmp_path):
    dstl(tmp_path / "dstl")
    settings = EvaluationSettings(labels="full")
    data = RasterDataModule(str(tmp_path / "dstl"), "dstl", crop=16, batch_size=4, num_workers=0, evaluation=settings)
    _, strips, maps = tested(data=data)
    (tile,) = data.tiles("test")
    with rasterio.open(maps[f"{tile.id}.tif"]) as raster:
        assert raster.shape == (tile.height, tile.width) == (50, 100)
        assert np.array_equal(raster.read(1), strips[tile.id])
        assert grid_of(raster).transform is None


def test_names_are_fit_for_files_and_differ():
    ids = ["2_10", "north 1", "north:1", "NORTH_1", "Köln+Süd", ".hidden", "..", "a/b\\c", "x" * 400, "x" * 400 + "y"]
    names = map_names(ids)
    assert list(names) == ids
    assert list(names.values())[:8] == [
        "2_10.tif",
        "north_1.tif",
        "north_1_2.tif",
        "NORTH_1_3.tif",
        "Köln+Süd.tif",
        "_hidden.tif",
        "_..tif",
        "a_b_c.tif",
    ]
    assert len({name.casefold() for name in names.values()}) == len(ids)
    assert max(len(f"{name}.aux.xml.part".encode()) for name in map_names(["ü" * 300, "ü" * 301]).values()) <= 255
