"""One mosaic cut into tiles and split in space: tiles are its pixels, and no crop that teaches shows test ground."""

import os
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine

from mobanet.data.augment import Augmentation, AugmentationSettings
from mobanet.data.crops import RandomCrops
from mobanet.data.datamodule import RasterDataModule
from mobanet.data.options import EvaluationSettings
from mobanet.data.reading import TileReader
from mobanet.datasets import (
    FolderModality,
    FolderSettings,
    FolderSplit,
    SplitAreas,
    SplitBlocks,
    Tiling,
    VectorLabel,
    get_layout,
)
from mobanet.datasets.catalogue import list_files
from mobanet.datasets.tile_draw import drawn_roles
from mobanet.errors import UserError
from mobanet.store.build import build_store
from mobanet.store.patches import cut_tile
from tests.data_files.fake_files import ages, georeferenced, indices, load, noise, surface, write
from tests.data_files.fake_vectors import CLASSES, LEFT, PIXEL, TOP, VALUES, write_vector

SIZE = (300, 352)
PLACE = georeferenced(LEFT, TOP, PIXEL)
SPLITS = ("train", "validation", "test")


def rectangle(top, left, bottom, right):
    """By rows and columns of the mosaic."""
    return shapely.box(LEFT + left * PIXEL, TOP - bottom * PIXEL, LEFT + right * PIXEL, TOP - top * PIXEL)


def fill(root: Path, size=SIZE, label=True, place=PLACE, name="ortho.tif"):
    image, classes = noise("mosaic", 3, size), indices("mosaic", size)
    write(root / name, image, tiled=True, blockxsize=64, blockysize=64, **place)
    if label:
        write(root / "label.tif", classes[None], **place)
    return image.transpose(1, 2, 0), classes


def layout(label="label.tif", **changes):
    given = {
        "modalities": {"rgb": FolderModality("ortho.tif", band_numbers=[1, 2, 3], maximum=255)},
        "classes": list("abcdef"),
        "label": label,
        "values": {number: number for number in range(6)} if isinstance(label, str) else None,
        "tiling": Tiling(100),
    }
    return get_layout("folder", FolderSettings(**(given | changes)))


def build(root, **changes):
    return build_store(layout(**changes), root, workers=1)


def survey(root, **changes):
    rules = layout(**changes)
    return rules.survey(list_files(root), rules.default_modalities)


def windows(root, **changes):
    return {tile.id: tile.window for tile in survey(root, **changes).tiles}


def test_tiles_are_the_mosaics_pixels(root):
    image, classes = fill(root)
    store = build(root)
    # what is left over and less than half a tile belongs to the last one
    assert list(store.tiles) == [f"r{row}_c{column}" for row in range(3) for column in range(4)]
    found = windows(root)
    assert found["r0_c0"] == (0, 0, 100, 100)
    assert found["r2_c3"] == (200, 300, 100, 52)
    covered = np.zeros(SIZE, int)
    for name, (top, left, height, width) in found.items():
        part = slice(top, top + height), slice(left, left + width)
        covered[part] += 1
        tile = store.tiles[name]
        assert np.array_equal(load(tile, "rgb"), image[part])
        assert np.array_equal(load(tile, "label_full"), classes[part])
        assert tile.transform == (PIXEL, 0, LEFT + left * PIXEL, 0, -PIXEL, TOP - top * PIXEL)
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("length", "wanted"), [(140, [140]), (150, [100, 50]), (249, [100, 149]), (250, [100, 100, 50])]
)
def test_what_is_left_over_is_no_sliver(root, length, wanted):
    fill(root, (100, length))
    assert [window[3] for window in windows(root).values()] == wanted


def test_rasters_of_other_pixels_and_smaller_ones_are_cut_alike(root):
    """As the one tile that has all of the mosaic, of which a cut is a part: the DSM is resampled, the IR is placed."""
    fill(root)
    half = (SIZE[0] // 2, SIZE[1] // 2)
    write(root / "dsm.tif", surface("mosaic", half), **georeferenced(LEFT, TOP, 2 * PIXEL))
    infrared = noise("ir", 1, (180, 200))
    # on the same pixels, from row -20 and column 60 of the mosaic on
    write(root / "ir.tif", infrared, **georeferenced(LEFT + 60 * PIXEL, TOP + 20 * PIXEL, PIXEL))
    modalities = {
        "rgb": FolderModality("ortho.tif", band_numbers=[1, 2, 3], maximum=255),
        "dsm": FolderModality("dsm.tif", kind="elevation", unit="metre"),
        "ir": FolderModality("ir.tif", maximum=255),
    }
    whole = build(root, modalities=modalities, tiling=Tiling(1000))
    assert list(whole.tiles) == ["r0_c0"]
    wanted = {name: load(whole.tiles["r0_c0"], name) for name in ("rgb", "dsm", "ir", "ir.valid", "label_full")}
    assert np.array_equal(wanted["ir"][:160, 60:260, 0], infrared[0, 20:])
    assert wanted["ir.valid"].sum() == 160 * 200
    store = build_store(layout(modalities=modalities), root, root.parent / "cut", workers=1)
    seen = set()
    for name, (top, left, height, width) in windows(root, modalities=modalities).items():
        part, tile = (slice(top, top + height), slice(left, left + width)), store.tiles[name]
        assert np.array_equal(load(tile, "rgb"), wanted["rgb"][part])
        # placed by grids that differ in their last digits
        assert np.abs(load(tile, "dsm") - wanted["dsm"][part]).max() < 1e-3
        there = wanted["ir.valid"][part]
        seen.add(there.mean() if there.mean() in (0, 1) else 0.5)
        assert ("ir" in tile.modalities) == bool(there.any())
        if there.any():
            valid = load(tile, "ir.valid") if not tile.modalities["ir"].complete else np.ones_like(there)
            assert np.array_equal(valid, there)
            assert np.array_equal(load(tile, "ir") * there[..., None], wanted["ir"][part] * there[..., None])
    assert seen == {0, 0.5, 1}


def test_rasters_without_a_georeference_share_their_pixels(root):
    image, classes = fill(root, place={})
    store = build(root)
    tile = store.tiles["r1_c2"]
    assert np.array_equal(load(tile, "rgb"), image[100:200, 200:300])
    assert np.array_equal(load(tile, "label_full"), classes[100:200, 200:300])
    assert tile.transform is None


@pytest.mark.parametrize("place", [PLACE, {}], ids=["georeferenced", "unplaced"])
@pytest.mark.parametrize("side", [96, 100])
def test_coarser_pixels_are_cut_where_tiles_begin_with_one_and_else_resampled(root, place, side):
    fill(root, place=place)
    coarse = noise("coarse", 2, (-(-SIZE[0] // 8), SIZE[1] // 8))
    coarse[:, :, 12:] = 0  # nothing behind the first tile of a row
    there = georeferenced(LEFT, TOP, 8 * PIXEL) if place else {}
    write(root / "s2.tif", coarse, nodata=0, **there)
    rgb = FolderModality("ortho.tif", band_numbers=[1, 2, 3], maximum=255)
    s2 = FolderModality("s2.tif", band_numbers=[1, 2], maximum=255, nodata=0, pixel_ratio=8)
    given = {"modalities": {"rgb": rgb, "s2": s2}, "tiling": Tiling(side)}
    if side % 8 and not place:
        with pytest.raises(UserError, match="the tile begins at row 100 and column 0, within one of its pixels"):
            build(root, **given)
        return
    store = build(root, **given)
    assert {name[-2:] for name, tile in store.tiles.items() if "s2" in tile.modalities} == {"c0"}
    tile = store.tiles["r1_c0"]
    assert (side == 96) == (not tile.notes)
    if side == 96:
        assert np.array_equal(load(tile, "s2"), coarse[:, 12:24, :12].transpose(1, 2, 0))
    else:  # of halves of two rows
        mean = coarse[:, 12:24, :12].astype(float) / 2 + coarse[:, 13:25, :12] / 2
        assert np.abs(load(tile, "s2")[:12, :11] - mean.transpose(1, 2, 0)[:, :11]).max() <= 1


def test_several_rasters_share_one_without_a_tile_in_its_pattern(root):
    image, classes = fill(root, (100, 200), name="ortho/west.tif")
    other = noise("east", 3, (100, 200))
    write(root / "ortho/east.tif", other, **georeferenced(LEFT + 200 * PIXEL, TOP, PIXEL))
    both = np.concatenate([classes, indices("more", (100, 200))], axis=1)
    write(root / "label.tif", both[None], **PLACE)
    modalities = {"rgb": FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3], maximum=255)}
    store = build(root, modalities=modalities)
    assert list(store.tiles) == ["east_r0_c0", "east_r0_c1", "west_r0_c0", "west_r0_c1"]
    assert np.array_equal(load(store.tiles["east_r0_c1"], "rgb"), other.transpose(1, 2, 0)[:, 100:])
    assert np.array_equal(load(store.tiles["east_r0_c1"], "label_full"), both[:, 300:])
    assert np.array_equal(load(store.tiles["west_r0_c1"], "rgb"), image[:, 100:])


def test_an_index_names_the_tiles(root):
    image, _ = fill(root)
    shapes = [rectangle(0, 0, 128, 160), rectangle(128, 32, 300, 352), rectangle(1000, 0, 1100, 100)]
    write_vector(root / "index.gpkg", shapes, {"sheet": ["north", "south", "beyond"]})
    tiling = Tiling(index="index.gpkg", attribute="sheet")
    assert windows(root, tiling=tiling) == {"north": (0, 0, 128, 160), "south": (128, 32, 172, 320)}
    store = build(root, tiling=tiling)
    assert np.array_equal(load(store.tiles["south"], "rgb"), image[128:300, 32:352])


def test_tiles_without_pixels_or_labels_are_left_out(root):
    image, classes = fill(root)
    image[:100, :100] = 0
    classes[100:200] = 255
    write(root / "ortho.tif", image.transpose(2, 0, 1), nodata=0, **PLACE)
    write(root / "label.tif", classes[None], **PLACE)
    found = survey(root, ignored=[255])
    assert [tile.id for tile in found.tiles] == ["r0_c1", "r0_c2", "r0_c3", "r2_c0", "r2_c1", "r2_c2", "r2_c3"]
    assert found.notes == (
        "left out, since no raster has a measured pixel there: r0_c0",
        "left out, since no label lies there: r1_c0, r1_c1, r1_c2, r1_c3",
    )


def test_polygons_label_the_tiles_that_they_lie_on(root):
    fill(root, label=False)
    write_vector(root / "cover.gpkg", [rectangle(10, 10, 90, 190)], {"class": ["tree"]})
    label = VectorLabel("cover.gpkg", "class", dict(VALUES))
    store = build(root, label=label, classes=CLASSES)
    assert list(store.tiles) == ["r0_c0", "r0_c1"]
    assert store.tiles["r0_c1"].labels["full"].pixels == (0, 80 * 90, 0)


@pytest.mark.parametrize("buffer", [0, 1, 20])
def test_areas_split_the_ground_exactly(root, buffer):
    """Every pixel whose label counts lies in its own area, and none that is held out lies within the buffer."""
    image, classes = fill(root)
    areas = {"train": (0, 0, 300, 220), "validation": (0, 220, 150, 352), "test": (130, 180, 300, 352)}
    write_vector(root / "areas.gpkg", [rectangle(*areas[name]) for name in SPLITS], {"split": list(SPLITS)})
    splits = FolderSplit(areas=SplitAreas("areas.gpkg", "split"), buffer=buffer)
    store = build(root, splits=splits)
    ground = np.full(SIZE, 255)
    for number, name in enumerate(SPLITS):  # the later ones lie on top
        top, left, bottom, right = areas[name]
        ground[top:bottom, left:right] = number
    counted = np.zeros((3, *SIZE), bool)
    for name, (top, left, height, width) in windows(root, splits=splits).items():
        number, part = SPLITS.index(name.rpartition("_")[2]), (slice(top, top + height), slice(left, left + width))
        label = load(store.tiles[name], "label_full")
        counted[number][part] |= label != 255
        assert np.array_equal(label[label != 255], classes[part][label != 255])
        assert np.array_equal(load(store.tiles[name], "rgb"), image[part])
    for number in range(3):
        wanted = ground == number
        for row, column in np.argwhere((ground > number) & (ground != 255)):
            wanted[max(row - buffer, 0) : row + buffer + 1, max(column - buffer, 0) : column + buffer + 1] = False
        assert np.array_equal(counted[number], wanted)
    split = layout(splits=splits).resolve_split("folder", store.tiles)
    assert {name.rpartition("_")[2] for name in split.test} == {"test"}
    assert sorted((*split.train, *split.validation, *split.test)) == sorted(store.tiles)


@pytest.mark.parametrize("lists", [True, False])
def test_around_tiles_that_are_held_out_no_label_counts(root, lists):
    _, classes = fill(root)
    splits = FolderSplit(["r0_*", "r2_*"], ["r1_c[01]"], ["r1_c[23]"], buffer=15)
    if not lists:
        splits = FolderSplit(blocks=SplitBlocks(0.2, 0.2, seed=3), buffer=15)
    store = build(root, splits=splits)
    split = layout(splits=splits).resolve_split("folder", store.tiles)
    if lists:
        assert len(split.train) == 8
    else:
        assert [len(part) for part in (split.train, split.validation, split.test)] == [6, 3, 3]
    found, role = windows(root, splits=splits), {t: n for n, part in enumerate(SPLITS) for t in getattr(split, part)}
    ground = np.zeros(SIZE, int)
    for name, (top, left, height, width) in found.items():
        ground[top : top + height, left : left + width] = role[name]
    for name, (top, left, height, width) in found.items():
        wanted = np.ones(SIZE, bool)
        for row, column in np.argwhere(ground > role[name]):
            wanted[max(row - 15, 0) : row + 16, max(column - 15, 0) : column + 16] = False
        part = (slice(top, top + height), slice(left, left + width))
        label = load(store.tiles[name], "label_full")
        assert np.array_equal(label, np.where(wanted[part], classes[part], 255))


@pytest.mark.parametrize("degrees", [0, 45])
def test_the_buffer_reaches_as_far_in_a_raster_that_is_turned(root, degrees):
    """A tile diagonally across from test ground: on the map, that is further away than its rows and columns say."""
    turned = {"crs": "EPSG:32633", "transform": PLACE["transform"] @ Affine.rotation(degrees)}
    fill(root, size=(300, 300), place=turned)
    splits = FolderSplit(["r0_*", "r1_*", "r2_c[01]"], [], ["r2_c2"], buffer=120)
    held = {tile.id: tile.held for tile in survey(root, splits=splits).tiles}
    assert held["r0_c0"].rectangles == ((200, 200, 300, 300),)


@pytest.mark.parametrize("prefix", ["", "north_", "sheet"])
def test_a_draw_keeps_to_its_shares_and_no_tile_moves_for_others(prefix):
    names = [f"{prefix}{n}" if prefix == "sheet" else f"{prefix}r{n // 30}_c{n % 30}" for n in range(900)]
    drawn = [drawn_roles(names, SplitBlocks(0.2, 0.1, seed)) for seed in range(8)]
    assert len({tuple(roles.values()) for roles in drawn}) == 8
    slack = 0.04 if prefix == "sheet" else 0.01  # one by one, and spread evenly
    for roles in drawn:
        assert abs(list(roles.values()).count("validation") / 900 - 0.2) < slack
        assert abs(list(roles.values()).count("test") / 900 - 0.1) < slack
    some = names[5:700:3]
    assert drawn_roles(some[::-1], SplitBlocks(0.2, 0.1, 3)) == {name: drawn[3][name] for name in some}


def test_tiles_spread_evenly_have_every_part_near_by():
    """Of any 6 x 6 tiles; those of the smallest mosaics that are cut have every part whatever the seed."""
    for seed in range(40):
        roles = drawn_roles([f"r{r}_c{c}" for r in range(40) for c in range(40)], SplitBlocks(0.15, 0.15, seed))
        for row, column in ((0, 0), (17, 3), (34, 34)):
            near = [roles[f"r{row + r}_c{column + c}"] for r in range(6) for c in range(6)]
            assert 2 <= near.count("test") <= 9
            assert 2 <= near.count("validation") <= 9
    for seed in range(200):
        drawn_roles([f"r{r}_c{c}" for r in range(3) for c in range(4)], SplitBlocks(seed=seed))


def test_the_sensors_in_use_move_no_tile_and_no_buffer(root):
    """A sensor that reaches a part of the ground trains and is tested on its share of the tiles of all."""
    fill(root, (400, 400))
    write(root / "ir.tif", noise("ir", 1, (400, 250)), **PLACE)
    modalities = {
        "rgb": FolderModality("ortho.tif", band_numbers=[1, 2, 3], maximum=255),
        "ir": FolderModality("ir.tif", maximum=255),
    }
    rules = layout(modalities=modalities, splits=FolderSplit(blocks=SplitBlocks(0.2, 0.2), buffer=20))
    found = {}
    for wanted in (("rgb", "ir"), ("rgb",), ("ir",)):
        tiles = {tile.id: tile for tile in rules.survey(list_files(root), wanted).tiles}
        found[wanted] = tiles, rules.resolve_split("folder", tiles)
    (every, whole), (alone, part) = found["rgb", "ir"], found[("ir",)]
    assert len(alone) == 12
    assert found[("rgb",)][1] == whole
    for role in SPLITS:
        assert getattr(part, role) == tuple(name for name in getattr(whole, role) if name in alone)
    assert all(alone[name].held == every[name].held for name in alone)


@pytest.mark.parametrize("use", ["areas", "index"])
def test_a_change_beside_a_shapefile_is_noticed(root, use):
    """Its attributes are in a file of their own, and a new one may leave the outlines' as it is."""
    fill(root)
    shapes = [rectangle(0, 0, 300, 150), rectangle(0, 150, 150, 352), rectangle(150, 150, 300, 352)]
    names = list(SPLITS)
    settings = {"splits": FolderSplit(areas=SplitAreas("areas.shp", "name"), buffer=0)}
    if use == "index":
        settings = {"tiling": Tiling(index="areas.shp", attribute="name"), "splits": FolderSplit()}
    end = "_train" if use == "areas" else "train"

    def ground():
        tiles = build(root, **settings).tiles.values()
        return {(tile.transform[2], tile.width) for tile in tiles if tile.id.endswith(end)}

    path = root / "areas.shp"
    write_vector(path, shapes, {"name": names})
    before, status = ground(), path.stat()
    write_vector(path, shapes, {"name": names[::-1]})
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert before
    assert ground() not in (set(), before)


def test_what_has_not_changed_is_neither_opened_nor_cut_again(root, monkeypatch):
    fill(root)
    splits = FolderSplit(blocks=SplitBlocks(seed=1), buffer=10)
    store = build(root, splits=splits)
    before = ages(store.path)

    def refused(*_, **__):
        raise AssertionError("opened")

    with monkeypatch.context() as patched:
        patched.setattr("mobanet.datasets.cutting.opened", refused)
        patched.setattr("mobanet.store.products.open_raster", refused)
        assert list(build(root, splits=splits).tiles) == list(store.tiles)
    assert ages(store.path) == before
    # another draw changes labels, and no image
    after = ages(build(root, splits=FolderSplit(blocks=SplitBlocks(seed=2), buffer=10)).path)
    changed = {name for name in before if before[name] != after[name]}
    assert changed
    assert all(name.endswith("label_full.npy") for name in changed)
    fill(root)
    monkeypatch.setattr("mobanet.datasets.cutting.opened", refused)
    with pytest.raises(AssertionError, match="opened"):
        build(root, splits=splits)


def crops(store, size, tiles=None):
    tiles = tiles or list(store.tiles.values())
    reader = TileReader(tiles, {"rgb": 3}, "full", size)
    plain = Augmentation(AugmentationSettings(flips=False), store.modalities)
    return RandomCrops(reader, {"rgb": np.zeros((len(tiles), 2, 3), np.float32)}, size, "tile", 5, plain)


@pytest.mark.parametrize("patched", [False, True])
def test_crops_without_labels_are_not_drawn(root, patched):
    """Of 400 x 400 pixels one corner and a spot of 3 x 3 are labelled, which less than a sixtieth of all crops show."""
    _, classes = fill(root, (400, 400))
    labelled = np.full_like(classes, 255)
    labelled[:30, :30] = classes[:30, :30]
    labelled[301:304, 350:353] = 1
    write(root / "label.tif", labelled[None], **PLACE)
    store = build(root, tiling=Tiling(1000), ignored=[255])
    tiles = list(store.tiles.values())
    if patched:
        tiles = [patch for patch in cut_tile(tiles[0], 200) if patch.id.endswith(("r0_c0", "r1_c1"))]
    seen = set()
    dataset = crops(store, 64, tiles)
    for index in range(60):
        sample = dataset[index]
        label = sample["label"].numpy()
        assert (label != 255).any()
        top, left, height, width = sample["window"].tolist()
        tile = next(tile for tile in tiles if tile.id == sample["tile"])
        assert 0 <= top <= tile.height - 64
        assert 0 <= left <= tile.width - 64
        assert np.array_equal(label, labelled[tile.top + top :, tile.left + left :][:height, :width])
        seen.add((tile.top + top < 200, bool((label == 1).any())))
    assert len(seen) >= 2
    # labelled everywhere, positions are those of a first draw
    fill(root, (400, 400))
    whole = crops(build(root, tiling=Tiling(1000)), 64)
    for index in range(20):
        generator = np.random.Generator(np.random.Philox(key=[5, index]))
        window = whole.window(generator)
        assert whole[index]["window"].tolist() == [window.top, window.left, 64, 64]


def test_tiles_that_the_buffer_takes_whole_are_not_trained_on(root, caplog):
    fill(root)
    rules = FolderSettings(
        {"rgb": FolderModality("ortho.tif", band_numbers=[1, 2, 3], maximum=255)},
        list("abcdef"),
        "label.tif",
        values={number: number for number in range(6)},
        tiling=Tiling(100),
        splits=FolderSplit(["r0_*", "r2_*"], ["r1_c0"], ["r1_c1", "r1_c2", "r1_c3"], buffer=0),
    )
    caplog.set_level("INFO")
    small = {"crop": 32, "evaluation": EvaluationSettings(labels="full"), "num_workers": 0}
    data = RasterDataModule(str(root), "folder", folder=rules, **small)
    data.prepare_data()
    data.setup("fit")
    assert [tile.id for tile in data.tiles("train")] == [f"r{row}_c{column}" for row in (0, 2) for column in range(4)]
    assert (
        "warning: crops of 32 pixels reach across the buffer of 0 pixels around ground that is held out" in caplog.text
    )
    rules.splits.buffer = 100
    data = RasterDataModule(str(root), "folder", folder=rules, **small)
    data.prepare_data()
    with pytest.raises(UserError, match=r"no train tile below .* has a labelled pixel; .*buffer, now 100"):
        data.setup("fit")
    rules.splits = FolderSplit(["r0_c[23]", "r2_*"], ["r0_c0"], ["r1_c2"], buffer=100)
    data = RasterDataModule(str(root), "folder", folder=rules, **small)
    data.prepare_data()
    data.setup("fit")
    assert [tile.id for tile in data.tiles("train")] == ["r2_c0"]
    assert "train: 5 of 6 tiles have no labelled pixel: r0_c2, r0_c3, r2_c1, r2_c2, r2_c3" in caplog.text
