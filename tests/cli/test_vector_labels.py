"""Labels from vector files through the commands: what is said of each mistake, and of what is only odd."""

import json
import shutil
import sqlite3

import numpy as np
import pytest
import shapely
import yaml

from mobanet.check import main as check
from mobanet.prepare import main as prepare
from tests.cli.conftest import small_experiment
from tests.data_files.fake_files import coloured, georeferenced, indices, load, noise, write, zipped
from tests.data_files.fake_vectors import CLASSES, LEFT, SYSTEM, TOP, VALUES, box, described, tiles, write_vector

SHAPES = [box(0, 0, 30, 30), box(10, 10, 50, 50), box(0, 0, 64, 40, 1)]
NAMES = ["building", "tree", "grass"]


def words(root, label=None, more=None):
    path = described(root.parent / "own.yaml", label or {}, more or {})
    return ["--layout", "folder", "--root", str(root), "--folder", str(path), "--workers", "1"]


@pytest.fixture
def root(tmp_path):
    """Two tiles side by side; tests add the vector file."""
    tiles(tmp_path / "data")
    return tmp_path / "data"


USUAL = dict[str, bytes]()
"""The file that most tests begin with, which takes a while to write."""


def cover(root, name="cover.gpkg", shapes=SHAPES, classes=NAMES, **more):
    if name != "cover.gpkg" or shapes is not SHAPES or classes is not NAMES or more:
        return write_vector(root / name, shapes, {"class": classes}, **more)
    if name not in USUAL:
        USUAL[name] = write_vector(root / name, shapes, {"class": classes}).read_bytes()
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(USUAL[name])
    return root / name


def labels(root):
    from mobanet.store.stored import TileStore

    return {id: load(tile, "label_full") for id, tile in TileStore(root / "mobanet_store").tiles.items()}


# mistakes that need no file


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"vector": "cover.tif"}, "label.vector is 'cover.tif': name a GeoPackage, shapefile, GeoJSON or FlatGeobuf"),
        ({"vector": "/vsicurl/http://x/cover.gpkg"}, "give its path below the root, and put it there"),
        ({"vector": "../cover.gpkg"}, "label.vector is '../cover.gpkg': give its path below the root"),
        ({"vector": "https://x/cover.gpkg"}, "label.vector is an address, where only rasters are read: download the"),
        ({"vector": "s3://x/{tile}.gpkg"}, "label.vector is an address, where only rasters are read: download the"),
        ({"vector": "nowhere.gpkg"}, "the pattern 'nowhere.gpkg' of label_full matches no file below"),
        ({"vector": "ortho/nowhere*.shp"}, "which holds ortho/a.tif, ortho/b.tif: correct it"),
        ({"values": {}}, "label.values is empty: say which value of the attribute is which class"),
        ({"values": {"tree": "treee"}}, "label.values.tree is 'treee', which is none of the classes building, tree"),
        ({"values": {None: "treee"}}, "label.values.null is 'treee', which is none of the classes"),
        ({"values": {17: "tree", "17.0": "grass"}}, "label.values has '17' and '17.0', which are the same value"),
        ({"background": "sky"}, "label.background is 'sky', which is none of the classes"),
        ({"order": ["building", "sky"]}, "label.order is 'sky', which is none of the classes"),
        ({"order": ["building", "tree"]}, "label.order lacks grass, to which label.values maps polygons"),
        ({"order": ["building", "tree", "grass", "tree"]}, "list each class once, from the bottom to the top"),
        ({"order": None}, "label.order is null: give a value, or take it out"),
        ({"background": None}, "label.background is null"),
        ({"all_touched": ["sky"]}, "label.all_touched is 'sky', which is none of the classes"),
        ({"crs": "EPSG:99"}, "label.crs is 'EPSG:99': give the code of a system, such as EPSG:25832"),
        ({"crs": "http://x/y"}, "label.crs is 'http://x/y': give the code of a system"),
        ({"atribute": "x"}, "label.atribute is not a key of a description of data (did you mean attribute?)"),
        ({"attribute": None}, "label.attribute is None where printable text is expected"),
        ({"values": {"tree": 1.5}}, "label.values.tree is '1.5', which is none of the classes"),
        ({"values": {"tree": ["tree"]}}, "label.values.tree is a list where printable text is expected"),
        ({"all_touched": "tree"}, "label.all_touched is 'tree' where true or false or a list is expected"),
    ],
)
def test_mistakes_in_the_settings(command, root, label, said):
    assert said in command(prepare, words(root, label)).sentence()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"label": "cover.gpkg"}, "label is 'cover.gpkg', a vector file (.gpkg): describe it as label: {vector: "),
        ({"eroded_label": "cover_{tile}.shp"}, "eroded_label is 'cover_{tile}.shp', a vector file (.shp)"),
        ({"values": {1: 0}}, "values says what label rasters hold, and label is a vector file"),
        ({"ignored": [3], "values": {1: 0}}, "values and ignored say what label rasters hold"),
        ({"classes": ["building", "tree", "grass", "ignored"]}, "classes has one named ignored, which under label"),
        ({"label": {"vector": "cover.gpkg", "values": {"tree": "tree"}}}, "label.attribute is missing"),
    ],
)
def test_mistakes_beside_the_settings(command, root, more, said):
    cover(root)
    assert said in command(prepare, words(root, more=more)).sentence()


# mistakes in files


def two_layers(root):
    cover(root, layer="houses")
    cover(root, layer="trees", append=True)


def truncated(name, share=0.6):
    def make(root):
        path = cover(root, name, SHAPES * 400, NAMES * 400, **({"SPATIAL_INDEX": "NO"} if "fgb" in name else {}))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return make


def without(ending, name="cover.shp"):
    def make(root):
        cover(root, name)
        (root / name).with_suffix(ending).unlink()

    return make


def text(name, content):
    return lambda root: (root / name).write_text(content)


def mixed(root):
    cover(root, shapes=[*SHAPES, shapely.Point(LEFT + 3, TOP - 3)], classes=[*NAMES, "tree"], kind="Unknown")


def viewed(root):
    """A layer that is a view would run SQL of the file."""
    path = cover(root)
    with sqlite3.connect(path) as database:
        database.execute("CREATE VIEW seen AS SELECT * FROM cover")
        database.execute("UPDATE gpkg_contents SET table_name = 'seen'")
        database.execute("UPDATE gpkg_geometry_columns SET table_name = 'seen'")
    database.close()


def contents_viewed(root):
    path = cover(root)
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE gpkg_contents RENAME TO kept")
        database.execute("CREATE VIEW gpkg_contents AS SELECT * FROM kept")
    database.close()


def computed(root):
    path = cover(root)
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE cover ADD COLUMN more TEXT GENERATED ALWAYS AS (upper(class)) VIRTUAL")
    database.close()


def undefined(root):
    path = cover(root)
    with sqlite3.connect(path) as database:
        for table in ("gpkg_contents", "gpkg_geometry_columns"):
            database.execute(f"UPDATE {table} SET srs_id = -1")
    database.close()


def unwritten(root):
    cover(root)
    (root / "cover.gpkg-wal").write_bytes(b"x")


def linked(root):
    path = cover(root, "cover.geojson")
    content = json.loads(path.read_text())
    content["crs"] = {"type": "link", "properties": {"href": "http://127.0.0.1:1/x", "type": "proj4"}}
    path.write_text(json.dumps(content))


FOUND = {
    "an attribute": (
        cover,
        {"attribute": "Klass"},
        "has no attribute 'Klass' (did you mean 'class'?): there are class",
    ),
    "an order": (cover, {"order": "height"}, "cover.gpkg has no attribute 'height': there are class"),
    "an order of words": (cover, {"order": "class"}, "has 'building' as class, which label.order takes for a number"),
    "values": (
        lambda root: cover(root, shapes=SHAPES * 2, classes=["road", "road", "Äcker", "tree", "road", None]),
        {},
        "has 2 values of class that label.values does not name, 'road' (3 polygons), 'Äcker' (1 polygon): map each to a"
        " class, or to ignored",
    ),
    "attributes that cannot be printed": (
        lambda root: write_vector(root / "cover.gpkg", SHAPES, {"a\x1b[31m": NAMES, "b" * 200: NAMES}),
        {},
        "has no attribute 'class': there are 'a\\x1b[31m', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb…'",
    ),
    "layers": (two_layers, {}, "has 2 layers with polygons, houses, trees: name one as label.layer"),
    "a layer": (two_layers, {"layer": "house"}, "no layer 'house' (did you mean 'houses'?): there are houses, trees"),
    "points": (
        lambda root: cover(root, shapes=[shapely.Point(LEFT, TOP)] * 3, kind="Point"),
        {},
        "has features of the type Point in the layer cover where polygons are needed",
    ),
    "lines": (
        lambda root: cover(
            root, "cover.shp", [shapely.LineString([(LEFT, TOP), (LEFT + 1, TOP)])] * 3, kind="LineString"
        ),
        {"vector": "cover.shp"},
        "has features of the type LineString in the layer cover where polygons are needed",
    ),
    "mixed types": (mixed, {}, "has a feature that is no polygon (1 Point; such as number 4): remove"),
    "no system": (
        lambda root: cover(root, crs=None),
        {},
        "cover.gpkg names no coordinate reference system: give label.crs, such as EPSG:32633",
    ),
    "a system that is none": (undefined, {}, "cover.gpkg names no coordinate reference system: give label.crs"),
    "a second system": (cover, {"crs": "EPSG:25833"}, "label.crs is EPSG:25833, and"),
    "a cut GeoPackage": (truncated("cover.gpkg"), {}, "cover.gpkg is cut short: fetch it again or remove it"),
    "a cut shapefile": (truncated("cover.shp"), {"vector": "cover.shp"}, "cover.shp is no shapefile, or cut short"),
    "a cut table": (
        lambda root: (
            cover(root, "cover.shp"),
            (root / "cover.dbf").write_bytes((root / "cover.dbf").read_bytes()[:90]),
        ),
        {"vector": "cover.shp"},
        "cover.shp is no shapefile, or cut short: fetch it and the files beside it again",
    ),
    "a cut GeoJSON": (truncated("cover.geojson"), {"vector": "cover.geojson"}, "is no GeoJSON, or cut short"),
    "a cut FlatGeobuf": (truncated("cover.fgb"), {"vector": "cover.fgb"}, "is unreadable or cut short: fetch it again"),
    "no index": (without(".shx"), {"vector": "cover.shp"}, "cover.shp lacks cover.shx, which holds the index"),
    "no table": (without(".dbf"), {"vector": "cover.shp"}, "cover.shp lacks cover.dbf, which holds the attributes"),
    "no projection": (without(".prj"), {"vector": "cover.shp"}, "cover.shp names no coordinate reference system"),
    "no polygon": (
        lambda root: cover(root, shapes=[], classes=[]),
        {},
        "cover.gpkg holds no polygon: export the polygons again",
    ),
    "a folder": (lambda root: (root / "cover.gpkg").mkdir(), {}, "where it is a folder: correct it"),
    "nothing": (text("cover.gpkg", ""), {}, "cover.gpkg is no GeoPackage, or cut short"),
    "VRT": (
        text("cover.gpkg", "<OGRVRTDataSource><OGRVRTLayer name='x'><SrcDataSource>/etc/passwd</SrcDataSource>"),
        {},
        "cover.gpkg is no GeoPackage, or cut short",
    ),
    "a pipeline": (
        text("cover.json", '{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read /etc/passwd"}'),
        {"vector": "cover.json"},
        "cover.json is no FeatureCollection of GeoJSON",
    ),
    "a link": (linked, {"vector": "cover.geojson"}, "names its coordinate reference system in a way that is not read"),
    "a view": (viewed, {}, "has a view or computed columns as seen, and SQL in a file is not run"),
    "a view of layers": (contents_viewed, {}, "has a view or computed columns as gpkg_contents"),
    "computed columns": (computed, {}, "has a view or computed columns as cover, and SQL in a file is not run"),
    "unwritten changes": (unwritten, {}, "has changes that are not written into it yet (cover.gpkg-wal)"),
    "GeoParquet": (
        text("cover.parquet", "PAR1"),
        {"vector": "cover.parquet"},
        "does not read: convert it, as with ogr2ogr",
    ),
    "an odd path": (
        lambda root: cover(root / "x").parent.rename(root / "x!y"),
        {"vector": "x!y/cover.gpkg"},
        "has '!' in its path, which stands for something else there: rename it",
    ),
    "a sign of addresses": (
        lambda root: cover(root).rename(root / "a%20b.gpkg"),
        {"vector": "a%20b.gpkg"},
        "has '%' in its path, which stands for something else there: rename it",
    ),
    "two files": (
        lambda root: (cover(root / "x"), cover(root / "y", shapes=SHAPES[:2], classes=NAMES[:2])),
        {"vector": "*/cover.gpkg"},
        "the pattern '*/cover.gpkg' of label.vector matches x/cover.gpkg and y/cover.gpkg: name one file",
    ),
}


@pytest.mark.parametrize("case", FOUND)
def test_mistakes_in_files(command, root, case):
    make, label, said = FOUND[case]
    make(root)
    sentence = command(prepare, words(root, label)).sentence()
    assert said in sentence
    assert sentence.count(said) == 1  # of all tiles


def test_polygons_in_another_place_are_refused_however_often_it_is_tried(command, root):
    away = shapely.transform(SHAPES, lambda points: points + 1e5)
    cover(root, shapes=away)
    said = "cover.gpkg lies on any tile, as on a (500000 to 500032, 5799968 to 5800000); cover.gpkg covers 600000 to"
    for each in (check, prepare, prepare):
        ended = command(each, words(root))
        assert ended.code == 2
        assert (ended.out + ended.err).count(said) == 1
    cover(root, shapes=[*away[:2], SHAPES[2]])  # mended
    ended = command(prepare, words(root))
    assert ended.code == 0, ended.err


def test_check_lists_all_that_is_wrong_once(command, root):
    cover(root, classes=["road", "tree", "rail"])
    shutil.copy(root / "ortho/a.tif", root / "ortho/c.tif")
    (root / "ortho/c.tif").write_bytes(b"x")
    ended = command(check, words(root))
    assert "has 2 problems, listed above" in ended.sentence()
    assert ended.out.count("that label.values does not name, 'rail' (1 polygon), 'road' (1 polygon)") == 1
    assert "c.tif is unreadable or cut short" in ended.out


def test_rasters_without_a_place_or_a_system(command, tmp_path):
    tiles(tmp_path / "data", crs=None)
    cover(tmp_path / "data")
    said = command(prepare, words(tmp_path / "data")).sentence()
    assert "cover.gpkg cannot be placed on a raster without georeference: put world files beside" in said


def test_rasters_in_a_place_of_an_unknown_system(command, tmp_path):
    place = {"transform": georeferenced(LEFT, TOP, 0.5)["transform"]}
    write(tmp_path / "data/ortho/a.tif", noise("a", 3, (64, 64)), **place)
    cover(tmp_path / "data")
    said = command(prepare, words(tmp_path / "data")).sentence()
    assert (
        "cover.gpkg lies in EPSG:32633 and the raster that sets the grid names no coordinate reference system" in said
    )
    ended = command(prepare, words(tmp_path / "data", more={"crs": SYSTEM}))
    assert ended.code == 0, ended.err
    assert np.unique(labels(tmp_path / "data")["a"]).tolist() == [0, 1, 255]


def test_rasters_in_a_wrong_system(command, tmp_path):
    tiles(tmp_path / "data", crs="EPSG:4326")
    cover(tmp_path / "data")
    said = command(prepare, words(tmp_path / "data")).sentence()
    assert "lies outside of where its system reaches: mend the system of either" in said


def test_a_layer_that_is_listed_and_not_there(command, root):
    path = cover(root)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE gpkg_contents SET table_name = 'gone'")
        database.execute("UPDATE gpkg_geometry_columns SET table_name = 'gone'")
    database.close()
    assert "cover.gpkg lists the layer gone and does not hold it" in command(prepare, words(root)).sentence()


def test_large_geojson_is_sent_to_a_format_with_an_index(command, root, monkeypatch):
    cover(root, "cover.geojson", SHAPES * 9, NAMES * 9)
    monkeypatch.setattr("mobanet.datasets.geojson.MOST_BYTES", 1 << 10)
    said = command(prepare, words(root, {"vector": "cover.geojson"})).sentence()
    assert "has more than 1 kB of GeoJSON, which has no spatial index: convert it, as with ogr2ogr cover.gpkg" in said


def test_what_cannot_be_read(command, root, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    cover(root)
    monkeypatch.setattr("mobanet.datasets.vector_files._check_content", refused)
    said = command(prepare, words(root)).sentence()
    assert said.endswith("cover.gpkg cannot be read (Permission denied): mend its permissions or remove it.")


# what is said, and not refused


def test_check_and_prepare_say_what_is_odd_and_agree(command, root):
    bow = shapely.Polygon([(LEFT + 20, TOP - 22), (LEFT + 30, TOP - 30), (LEFT + 30, TOP - 22), (LEFT + 20, TOP - 30)])
    write_vector(
        root / "cover.gpkg",
        [box(0, 0, 20, 20), bow, None, box(40, 0, 50, 10)],
        {"class": ["building", "tree", "tree", None], "layer": np.array([2.0, np.nan, 1, 1])},
    )
    given = words(root, {"values": {**VALUES, "Straße": "grass"}, "order": "layer"})
    checked, prepared = command(check, given), command(prepare, given)
    assert (checked.code, prepared.code) == (0, 0), checked.err + prepared.err
    for said in (checked.out, prepared.out + prepared.err):
        assert "note: cover.gpkg has 1 feature without an outline that can be read" in said
        assert (
            said.count("label.values names 'grass', 'Straße', which no polygon of cover.gpkg has as class, whose ") == 1
        )
        assert "tile a: label_full: 1 polygon of cover.gpkg with an invalid outline, which was repaired" in said
        assert "tile a: label_full: 1 polygon of cover.gpkg without a value of class, ignored" in said
        assert "tile a: label_full: 1 polygon of cover.gpkg without a value of layer, beneath all others" in said
        assert "tile b: label_full: no polygon lies on the tile (500032 to 500064, 5799968 to 5800000); cover" in said
        assert "has a pixel of the class grass, which cannot be learnt so" in said
    assert "label_full  cover.gpkg   64 x 64  3 outlines" in checked.out
    found = labels(root)
    assert (found["b"] == 255).all()
    assert (found["a"][:20, :20] == 0).all()


def test_classes_and_attributes_in_any_alphabet(command, root):
    names = ["Gebäude", "дерево", "草地"]
    write_vector(root / "Bodenbedeckung ü.shp", SHAPES, {"Kläß": ["Häuser", "лес", "草"]}, encoding="UTF-8")
    label = {
        "vector": "Bodenbedeckung ü.shp",
        "attribute": "Kläß",
        "values": dict(zip(["Häuser", "лес", "草"], names, strict=True)),
    }
    ended = command(prepare, words(root, label, {"classes": names}))
    assert ended.code == 0, ended.err
    assert [np.unique(found).tolist() for found in labels(root).values()] == [[0, 1, 255], [2, 255]]


def test_keys_are_taken_as_they_are_written(command, root):
    cover(root, classes=["010", "no", "1e3"])
    text = described(root.parent / "own.yaml", {}, {}).read_text()
    start, end = text.index("  values:"), text.index("classes:")
    assert start > end
    written = text[:start] + "  values: {010: building, no: tree, 1e3: grass}\n"
    (root.parent / "own.yaml").write_text(written)
    given = ["--layout", "folder", "--root", str(root), "--folder", str(root.parent / "own.yaml"), "--workers", "1"]
    ended = command(prepare, given)
    assert ended.code == 0, ended.err
    assert [np.unique(found).tolist() for found in labels(root).values()] == [[0, 1, 255], [2, 255]]


def test_one_file_a_tile_and_layers_without_polygons(command, root):
    cover(root, "cover/a.gpkg", SHAPES[:2], NAMES[:2])
    write_vector(
        root / "cover/a.gpkg", [shapely.Point(0, 0)], {"note": ["x"]}, layer="points", kind="Point", append=True
    )
    ended = command(
        prepare, words(root, {"vector": "cover/{tile}.gpkg", "values": {"building": "building", "tree": "tree"}})
    )
    assert ended.code == 0, ended.err
    assert list(labels_of(root)) == ["a"]


def labels_of(root):
    from mobanet.store.stored import TileStore

    return {id: tile for id, tile in TileStore(root / "mobanet_store").tiles.items() if "full" in tile.labels}


def test_packed_files_are_those_that_are_not(command, root, tmp_path):
    cover(root, "cover.shp")
    plain = command(prepare, words(root, {"vector": "cover.shp"}))
    assert plain.code == 0, plain.err
    wanted = labels(root)
    shutil.rmtree(root / "mobanet_store")
    for path in list(root.glob("cover.*")):
        path.rename(tmp_path / path.name)
    (tmp_path / "packed").mkdir()
    for path in tmp_path.glob("cover.*"):
        path.rename(tmp_path / "packed" / path.name)
    zipped(root / "all.zip", tmp_path / "packed")
    packed = command(prepare, words(root, {"vector": "all/cover.shp"}))
    assert packed.code == 0, packed.err
    for id, found in labels(root).items():
        assert np.array_equal(found, wanted[id])


# stamps


def test_what_changes_the_label_draws_it_anew_and_nothing_else_does(command, root):
    import os

    path, label = cover(root, "cover.shp"), {"vector": "cover.shp"}

    def built(**more):
        ended = command(prepare, words(root, label | more))
        assert ended.code == 0, ended.err
        return "preparing tiles: 2 of 2" in ended.err

    assert built()
    assert not built()
    for ending in (".shp", ".dbf", ".prj"):
        os.utime(path.with_suffix(ending), ns=(1, 1))
        assert built(), ending
        assert not built()
    for more in ({"all_touched": True}, {"background": "grass"}, {"order": ["grass", "tree", "building"]}):
        assert built(**more), more
        assert not built(**more)
    assert labels(root)["a"][12, 12] == 0
    (root / "cover.cpg").unlink(missing_ok=True)
    assert built(order=["grass", "tree", "building"])


# with others


def test_a_raster_beside_with_a_margin_ignored(command, root):
    cover(root)
    for tile in "ab":
        place = georeferenced(LEFT + 32 * (tile == "b"), TOP, 0.5)
        write(root / f"eroded/{tile}.tif", coloured(indices(tile, (64, 64)) % 3), **place)
    more = {"eroded_label": "eroded/{tile}.tif", "colours": [[255, 255, 255], [0, 0, 255], [0, 255, 255]]}
    given = words(root, more=more)
    for each in (check, prepare):
        ended = command(each, given)
        assert ended.code == 0, ended.out + ended.err
    from mobanet.store.stored import TileStore

    tile = TileStore(root / "mobanet_store").tiles["a"]
    assert np.array_equal(load(tile, "label_eroded"), indices("a", (64, 64)) % 3)
    assert load(tile, "label_full")[0, 0] == 0


def test_from_polygons_to_figures(command, test, tmp_path):
    from mobanet.cli.commands import main

    names = ("a", "b", "c", "d")
    tiles(tmp_path / "data", names)
    shapes = [box(0, 0, 64, 30, n) for n in range(4)] + [box(0, 20, 64, 64, n) for n in range(4)]
    write_vector(tmp_path / "data/cover.gpkg", shapes, {"class": np.array([17] * 4 + [18] * 4)})
    folder = {
        "modalities": {"rgb": {"pattern": "ortho/{tile}.tif", "band_numbers": [1, 2, 3], "maximum": 255}},
        "classes": CLASSES[:2],
        "label": {
            "vector": "cover.gpkg",
            "attribute": "class",
            "values": {17: "building", 18: "tree", None: "ignored"},
        },
        "splits": {"train": ["a", "b"], "validation": ["c"], "test": ["d"]},
    }
    plain = small_experiment(tmp_path / "data")
    plain["data"] |= {"layout": "folder", "folder": folder, "modalities": ["rgb"]}
    plain["data"]["evaluation"]["labels"] = "full"
    plain["model"]["streams"] = {"optical": ["rgb"]}
    plain["trainer"]["max_epochs"] = 1
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    given = ["--experiment", str(tmp_path / "small.yaml"), "--run", str(tmp_path / "run"), "--wandb", "off"]
    trained = command(main, "fit", given)
    assert trained.code == 0, trained.err
    tested = test("--ckpt_path", str(tmp_path / "run/checkpoints/best.ckpt"))
    assert tested.code == 0, tested.err
    assert "preparing tiles" not in tested.err  # the settings of the run are those of the store
    assert SYSTEM in (tmp_path / "data/mobanet_store/tiles/d/tile.json").read_text()
