"""Crops and windows on stored tiles: the right pixels, one geometry for all, draws that depend on the index alone."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mobanet.data.augment import Augmentation, AugmentationSettings
from mobanet.data.crops import GridWindows, RandomCrops, collate
from mobanet.data.reading import Sample, TileReader, TileWindow
from mobanet.datasets import FolderModality, FolderSettings, get_layout
from mobanet.errors import UserError
from mobanet.rasters.contents import Modality
from mobanet.store.arrays import read_array
from mobanet.store.build import build_store
from mobanet.store.writing import stage_array
from tests.data_files.fake_files import noise, write

BANDS = {"rgb": 3, "ir": 1, "dsm": 1}


@pytest.fixture(scope="module")
def store(city):
    return build_store(get_layout("potsdam"), city, modalities=list(BANDS), workers=1)


def crops(store, size=48, seed=1, sampling="tile", **settings):
    tiles = list(store.tiles.values())
    reader = TileReader(tiles, BANDS, "full", size)
    offset_scale = {name: np.zeros((len(tiles), 2, bands), np.float32) for name, bands in BANDS.items()}
    modalities = {name: store.modalities[name] for name in BANDS}
    return RandomCrops(
        reader, offset_scale, size, sampling, seed, Augmentation(AugmentationSettings(**settings), modalities)
    )


def same(a, b):
    return all(torch.equal(a["inputs"][n], b["inputs"][n]) for n in BANDS) and torch.equal(a["label"], b["label"])


def test_a_crop_is_the_tiles_own_pixels(store):
    dataset = crops(store, flips=False)
    for index in range(5):
        sample = dataset[index]
        tile = store.tiles[sample["tile"]]
        top, left, height, width = sample["window"].tolist()
        part = np.s_[top : top + height, left : left + width]
        for name in BANDS:
            assert np.array_equal(sample["inputs"][name].numpy(), read_array(tile, name, *part))
        assert np.array_equal(sample["label"].numpy(), read_array(tile, "label_full", *part))
        assert sample["inputs"]["rgb"].dtype == torch.uint8


def test_draws_are_a_function_of_seed_and_index(store):
    dataset, again = crops(store, colour=0.3, turns=True), crops(store, colour=0.3, turns=True)
    backwards = {index: again[index] for index in reversed(range(8))}
    assert all(same(dataset[index], backwards[index]) for index in range(8))
    assert not same(dataset[0], dataset[1])
    assert not same(dataset[0], crops(store, seed=2, colour=0.3, turns=True)[0])
    revived = pickle.loads(pickle.dumps(dataset))  # as a worker receives it
    assert same(dataset[3], revived[3])


@pytest.mark.parametrize("settings", [{"flips": True}, {"flips": True, "turns": True}, {"rotation": 20, "zoom": 0.3}])
def test_geometry_is_one_draw_for_every_modality_and_the_label(store, settings):
    """The label and a copy of it smuggled in as each modality must come out alike."""
    modalities = {name: store.modalities[name] for name in BANDS}
    augmentation = Augmentation(AugmentationSettings(**{"flips": False, **settings}), modalities)
    reader = TileReader(list(store.tiles.values()), BANDS, "full", 48)
    moved = 0
    for index in range(12):
        sample = reader.read(TileWindow(0, 3 * index, 5 * index, 48, 48))
        checker = np.indices((48, 48)).sum(0).astype(np.uint8)  # nearest and linear agree on which way is which
        sample.label[:] = checker
        sample.inputs["dsm"][..., 0] = checker
        sample.inputs["rgb"][:] = checker[..., None]
        sample.inputs["ir"][:] = checker[..., None]
        out = augmentation(sample, np.random.default_rng(index))
        assert np.array_equal(out.inputs["dsm"][..., 0].astype(np.uint8), out.label)
        for name in ("rgb", "ir"):
            assert out.inputs[name].shape == (48, 48, BANDS[name])
            difference = np.abs(out.inputs[name][..., 0].astype(int) - out.label)
            assert np.percentile(difference, 95) <= 2
        moved += not np.array_equal(out.label, checker)
    assert moved >= 6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 7, 8, 13, 20])
def test_geometry_takes_any_number_of_bands_of_any_type(bands, dtype):
    modality = Modality("s", tuple(str(band) for band in range(bands)))
    augmentation = Augmentation(AugmentationSettings(flips=True, turns=True), {"s": modality})
    pixels = np.arange(24 * 24 * bands).reshape(24, 24, bands).astype(dtype)
    label = pixels[..., 0].astype(np.uint8)
    for index in range(8):
        sample = Sample({"s": pixels.copy()}, {}, label.copy())
        out = augmentation(sample, np.random.default_rng(index))
        assert out.inputs["s"].dtype == dtype
        assert out.inputs["s"].shape == pixels.shape
        assert np.array_equal(out.inputs["s"][..., 0].astype(np.uint8), out.label)
        assert np.array_equal(np.sort(out.inputs["s"], axis=None), np.sort(pixels, axis=None))


@pytest.mark.parametrize("settings", [{"turns": True}, {"rotation": 40, "zoom": 0.2}])
@pytest.mark.parametrize("kind", ["other", "optical", "elevation"])
def test_coarser_pixels_show_the_same_ground_after_it(kind, settings):
    coarse, fine = (Modality(name, ("a",), kind, maximum=1) for name in "cf")
    modalities = {"c": replace(coarse, pixel_ratio=8), "f": fine}
    pixels = np.random.default_rng(0).random((8, 8, 1)).astype(np.float32)
    known = (pixels[..., 0] > 0.1).astype(np.uint8)
    repeated = pixels.repeat(8, 0).repeat(8, 1)
    augmentation = Augmentation(AugmentationSettings(**settings), modalities)
    for index in range(8):
        sample = Sample({"c": pixels, "f": repeated}, {"c": known}, repeated[..., 0] > 0.5)
        out = augmentation(replace(sample, label=sample.label.astype(np.uint8)), np.random.default_rng(index))
        assert {name: x.shape for name, x in out.inputs.items()} == {"c": (8, 8, 1), "f": (64, 64, 1)}
        assert out.valid["c"].shape == (8, 8)
        assert out.label.shape == (64, 64)
        means = out.inputs["f"].reshape(8, 8, 8, 8).mean((1, 3))
        np.testing.assert_allclose(out.inputs["c"][..., 0], means, atol=1e-5)
        assert out.valid["c"][out.inputs["c"][..., 0] < 0.1].max(initial=0) == 0


def test_colour_changes_touch_optical_bands_only(store):
    plain, coloured = crops(store, flips=False), crops(store, flips=False, colour=0.4)
    changed = 0
    for index in range(10):
        a, b = plain[index], coloured[index]
        assert a["tile"] == b["tile"]
        assert torch.equal(a["window"], b["window"])
        assert torch.equal(a["inputs"]["dsm"], b["inputs"]["dsm"])  # metres, not clipped to [0, 1]
        assert torch.equal(a["label"], b["label"])
        assert b["inputs"]["rgb"].dtype == torch.uint8
        changed += not torch.equal(a["inputs"]["rgb"], b["inputs"]["rgb"])
    assert changed >= 5
    assert a["inputs"]["dsm"].max() > 20


def test_tiles_are_drawn_alike_or_by_area(store):
    dataset = crops(store, flips=False)
    counts = np.bincount([dataset.window(np.random.default_rng(i)).tile for i in range(3000)])
    assert counts.min() > 3000 / 6 * 0.85
    tiles = list(store.tiles.values())
    object.__setattr__(tiles[0], "height", 640)  # four times the area of each of the other five
    try:
        by_area = crops(store, flips=False, sampling="area")
        share = np.mean([by_area.window(np.random.default_rng(i)).tile == 0 for i in range(3000)])
    finally:
        object.__setattr__(tiles[0], "height", 160)
    assert share == pytest.approx(4 / 9, abs=0.04)


def test_a_batch_is_channels_first_without_a_copy(store):
    dataset = crops(store)
    batch = collate([dataset[i] for i in range(3)])
    assert {name: tuple(x.shape) for name, x in batch["inputs"].items()} == {
        name: (3, bands, 48, 48) for name, bands in BANDS.items()
    }
    assert batch["inputs"]["rgb"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch["inputs"]["rgb"][1].permute(1, 2, 0), dataset[1]["inputs"]["rgb"])
    assert batch["available"].tolist() == [[True] * 3] * 3
    assert batch["offset_scale"]["rgb"].shape == (3, 2, 3)


def test_a_window_beyond_the_tile_is_invalid_and_ignored_there(store):
    reader = TileReader(list(store.tiles.values()), BANDS, "eroded", 200)
    sample = reader.read(TileWindow(1, 100, 0, 200, 200))
    assert sample.valid.keys() == BANDS.keys()
    for mask in sample.valid.values():
        assert mask[:60, :160].all()
        assert not mask[60:].any()
        assert not mask[:, 160:].any()
    assert (sample.label[60:] == 255).all()
    assert (sample.inputs["dsm"][60:] == 0).all()


def test_grid_windows_visit_every_pixel_and_padding_counts_nowhere(store):
    tiles = list(store.tiles.values())
    reader = TileReader(tiles, BANDS, "full", 64)
    offset_scale = {name: np.zeros((len(tiles), 2, bands), np.float32) for name, bands in BANDS.items()}
    windows = GridWindows(reader, offset_scale, 64, 48)
    assert [len(group) for group in windows.by_tile()] == [9] * 6
    seen = np.zeros((160, 160), int)
    for index in windows.by_tile()[2]:
        top, left, height, width = windows[index]["window"].tolist()
        seen[top : top + height, left : left + width] += 1
    assert seen.min() >= 1
    nowhere = windows[-1]
    assert nowhere["tile"] == ""
    assert (nowhere["label"] == 255).all()


def test_a_missing_modality_and_a_window_of_nodata_are_unavailable(store, tmp_path):
    from dataclasses import replace

    tile = next(iter(store.tiles.values()))
    without = replace(tile, modalities={n: r for n, r in tile.modalities.items() if n != "dsm"})
    record = replace(tile.modalities["ir"], complete=False)
    folder = tmp_path / "holes"
    folder.mkdir()
    for path in Path(tile.folder).glob("*.npy"):
        (folder / path.name).symlink_to(path)
    valid = np.ones((160, 160), np.uint8)
    valid[:80] = 0
    stage_array(folder / "ir.valid.npy", valid).rename(folder / "ir.valid.npy")
    holes = replace(tile, folder=folder, modalities={**tile.modalities, "ir": record})
    offset_scale = {name: np.zeros((2, 2, bands), np.float32) for name, bands in BANDS.items()}
    windows = GridWindows(TileReader([without, holes], BANDS, "full", 64), offset_scale, 64, 64)
    first, second = windows.by_tile()
    assert [windows[i]["available"].tolist() for i in first] == [[True, True, False]] * 9
    assert (windows[first[0]]["inputs"]["dsm"] == 0).all()
    assert [windows[i]["available"].tolist()[1] for i in second] == [False] * 3 + [True] * 6
    # a window with half of its pixels measured is available, and says which they are
    assert windows[second[3]]["valid"]["ir"].float().mean() == pytest.approx(0.75)


def test_augmentation_settings_that_make_no_sense_are_refused():
    for wrong in ({"rotation": 200}, {"zoom": -1}, {"colour": 3}):
        with pytest.raises(UserError, match=r"--data\.augmentation"):
            AugmentationSettings(**wrong)


@pytest.mark.parametrize("types", [("uint8", "uint16"), ("uint16", "uint8"), ("uint8", "float32")])
def test_tiles_of_several_types_are_read_in_one_that_holds_them_all(tmp_path, types):
    """8-bit imagery from one flight, 16-bit from the next: a batch of both has the wider type, and the same values."""
    for number, kind in enumerate(types):
        for folder, bands in (("ortho", 3), ("label", 1)):
            array = noise(f"{folder}{number}", bands, (40, 40), 4 if folder == "label" else 255)
            write(tmp_path / f"{folder}/t{number}.tif", array.astype(kind if folder == "ortho" else "uint8"))
    settings = FolderSettings(
        {"rgb": FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3])},
        list("abcd"),
        "label/{tile}.tif",
        values={number: number for number in range(4)},
    )
    store = build_store(get_layout("folder", settings), tmp_path, workers=1)
    tiles = list(store.tiles.values())
    assert [tile.modalities["rgb"].dtype for tile in tiles] == list(types)
    reader = TileReader(tiles, {"rgb": 3}, "full", 32)
    offset_scale = {"rgb": np.zeros((2, 2, 3), np.float32)}
    samples = [GridWindows(reader, offset_scale, 32, 32)[index] for index in (0, 4)]
    wide = np.result_type(*types)
    batch = collate(samples)["inputs"]["rgb"]
    assert batch.numpy().dtype == wide
    for number in range(2):
        expected = noise(f"ortho{number}", 3, (40, 40))[:, :32, :32]
        assert np.array_equal(batch[number].numpy(), expected.astype(wide))
    absent = TileReader([replace(tiles[0], modalities={}), *tiles], {"rgb": 3}, "full", 32)
    assert absent.read(TileWindow(0, 0, 0, 32, 32)).inputs["rgb"].dtype == wide


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("settings", [{}, {"flips": True}, {"colour": 1e-9}, {"rotation": 1e-9, "colour": 1e-9}])
def test_values_come_back_in_the_range_that_they_have(dtype, settings):
    """Colour is changed in 0..1; what a model is trained on has the range of what it is tested on."""
    maximum = {"uint8": 255, "uint16": 10_000, "float32": 3_000}[dtype]
    values = (np.random.default_rng(0).random((32, 32, 3)) * maximum).astype(dtype)
    optical = {"s": Modality("s", ("a", "b", "c"), maximum=maximum)}
    augmentation = Augmentation(AugmentationSettings(**{"flips": False, **settings}), optical)
    out = augmentation(Sample({"s": values.copy()}, {}, None), np.random.default_rng(1)).inputs["s"]
    assert out.dtype == dtype
    np.testing.assert_allclose(np.sort(out, axis=None), np.sort(values, axis=None), atol=max(1, 1e-3 * maximum))


def test_what_is_turned_in_from_missing_pixels_is_missing():
    values, valid = np.full((64, 64, 1), 200, np.uint8), np.ones((64, 64), np.uint8)
    values[20:40, 24:44], valid[20:40, 24:44] = 0, 0
    augmentation = Augmentation(AugmentationSettings(flips=False, rotation=40, zoom=0.25), {"s": Modality("s", ("a",))})
    for index in range(10):
        out = augmentation(Sample({"s": values.copy()}, {"s": valid.copy()}, None), np.random.default_rng(index))
        assert (out.inputs["s"][..., 0][out.valid["s"] == 1] == 200).all()
        assert 0.6 < out.valid["s"].mean() < 1
