import shutil

import cv2
import numpy as np
import pytest

from mobanet.datasets import LAYOUTS, get_layout
from mobanet.datasets.catalogue import list_files
from mobanet.errors import UserError
from mobanet.store.build import build_store
from mobanet.store.check import check_files
from mobanet.store.stored import default_store
from tests.data_files.fake_files import ages, load, truncate, write, zipped
from tests.data_files.fake_satellites import (
    BUILDING,
    SCENES,
    SHAPES,
    X_MAX,
    Y_MIN,
    band,
    box,
    dstl,
    dstl_scene,
    expected,
    rows_of,
    table,
)


@pytest.fixture
def layout():
    return get_layout("dstl")


def test_products_come_to_the_grid_of_the_rgb_image(layout, root):
    dstl(root, SCENES[:1])
    tile = build_store(layout, root, modalities=list(layout.modalities), workers=1).tiles["6010_1_2"]
    assert (tile.height, tile.width, tile.transform, tile.reference) == (50, 100, None, "rgb")
    assert np.array_equal(load(tile, "rgb"), band("6010_1_2", 3, SHAPES[""]).transpose(1, 2, 0))
    for name, product, bands in (("nir", "M", [5, 6, 7]), ("swir", "A", [0, 1, 2]), ("ms", "M", range(8))):
        raw = band(f"6010_1_2_{product}", 8, SHAPES[product])[bands].astype(np.float32)
        # outer edge on outer edge, bilinear: what OpenCV's resize does too
        wanted = np.stack([cv2.resize(plane, (100, 50), interpolation=cv2.INTER_LINEAR) for plane in raw], axis=2)
        assert np.abs(load(tile, name) - wanted).max() <= 0.51, name
        assert load(tile, name).dtype == np.uint16
        assert tile.modalities[name].complete
    assert load(tile, "pan").shape == (50, 100, 1)  # a row more than its raster has
    assert [layout.modalities[name].maximum for name in ("rgb", "nir", "swir")] == [2047, 2047, 16383]
    assert layout.modalities["nir"].bands == ("red edge", "nir1", "nir2")


def test_labels_of_all_ten_classes_and_of_one(layout, root):
    dstl(root, SCENES[:1])
    classes, crops = expected()
    tile = build_store(layout, root, workers=1).tiles["6010_1_2"]
    assert np.array_equal(load(tile, "label_full"), classes)
    assert tile.labels["full"].pixels == tuple(np.bincount(classes.ravel(), minlength=11))
    # 45 pixels of crops under the building, 8 of the road under the car
    assert any("classes overlap on 0.66 % of the pixels" in note for note in tile.notes), tile.notes
    one = get_layout("dstl_crops")
    store = build_store(one, root, workers=1)
    assert np.array_equal(load(store.tiles["6010_1_2"], "label_full"), crops)
    assert (store.classes.names, store.classes.averaged) == (("background", "crops"), ("crops",))
    assert store.path == default_store(root, "dstl_crops") == root / "mobanet_store_crops"
    # of the same files, beside the other
    assert default_store(root, "dstl") == root / "mobanet_store"
    assert np.array_equal(load(tile, "label_full"), classes)
    roads = build_store(get_layout("dstl_road"), root, root / "elsewhere", workers=1).tiles["6010_1_2"]
    assert load(roads, "label_full").sum() == 5 * 100


def test_the_grid_does_not_depend_on_the_modalities(layout, root):
    dstl(root, SCENES[:1])
    store = build_store(layout, root, modalities=["swir"], workers=1)
    tile = store.tiles["6010_1_2"]
    assert (tile.height, tile.width, list(tile.modalities)) == (50, 100, ["swir"])
    assert np.array_equal(load(tile, "label_full"), expected()[0])
    before = ages(store.path)
    again = build_store(layout, root, modalities=["swir", "nir"], workers=1)
    assert before.items() <= ages(again.path).items()
    write(root / "three_band/6010_1_2.tif", band("new", 3, (40, 80)))
    tile = build_store(layout, root, modalities=["swir"], workers=1).tiles["6010_1_2"]
    assert (tile.height, tile.width) == (40, 80)
    (root / "three_band/6010_1_2.tif").unlink()
    tile = build_store(layout, root, root / "other", modalities=["swir"], workers=1).tiles["6010_1_2"]
    assert (tile.reference, tile.height) == ("pan", 49)


def test_official_archives(layout, tmp_path):
    plain, data = tmp_path / "plain", tmp_path / "data"
    dstl(plain)
    for name in ("three_band", "sixteen_band"):
        zipped(data / f"{name}.zip", plain / name, prefix=f"{name}/")
        shutil.move(plain / name, tmp_path / "unpacked" / name / name)
    for name in ("train_wkt_v4.csv", "grid_sizes.csv"):
        (plain / "one").mkdir()
        shutil.copy(plain / name, plain / "one" / name)
        shutil.copy(plain / name, tmp_path / "unpacked" / name)
        zipped(data / f"{name}.zip", plain / "one")
        shutil.rmtree(plain / "one")
    packed, unpacked = (build_store(layout, path, workers=1) for path in (data, tmp_path / "unpacked"))
    assert list(packed.tiles) == list(unpacked.tiles) == list(SCENES)
    for tile in packed.tiles.values():
        for name in tile.arrays():
            assert np.array_equal(load(tile, name), load(unpacked.tiles[tile.id], name))
    assert packed.tiles[SCENES[0]].labels["full"].source == "train_wkt_v4.csv/train_wkt_v4.csv"
    assert not (data / "mobanet_store/scratch").exists()
    assert sorted(path.suffix for path in data.iterdir()) == ["", *[".zip"] * 4]


def test_scenes_without_polygons_are_left_out(layout, root):
    dstl(root, SCENES[:2])
    dstl_scene(root, "6010_0_0")
    survey = layout.survey(list_files(root), ("rgb",))
    assert [tile.id for tile in survey.tiles] == list(SCENES[:2])
    assert survey.notes == ("left out, since they have no polygons: 6010_0_0",)
    shutil.rmtree(root / "three_band")
    shutil.rmtree(root / "sixteen_band")
    dstl_scene(root, "6010_0_0")
    with pytest.raises(UserError, match=r"train_wkt_v4\.csv has polygons for none of the scenes .* \(6010_0_0\): add"):
        layout.survey(list_files(root), ("rgb",))


def test_the_newest_polygons_count(layout, root):
    dstl(root, SCENES[:1])
    header = ("ImageId", "ClassType", "MultipolygonWKT")
    table(root / "old/train_wkt_v3.csv", header, rows_of(SCENES[0], c6="MULTIPOLYGON EMPTY"))
    (survey,) = layout.survey(list_files(root), ("rgb",)).tiles
    assert survey.labels["full"].name == "train_wkt_v4.csv"


@pytest.mark.parametrize("name", ["train_wkt_v4", "grid_sizes"])
def test_a_missing_table_is_named(layout, root, name):
    dstl(root, SCENES[:1])
    (root / f"{name}.csv").unlink()
    with pytest.raises(UserError, match=rf"has scenes of layout dstl but no {name}\.csv, which .*: add {name}\.csv"):
        build_store(layout, root, workers=1)
    assert not (root / "mobanet_store").exists()


def test_nothing_of_the_layout(layout, root):
    with pytest.raises(UserError, match=r"holds no file of layout dstl, such as three_band/6110_1_2\.tif"):
        layout.find(root, ["rgb"])


def test_all_problems_at_once(layout, root):
    dstl(root, [*SCENES, "6100_2_2", "6100_2_3", "6120_2_0"])
    (root / f"sixteen_band/{SCENES[0]}_M.tif").unlink()
    truncate(root / f"three_band/{SCENES[1]}.tif")
    write(root / f"sixteen_band/{SCENES[2]}_A.tif", band("x", 7, SHAPES["A"]))
    write(root / "sixteen_band/6120_2_0_M.tif", band("x", 8, (25, 13)))
    polygons = [row for scene in SCENES for row in rows_of(scene)] + rows_of("6120_2_0")
    polygons += rows_of("6100_2_2", c6="MULTIPOLYGON (((0 0, 1")
    away = f"MULTIPOLYGON (({box(200, 10, 290, 90)}))"
    polygons += rows_of("6100_2_3", c1=away, c6=away)
    table(root / "train_wkt_v4.csv", ("ImageId", "ClassType", "MultipolygonWKT"), polygons)
    with pytest.raises(UserError) as caught:
        build_store(layout, root, workers=1)
    problems = str(caught.value)
    assert f"tile {SCENES[0]} has no nir: sixteen_band/{SCENES[0]}_M.tif is missing" in problems
    assert f"three_band/{SCENES[1]}.tif is unreadable or cut short" in problems
    assert f"{SCENES[2]}_A.tif has 7 bands where swir needs 8" in problems
    assert "6120_2_0_M.tif is 13 x 25 pixels, another shape than the tile's 100 x 50" in problems
    assert "train_wkt_v4.csv has no readable polygons for class 6 of 6100_2_2" in problems
    assert "2 of the 4 polygons of 6100_2_3 in" in problems
    assert "lie outside its grid (x from 0 to 0.0092, y from -0.009 to 0 by" in problems
    assert "6 problems" in problems
    found = check_files(layout, root, root / "checked", workers=1).problems
    assert len(found) == 6


def test_polygons_a_little_outside_are_only_noted(layout, root):
    dstl(root, SCENES[:1], c1=f"MULTIPOLYGON (({box(25, 5, 34, 14)}), ({box(101, 5, 103, 8)}))")
    tile = build_store(layout, root, workers=1).tiles[SCENES[0]]
    assert "label_full: 1 of 6 polygons lie outside the grid and are left out" in tile.notes
    assert np.array_equal(load(tile, "label_full"), expected()[0])


def test_extents_that_do_not_fit(layout, root):
    dstl(root, SCENES[:1])
    table(root / "grid_sizes.csv", ("", "Xmax", "Ymin"), [("6010_0_0", X_MAX, Y_MIN)])
    with pytest.raises(UserError, match=r"grid_sizes\.csv has no row for 6010_1_2"):
        build_store(layout, root, workers=1)
    table(root / "grid_sizes.csv", ("", "Xmax", "Ymin"), [(SCENES[0], X_MAX, -Y_MIN)])
    with pytest.raises(UserError, match=r"grid_sizes\.csv gives 6010_1_2 Xmax 0.0092 and Ymin 0.009, where"):
        build_store(layout, root, workers=1)


def test_changed_tables_renew_the_labels_only(layout, root):
    dstl(root, SCENES[:1])
    store = build_store(layout, root, workers=1)
    before = ages(store.path)
    header = ("ImageId", "ClassType", "MultipolygonWKT")
    table(root / "train_wkt_v4.csv", header, rows_of(SCENES[0], c6="MULTIPOLYGON EMPTY"))
    tile = build_store(layout, root, workers=1).tiles[SCENES[0]]
    assert not (load(tile, "label_full") == 6).any()
    after = ages(store.path)
    assert {name for name in after if after[name] != before[name]} == {f"tiles/{SCENES[0]}/label_full.npy"}
    table(root / "grid_sizes.csv", ("", "Xmax", "Ymin"), [(SCENES[0], 2 * X_MAX, Y_MIN)])
    tile = build_store(layout, root, workers=1).tiles[SCENES[0]]
    assert (load(tile, "label_full") == 1).sum() < 100


def test_check_shows_outlines(layout, root):
    dstl(root, SCENES[:1], c1=BUILDING)
    findings = check_files(layout, root, root / "checked", workers=1)
    look = findings.tiles[0].looks["label_full"]
    assert (look.bands, look.dtype, look.grid.size) == (5, "outlines", "100 x 50")
    assert look.shares == pytest.approx(tuple(np.bincount(expected()[0].ravel(), minlength=11) / 5000))
    assert findings.problems == []


def test_definitions():
    layout = get_layout("dstl")
    assert layout.default_modalities == ("rgb", "nir", "swir")
    assert layout.classes.names[0] == "background"
    assert layout.classes.averaged == layout.classes.names[1:]
    assert len(layout.classes) == len(set(layout.classes.colours)) == 11
    assert set(layout.recipes) == set(layout.modalities)
    assert len([name for name in LAYOUTS if name.startswith("dstl_")]) == 10
    with pytest.raises(UserError, match=r"no layout 'dstl_crop' \(did you mean 'dstl_crops'\?\)"):
        get_layout("dstl_crop")
