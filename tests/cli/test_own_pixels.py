"""Sensors coarser than the others are stored, cropped and fed to the network in their own pixels, check to map.

The experiment has what users bring together: three streams at three resolutions, a decoder of one's own, a sum of
losses, and crops balanced by class.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml

import mobanet
from mobanet.check import main as check
from mobanet.cli.commands import main
from mobanet.data.augment import Augmentation, AugmentationSettings
from mobanet.data.crops import RandomCrops
from mobanet.data.reading import TileReader
from mobanet.export import main as export
from mobanet.predict import main as predict
from mobanet.store.arrays import read_array
from mobanet.store.stored import TileStore
from tests.cli.conftest import small_experiment
from tests.cli.test_fit_and_test import rows
from tests.data_files.fake_files import georeferenced, indices, noise, surface, write

EXAMPLE = Path(__file__).parents[2] / "docs/examples/own_decoder.py"
SIZE, EAST, NORTH, SIDE = (96, 96), 500_000, 5_800_000, 0.5
SIZES = {"north_1": SIZE, "north_2": SIZE, "south": SIZE, "west": (100, 92)}  # the last one no multiple of all
RATIOS = {"rgb": 1, "dsm": 2, "s2": 8}
MODALITIES = {
    "rgb": {"pattern": "rgb/{tile}.tif", "band_numbers": [1, 2, 3], "maximum": 255},
    "dsm": {"pattern": "dsm/{tile}.tif", "kind": "elevation", "unit": "metre", "pixel_ratio": 2},
    "s2": {"pattern": "s2/{tile}.tif", "band_numbers": [1, 2], "maximum": 4095, "pixel_ratio": 8},
}
OWN = ("--model.architecture", "own_decoder.FlatMoBaNet", "--model.arguments", "{width: 16}")
NAMED = ("--networks", "own_decoder")


def described(root, **changed):
    """Own data of four tiles: an ortho, heights in pixels twice as wide, and a sensor in ones eight times as wide."""
    for number, (tile, whole) in enumerate(SIZES.items()):
        west = EAST + 1000 * number
        for name, ratio in RATIOS.items():
            size = tuple(-(-side // ratio) for side in whole)
            image = surface(tile, size) if name == "dsm" else noise(name + tile, 3 if name == "rgb" else 2, size)
            image = image.astype(np.uint16) * 16 if name == "s2" else image
            write(root / f"{name}/{tile}.tif", image, **georeferenced(west, NORTH, SIDE * ratio))
        write(root / f"label/{tile}.tif", (indices(tile, whole) % 2)[None], **georeferenced(west, NORTH, SIDE))
    return {
        "modalities": {name: {**given, **changed.get(name, {})} for name, given in MODALITIES.items()},
        "label": "label/{tile}.tif",
        "classes": ["a", "b"],
        "values": {0: 0, 1: 1},
        "splits": {"train": ["north_*"], "validation": ["south"], "test": ["west"]},
    }


def experiment(root, folder, path, **data):
    plain = small_experiment(root)
    evaluation = {"window": 64, "test_stride": 32, "labels": "full"}
    given = {"layout": "folder", "folder": folder, "modalities": list(RATIOS), "evaluation": evaluation}
    plain["data"] |= {**given, "sampling": "balanced", **data}
    plain["model"]["streams"] = {"optical": ["rgb"], "elevation": ["dsm"], "satellite": ["s2"]}
    plain["model"]["loss"] = {"cross_entropy": 1.0, "dice": 0.5}
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Folder of the data, an experiment with it, and a run of that on a decoder of one's own, resumed once."""
    place = tmp_path_factory.mktemp("own_pixels")
    folder = described(place / "data")
    given = experiment(place / "data", folder, place / "own.yaml")
    shutil.copy(EXAMPLE, place)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        words = ["--experiment", str(given), "--run", str(place / "run"), "--wandb", "off", *OWN]
        main("fit", [*words, "--trainer.max_epochs", "1"])
        main("fit", ["--ckpt_path", str(place / "run"), "--trainer.max_epochs", "2", "--wandb", "off"])
        yield place
        sys.modules.pop("own_decoder", None)


def files(own, *names):
    return ["--input", *(f"{name}={own}/data/{name}/west.tif" for name in names)]


def test_arrays_have_the_sensors_own_pixels_as_they_are(own):
    tile = TileStore(own / "data/mobanet_store").tiles["west"]
    for name, ratio in RATIOS.items():
        with rasterio.open(own / f"data/{name}/west.tif") as file:
            source = file.read().transpose(1, 2, 0)
        stored = read_array(tile, name)
        assert stored.shape[:2] == (-(-100 // ratio), -(-92 // ratio))
        assert np.array_equal(stored, source)  # nothing was resampled
    assert not any("resampled" in note for note in tile.notes)
    assert tile.modalities["s2"].pixel_ratio == 8


def test_the_map_is_that_of_the_runs_own_test(own, command, tmp_path):
    best = str(own / "run/checkpoints/best.ckpt")
    degraded = "blocks,gaussian,haze,misregistration,offset"
    tested = command(main, "test", ["--ckpt_path", best, *NAMED, "--degrade", degraded])
    assert tested.code == 0, tested.err
    assert len({row["oa"] for row in rows(own / "run/test/test_scenarios.csv")[:7]}) > 3
    assert {row["modality"] for row in rows(own / "run/test/test_degraded.csv")} >= set(RATIOS)
    words = ["--ckpt_path", best, *NAMED, *files(own, *RATIOS), "--preset", "test"]
    mapped = command(predict, [*words, "--output", str(tmp_path / "map.tif")])
    assert mapped.code == 0, mapped.err
    (tile,) = (own / "run/test/maps").rglob("west*.tif")
    with rasterio.open(tile) as one, rasterio.open(tmp_path / "map.tif") as other:
        assert other.shape == (100, 92)
        assert np.array_equal(one.read(), other.read())


def test_arrays_have_the_pixels_that_their_rasters_would_have(own, command, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(own)
        model = mobanet.load(own / "run")
        rasters = {name: f"{own}/data/{name}/west.tif" for name in RATIOS}
        arrays = {}
        for name, path in rasters.items():
            with rasterio.open(path) as file:
                arrays[name] = file.read()
        with rasterio.open(rasters["rgb"]) as file:
            placed = {"transform": tuple(file.transform)[:6], "crs": str(file.crs)}
        expected = model.predict(rasters).classes
        assert np.array_equal(model.predict(arrays, **placed).classes, expected)
        # without a place by their sizes; the ground is fitted to nodes that lie otherwise
        assert (model.predict(arrays).classes == expected).mean() > 0.95


@pytest.mark.parametrize(("names", "shape"), [(("dsm", "s2"), (100, 92)), (("s2",), (104, 96))])
def test_without_the_finest_sensor_the_map_has_its_pixels_all_the_same(own, command, tmp_path, names, shape):
    words = ["--ckpt_path", str(own / "run"), *NAMED, *files(own, *names), "--turns", "true"]
    mapped = command(predict, [*words, "--output", str(tmp_path / "map.tif")])
    assert mapped.code == 0, mapped.err
    assert "the map may be poor" not in mapped.err
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.shape == shape
        assert file.res == (SIDE, SIDE)
        assert np.isin(file.read(1), range(1, 4)).any()


@pytest.mark.parametrize("kind", ["folder", *(pytest.param(k, marks=pytest.mark.long) for k in ("onnx", "deepness"))])
def test_it_is_exported(own, command, tmp_path, kind):
    place = tmp_path / ("made" if kind == "folder" else "made.onnx")
    words = ["--ckpt_path", str(own / "run"), *NAMED, "--format", kind, "--output", str(place)]
    words += ["--datum", "layer"] if kind == "deepness" else []
    ended = command(export, words)
    assert ended.code == 0, ended.err
    if kind == "onnx":
        assert (
            "rgb (B, 3, 64, 64) float32, dsm (B, 1, 32, 32) float32, s2 (B, 2, 8, 8) float32" in ended.out + ended.err
        )


def test_a_check_says_which_ratio_fits(command, tmp_path):
    folder = described(tmp_path / "data", s2={"pixel_ratio": 4}, dsm={"pixel_ratio": 1})
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(folder))
    words = ["--layout", "folder", "--root", str(tmp_path / "data"), "--folder", str(tmp_path / "own.yaml")]
    checked = command(check, [*words, "--workers", "1"])
    assert checked.code == 0, checked.err
    told = "times as wide as the finest modality's, and it is resampled to"
    assert f"dsm: its pixels are about 2 {told} the grid's; pixel_ratio: 2 under modalities.dsm" in checked.out
    assert f"s2: its pixels are about 8 {told} ones of 4; pixel_ratio: 8 under modalities.s2" in checked.out


def test_crops_around_a_pixel_hold_it_where_no_whole_step_is_left_behind_it(own):
    tile = TileStore(own / "data/mobanet_store").tiles["west"]
    reader = TileReader([tile], {"rgb": 3, "dsm": 1, "s2": 2}, "full", 32, ratios=RATIOS)
    scales = {name: np.zeros((1, 2, bands), np.float32) for name, bands in reader.modalities.items()}
    crops = RandomCrops(reader, scales, 32, "balanced", 0, Augmentation(AugmentationSettings(flips=False), {}), 1.0)
    label = read_array(tile, "label_full")
    for place in ((99, 91), (99, 3), (2, 90), (95, 87), (50, 40)):
        crops.classes.draw = lambda _, place=place: (0, *place)
        for index in range(4):
            sample = crops[index]
            top, left, height, width = sample["window"].tolist()
            row, column = place[0] - top, place[1] - left
            assert top % 8 == left % 8 == 0
            assert 0 <= row < height
            assert 0 <= column < width
            assert sample["label"][row, column] == label[place]
            assert sample["inputs"]["s2"].shape[:2] == (4, 4)
            # no further beyond the tile than the pixel asks for
            assert (top + height > 96) == (place[0] > 95)
            assert (left + width > 88) == (place[1] > 87)


def test_sizes_that_cut_through_coarse_pixels_are_refused(own, fit, command, tmp_path):
    given = own / "own.yaml"
    sentence = fit("--crop_size", "36", experiment=given).sentence()
    assert "--crop_size is 36 pixels, and modalities have coarser ones (dsm by 2, s2 by 8)" in sentence
    assert sentence.endswith("give a multiple of 8, such as 32 or 40.")
    stride = "--data.evaluation.test_stride"  # a training has two
    assert f"{stride} is 20" in fit(stride, "20", experiment=given).sentence()
    words = ["--ckpt_path", str(own / "run"), *NAMED, *files(own, "rgb"), "--output", str(tmp_path / "map.tif")]
    assert "--stride is 12, and the model has" in command(predict, [*words, "--stride", "12"]).sentence()
    for modality, ratio, said in (("rgb", 2, "rgb sets the grid that ratios are told of"), ("s2", 0, "from 1 to 1024")):
        folder = described(tmp_path / "data", **{modality: {"pixel_ratio": ratio}})
        wrong = experiment(tmp_path / "data", folder, tmp_path / "wrong.yaml")
        assert said in fit(experiment=wrong).sentence()


@pytest.mark.parametrize("ratio", [1, 4])
def test_a_store_of_another_ratio_is_refused_where_its_rasters_are_not_at_hand(own, fit, tmp_path, ratio):
    given = yaml.safe_load((own / "own.yaml").read_text())
    given["data"] |= {"root": str(tmp_path / "away"), "store": str(own / "data/mobanet_store")}
    given["data"]["folder"]["modalities"]["s2"]["pixel_ratio"] = ratio
    (tmp_path / "away.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    ended = fit(experiment=tmp_path / "away.yaml")
    assert ended.code == 2
    sentence = ended.err.splitlines()[-1]  # behind the one that says that the rasters are away
    assert sentence.startswith("error: ")
    assert f"has s2 in pixels 8 times as wide as the grid's, and its pixel_ratio is {ratio}" in sentence
    assert "another --store" in sentence
