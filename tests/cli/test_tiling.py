"""One mosaic through the commands: what is said of it, of each mistake, and how it goes on to a trained run."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mobanet.check import main as check
from mobanet.prepare import main as prepare
from mobanet.store.stored import TileStore
from tests.cli.conftest import small_experiment
from tests.data_files.fake_files import georeferenced, indices, load, noise, surface, write, zipped
from tests.data_files.fake_vectors import LEFT, PIXEL, TOP, write_vector
from tests.data_files.test_tiling import fill, rectangle

SIZE = (192, 256)
AREAS = {"train": (0, 0, 192, 128), "validation": (0, 128, 96, 256), "test": (96, 128, 192, 256)}


@pytest.fixture
def root(tmp_path):
    fill(tmp_path / "data", SIZE)
    return tmp_path / "data"


def described(root, more=None):
    content = {
        "modalities": {"rgb": {"pattern": "ortho.tif", "band_numbers": [1, 2, 3], "maximum": 255}},
        "classes": list("abcdef"),
        "label": "label.tif",
        "values": {number: number for number in range(6)},
        "tiling": {"size": 64},
        "splits": {"blocks": {}, "buffer": 0},
    } | (more or {})
    path = root.parent / "own.yaml"
    path.write_text(yaml.safe_dump({k: value for k, value in content.items() if value is not None}, sort_keys=False))
    return ["--layout", "folder", "--root", str(root), "--folder", str(path), "--workers", "1"]


def areas(root, values=("train", "validation", "test"), name="areas.gpkg", shift=0, **more):
    shapes = [rectangle(*(edge + shift for edge in AREAS[part])) for part in AREAS]
    return write_vector(root / name, shapes, {"split": list(values)}, **more)


IN_AREAS = {"areas": {"vector": "areas.gpkg", "attribute": "split"}, "buffer": 0}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tiling": {}}, "tiling has neither size and index: give one of them"),
        ({"tiling": {"size": 64, "index": "a.gpkg"}}, "tiling has both size and index: give one of them"),
        ({"tiling": {"size": 10}}, "tiling.size is 10: give at least 64 pixels"),
        ({"tiling": {"size": 64, "attribute": "name"}}, "tiling.attribute is of an index, and tiling has a size"),
        ({"tiling": {"index": "index.tif"}}, "tiling.index is 'index.tif': name a GeoPackage, shapefile"),
        ({"tiling": {"index": "../index.gpkg"}}, "tiling.index is '../index.gpkg': give its path below the root"),
        ({"tiling": {"index": "https://x/index.gpkg"}}, "tiling.index is an address, where only rasters are read"),
        ({"tiling": {"index": "none.gpkg"}}, "tiling.index 'none.gpkg' matches no file below"),
        ({"tiling": {"index": "i.gpkg", "crs": "32633"}}, "tiling.crs is '32633': give the code of a system"),
        ({"tiling": {"sise": 64}}, "tiling.sise is not a key of a description of data (did you mean size?)"),
        ({"tiling": {"size": "big"}}, "tiling.size is 'big' where a whole number or null is expected"),
        (
            {"tiling": None},
            "modalities.rgb.pattern is 'ortho.tif', without {tile}: put it where the tile's id is, or have",
        ),
        ({"splits": {"blocks": {"test": 1.5}}}, "splits.blocks.test is 1.5: give a share from 0 to 1"),
        ({"splits": {"blocks": {"test": 0.5, "validation": 0.5}}}, "which leaves none to train on"),
        ({"splits": {"blocks": {}, "buffer": -1}}, "splits.buffer is -1: give a number of pixels from 0 on"),
        (
            {"splits": {"blocks": {}, "test": ["r0_c0"]}},
            "splits has blocks and test: give areas, blocks or lists of tiles",
        ),
        (
            {"splits": {"test": ["r9_c0"]}},
            "splits.test names 'r9_c0', but no tile is called so: there are r0_c0, r0_c1",
        ),
        (
            {"splits": {"areas": {"vector": "areas.csv", "attribute": "x"}}},
            "splits.areas.vector is 'areas.csv': name a Geo",
        ),
        (
            {"splits": {"areas": {"vector": "no.gpkg", "attribute": "x"}}},
            "splits.areas.vector 'no.gpkg' matches no file",
        ),
        (
            {"splits": {"areas": {"vector": "a.gpkg", "attribute": "x", "values": {1: "exam"}}}},
            "splits.areas.values.1 is 'exam': give train, validation, test or ignored",
        ),
        (
            {"splits": {"areas": {"vector": "a.gpkg", "attribute": "x", "values": {}}}},
            "splits.areas.values is empty: say which value of the attribute is which part of the split",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else json.dumps(value),
)
def test_mistakes_in_settings(command, root, more, said):
    ended = command(prepare, described(root, more))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said in ended.err
    assert not (root / "mobanet_store/store.json").exists()


def test_areas_without_tiling_are_refused(command, root):
    more = {"tiling": None, "splits": IN_AREAS}
    more |= {"modalities": {"rgb": {"pattern": "{tile}.tif", "band_numbers": [1, 2, 3]}}, "label": "{tile}/label.tif"}
    ended = command(prepare, described(root, more))
    assert "splits.areas is given without tiling: say how rasters are cut, as with tiling: {size: 4096}" in ended.err


def sheets(root, names):
    shapes = [rectangle(0, 64 * number, 64, 64 * number + 64) for number in range(len(names))]
    write_vector(root / "i.gpkg", shapes, {"n": np.array(names, object)})


def unplaced(root):
    write(root / "ortho.tif", noise("x", 3, SIZE))
    write(root / "label.tif", indices("x", (90, 90))[None])


def packed(root):
    zipped(root.parent / "ortho.zip", root).rename(root / "ortho.zip")
    (root / "ortho.tif").unlink()


RGB = {"pattern": "ortho.tif", "band_numbers": [1, 2, 3]}
WITH_HEIGHTS = {"modalities": {"rgb": RGB, "dsm": {"pattern": "dsm.tif", "kind": "elevation"}}}

CASES = {
    "too few": (
        lambda root: fill(root, (64, 128)),
        {},
        "splits.blocks deals none of 2 tiles out to test: give another seed, lower tiling.size, or name the ground",
    ),
    "unknown value": (
        lambda root: areas(root, ("train", "validation", "exam")),
        {"splits": IN_AREAS},
        "areas.gpkg has a value of split that splits.areas.values does not name, 'exam' (1 polygon): map each to "
        "train, validation, test, or to ignored",
    ),
    "unknown attribute": (
        areas,
        {"splits": {"areas": {"vector": "areas.gpkg", "attribute": "spilt"}}},
        "areas.gpkg has no attribute 'spilt' (did you mean 'split'?): there are split",
    ),
    "areas elsewhere": (
        lambda root: areas(root, shift=5000),
        {"splits": IN_AREAS},
        "areas.gpkg lies on ortho.tif: look whether the systems of both are right",
    ),
    "areas without a system": (
        lambda root: areas(root, crs=None),
        {"splits": IN_AREAS},
        "areas.gpkg names no coordinate reference system: give splits.areas.crs, such as EPSG:32633",
    ),
    "damaged areas": (
        lambda root: (root / "areas.gpkg").write_bytes(b"SQLite format 3\0" + bytes(200)),
        {"splits": IN_AREAS},
        "areas.gpkg",
    ),
    "two sheets of one name": (
        lambda root: sheets(root, ["a", "a"]),
        {"tiling": {"index": "i.gpkg", "attribute": "n"}},
        "i.gpkg has several polygons called a: name another attribute as tiling.attribute",
    ),
    "sheet without a name": (
        lambda root: sheets(root, [None]),
        {"tiling": {"index": "i.gpkg", "attribute": "n"}},
        "i.gpkg has a polygon without a value of n, which names the tiles",
    ),
    "sheets elsewhere": (
        lambda root: write_vector(root / "i.gpkg", [rectangle(5000, 0, 5064, 64)], {"n": ["a"]}),
        {"tiling": {"index": "i.gpkg", "attribute": "n"}},
        "i.gpkg lies on the raster that sets the grid",
    ),
    "sheet that is no name of a folder": (
        lambda root: sheets(root, ["a/b"]),
        {"tiling": {"index": "i.gpkg", "attribute": "n"}, "splits": {}},
        "the tile 'a/b' cannot be a folder of a store: rename its files",
    ),
    "two rasters": (
        lambda root: write(root / "more/ortho.tif", noise("x", 3, SIZE)),
        {"modalities": {"rgb": {"pattern": "**/ortho.tif", "band_numbers": [1, 2, 3]}}},
        "the pattern '**/ortho.tif' of rgb matches more/ortho.tif and ortho.tif: name one file, or put {tile} where",
    ),
    "in an archive": (
        packed,
        {"modalities": {"rgb": {"pattern": "**/ortho.tif", "band_numbers": [1, 2, 3]}}},
        "in an archive",
    ),
    "labels elsewhere": (
        lambda root: write(root / "label.tif", indices("x", SIZE)[None], **georeferenced(LEFT + 9000, TOP, PIXEL)),
        {},
        "label.tif does not overlap: it covers",
    ),
    "labels of nothing": (
        lambda root: write(root / "label.tif", np.full((1, *SIZE), 9, np.uint8), **georeferenced(LEFT, TOP, PIXEL)),
        {"ignored": [9]},
        "none of the 12 tiles of ortho.tif has both measured and labelled pixels",
    ),
    "heights elsewhere": (
        lambda root: write(root / "dsm.tif", surface("x", SIZE), **georeferenced(LEFT, TOP + 9000, PIXEL)),
        WITH_HEIGHTS,
        "dsm.tif does not overlap: it covers",
    ),
    "nothing measured": (
        lambda root: write(root / "dsm.tif", surface("x", SIZE) * np.nan, **georeferenced(LEFT, TOP, PIXEL)),
        WITH_HEIGHTS,
        "dsm.tif has no measured pixel on any tile: replace it, or leave dsm out",
    ),
    "another size without a georeference": (
        unplaced,
        {},
        "label.tif is 90 x 90 pixels where the tile is 256 x 192",
    ),
    "numbers that are no class": (
        lambda root: write(root / "label.tif", np.full((1, *SIZE), 77, np.uint8), **georeferenced(LEFT, TOP, PIXEL)),
        {},
        "none of the 12 tiles of ortho.tif has both measured and labelled pixels",
    ),
    "bands that there are not": (
        lambda root: None,
        {"modalities": {"rgb": {"pattern": "ortho.tif", "band_numbers": [1, 2, 8]}}},
        "ortho.tif has 3 bands where rgb needs 8",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_mistakes_in_files(command, root, name):
    spoil, more, said = CASES[name]
    spoil(root)
    for main in (check, prepare):
        ended = command(main, described(root, more))
        assert ended.code == 2
        assert "Traceback" not in ended.err
        assert sum("error:" in line for line in ended.err.splitlines()) == 1
        assert said in ended.err or (main is check and said in ended.out.replace("\n", " "))
    assert not (root / "mobanet_store/store.json").exists()


def test_check_tells_and_shows_the_split(command, root):
    areas(root)
    sheet = root.parent / "sheet.png"
    ended = command(check, [*described(root, {"splits": IN_AREAS | {"buffer": 10}}), "--sheet", str(sheet)])
    assert ended.code == 0, ended.err
    assert "full, train  full, validation  full, test" in ended.out
    picture = np.asarray(Image.open(sheet).convert("RGB")).astype(int)
    map_of_it = picture[120:470]
    blue, green = map_of_it[..., 2] - map_of_it[..., 0], map_of_it[..., 1] - map_of_it[..., 0]
    assert (blue > 40).mean() > 0.2  # training
    assert (green > 40).mean() > 0.1  # test, and some of the blue


def test_a_class_that_a_part_lacks_is_said(command, root):
    classes = indices("mosaic", SIZE)
    classes[96:, 128:][classes[96:, 128:] == 2] = 3
    write(root / "label.tif", classes[None], **georeferenced(LEFT, TOP, PIXEL))
    areas(root)
    ended = command(check, described(root, {"splits": IN_AREAS}))
    assert "no test tile has a pixel of c, whose figures will be those of no pixel" in ended.out.replace("\n", " ")


def test_many_tiles_make_a_sheet_that_can_be_looked_at(command, tmp_path):
    fill(tmp_path / "data", (64 * 7, 64 * 7))  # of more tiles than it shows
    sheet = tmp_path / "sheet.png"
    ended = command(check, [*described(tmp_path / "data"), "--sheet", str(sheet)])
    assert ended.code == 0, ended.err
    assert Image.open(sheet).height < 110 * (40 * 1.9 + 10)


@pytest.mark.long
def test_from_one_mosaic_to_figures(command, test, root, tmp_path):
    from mobanet.cli.commands import main

    areas(root)
    plain = small_experiment(root)
    folder = yaml.safe_load(Path(described(root, {"splits": IN_AREAS | {"buffer": 32}})[5]).read_text())
    plain["data"] |= {"layout": "folder", "folder": folder, "modalities": ["rgb"]}
    plain["data"]["evaluation"]["labels"] = "full"
    plain["model"]["streams"] = {"optical": ["rgb"]}
    plain["trainer"]["max_epochs"] = 1
    (tmp_path / "town.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    run = tmp_path / "run"
    words = ["--experiment", str(tmp_path / "town.yaml"), "--run", str(run), "--wandb", "off"]
    ended = command(main, "fit", words)
    assert ended.code == 0, ended.err
    tested = test("--ckpt_path", str(run / "checkpoints/best.ckpt"))
    assert tested.code == 0, tested.err
    assert "preparing tiles" not in tested.err
    tile = TileStore(root / "mobanet_store").tiles["r0_c1_train"]
    assert (load(tile, "label_full")[:, -32:] == 255).all()
