"""Data sets that come described for the layout `folder`: drawn, prepared, fitted and tested by their recipes."""

import shutil
import zipfile

import numpy as np
import pytest
import rasterio
import yaml

from mobanet import check, prepare, synthesize
from mobanet.cli.commands import main
from mobanet.datasets import FolderModality, FolderSettings, FolderSplit, load_folder_settings
from mobanet.shipped import described_names, experiment_folder
from mobanet.store.stored import TileStore
from mobanet.synthetic.described import DescribedDelivery
from tests.cli.test_fit_and_test import rows
from tests.conftest import NARROW, TINY
from tests.data_files.fake_files import noise, write

DRAWN = {
    "whu_opt_sar_rgb_ir_sar": ("whu_opt_sar", ()),
    "earthmiss_rgb_sar": ("earthmiss", ()),
    "flair_hub_irrgb_dsm_spot": ("flair_hub", ("--gsd", "0.2", "--coarser", "{spot: 8}")),
}
"""By recipe, the data set, and how it is drawn."""

FILES = {
    "whu_opt_sar": {"optical/NH49E004021.tif", "sar/NH49E001013.tif", "lbl/NH49E001014.tif"},
    "earthmiss": {
        "America-Eugene/images/RGB/1.tif",
        "Australia-PortHedland/images/SAR/1.tif",
        "French-Paris/masks/1.tif",
    },
    "flair_hub": {
        "train1_AERIAL_RGBI/1/train1_AERIAL_RGBI_1_1.tif",
        "test1_SPOT_RGBI/1/test1_SPOT_RGBI_1_1.tif",
        "validation1_AERIAL_LABEL-COSIA/1/validation1_AERIAL_LABEL-COSIA_1_1.tif",
        "GLOBAL_ALL_MTD_SPLIT.gpkg",
    },
}
TILES = 7

SMALL = {
    "trainer": {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "num_sanity_val_steps": 0, "precision": "32-true"},
    "data": {
        "crop": 32,
        "batch_size": 2,
        "steps_per_epoch": 2,
        "num_workers": 0,
        "evaluation": {"window": 64, "test_stride": 64},
    },
    "model": {
        "backbone": {"name": "vit_tiny_patch16_224", "pretrained": False, "options": dict(TINY)},
        "network": dict(NARROW),
        "schedule": {"warmup_epochs": 0.4},
    },
    "panels": {"every_n_epochs": None},
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Draws a data set once."""
    made = {}

    def draw(name, *words):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            size = ["--tiles", str(TILES), "--size", "128"]
            synthesize.main(["--layout", name, "--root", str(made[name]), *size, *words])
        return made[name]

    return draw


def test_each_data_set_that_comes_described_has_a_recipe_that_the_suite_runs():
    recipes = {path.stem: yaml.safe_load(path.read_text()) for path in experiment_folder().glob("*.yaml")}
    folders = {name: recipe["data"].get("folder") for name, recipe in recipes.items()}
    used = {name: folder for name, folder in folders.items() if folder is not None}
    assert used == {recipe: f"folders/{name}.yaml" for recipe, (name, _) in DRAWN.items()}
    assert described_names() == sorted(name for name, _ in DRAWN.values())


@pytest.mark.parametrize("name", FILES)
def test_a_description_cites_its_source_and_says_what_could_not_be_found(name):
    path = experiment_folder() / f"folders/{name}.yaml"
    text = path.read_text()
    assert "# Sources: " in text
    assert "# Not found" in text
    settings = load_folder_settings(path)
    assert settings.colours is not None
    assert sorted(settings.values.values()) == list(range(len(settings.classes)))


@pytest.mark.parametrize("recipe", DRAWN)
def test_a_recipe_checks_and_prepares_what_is_drawn_of_its_data_set(recipe, drawn, tmp_path, capsys):
    name, words = DRAWN[recipe]
    root = drawn(name, *words)
    assert FILES[name] <= {path.relative_to(root).as_posix() for path in root.rglob("*")}
    place = ["--experiment", recipe, "--root", str(root), "--workers", "1"]
    check.main([*place, "--sheet", str(tmp_path / "sheet.png")])
    assert "problem" not in capsys.readouterr().out
    prepare.main([*place, "--store", str(tmp_path / "store")])
    store = TileStore(tmp_path / "store")
    modalities = yaml.safe_load((experiment_folder() / f"{recipe}.yaml").read_text())["data"]["modalities"]
    assert list(store.modalities) == modalities
    assert len(store.tiles) == TILES
    for tile in store.tiles.values():
        assert list(tile.modalities) == modalities
        label = tile.labels["full"]
        assert (label.unknown, min(label.pixels) > 0, label.ignored) == (0, True, 64)  # a corner of 8 x 8


@pytest.mark.parametrize("recipe", DRAWN)
def test_a_recipe_fits_and_is_tested(recipe, drawn, command, tmp_path):
    name, words = DRAWN[recipe]
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    run = tmp_path / "run"
    place = ["--root", str(drawn(name, *words)), "--store", str(tmp_path / "store")]
    given = ["--experiment", recipe, "--variant", str(tmp_path / "small.yaml"), *place, "--run", str(run)]
    ended = command(main, "fit", [*given, "--wandb", "off"])
    assert ended.code == 0, ended.err
    tested = command(main, "test", ["--ckpt_path", str(run), "--wandb", "off"])
    assert tested.code == 0, tested.err
    modalities = yaml.safe_load((experiment_folder() / f"{recipe}.yaml").read_text())["data"]["modalities"]
    scenarios = [row["scenario"] for row in rows(run / "test/test_scenarios.csv")]
    assert set(modalities) <= {*scenarios}
    assert len({*scenarios}) >= 2 ** len(modalities) - 1


@pytest.mark.parametrize(
    ("layout", "words", "said"),
    [
        ("flair_hub", ["--coarser", "{spt: 8}"], "--coarser names 'spt': there are rgb, ir, dsm, dtm, spot."),
        ("flair_hub", ["--coarser", "{spot: 7}"], "--coarser spot is 7: give a whole number by which --size 128 is"),
        ("hunan", ["--coarser", "{s1: 2}"], "--coarser: layout hunan has pixels of its own; leave the option out."),
        ("nothing.yaml", [], "nothing.yaml cannot be read (No such file or directory); give another file."),
        ("hunan_s2_s1_topo", [], "hunan_s2_s1_topo.yaml is an experiment without data.folder; give one that"),
        ("whu_opt_sra", [], "use potsdam, vaihingen, dstl or hunan; earthmiss, flair_hub, whu_opt_sar; or a YAML"),
        ("whu_opt_sar", ["--tiles", "101"], "--tiles 101: layout whu_opt_sar has names for 1 to 100 tiles"),
        ("whu_opt_sar", ["--products", "rgb"], "--products rgb: layout whu_opt_sar has sensors, labels; name some of"),
        ("CUT", [], "own.yaml: its description has tiling, of which nothing can be drawn; take it out."),
        ("PARTS", [], "own.yaml: its splits name the tile a1, and its patterns make an id of 2 parts with _ between;"),
    ],
)
def test_what_cannot_be_drawn_is_said(layout, words, said, command, tmp_path):
    own = {
        "CUT": "{modalities: {rgb: {pattern: a.tif}}, classes: [a, b], tiling: {size: 64}}",
        "PARTS": "{modalities: {rgb: {pattern: '{tile1}/{tile2}.tif'}}, classes: [a, b], splits: {train: [a1, a_2]}}",
    }
    (tmp_path / "own.yaml").write_text(own.get(layout, ""))
    given = ["--layout", str(tmp_path / "own.yaml") if layout in own else layout, "--tiles", "2", *words]
    ended = command(synthesize.main, [*given, "--root", str(tmp_path / "x"), "--size", "128"])
    assert said in ended.sentence()
    assert not (tmp_path / "x").exists()


OWN = """
modalities:
  spectral: {pattern: "scenes/*_{tile}.tif", band_numbers: [3, 1], maximum: 1}
  height: {pattern: "h/{tile}/*.tif", kind: elevation, factor: 0.1, nodata: -9999}
label: "maps/{tile}.png.tif"
classes: [land, sea]
colours: [[0, 200, 0], [0, 0, 200]]
ignored_colours: [[0, 0, 0]]
splits:
  lists: {train: train.txt, validation: val.txt, test: test.txt}
"""


@pytest.mark.parametrize("empty", ["train", "validation", "test"])
def test_a_part_of_the_split_may_be_empty(empty):
    splits = {"train": ["a", "b"], "validation": ["c", "d"], "test": ["e", "f"]} | {empty: []}
    settings = FolderSettings({"rgb": FolderModality("{tile}.tif")}, ["x", "y"], splits=FolderSplit(**splits))
    names = DescribedDelivery("own", settings).names(4)
    assert sorted(names) == sorted(tile for tiles in splits.values() for tile in tiles)


def test_a_description_of_ones_own_is_drawn_whole_or_packed(tmp_path, command):
    (tmp_path / "own.yaml").write_text(OWN)
    for name, more in (("plain", ()), ("packed", ("--archives", "true"))):
        words = ["--layout", str(tmp_path / "own.yaml"), "--tiles", "3", "--size", "128", *more]
        synthesize.main([*words, "--root", str(tmp_path / name)])
        place = ["--root", str(tmp_path / name), "--layout", "folder", "--folder", str(tmp_path / "own.yaml")]
        prepare.main([*place, "--workers", "1"])
        tiles = TileStore(tmp_path / name / "mobanet_store").tiles
        assert list(tiles) == ["test1", "train1", "validation1"]
        tile = tiles["train1"]
        assert (tile.modalities["spectral"].dtype, tile.modalities["spectral"].bands) == ("float32", 2)
        assert 50 < tile.modalities["height"].statistics[0].p50 < 200  # metres, of decimetres in the raster
        assert tile.modalities["height"].valid_share == 1 - 64 / 128**2
        assert (tile.labels["full"].unknown, tile.labels["full"].ignored) == (0, 64)
    assert {path.name for path in (tmp_path / "packed").iterdir()} >= {"own.zip"}


def test_domains_in_archives_are_read_as_they_were_fetched(drawn, tmp_path):
    name, words = DRAWN["flair_hub_irrgb_dsm_spot"]
    source, root = drawn(name, *words), tmp_path / "hub"
    for folder in sorted(path for path in source.iterdir() if path.is_dir() and path.name != "mobanet_store"):
        root.mkdir(exist_ok=True)
        shutil.make_archive(str(root / folder.name), "zip", source, folder.name)
    with zipfile.ZipFile(root / "GLOBAL_ALL_MTD.zip", "w") as archive:
        archive.write(source / "GLOBAL_ALL_MTD_SPLIT.gpkg", "GLOBAL_ALL_MTD/GLOBAL_ALL_MTD_SPLIT.gpkg")
    prepare.main(["--experiment", "flair_hub_irrgb_dsm_spot", "--root", str(root), "--workers", "1"])
    store = TileStore(root / "mobanet_store")
    assert len(store.tiles) == TILES
    assert sorted(store.description["split"]["validation"]) == ["validation1_1_1"]


def test_what_may_be_amiss_with_a_download_is_said(drawn, tmp_path, command):
    root = tmp_path / "whu"
    shutil.copytree(drawn("whu_opt_sar"), root, ignore=shutil.ignore_patterns("mobanet_store"))
    place = ["--experiment", "whu_opt_sar_rgb_ir_sar", "--root", str(root), "--workers", "1"]
    (root / "sar/NH49E001013.tif").unlink()
    with rasterio.open(root / "lbl/NH49E001014.tif", "r+") as label:
        label.write(np.where(label.read() == 40, 255, label.read()))
    ended = command(prepare.main, place)
    assert "tile NH49E001013 has no sar: **/sar/NH49E001013.tif is missing; add the missing files" in ended.sentence()
    ended = command(prepare.main, [*place, "--allow_missing", "true"])
    assert ended.code == 0, ended.err
    assert "note: in a list of splits, and not there: " in ended.err
    tiles = TileStore(root / "mobanet_store").tiles
    assert list(tiles["NH49E001013"].modalities) == ["rgb", "ir"]
    label = tiles["NH49E001014"].labels["full"]
    assert (label.pixels[3], label.unknown > 0) == (0, True)
    write(root / "sar/NH49E001013.tif", noise("small", 1, (64, 64)))
    ended = command(prepare.main, place)
    assert "sar/NH49E001013.tif is 64 x 64 pixels where the tile is 128 x 128" in ended.sentence()
