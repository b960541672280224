from pathlib import Path

import numpy as np
import pytest
import rasterio

from mobanet.errors import UserError
from mobanet.store.build import build_store
from mobanet.store.stored import TileStore
from tests.data_files.fake_files import (
    ages,
    coloured,
    files,
    indices,
    load,
    noise,
    potsdam_tile,
    surface,
    truncate,
    write,
)


def test_content(potsdam, root):
    potsdam_tile(root, 6, 7)
    potsdam_tile(root, 2, 13, labels=False)
    store = build_store(potsdam, root, workers=1)
    tile = store.tiles["6_7"]
    assert (store.layout, list(store.modalities), store.classes) == ("potsdam", ["rgb", "ir", "dsm"], potsdam.classes)
    assert store.modalities["dsm"] == potsdam.modalities["dsm"]
    image = noise("6_7", 4).transpose(1, 2, 0)
    assert np.array_equal(load(tile, "rgb"), image[:, :, :3])
    assert np.array_equal(load(tile, "ir"), image[:, :, 3:])
    assert np.array_equal(load(tile, "dsm"), surface("6_7").transpose(1, 2, 0))
    assert [load(tile, name).dtype.name for name in ("rgb", "ir", "dsm", "label_full")] == [
        "uint8",
        "uint8",
        "float32",
        "uint8",
    ]
    assert all(load(tile, name).flags.c_contiguous for name in tile.arrays())
    classes = indices("6_7")
    assert np.array_equal(load(tile, "label_full"), classes)
    classes[::8] = 255
    assert np.array_equal(load(tile, "label_eroded"), classes)
    eroded = tile.labels["eroded"]
    assert eroded.pixels == tuple(np.bincount(classes.ravel(), minlength=256)[:6])
    assert eroded.ignored == 8 * 64
    assert store.tiles["2_13"].labels == {}
    record = tile.modalities["rgb"]
    assert (record.complete, record.valid_share, record.dtype, record.bands) == (True, 1.0, "uint8", 3)
    assert record.statistics[1].mean == pytest.approx(image[:, :, 1].mean())
    assert not tile.path("rgb.valid").exists()
    # a fourth band that GDAL takes for alpha is infrared here
    assert (noise("6_7", 4)[3] == 0).any()
    assert files(root / "mobanet_store")[-2:] == ["tiles/6_7/rgb.npy", "tiles/6_7/tile.json"]


def test_several_processes_give_the_same(potsdam, root, tmp_path):
    for column in (10, 11, 12):
        potsdam_tile(root, 2, column)
    one = build_store(potsdam, root, tmp_path / "one", workers=1)
    two = build_store(potsdam, root, tmp_path / "two", workers=2)
    assert files(one.path) == files(two.path)
    for name in files(one.path):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes(), name


def test_surface_model_with_a_column_less(potsdam, root):
    potsdam_tile(root, 3, 13)
    write(root / "1_DSM/dsm_potsdam_03_13.tif", surface("odd", (60, 63)))
    tile = build_store(potsdam, root, workers=1).tiles["3_13"]
    valid = load(tile, "dsm.valid")
    assert (tile.height, tile.width) == (60, 64)
    assert valid[:, :63].all()
    assert not valid[:, 63].any()
    assert np.array_equal(load(tile, "dsm")[:, :63, 0], surface("odd", (60, 63))[0])
    assert np.isfinite(load(tile, "dsm")).all()
    assert tile.modalities["dsm"].valid_share == pytest.approx(63 / 64)
    assert tile.modalities["dsm"].statistics[0].count == 60 * 63
    assert "63 x 60 pixels, the tile 64 x 60" in tile.notes[0]


def test_larger_products_are_cropped_and_labels_padded_with_ignore(potsdam, root):
    potsdam_tile(root, 2, 10)
    write(root / "1_DSM/dsm_potsdam_02_10.tif", surface("big", (66, 70)))
    write(root / "5_Labels_all/top_potsdam_2_10_label.tif", coloured(indices("small", (58, 64))))
    tile = build_store(potsdam, root, workers=1).tiles["2_10"]
    assert np.array_equal(load(tile, "dsm")[:, :, 0], surface("big", (66, 70))[0, :60, :64])
    assert tile.modalities["dsm"].complete
    assert (load(tile, "label_full")[58:] == 255).all()
    assert len(tile.notes) == 2


def test_all_problems_at_once_and_nothing_half_written(potsdam, root):
    for column in (7, 8, 9, 10, 11, 12):
        potsdam_tile(root, 6, column)
    write(root / "1_DSM/dsm_potsdam_06_07.tif", surface("x", (30, 32)))
    truncate(root / "4_Ortho_RGBIR/top_potsdam_6_8_RGBIR.tif")
    write(root / "4_Ortho_RGBIR/top_potsdam_6_9_RGBIR.tif", noise("three", 3))
    write(root / "1_DSM/dsm_potsdam_06_10.tif", np.full((1, 60, 64), -9999, np.float32))
    write(root / "5_Labels_all/top_potsdam_6_11_label.tif", indices("x")[None])
    (root / "1_DSM/dsm_potsdam_06_12.tif").unlink()
    with pytest.raises(UserError) as caught:
        build_store(potsdam, root, workers=1)
    message = str(caught.value)
    for part in (
        "dsm_potsdam_06_07.tif is 32 x 30 pixels where the tile is 64 x 60",
        "top_potsdam_6_8_RGBIR.tif is unreadable or cut short",
        "top_potsdam_6_9_RGBIR.tif has 3 bands where rgb needs 4",
        "dsm_potsdam_06_10.tif has no valid pixel",
        "top_potsdam_6_11_label.tif has one band of uint8",
        "tile 6_12 has no dsm: dsm_potsdam_06_12.tif is missing",
        "allow_missing",
    ):
        assert part in message
    assert "\n" not in message
    assert message.endswith(".")
    assert not (root / "mobanet_store").exists()
    assert not list(root.rglob("*.part"))


def test_healthy_tiles_are_kept_for_the_next_attempt(potsdam, root):
    potsdam_tile(root, 2, 10)
    potsdam_tile(root, 2, 11)
    good = (root / "1_DSM/dsm_potsdam_02_11.tif").read_bytes()
    truncate(root / "1_DSM/dsm_potsdam_02_11.tif")
    with pytest.raises(UserError, match=r"has a problem: .*dsm_potsdam_02_11\.tif is unreadable"):
        build_store(potsdam, root, workers=1)
    store = root / "mobanet_store"
    assert [path.name for path in (store / "tiles").iterdir()] == ["2_10"]
    with pytest.raises(UserError, match="holds no finished tile store"):
        TileStore(store)
    before = ages(store)
    (root / "1_DSM/dsm_potsdam_02_11.tif").write_bytes(good)
    assert list(build_store(potsdam, root, workers=1).tiles) == ["2_10", "2_11"]
    assert before.items() <= ages(store).items()


def test_a_modality_that_is_nowhere_is_said_once(potsdam, root):
    for column in (10, 11, 12):
        potsdam_tile(root, 2, column)
    with pytest.raises(UserError) as caught:
        build_store(potsdam, root, modalities=["rgb", "ndsm"], workers=1)
    assert str(caught.value).count("ndsm") == 1
    assert "no tile has ndsm: there is no file such as dsm_potsdam_02_10_normalized_ownapproach.jpg or" in str(
        caught.value
    )


def test_missing_modality_is_accepted_when_allowed(potsdam, root):
    potsdam_tile(root, 2, 10)
    potsdam_tile(root, 2, 11)
    (root / "1_DSM/dsm_potsdam_02_11.tif").unlink()
    store = build_store(potsdam, root, workers=1, allow_missing=True)
    assert [list(tile.modalities) for tile in store.tiles.values()] == [["rgb", "ir", "dsm"], ["rgb", "ir"]]
    with pytest.raises(UserError, match="tile 2_11 has no dsm"):
        build_store(potsdam, root, workers=1)
    write(root / "1_DSM/dsm_potsdam_02_11.tif", surface("late"))
    assert "dsm" in build_store(potsdam, root, workers=1, allow_missing=True).tiles["2_11"].modalities
    (root / "1_DSM/dsm_potsdam_02_11.tif").unlink()
    tile = build_store(potsdam, root, workers=1, allow_missing=True).tiles["2_11"]
    assert "dsm" not in tile.modalities
    assert not tile.path("dsm").exists()


def test_validity_rules(potsdam, root):
    potsdam_tile(root, 2, 10)
    dsm = surface("2_10")
    dsm[0, 0, :5] = (np.nan, np.inf, -32768, 3.4e38, 0)
    dsm[0, 1, 0] = 77
    write(root / "1_DSM/dsm_potsdam_02_10.tif", dsm, nodata=77)
    image = noise("2_10", 4)
    image[:, 0, :3] = 0
    write(root / "4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tif", image)
    tile = build_store(potsdam, root, workers=1).tiles["2_10"]
    valid = load(tile, "dsm.valid")
    assert valid[0, :5].tolist() == [0, 0, 0, 0, 1]  # zero metres are measured
    assert (valid[1, 0], valid.sum()) == (0, 60 * 64 - 5)
    assert tile.modalities["rgb"].complete  # and so is black
    figures = tile.modalities["dsm"].statistics[0]
    assert (figures.minimum, figures.count) == (0, 60 * 64 - 5)
    assert figures.maximum < 60
    assert (load(tile, "dsm")[0, :4, 0] == np.float32(figures.p50)).all()


def test_declared_nodata_means_all_bands_and_masks_count(potsdam, root):
    potsdam_tile(root, 2, 10)
    image = noise("2_10", 4) | 1
    image[:, 0, 0] = 0
    image[3, 0, 1] = 0  # dark in infrared alone
    write(root / "4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tif", image, nodata=0)
    tile = build_store(potsdam, root, workers=1).tiles["2_10"]
    for name in ("rgb.valid", "ir.valid"):
        assert np.argwhere(load(tile, name) == 0).tolist() == [[0, 0]]
    (root / "4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tif").unlink()
    rgba = np.concatenate([noise("rgb", 3), np.full((1, 60, 64), 255, np.uint8)])
    rgba[3, 5:7, 9] = 0
    write(root / "top_potsdam_2_10_RGB.tif", rgba, photometric="RGB", alpha="YES")
    tile = build_store(potsdam, root, modalities=["rgb"], workers=1).tiles["2_10"]
    assert np.argwhere(load(tile, "rgb.valid") == 0).tolist() == [[5, 9], [6, 9]]


def test_ndsm_in_metres(potsdam, root):
    potsdam_tile(root, 2, 10)
    write(root / "dsm_potsdam_02_10_normalized_lastools.jpg", np.full((1, 60, 64), 255, np.uint8), "JPEG")
    tile = build_store(potsdam, root, modalities=["rgb", "ndsm"], workers=1).tiles["2_10"]
    assert load(tile, "ndsm").dtype == np.float32
    assert load(tile, "ndsm").max() == pytest.approx(25.5)
    assert "is 25.5 everywhere" in tile.notes[0]


def test_re_encoded_labels_are_noted(potsdam, root):
    potsdam_tile(root, 4, 12)
    lossy = np.clip(coloured(indices("4_12")).astype(int) * 0.86 + 9, 0, 255).astype(np.uint8)
    lossy[:, 0, :10] = 127
    write(root / "5_Labels_all/top_potsdam_4_12_label.tif", lossy)
    tile = build_store(potsdam, root, workers=1).tiles["4_12"]
    assert tile.labels["full"].corrected == 60 * 64 - 10
    assert tile.labels["full"].unknown == 10
    assert (load(tile, "label_full")[0, :10] == 255).all()
    assert np.array_equal(load(tile, "label_full")[1:], indices("4_12")[1:])
    assert any("3830 pixels off the palette" in note for note in tile.notes)


def test_a_photograph_is_no_label(potsdam, root):
    potsdam_tile(root, 2, 10)
    write(root / "5_Labels_all/top_potsdam_2_10_label.tif", noise("photo", 3) // 4 + 100)
    with pytest.raises(UserError, match=r"2_10_label\.tif names no class in \d+ % of its pixels"):
        build_store(potsdam, root, workers=1)


def test_copies_of_different_size(potsdam, root):
    potsdam_tile(root, 2, 10)
    write(root / "elsewhere/dsm_potsdam_2_10.tif", surface("2_10"))
    assert len(build_store(potsdam, root, workers=1).tiles) == 1
    write(root / "elsewhere/dsm_potsdam_2_10.tif", surface("half", (30, 32)))
    with pytest.raises(UserError, match=r"64 x 60 pixels and its copy .* 32 x 30: remove the wrong one"):
        build_store(potsdam, root, root.parent / "again", workers=1)


def test_each_raster_of_a_tile_is_opened_once_and_no_folder_is_listed_for_it(potsdam, root, monkeypatch):
    potsdam_tile(root, 2, 10)
    seen, real = [], rasterio.DatasetReader

    def opened(path, *given, **named):
        seen.append((Path(path).name, rasterio.env.getenv()["GDAL_DISABLE_READDIR_ON_OPEN"]))
        return real(path, *given, **named)

    monkeypatch.setattr(rasterio, "DatasetReader", opened)
    build_store(potsdam, root, workers=1)
    # rgb and infrared, which are bands of one raster, and the two labels and the surface model
    assert len({name for name, _ in seen}) == len(seen) == 4
    assert {by_name for _, by_name in seen} == {True}


@pytest.mark.parametrize("ending", ["msk", "MSK"])
def test_a_mask_beside_a_raster_counts(potsdam, root, ending):
    potsdam_tile(root, 2, 10)
    path = next(root.rglob("dsm_potsdam_02_10.tif"))
    mask = np.full((60, 64), 255, np.uint8)
    mask[:3] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as raster:
        raster.write_mask(mask)
    path.with_name(f"{path.name}.msk").rename(path.with_name(f"{path.name}.{ending}"))
    tile = build_store(potsdam, root, workers=1).tiles["2_10"]
    assert np.array_equal(load(tile, "dsm.valid"), mask // 255)
