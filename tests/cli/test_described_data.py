"""Data sets that come described for the layout `folder`: drawn, prepared, fitted and tested by their recipes."""

import pytest
import yaml

from mobanet import check, prepare, synthesize
from mobanet.commands import main
from mobanet.datasets import load_folder_settings
from mobanet.experiment import described_names, experiment_folder
from mobanet.store.stored import TileStore
from tests.cli.test_fit_and_test import rows
from tests.conftest import NARROW, TINY

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
    place = ["--data.root", str(drawn(name, *words)), "--data.store", str(tmp_path / "store")]
    given = ["--experiment", recipe, "--variant", str(tmp_path / "small.yaml"), *place, "--run", str(run)]
    ended = command(main, "fit", [*given, "--wandb", "off"])
    assert ended.code == 0, ended.err
    tested = command(main, "test", ["--ckpt_path", str(run), "--wandb", "off"])
    assert tested.code == 0, tested.err
    modalities = yaml.safe_load((experiment_folder() / f"{recipe}.yaml").read_text())["data"]["modalities"]
    scenarios = [row["scenario"] for row in rows(run / "test/test_scenarios.csv")]
    assert set(modalities) <= {*scenarios}
    assert len({*scenarios}) >= 2 ** len(modalities) - 1
