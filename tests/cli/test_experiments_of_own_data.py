"""An experiment, a description of own data, and both together mean the same to check, prepare and fit."""

import json

import numpy as np
import pytest
import yaml

from mobanet.check import main as check
from mobanet.cli.commands import main
from mobanet.prepare import main as prepare
from mobanet.store.stored import TileStore
from tests.cli.conftest import small_experiment
from tests.data_files.fake_files import georeferenced, indices, noise, surface, write

SIZE = (64, 64)
TILES = ("north_1", "north_2", "south_1", "south_2", "west_1")

FOLDER = """\
modalities:
  rgb: {pattern: "ortho/{tile}.tif", band_numbers: [1, 2, 3]}
  ndvi: {pattern: "ndvi/{tile}.tif", kind: other}
  dsm: {pattern: "surface/{tile}_1m.tif", kind: elevation, nodata: -9999, unit: metre}
label: "labels/{tile}_classes.tif"
classes: [paved, building, grass, tree]
values: {1: 0, 2: 1, 5: 2, 6: 3}
ignored: [0]
splits: {train: ["north_*"], validation: [south_1, south_2], test: ["west_*"]}
"""


def dumped(content):
    return yaml.safe_dump(content, sort_keys=False)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The data of docs/data-description.md, `bare.yaml`, which describes them, and `own.yaml`, which runs on them."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "mytown"
    for number, tile in enumerate(TILES):
        place = georeferenced(500_000 + 32 * number, 5_800_000, 0.5)
        write(root / f"ortho/{tile}.tif", noise(tile, 3, SIZE), **place)
        write(root / f"ndvi/{tile}.tif", (noise(tile, 1, SIZE) / 128 - 1).astype(np.float32), **place)
        write(root / f"surface/{tile}_1m.tif", surface(tile, SIZE), nodata=-9999, **place)
        write(
            root / f"labels/{tile}_classes.tif",
            np.array([0, 1, 2, 5, 6, 1], np.uint8)[indices(tile, SIZE)][None],
            **place,
        )
    (tmp_path / "bare.yaml").write_text(FOLDER)
    data = {"layout": "folder", "root": "mytown", "folder": yaml.safe_load(FOLDER)}
    (tmp_path / "own.yaml").write_text(dumped({"data": data}))
    return root


def made(command, words):
    ended = command(prepare, [*words, "--workers", "1"])
    assert ended.code == 0, ended.err
    store = TileStore("mytown/mobanet_store")
    return sorted(store.tiles), list(store.modalities)


@pytest.mark.parametrize(
    "words",
    [
        "--experiment own.yaml",
        "--config own.yaml",
        "--experiment potsdam_irrgb_dsm --config own.yaml",
        "--experiment potsdam_irrgb_dsm --config=own.yaml --variant full",
        "--experiment potsdam_irrgb_dsm --layout folder --root mytown --folder bare.yaml",
        "--layout folder --root mytown --folder own.yaml",
        "--layout folder --root mytown --folder bare.yaml",
        "--config named.yaml",
        "--config named_experiment.yaml",
        "--config words.yaml",
    ],
)
def test_what_describes_data_is_the_same_everywhere(command, root, words):
    (root.parent / "named.yaml").write_text("data: {layout: folder, root: mytown, folder: bare.yaml}\n")
    (root.parent / "named_experiment.yaml").write_text("data: {layout: folder, root: mytown, folder: own.yaml}\n")
    (root.parent / "words.yaml").write_text("layout: folder\nroot: mytown\nfolder: bare.yaml\n")  # of prepare itself
    assert made(command, words.split()) == (sorted(TILES), ["rgb", "ndvi", "dsm"])
    ended = command(check, [*words.split(), "--workers", "1"])
    assert ended.code == 0, ended.out + ended.err
    assert (root / "mobanet_store/contact_sheet.png").is_file()


def test_options_win_over_the_experiment(command, root):
    words = ["--experiment", "own.yaml", "--modalities", "[rgb]", "--store", "elsewhere"]
    ended = command(prepare, [*words, "--workers", "1"])
    assert ended.code == 0, ended.err
    assert list(TileStore("elsewhere").modalities) == ["rgb"]
    assert not (root / "mobanet_store").exists()
    (root.parent / "some.yaml").write_text(FOLDER.replace("  ndvi:", "  other:"))
    assert made(command, ["--experiment", "own.yaml", "--folder", "some.yaml"])[1] == ["rgb", "other", "dsm"]


def test_an_experiment_says_more_than_where_the_data_is(command, root):
    (root / "surface/west_1_1m.tif").unlink()
    lacking = command(prepare, ["--experiment", "own.yaml", "--workers", "1"]).sentence()
    assert "tile west_1 has no dsm" in lacking
    more = {"data": {"allow_missing": True, "store": "elsewhere", "modalities": "rgb, dsm"}, "trainer": {}}
    (root.parent / "more.yaml").write_text(dumped(more))
    words = ["--experiment", "own.yaml", "--config", "more.yaml", "--workers", "1"]
    ended = command(prepare, words)
    assert ended.code == 0, ended.err
    store = TileStore("elsewhere")
    assert (sorted(store.tiles), list(store.modalities)) == (sorted(TILES), ["rgb", "dsm"])


def test_the_chapter_composes_with_the_recipe(command, root):
    """What the page describes, upon the recipe of another layout, without a repair."""
    own = {"data": {"layout": "folder", "root": "mytown", "folder": yaml.safe_load(FOLDER)}}
    (root.parent / "own.yaml").write_text(dumped(own))
    small = small_experiment("mytown")  # sizes alone, so that it is quick
    sizes = {"model": {"backbone": small["model"]["backbone"], "network": small["model"]["network"]}}
    sizes |= {"trainer": small["trainer"], "panels": small["panels"]}
    sizes["data"] = {"crop": 32, "batch_size": 2, "steps_per_epoch": 1, "num_workers": 0}
    (root.parent / "sizes.yaml").write_text(dumped(sizes))
    words = ["--experiment", "potsdam_irrgb_dsm", "--config", "own.yaml", "--config", "sizes.yaml"]
    ended = command(main, "fit", [*words, "--run", "run", "--wandb", "off"])
    assert ended.code == 0, ended.err
    assert (
        "experiment  potsdam_irrgb_dsm: its modalities, split, scaling, evaluation.labels are those of the layout "
        "potsdam, and are left out for folder"
    ) in ended.err
    kept = yaml.safe_load((root.parent / "run/config.yaml").read_text())
    assert kept["data"]["evaluation"]["labels"] == "full"
    assert kept["scenarios"]["full_share"] == 0
    assert "streams     optical: rgb; elevation: ndvi, dsm" in ended.err
    # and by options, of which those that are given stay
    words = ["--experiment", "potsdam_irrgb_dsm", "--layout", "folder", "--folder", "own.yaml"]
    ended = command(main, "fit", [*words, "--modalities", "[rgb]", "--print_config"])
    assert ended.code == 0, ended.err
    data = yaml.safe_load(ended.out)["data"]
    assert (data["modalities"], data["split"], data["scaling"]) == (["rgb"], None, None)
    assert list(data["folder"]["modalities"]) == ["rgb", "ndvi", "dsm"]


def test_a_variant_of_a_layout_keeps_what_the_experiment_says(command):
    words = ["--experiment", "dstl_rgb_nir_swir", "--layout", "dstl_trees", "--print_config"]
    ended = command(main, "fit", words)
    assert ended.code == 0, ended.err
    assert "left out" not in ended.err
    assert yaml.safe_load(ended.out)["data"]["modalities"] == ["rgb", "nir", "swir"]


def test_the_help_names_the_experiment(command):
    for each in (check, prepare):
        assert "--experiment EXPERIMENT" in command(each, ["--help"]).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--experiment potsdam_irgb_dsm", "--experiment potsdam_irgb_dsm is unknown (did you mean potsdam_irrgb_dsm?)"),
        ("--experiment nowhere.yaml", "--experiment nowhere.yaml does not exist; give an existing YAML file"),
        ("--experiment", "--experiment needs a value"),
        ("--experimnt own.yaml", "--experimnt is not an option (did you mean --experiment?)"),
        ("--folder nowhere.yaml --layout folder --root mytown", "nowhere.yaml cannot be read"),
        ("--folder bare_experiment.yaml --layout folder --root mytown", "is an experiment without data.folder"),
        ("--config bare_experiment.yaml", "--root is missing; give it"),
        ("--config wrong.yaml", "wrong.yaml: data.folder.modalities.rgb.patern is not a key of a description of data"),
        ("--folder wrong.yaml --layout folder --root mytown", "modalities.rgb.patern is not a key of a description"),
        ("--config own.yaml --layout potsdam", "layout potsdam takes no folder settings"),
        ("--config typed.yaml", "--allow_missing cannot be maybe; give true or false"),
    ],
)
def test_mistakes(command, root, words, said):
    (root.parent / "bare_experiment.yaml").write_text("trainer: {max_epochs: 3}\n")
    (root.parent / "typed.yaml").write_text("data: {root: mytown, allow_missing: maybe}\n")
    data = {"layout": "folder", "root": "mytown", "folder": yaml.safe_load(FOLDER.replace("pattern", "patern"))}
    (root.parent / "wrong.yaml").write_text(dumped({"data": data}))
    assert said in command(prepare, words.split()).sentence()
    assert said in command(check, words.split()).sentence()


def test_values_of_polygons_stay_as_they_are_written(command, root):
    from tests.data_files.fake_vectors import box, write_vector

    write_vector(root / "cover.gpkg", [box(0, 0, 64, 40)], {"class": ["010"]})
    label = {"vector": "cover.gpkg", "attribute": "class", "values": {"010": "grass", None: "tree"}}
    folder = {key: value for key, value in yaml.safe_load(FOLDER).items() if key not in ("values", "ignored")}
    own = {"data": {"layout": "folder", "root": "mytown", "folder": folder | {"label": label}}}
    (root.parent / "own.yaml").write_text(dumped(own))
    for words in (["--config", "own.yaml"], ["--folder", "own.yaml", "--layout", "folder", "--root", "mytown"]):
        ended = command(prepare, [*words, "--workers", "1"])
        assert ended.code == 0, ended.err
        assert "that label.values does not name" not in ended.err + ended.out
        stored = json.loads((root / "mobanet_store/tiles/north_1/tile.json").read_text())
        assert stored["labels"]["full"]["pixels"][2] == 40 * 64
