"""Own data whose tiles are called by two parts of their paths, and whose split is told by files beside the rasters."""

import copy
import pickle
import zipfile

import numpy as np
import pytest
import shapely
import yaml
from pyogrio.raw import write as write_features

from mobanet.cli.commands import main
from mobanet.data.datamodule import RasterDataModule
from mobanet.data.options import EvaluationSettings
from mobanet.datasets import get_layout, load_folder_settings
from mobanet.datasets.catalogue import list_files
from mobanet.prepare import main as prepare
from mobanet.store.stored import TileStore
from tests.data_files.fake_files import georeferenced, indices, noise, write

TILES = [("rome", "1"), ("rome", "2"), ("oslo", "1"), ("oslo", "2"), ("lima", "1")]
GOOD = {
    "modalities": {
        "rgb": {"pattern": "{tile1}/rgb/{tile1}-{tile2}.tif", "band_numbers": [1, 2, 3]},
        "sar": {"pattern": "{tile1}/sar/{tile2}.tif", "kind": "other"},
    },
    "label": "{tile1}/labels/{tile2}_lbl.tif",
    "classes": list("abcdef"),
    "values": {10: 0, 20: 1, 30: 2, 40: 3, 50: 4, 60: 5},
    "ignored": [0],
    "splits": {"train": ["rome_*"], "validation": ["oslo_1"], "test": ["oslo_2", "lima_*"]},
}
ROWS = [("rome_1", "train"), ("rome_2", "train"), ("oslo_1", "val"), ("oslo_2", "test"), ("lima_1", "test")]
PARTS = {"train": ["rome_1", "rome_2"], "validation": ["oslo_1"], "test": ["lima_1", "oslo_2"]}
LISTS = {"train": "lists/train.txt", "validation": "lists/val.txt", "test": "lists/test.txt"}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "cities"
    for number, (city, name) in enumerate(TILES):
        place = georeferenced(1000 * number, 2000, 1)
        write(folder / f"{city}/rgb/{city}-{name}.tif", noise(city + name, 3), **place)
        write(folder / f"{city}/sar/{name}.tif", noise(name + city, 1), **place)
        write(folder / f"{city}/labels/{name}_lbl.tif", (10 + 10 * indices(city + name))[None], **place)
    (folder / "lists").mkdir()
    (folder / "lists/train.txt").write_text("\ufeff../data/rome/rgb/rome-1.tif\r\n\r\nrome_2  # the second\r\n")
    (folder / "lists/val.txt").write_text("oslo_1.TIF\n")
    (folder / "lists/test.txt").write_text("oslo_2\nlima_1\n")
    (folder / "parts.csv").write_text("patch;fold\n" + "".join(f"{tile};{part}\n" for tile, part in ROWS))
    return folder


def described(root, splits=None, **changes):
    settings = {**copy.deepcopy(GOOD), **changes}
    settings["splits"] = GOOD["splits"] if splits is None else splits
    path = root.parent / "own.yaml"
    path.write_text(yaml.safe_dump(settings))
    return ["--root", str(root), "--layout", "folder", "--folder", str(path), "--workers", "1"]


def parts(root):
    """The split as the data module deals tiles out, from the store alone."""
    given = load_folder_settings(root.parent / "own.yaml")
    layout, store = get_layout("folder", given), TileStore(root / "mobanet_store")
    layout.recall_split(store.description.get("split"))
    split = layout.resolve_split("folder", store.tiles)
    return {part: sorted(getattr(split, part)) for part in ("train", "validation", "test")}


def table(root, name="parts.gpkg", rows=ROWS, points=True):
    columns = [np.array(column, object) for column in zip(*rows, strict=True)]
    places = shapely.to_wkb(shapely.points(np.zeros((len(rows), 2)))) if points else None
    kind = {"geometry_type": "Point", "crs": "EPSG:2154"} if points else {}
    write_features(root / name, places, columns, ["patch", "fold"], layer="patches", **kind)
    return {"path": name, "tile": "patch", "attribute": "fold"}


def test_ids_in_parts_and_labels_in_tens(command, root):
    ended = command(prepare, described(root))
    assert ended.code == 0, ended.err
    store = TileStore(root / "mobanet_store")
    assert sorted(store.tiles) == sorted(f"{city}_{name}" for city, name in TILES)
    assert parts(root) == PARTS
    tile = store.tiles["oslo_2"]
    assert tile.modalities["rgb"].source == "oslo/rgb/oslo-2.tif"
    assert tile.labels["full"].pixels == tuple(np.bincount(indices("oslo2").ravel(), minlength=6).tolist())


@pytest.mark.parametrize("kind", ["lists", "csv", "gpkg", "packed gpkg", "gpkg without a place"])
def test_files_tell_the_split(kind, command, root):
    if kind == "lists":
        splits = {"lists": LISTS}
    elif kind == "csv":
        splits = {"table": {"path": "parts.csv", "tile": "patch", "attribute": "fold"}}
    else:
        splits = {"table": table(root, points="without" not in kind)}
    if kind == "packed gpkg":
        with zipfile.ZipFile(root / "metadata.zip", "w") as archive:
            archive.write(root / "parts.gpkg", "inside/parts.gpkg")
        (root / "parts.gpkg").unlink()
        splits["table"]["path"] = "**/parts.gpkg"
    ended = command(prepare, described(root, splits))
    assert ended.code == 0, ended.err
    assert parts(root) == PARTS
    (root / "lists/train.txt").unlink()
    (root / "parts.csv").unlink()
    root.rename(root.parent / "elsewhere")  # a finished store is used as it is where the rasters are not at hand
    store = str(root.parent / "elsewhere/mobanet_store")
    folder = load_folder_settings(root.parent / "own.yaml")
    labels = EvaluationSettings(labels="full")
    data = RasterDataModule(str(root), "folder", store, folder, crop=32, evaluation=labels, num_workers=0)
    data.prepare_data()
    data.setup("fit")
    assert [tile.id for tile in data.tiles("train")] == PARTS["train"]
    assert [tile.id for tile in data.tiles("validation")] == PARTS["validation"]


def test_what_a_table_has_told_does_not_go_to_each_process_that_prepares_a_tile(root):
    rows = "".join(f"elsewhere_{number};test\n" for number in range(20000))
    (root / "parts.csv").write_text((root / "parts.csv").read_text() + rows)
    told = {"table": {"path": "parts.csv", "tile": "patch", "attribute": "fold"}, "incomplete": True}
    described(root, told)
    layout = get_layout("folder", load_folder_settings(root.parent / "own.yaml"))
    before = len(pickle.dumps(layout))
    layout.survey(list_files(root), ["rgb", "sar"])
    assert len(layout.told_split()["test"]) == 20002
    assert len(pickle.dumps(layout)) == before


def test_tiles_of_a_mosaic_are_dealt_out_by_a_table(command, root):
    write(root / "mosaic.tif", noise("m", 3, (128, 192)), **georeferenced(0, 2000, 1))
    write(root / "classes.tif", (10 + 10 * indices("m", (128, 192)))[None], **georeferenced(0, 2000, 1))
    cells = [f"r{row}_c{column}" for row in range(2) for column in range(3)]
    names = ("train", "validation", "test")
    (root / "cells.csv").write_text("cell,part\n" + "".join(f"{cell},{names[n % 3]}\n" for n, cell in enumerate(cells)))
    changes = {"modalities": {"rgb": {"pattern": "mosaic.tif", "band_numbers": [1, 2, 3]}}, "label": "classes.tif"}
    told = {"table": {"path": "cells.csv", "tile": "cell", "attribute": "part"}}
    ended = command(prepare, described(root, told, tiling={"size": 64}, **changes))
    assert ended.code == 0, ended.err
    assert parts(root) == {name: cells[n::3] for n, name in enumerate(names)}


def test_a_table_that_changes_changes_the_split_and_no_array(command, root):
    splits = {"table": {"path": "parts.csv", "tile": "patch", "attribute": "fold"}}
    assert command(prepare, described(root, splits)).code == 0
    arrays = {path: path.stat().st_ino for path in (root / "mobanet_store").rglob("*.npy")}
    (root / "parts.csv").write_text((root / "parts.csv").read_text().replace("rome_2;train", "rome_2;test"))
    assert command(prepare, described(root, splits)).code == 0
    assert parts(root)["test"] == ["lima_1", "oslo_2", "rome_2"]
    assert {path: path.stat().st_ino for path in (root / "mobanet_store").rglob("*.npy")} == arrays


def test_what_a_table_says_in_its_own_words(command, root):
    (root / "parts.csv").write_text("\ufeffid,part\nrome_1,1\nrome_2,1\noslo_1,2\noslo_2,3\nlima_1,9\n")
    told = {"path": "parts.csv", "tile": "id", "attribute": "part", "values": {1: "train", 2: "validation", 3: "test"}}
    ended = command(prepare, described(root, {"table": told}))
    assert ended.code == 0, ended.err
    assert "in no list of splits, and so not used: lima_1" in ended.err
    assert parts(root) == {"train": ["rome_1", "rome_2"], "validation": ["oslo_1"], "test": ["oslo_2"]}
    del told["values"]
    ended = command(prepare, described(root, {"table": told}))
    assert "parts.csv: no tile is in train, validation, test; look at the file, or name another" in ended.err
    assert ended.code == 2


def test_tiles_that_are_not_there_are_refused_or_left_out_and_said(command, root):
    (root / "lists/test.txt").write_text("oslo_2\nlima_1\nparis_1\nparis_2\n")
    ended = command(prepare, described(root, {"lists": LISTS}))
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == (
        "error: splits.lists names 2 tiles that are not there, paris_1, paris_2: add the files, or set "
        "splits.incomplete true to go without. There are lima_1, oslo_1, oslo_2, rome_1, rome_2."
    )
    ended = command(prepare, described(root, {"lists": LISTS, "incomplete": True}))
    assert ended.code == 0, ended.err
    assert "note: in a list of splits, and not there: paris_1, paris_2" in ended.err
    assert parts(root) == PARTS
    named = {"train": ["rome_*", "bonn_*"], "validation": ["oslo_1"], "test": ["oslo_2", "lima_9"]}
    ended = command(prepare, described(root, named))
    assert "splits.train names 'bonn_*', but no tile is called so: there are lima_1, " in ended.err
    assert "; correct it, or set splits.incomplete true to go without" in ended.err
    ended = command(prepare, described(root, {**named, "incomplete": True}))
    assert ended.code == 0, ended.err
    assert parts(root)["test"] == ["oslo_2"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"label": "{tile1}/labels/{tile}_lbl.tif"},
            "label is '{tile1}/labels/{tile}_lbl.tif': name a tile by {tile}, or by its parts {tile1}, {tile2}, …",
        ),
        (
            {"label": "**/labels/{tile2}_lbl.tif"},
            "label is '**/labels/{tile2}_lbl.tif', where {tile2} makes the id of a tile, and in modalities.rgb.pattern "
            "{tile1} and {tile2}: name the same parts in all patterns",
        ),
        (
            {"label": "{tile1}/labels/{tile2}_lbl_{tile3}.tif"},
            "where {tile1} and {tile2} and {tile3} make the id of a tile, and in modalities.rgb.pattern {tile1} and",
        ),
        (
            {"label": {"vector": "{tile}.gpkg", "attribute": "a", "values": {"x": "a"}}, "values": None, "ignored": []},
            "label.vector is '{tile}.gpkg', where {tile} makes the id of a tile, and in modalities.rgb.pattern {tile1}",
        ),
        (
            {"label": "https://host/{tile1}/{tile2}.tif"},
            "label is 'https://host/{tile1}/{tile2}.tif': write an address such as https://host/folder/{tile}.tif, "
            "without * and with {tile} alone",
        ),
        ({"splits": {"lists": {}}}, "splits.lists names no file: give the list of train, and of validation and test"),
        (
            {"splits": {"lists": {"train": "../a.txt"}}},
            "splits.lists.train is '../a.txt': give the path of one file below",
        ),
        (
            {"splits": {"lists": {"train": "{tile1}/a.txt"}}},
            "splits.lists.train is '{tile1}/a.txt': give the path of one file below the root, and put it there",
        ),
        (
            {"splits": {"incomplete": True}},
            "splits.incomplete says what becomes of tiles that are named and not there, and splits names none: leave",
        ),
        ({"splits": {"lists": {"train": "a.txt"}}}, "splits.lists.train 'a.txt' matches no file below"),
        (
            {"splits": {"lists": {"trian": "a.txt"}}},
            "splits.lists.trian is not a key of a description of data (did you",
        ),
        (
            {"splits": {"lists": LISTS, "test": ["rome_1"]}},
            "splits has lists and test: give areas, blocks or lists of tiles, here or in files (lists, table)",
        ),
        (
            {"splits": {"lists": LISTS, "table": {"path": "parts.csv", "tile": "a", "attribute": "b"}}},
            "splits has lists and table: give areas, blocks or lists",
        ),
        (
            {"splits": {"table": {"path": "parts.xlsx", "tile": "a", "attribute": "b"}}},
            "splits.table.path is 'parts.xlsx': name a table by its ending .csv, .gpkg, .shp, .geojson or .fgb",
        ),
        ({"splits": {"table": {"path": "parts.csv", "tile": "a"}}}, "splits.table.attribute is missing"),
        (
            {"splits": {"table": {"path": "parts.csv", "tile": "id", "attribute": "fold"}}},
            "parts.csv has no column 'id': there are patch, fold",
        ),
        (
            {"splits": {"table": {"path": "parts.csv", "tile": "patch", "attribute": "fold", "values": {1: "exam"}}}},
            "splits.table.values.1 is 'exam': give train, validation, test or ignored",
        ),
        (
            {"splits": {"table": {"path": "parts.csv", "tile": "patch", "attribute": "fold", "values": {}}}},
            "splits.table.values is empty: say which value",
        ),
    ],
)
def test_mistakes_in_settings(command, root, changes, said):
    ended = command(prepare, described(root, **changes))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said in ended.err
    assert not (root / "mobanet_store/store.json").exists()


def test_mistakes_in_files(command, root):
    def said(splits):
        ended = command(prepare, described(root, splits))
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
        return ended.err

    (root / "lists/val.txt").write_text("rome_1\n")
    assert "the tile rome_1 is in train and in validation; leave it in one." in said({"lists": LISTS})
    (root / "lists/val.txt").write_bytes(b"\xff\xfe\x00rome")
    assert "lists/val.txt is no text that can be read" in said({"lists": LISTS})
    for name in LISTS.values():
        (root / name).write_text("\n# none\n")
    assert ": no tile is in train, validation, test; look at the file, or name another." in said({"lists": LISTS})
    told = table(root)
    for change, words in (
        ({"attribute": "folds"}, "parts.gpkg has no attribute 'folds' (did you mean 'fold'?): there are patch, fold."),
        ({"layer": "tiles"}, "parts.gpkg has no layer 'tiles': there are patches."),
    ):
        line = said({"table": told | change})
        assert line.startswith("error: splits.table: ")
        assert words in line
    (root / "parts.gpkg").write_bytes(b"no database")
    assert said({"table": told}).startswith("error: splits.table: ")
    (root / "parts.csv").write_text("")
    told = {"path": "parts.csv", "tile": "patch", "attribute": "fold"}
    assert "parts.csv has no column 'patch': there are none." in said({"table": told})


def test_a_sensor_that_a_tile_lacks_is_named_by_where_its_file_should_be(command, root):
    (root / "oslo/sar/2.tif").unlink()
    ended = command(prepare, described(root))
    assert ended.code == 2
    assert "tile oslo_2 has no sar: oslo/sar/2.tif is missing" in ended.err
    ended = command(prepare, [*described(root), "--allow_missing", "true"])
    assert ended.code == 0, ended.err
    assert "sar" not in TileStore(root / "mobanet_store").tiles["oslo_2"].modalities


def test_two_files_of_one_id_are_refused(command, root):
    write(root / "rome_1/rgb/rome_1-x.tif", noise("x", 3))
    write(root / "rome/rgb/rome-1_x.tif", noise("y", 3))
    ended = command(prepare, described(root))
    assert "matches two files of the tile rome_1_x, rome/rgb/rome-1_x.tif and rome_1/rgb/rome_1-x.tif" in ended.err


def test_fit_says_what_a_store_of_another_split_lacks(command, root, tmp_path):
    assert command(prepare, described(root)).code == 0
    splits = {"table": {"path": "parts.csv", "tile": "patch", "attribute": "fold"}}
    described(root, splits)
    store = tmp_path / "cities/mobanet_store"
    store.rename(tmp_path / "store")
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    root.rmdir()
    own = str(root.parent / "own.yaml")
    words = ["--root", str(root), "--store", str(tmp_path / "store"), "--folder", own]
    words += ["--model.backbone.name", "vit_tiny_patch16_224", "--model.backbone.pretrained", "false"]
    ended = command(main, "fit", ["--layout", "folder", *words, "--run", str(tmp_path / "run"), "--wandb", "off"])
    assert "what is prepared does not say what splits.table tells: run python -m mobanet.prepare again" in ended.err
