from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from mobanet.data.datamodule import RasterDataModule
from mobanet.data.options import EvaluationSettings
from mobanet.datasets import FolderModality, FolderSettings, FolderSplit, get_layout, load_folder_settings
from mobanet.datasets.catalogue import Catalogue, Entry, Listings
from mobanet.errors import UserError
from mobanet.plain.wording import natural_key
from mobanet.plain.yaml_files import bound_parsers
from mobanet.rasters.contents import FileRef
from mobanet.rasters.grid import Grid
from mobanet.store.build import build_store
from mobanet.store.check import check_files
from mobanet.store.sheet import draw_sheet
from mobanet.store.summary import grid_words
from mobanet.store.tables import print_findings, print_store
from tests.data_files.fake_files import coloured, georeferenced, indices, load, noise, surface, write, zipped

COLOURS = [(255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)]
NAMES = list("abcdef")


def settings(**changes):
    given = {
        "modalities": {
            "rgb": FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3]),
            "dsm": FolderModality("height/{tile}/dsm.tif", kind="elevation", unit="metre"),
        },
        "classes": NAMES,
        "label": "label/{tile}.tif",
        "colours": COLOURS,
    }
    return FolderSettings(**(given | changes))


def fill(root, tiles=("north_1", "north_2", "south_1")):
    for tile in tiles:
        write(root / f"ortho/{tile}.tif", noise(tile, 3))
        write(root / f"height/{tile}/dsm.tif", surface(tile))
        write(root / f"label/{tile}.tif", coloured(indices(tile)))


def build(root, **changes):
    return build_store(get_layout("folder", settings(**changes)), root, workers=1)


def test_own_data(root):
    fill(root)
    store = build(root)
    assert list(store.tiles) == ["north_1", "north_2", "south_1"]
    assert store.modalities["dsm"].unit == "metre"
    tile = store.tiles["north_1"]
    assert np.array_equal(load(tile, "rgb"), noise("north_1", 3).transpose(1, 2, 0))
    assert np.array_equal(load(tile, "dsm")[:, :, 0], surface("north_1")[0])
    assert np.array_equal(load(tile, "label_full"), indices("north_1"))


def test_label_values(root):
    fill(root, ["one"])
    write(root / "label/one.tif", (indices("one") * 10 + 3)[None].astype(np.uint16))
    values = {3: 1, 13: 0, 23: 2, 33: 3, 43: 4}
    tile = build(root, colours=None, values=values, ignored=[53]).tiles["one"]
    wanted = np.array([1, 0, 2, 3, 4, 255], np.uint8)[indices("one")]
    assert np.array_equal(load(tile, "label_full"), wanted)
    assert tile.labels["full"].unknown == 0
    again = build(root, colours=None, values=values | {53: 5}).tiles["one"]  # another rule: read again
    assert np.array_equal(load(again, "label_full"), np.array([1, 0, 2, 3, 4, 5], np.uint8)[indices("one")])


def test_factor_nodata_bands_and_eroded_label(root):
    write(root / "all/a.tif", noise("a", 5).astype(np.uint16))
    write(root / "all/a_dsm.tif", noise("d", 1))
    write(root / "all/a_gt.tif", coloured(indices("a")))
    write(root / "all/a_gt_eroded.tif", coloured(indices("a")))
    tile = build(
        root,
        modalities={
            "nir": FolderModality("all/{tile}.tif", band_numbers=[5, 1], names=["nir", "blue"], maximum=2047),
            "dsm": FolderModality("all/{tile}_dsm.tif", kind="elevation", factor=0.5, nodata=7),
        },
        label="all/{tile}_gt.tif",
        eroded_label="all/{tile}_gt_eroded.tif",
    ).tiles["a"]
    assert np.array_equal(load(tile, "nir"), noise("a", 5)[[4, 0]].transpose(1, 2, 0))
    assert load(tile, "nir").dtype == np.uint16
    raw = noise("d", 1)[0]
    assert np.array_equal(load(tile, "dsm.valid") == 0, raw == 7)
    assert np.array_equal(load(tile, "dsm")[raw != 7, 0], raw[raw != 7] * np.float32(0.5))
    assert set(tile.labels) == {"full", "eroded"}


def test_bands_counted_from_0_are_read_as_they_were_and_what_is_said_of_them_reads_the_same(root, capsys):
    fill(root, ["one"])
    rgb = FolderModality("ortho/{tile}.tif", bands=[2, 0])
    former = build(root, modalities={"rgb": rgb})
    assert former.modalities["rgb"].bands == ("rgb_0", "rgb_1")
    assert np.array_equal(load(former.tiles["one"], "rgb"), noise("one", 3)[[2, 0]].transpose(1, 2, 0))
    told = capsys.readouterr().err
    build(root, modalities={"rgb": rgb})
    assert told.startswith(
        "hint: modalities.rgb.bands [2, 0] counts from 0, and is read so; band_numbers: [3, 1], names: "
    )
    assert "hint" not in capsys.readouterr().err  # said once
    key, names = told.splitlines()[0].partition("; ")[2].partition(" says ")[0].split(", names: ")
    given = yaml.safe_load(f"{{pattern: 'ortho/{{tile}}.tif', {key}, names: {names}}}")
    pixels = former.tiles["one"].path("rgb")
    written = pixels.stat().st_mtime_ns
    store = build(root, modalities={"rgb": FolderModality(**given)})
    assert store.description == former.description
    assert pixels.stat().st_mtime_ns == written
    named = build(root, modalities={"rgb": FolderModality("ortho/{tile}.tif", band_numbers=[3, 1])})
    assert named.modalities["rgb"].bands == ("rgb_1", "rgb_2")
    assert "hint" not in capsys.readouterr().err


def test_packed_data(root, tmp_path):
    fill(tmp_path / "plain", ["one"])
    zipped(root / "delivery.zip", tmp_path / "plain")
    assert list(build(root).tiles) == ["one"]
    zipped(root / "delivery.zip", tmp_path / "plain/ortho")
    zipped(root / "rest.zip", tmp_path / "plain", prefix="x/")
    modalities = {"rgb": FolderModality("delivery/{tile}.tif", band_numbers=[1, 2, 3])}
    assert list(build(root, modalities=modalities, label="**/label/{tile}.tif").tiles) == ["one"]


def test_two_grids(root):
    """Ortho 64 x 60 pixels of 1 m; surface model 40 x 40 of 2 m, larger than the tile; label of half the size."""
    rows, columns = np.mgrid[0:40, 0:40]
    plane = (100 + columns * 2 + rows * 4).astype(np.float32)  # metres, linear in both directions
    plane[0:7] = np.nan
    write(root / "ortho/a.tif", noise("a", 3), **georeferenced(1000, 2000, 1))
    write(root / "height/a/dsm.tif", plane[None], **georeferenced(990, 2010, 2))
    write(root / "label/a.tif", coloured(indices("l", (30, 32))), **georeferenced(1000, 2000, 2))
    tile = build(root).tiles["a"]
    assert (tile.height, tile.width, tile.crs) == (60, 64, "EPSG:32633")
    # the centre of pixel (0, 0) of the tile is at x 1000.5, y 1999.5: 5.25 pixels into the model
    y, x = np.mgrid[0:60, 0:64]
    expected = 100 + ((x + 0.5 + 10) / 2 - 0.5) * 2 + ((y + 0.5 + 10) / 2 - 0.5) * 4
    got, valid = load(tile, "dsm")[:, :, 0], load(tile, "dsm.valid").astype(bool)
    assert not valid[:3].any()  # the first seven rows of the model end at row 4 of the tile
    assert valid[4:].all()
    assert np.abs(got - expected)[5:].max() < 1e-3
    assert np.isfinite(got).all()
    assert np.array_equal(load(tile, "label_full"), indices("l", (30, 32)).repeat(2, 0).repeat(2, 1))
    assert any("(40 x 40 pixels) was resampled to the tile's 64 x 60" in note for note in tile.notes)


def test_partial_cover_and_another_crs(root):
    write(root / "ortho/a.tif", noise("a", 3), **georeferenced(367000, 5810000, 1))
    write(root / "height/a/dsm.tif", surface("h", (60, 30)), **georeferenced(367000, 5810000, 1))
    label = coloured(np.full((200, 200), 3, np.uint8))
    write(root / "label/a.tif", label, **georeferenced(13.0424, 52.425, 1e-5, "EPSG:4326"))
    tile = build(root).tiles["a"]
    valid = load(tile, "dsm.valid")
    assert valid[:, :30].all()
    assert not valid[:, 31:].any()
    assert set(np.unique(load(tile, "label_full"))) <= {3, 255}
    assert (load(tile, "label_full") == 3).mean() > 0.3


def test_no_overlap_and_no_georeference(root):
    write(root / "ortho/a.tif", noise("a", 3), **georeferenced(1000, 2000, 1))
    write(root / "height/a/dsm.tif", surface("a"), **georeferenced(1000, 2000, 1))
    write(root / "label/a.tif", coloured(indices("a")), **georeferenced(5000, 2000, 1))
    with pytest.raises(UserError, match=r"label/a\.tif does not overlap: it covers 5000 to 5064, 1940 to 2000, the t"):
        build(root)
    write(root / "label/a.tif", coloured(indices("a", (30, 32))))
    with pytest.raises(UserError, match=r"label/a\.tif is 32 x 30 pixels where the tile is 64 x 60"):
        build(root)
    write(root / "label/a.tif", coloured(indices("a")), transform=georeferenced(1000, 2000, 1)["transform"])
    with pytest.raises(UserError, match="names no coordinate reference system: give the key crs"):
        build(root)
    assert len(build(root, crs="EPSG:32633").tiles) == 1


def test_splits_with_patterns(root):
    fill(root)
    layout = get_layout("folder", settings(splits=FolderSplit(["north_*"], [], ["south_1"])))
    tiles = build_store(layout, root, workers=1).tiles
    split = layout.resolve_split("folder", tiles)
    assert (split.train, split.validation, split.test) == (("north_1", "north_2"), (), ("south_1",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": FolderSplit(["north_*"], ["north_1"], [])}, "tile north_1 is in splits.train and in splits.val"),
        ({"splits": FolderSplit(["west"], [], [])}, "splits.train names 'west', but no tile is called so"),
        ({"label": "lable/{tile}.tif"}, "pattern 'lable/{tile}.tif' of label_full matches no file"),
        ({"label": "label/a.tif"}, "label is 'label/a.tif', without {tile}"),
        ({"label": "ortho/{tile}.tif"}, "has the pattern of something else"),
        ({"colours": None}, "label is given without colours or values"),
        ({"colours": COLOURS[:5]}, "colours has 5 entries for 6 classes"),
        ({"colours": [*COLOURS[:5], (0, 0, 256)]}, r"colours has \[0, 0, 256\]"),
        ({"colours": [*COLOURS[:5], (0, 0, 250)], "distance": 4}, "5 apart, too near"),
        ({"values": {1: 6}}, "values maps to class 6, but classes go from 0 to 5"),
        ({"values": {1: 0}, "ignored": [1]}, "1 is in values and in ignored"),
        ({"averaged": ["z"]}, "averaged is"),
        ({"classes": ["a"]}, "give at least two different names"),
        ({"modalities": {}}, "modalities is empty"),
        ({"modalities": {"a+b": FolderModality("x/{tile}.tif")}}, r"modalities names 'a\+b': use letters, digits"),
        ({"modalities": {"full": FolderModality("x/{tile}.tif")}}, "neither all nor full"),
        (
            {"modalities": {"rgb": FolderModality("x/{tile}.tif", band_numbers=[])}},
            r"rgb\.band_numbers is \[\]: list .* 1",
        ),
        (
            {"modalities": {"rgb": FolderModality("x/{tile}.tif", band_numbers=[0, 1])}},
            r"is \[0, 1\]: list band .* 1 on",
        ),
        (
            {"modalities": {"rgb": FolderModality("x/{tile}.tif", bands=[-1])}},
            r"rgb\.bands is \[-1\]: list .* from 0 on",
        ),
        (
            {"modalities": {"rgb": FolderModality("x/{tile}.tif", band_numbers=[4], bands=[3])}},
            "modalities.rgb has band_numbers and bands, from 1 and from 0: leave bands out",
        ),
        ({"modalities": {"rgb": FolderModality("x/{tile}.tif", names=["a", "b"])}}, "2 names for 1 bands"),
        ({"modalities": {"rgb": FolderModality("x/{tile}.tif")}}, "pattern 'x/{tile}.tif' of rgb matches no file"),
        ({"modalities": {"rgb": FolderModality("ortho/{tile}.tif")}}, "has 3 bands where rgb needs 1"),
    ],
)
def test_mistakes(root, changes, message):
    fill(root)
    with pytest.raises(UserError, match=message):
        build(root, **changes)


def test_settings_from_yaml(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        """
        modalities:
          rgb: {pattern: "ortho/{tile}.tif", band_numbers: [1, 2, 3]}
          dsm: {pattern: "height/{tile}/dsm.tif", kind: elevation, unit: metre}
        classes: [a, b]
        label: "label/{tile}.tif"
        values: {1: 0, 2: 1}
        ignored: [0]
        splits: {train: [x*], test: [y]}
        """
    )
    given = load_folder_settings(path)
    assert list(given.modalities) == ["rgb", "dsm"]
    assert given.values == {1: 0, 2: 1}
    assert given.splits.train == ["x*"]
    path.write_text(path.read_text().replace("ignored", "ingored"))
    with pytest.raises(
        UserError, match=r"own\.yaml: ingored is not a key of a description of data \(did you mean ignored"
    ):
        load_folder_settings(path)
    with pytest.raises(UserError, match="cannot be read"):
        load_folder_settings(tmp_path / "nowhere.yaml")
    path.write_text("a: [")
    with pytest.raises(UserError, match="is not valid YAML"):
        load_folder_settings(path)


@pytest.mark.parametrize("tile", ["a\nb", "a\x1b[31m", "ü\udcff", "n" * 201, "a\\b"])
def test_a_tile_whose_name_no_folder_can_have(root, tile):
    fill(root, ["one"])
    for name in ("ortho/{}.tif", "height/{}/dsm.tif", "label/{}.tif"):
        source, target = root / name.format("one"), root / name.format(tile)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    with pytest.raises(UserError, match=r"the tile '.* cannot be a folder of a store: rename its files|has the char"):
        build(root)
    assert not (root / "mobanet_store/store.json").exists()


@pytest.mark.parametrize("name", ["a\nb", "", "x" * 61, "\x1b[0m"])
def test_classes_whose_names_no_table_can_hold(name):
    with pytest.raises(UserError, match="a modality or class is named"):
        get_layout("folder", settings(classes=[name, *NAMES[1:]]))


def two_pixel_sizes(root, tiles=("a",), ortho=None):
    """Orthophotos of 1 m and surface models of 2 m, with labels like the orthophotos."""
    for number, tile in enumerate(tiles):
        left = 1000 + 100 * number
        if ortho is None or tile in ortho:
            write(root / f"ortho/{tile}.tif", noise(tile, 3), **georeferenced(left, 2000, 1))
        write(root / f"height/{tile}/dsm.tif", surface(tile, (30, 32)), **georeferenced(left, 2000, 2))
        write(root / f"label/{tile}.tif", coloured(indices(tile)), **georeferenced(left, 2000, 1))


def build_for(root, *modalities, **changes):
    allow_missing = changes.pop("allow_missing", False)
    layout = get_layout("folder", settings(**changes))
    return build_store(layout, root, modalities=list(modalities), workers=1, allow_missing=allow_missing)


def sizes(store):
    return {tile.id: (tile.reference, tile.height, tile.width) for tile in store.tiles.values()}


def test_the_first_modality_described_sets_the_grid_whichever_are_asked_for(root):
    two_pixel_sizes(root)
    for modalities in (["dsm"], ["dsm", "rgb"], ["rgb"], ["dsm"]):
        assert sizes(build_for(root, *modalities)) == {"a": ("rgb", 60, 64)}
    reversed_order = dict(reversed(settings().modalities.items()))
    for modalities in (["rgb"], ["rgb", "dsm"]):
        assert sizes(build_for(root, *modalities, modalities=reversed_order)) == {"a": ("dsm", 30, 32)}


def test_a_modality_can_be_named_for_the_grid_and_another_name_renews_the_store(root):
    two_pixel_sizes(root)
    assert sizes(build_for(root, "rgb", "dsm")) == {"a": ("rgb", 60, 64)}
    store = build_for(root, "rgb", grid="dsm")
    assert sizes(store) == {"a": ("dsm", 30, 32)}
    assert load(store.tiles["a"], "rgb").shape == (30, 32, 3)
    with pytest.raises(UserError, match="grid is 'dms', which is none of the modalities rgb, dsm"):
        build_for(root, "rgb", grid="dms")


def test_a_changed_raster_of_the_grid_renews_what_lies_on_it(root):
    two_pixel_sizes(root)
    build_for(root, "rgb", "dsm")
    write(root / "ortho/a.tif", noise("a", 3, (30, 32)), **georeferenced(1000, 2000, 2))
    store = build_for(root, "dsm")
    assert sizes(store) == {"a": ("rgb", 30, 32)}
    assert load(store.tiles["a"], "dsm").shape == (30, 32, 1)


def test_a_tile_that_lacks_the_modality_of_the_grid_has_pixels_of_its_size_all_the_same(root):
    two_pixel_sizes(root, ("a", "b"), ortho=("a",))
    store = build_for(root, "rgb", "dsm", allow_missing=True)
    assert sizes(store) == {"a": ("rgb", 60, 64), "b": ("dsm", 60, 64)}
    assert store.tiles["b"].transform == (1, 0, 1100, 0, -1, 2000)
    assert np.array_equal(load(store.tiles["b"], "label_full"), indices("b"))
    assert sizes(build_for(root, "dsm")) == sizes(store)
    for path in root.glob("ortho/*"):
        path.unlink()
    assert {size[1:] for size in sizes(build_for(root, "dsm")).values()} == {(30, 32)}


def test_the_protocol_names_the_grid(root):
    two_pixel_sizes(root, ("a", "b", "c"))
    for tile, left in (("a", 367000), ("b", 367100), ("c", 367200)):
        write(root / f"ortho/{tile}.tif", noise(tile, 3), **georeferenced(left, 5810000, 0.25))
        write(root / f"height/{tile}/dsm.tif", surface(tile, (30, 32)), **georeferenced(left, 5810000, 0.5))
        write(root / f"label/{tile}.tif", coloured(indices(tile)), **georeferenced(left, 5810000, 0.25))
    for grid, words in ((None, "that of rgb, pixels of 0.25 m"), ("dsm", "that of dsm, pixels of 0.5 m")):
        data = RasterDataModule(
            str(root),
            layout="folder",
            folder=settings(splits=FolderSplit(["a"], ["b"], ["c"]), grid=grid),
            modalities=["dsm"],
            evaluation=EvaluationSettings(labels="full"),
        )
        data.prepare_data()
        data.setup("fit")
        data.setup("test")
        assert data.protocol("test")["grid"] == data.protocol("validation")["grid"] == words


def test_pixels_on_the_ground_are_told_from_the_smallest_on():
    grids = [Grid(8, 8, (size, 0, 367000, 0, -size, 5810000), "EPSG:32633") for size in (10, 0.5, 0.25)]
    tiles = [SimpleNamespace(reference="rgb", grid=grid) for grid in grids]
    assert grid_words(tiles) == "that of rgb, pixels of 0.25 m, 0.5 m, 10 m"


ODD_IDS = "[3_10, 010, 1e3, 0x1f, 2:30, 2024-01-01, no, ~, 7, '8', north_*]"
WRITTEN = ["3_10", "010", "1e3", "0x1f", "2:30", "2024-01-01", "no", "~", "7", "8", "north_*"]


@pytest.mark.parametrize(
    "way", ["splits: {{validation: {0}}}", "splits:\n  validation: {0}", '"splits": {{validation: {0}}}']
)
def test_tiles_are_called_what_the_file_says(tmp_path, way):
    path = tmp_path / "own.yaml"
    path.write_text("modalities: {rgb: {pattern: 'a/{tile}.tif'}}\nclasses: [a, b]\n" + way.format(ODD_IDS))
    given = load_folder_settings(path)
    assert given.splits.validation == WRITTEN
    config = tmp_path / "config.yaml"
    lines = "".join(f"    {line}\n" for line in path.read_text().splitlines())
    config.write_text(f"data:\n  root: .\n  layout: folder\n  crop: 1_28\n  folder:\n{lines}")
    bound_parsers()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(RasterDataModule, "data")
    parsed = parser.parse_args(["--config", str(config)])
    assert list(parsed.data.folder.splits.validation) == WRITTEN
    assert parsed.data.crop == 128
    again = tmp_path / "again.yaml"  # as a run keeps it
    again.write_text(parser.dump(parsed))
    assert list(parser.parse_args(["--config", str(again)]).data.folder.splits.validation) == WRITTEN


def test_tiles_in_no_split_are_mentioned(root, capfd):
    fill(root, ["a1", "a2", "b1", "b2", "c1"])
    findings = check_files(get_layout("folder", settings(splits=FolderSplit(["a*"], ["b2"], []))), root, workers=1)
    assert findings.notes == ("in no list of splits, and so not used: b1, c1",)
    assert check_files(get_layout("folder", settings()), root, workers=1).notes == ()  # there are no splits yet
    build(root, splits=FolderSplit(["a*"], ["b*"], ["c?"]))
    assert "no list" not in capfd.readouterr().err


def test_tiles_with_none_of_the_modalities_asked_for_are_mentioned(root):
    fill(root, ["a", "b"])
    (root / "height/b/dsm.tif").unlink()
    findings = check_files(get_layout("folder", settings()), root, modalities=["dsm"], workers=1)
    assert findings.notes == ("left out, since there is nothing of dsm for them: b",)


def test_check_says_how_much_of_a_tile_a_label_covers(root):
    write(root / "ortho/a.tif", noise("a", 3, (600, 1000)), **georeferenced(1000, 2000, 1))
    write(root / "height/a/dsm.tif", surface("h", (300, 250)), **georeferenced(1000, 2000, 2))
    label = coloured(np.full((600, 1000), 3, np.uint8))
    label[:, :, :20] = 0
    write(root / "label/a.tif", label, **georeferenced(1500, 2000, 1))
    (tile,) = check_files(get_layout("folder", settings(distance=0)), root, workers=1).tiles
    store = build(root)
    record = store.tiles["a"]
    for name, expected in (("label_full", record.labels["full"].ignored / 600_000), ("dsm", 0.5)):
        assert tile.looks[name].missing == pytest.approx(expected, abs=0.01)
    assert tile.looks["label_full"].missing == pytest.approx(0.52, abs=0.01)
    assert tile.looks["label_full"].shares[3] == 1


def test_check_shows_systems_and_pixel_sizes_and_can_be_read_for_many_tiles(root, capsys):
    for number in range(38):
        left = 367000 + 100 * number
        write(root / f"ortho/t{number}.tif", noise("a", 3), **georeferenced(left, 5810000, 0.25))
        write(root / f"height/t{number}/dsm.tif", surface("h", (30, 32)), **georeferenced(left, 5810000, 0.5))
        write(root / f"label/t{number}.tif", coloured(indices("l")), **georeferenced(left, 5810000, 0.25))
    write(root / "ortho/t7.tif", noise("a", 3).astype(np.uint16), **georeferenced(367700, 5810000, 0.25))
    print_findings(check_files(get_layout("folder", settings()), root, workers=1))
    output = capsys.readouterr().out
    rows = [line.split() for line in output.splitlines()]
    assert ["rgb", "38", "64", "x", "60", "3", "uint8,", "uint16", "EPSG:32633", "0.25", "m", "0", "to", "254"] in rows
    assert ["dsm", "38", "32", "x", "30", "1", "float32", "EPSG:32633", "0.5", "m", "30", "to", "55.4"] in rows
    assert sum(row[0].startswith("t") and row[0][1:].isdigit() for row in rows if row) == 38  # one a tile
    assert "note: 38 tiles (t0, t1, t2, t3, t4, t5 and 32 more): dsm: dsm.tif (32 x 30 pixels) was resampled" in output
    assert len(rows) < 60


def test_tiles_may_have_digits_in_their_names_that_count_nothing(root):
    names = ["2²", "9", "10²", "10③"]
    fill(root, names)
    findings = check_files(get_layout("folder", settings()), root, workers=1)
    assert [tile.tile for tile in findings.tiles] == list(build(root).tiles) == names


def test_names_are_shown_as_they_are_whatever_libraries_read_into_them(root, tmp_path, capsys):
    tiles, classes = ["a[nir]", "b:car:c", "d$_$e"], ["[/b]", "low [b]", ":car:", "$\\nothing$", "x", "y"]
    fill(root, tiles)
    layout = get_layout("folder", settings(classes=classes))
    findings = check_files(layout, root, workers=1)
    print_findings(findings)
    output = capsys.readouterr().out
    assert all(name in output for name in (*tiles, *classes))
    print_store(build_store(layout, root, workers=1))
    output = capsys.readouterr().out
    assert all(name in output for name in tiles)
    draw_sheet(findings, tmp_path / "sheet.png")  # whose names were formulas


def test_a_label_with_a_colour_table_has_colours(root):
    fill(root, ["a"])
    path = write(root / "label/a.tif", indices("a")[None] + np.uint8(7), photometric="palette")
    with rasterio.open(path, "r+") as raster:
        raster.write_colormap(1, {number + 7: (*colour, 255) for number, colour in enumerate(COLOURS)})
    assert np.array_equal(load(build(root).tiles["a"], "label_full"), indices("a"))
    (tile,) = check_files(get_layout("folder", settings()), root, workers=1).tiles
    assert tile.problems == ()
    by_number = {number + 7: number for number in range(6)}  # an explicit setting counts
    assert np.array_equal(load(build(root, values=by_number).tiles["a"], "label_full"), indices("a"))


def test_label_of_numbers_under_colours(root):
    fill(root, ["a"])
    write(root / "label/a.tif", indices("a")[None])
    words = (
        r"a\.tif has one band of uint8 where .* three .*: save it in colours, or say under values which of its numbers"
    )
    with pytest.raises(UserError, match=words):
        build(root)


def test_a_label_of_other_colours_names_one_and_the_distance(root):
    fill(root, ["a"])
    label = coloured(indices("a"))
    label[:, label[0] == 255] -= 9
    label = np.where(label == 0, 9, label).astype(np.uint8)
    label[:, :20] = 0
    write(root / "label/a.tif", label)
    words = (
        r"names no class in \d+ % of its pixels, such as .*(246|9).*: put .* or raise distance \(now 0\) for colours"
    )
    with pytest.raises(UserError, match=words) as caught:
        build(root, ignored_colours=[(0, 0, 0)])
    assert "such as 0, 0, 0" not in str(caught.value)
    assert build(root, ignored_colours=[(0, 0, 0)], distance=9).tiles["a"].labels["full"].unknown == 0
    write(root / "label/a.tif", np.full((1, 60, 64), 9, np.uint8))
    with pytest.raises(
        UserError, match=r"in 100 % of its pixels, such as 9: put .*, or list its numbers under values or"
    ):
        build(root, values={1: 1})


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (
            "ORTHO/{tile}.tif",
            r"of rgb matches no file below .*, where upper and lower case differ \(ortho/north_1\.tif\)",
        ),
        (
            "ortho/[ns]*_{tile}.tif",
            r"of rgb matches no file below .*: \[ and \] in it stand for themselves, only \*, \*\*/",
        ),
        ("rgb/{tile}.tif", r"of rgb matches no file below .*, which holds height/north_1/dsm\.tif, .* and 6 more"),
    ],
)
def test_a_pattern_that_matches_nothing_says_why(root, pattern, words):
    fill(root)
    with pytest.raises(UserError, match=words):
        build(root, modalities={"rgb": FolderModality(pattern, band_numbers=[1, 2, 3])})


def test_a_virtual_raster_whose_source_is_gone_names_it(root):
    fill(root, ["a"])
    source = write(root / "sources/one.tif", surface("a"))
    virtual = root / "height/a/dsm.vrt"
    virtual.write_text(
        '<VRTDataset rasterXSize="64" rasterYSize="60"><VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">../../sources/one.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    modalities = {
        "rgb": FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3]),
        "dsm": FolderModality("height/{tile}/dsm.vrt", kind="elevation"),
    }
    assert np.array_equal(load(build(root, modalities=modalities).tiles["a"], "dsm")[:, :, 0], surface("a")[0])
    source.unlink()
    virtual.touch()
    with pytest.raises(
        UserError, match=r"dsm\.vrt shows the pixels of .*sources/one\.tif, which is not there: put that"
    ):
        build(root, modalities=modalities)


def roles(root, stage="fit", evaluation="full", **splits):
    data = RasterDataModule(
        str(root),
        layout="folder",
        folder=settings(splits=FolderSplit(**splits)),
        evaluation=EvaluationSettings(labels=evaluation),
    )
    data.prepare_data()
    data.setup(stage)


def test_a_split_without_tiles_and_tiles_without_labels_say_so(root):
    fill(root)
    with pytest.raises(
        UserError, match=r"the split folder has no validation tiles: name some under --data\.folder\.splits\."
    ):
        roles(root, train=["north_*"], test=["south_1"])
    data = RasterDataModule(str(root), layout="folder", folder=settings(splits=FolderSplit(train=["north_*"])))
    data.prepare_data()
    data.trainer = Trainer(limit_val_batches=0, logger=False, enable_checkpointing=False, accelerator="cpu")
    data.setup("fit")  # where nothing is ever validated
    with pytest.raises(UserError, match=r"or train without validating with --trainer\.limit_val_batches 0\.$"):
        data.setup("validate")
    words = r"validation tiles below .* has eroded labels; add them, or set --data\.evaluation\.labels full"
    with pytest.raises(UserError, match=words):
        roles(root, evaluation="eroded", train=["north_*"], validation=["south_1"])
    (root / "label/south_1.tif").unlink()
    with pytest.raises(UserError, match=r"none of the validation tiles below .* has labels; add them\.$"):
        roles(root, train=["north_*"], validation=["south_1"])


def test_a_raster_without_a_system_names_the_key(root):
    fill(root, ["a"])
    write(root / "ortho/a.tif", noise("a", 3), **georeferenced(1000, 2000, 1))
    write(root / "height/a/dsm.tif", surface("a"), transform=georeferenced(1000, 2000, 1)["transform"])
    words = r"dsm\.tif cannot be placed, since it names .*: give the key crs in the description .*\(crs: EPSG:32633 if"
    with pytest.raises(UserError, match=words):
        build(root)


class Counted(str):
    """A tile's id that counts how often it is compared."""

    compared = 0

    def __eq__(self, other):
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("case", ["named one by one", "patterns", "hunan", "evsr"])
def test_no_tile_is_compared_with_all_others_when_a_split_is_resolved(case):
    ids = [str(number) for number in range(1, 1001)]
    if case in ("hunan", "evsr"):
        layout, name = get_layout("hunan"), {"hunan": "official"}.get(case, case)
    else:
        train = ids[:900] if case == "named one by one" else ["[!9]*", "9", "9?", "9[0-7]?"]
        layout, name = get_layout("folder", settings(splits=FolderSplit(train, ids[980:990], ids[990:999]))), "folder"
    Counted.compared = 0
    split = layout.resolve_split(name, [Counted(tile) for tile in ids])
    assert len(split.train) > 800
    assert Counted.compared < 10 * len(ids)


def test_a_survey_looks_a_few_times_at_a_tile_whatever_the_number_of_tiles(monkeypatch, tmp_path):
    uses = {"ortho": range(300, 600), "height": range(600), "label": range(600)}
    places = [f"{use}/{n}{'/dsm' * (use == 'height')}.tif" for use, numbers in uses.items() for n in numbers]
    entries = tuple(Entry(FileRef(tmp_path / place), place, 1, "1:1") for place in sorted(places))
    asked = []
    monkeypatch.setattr("mobanet.datasets.folder.natural_key", lambda name: (asked.append(name), natural_key(name))[1])
    layout = get_layout("folder", settings())
    tiles = layout.survey(Catalogue(tmp_path, entries, Listings()), ["rgb", "dsm"]).tiles
    assert [tile.id for tile in tiles] == [str(number) for number in range(600)]
    assert {tile.measure for tile in tiles[:300]} == {FileRef(tmp_path / "ortho/300.tif")}
    assert {tile.measure for tile in tiles[300:]} == {None}
    assert len(asked) <= 2 * len(tiles)
