"""A run that was trained, tested and mapped once; tests that change it copy it first."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from tests.cli.conftest import command, prepared, small  # noqa: F401 - fixtures


@pytest.fixture(scope="session")
def run(small, tmp_path_factory) -> Path:  # noqa: F811
    """The folder of a run with scenario scores, the test of every scenario, and a class map of its test tile.

    The map is the truth but for its first 40 rows, which are all building, and a corner of 5 x 5 without a class.
    """
    from mobanet.cli.commands import main

    folder = tmp_path_factory.mktemp("reported") / "run"
    latent = ("--scenarios.strategy", "latent", "--scenarios.num_windows", "4", "--scenarios.validate", "full")
    main("fit", ["--experiment", str(small), "--run", str(folder), "--wandb", "off", *latent])
    main("test", ["--ckpt_path", str(folder / "checkpoints/best.ckpt")])
    shutil.rmtree(folder / "test/maps", ignore_errors=True)
    data = opened(folder)
    for tile in data.tiles("test"):
        classes = data.picture(tile.id, slice(0, tile.height), slice(0, tile.width)).label.copy()
        classes[:40] = 1
        classes[-5:, -5:] = 255
        write_map(folder / f"test/maps/{tile.id}.tif", classes, SCENARIO="rgb+ir+dsm")
    return folder


@pytest.fixture
def copied(run, tmp_path) -> Path:
    """A copy of the run to change."""
    return shutil.copytree(run, tmp_path / "run")


def opened(folder):
    """The data module of a run."""
    from mobanet.reporting.folder import read_folder
    from mobanet.runs.data import open_data
    from mobanet.runs.folder import CONFIG_FILE

    run = read_folder(folder)
    return open_data(run.config, run.path / CONFIG_FILE, run.data, run.scaling)


def write_map(path: Path, classes: np.ndarray, **tags: str) -> None:
    """A class map as `mobanet.test` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": 1, "dtype": classes.dtype, "nodata": 255}
    height, width = classes.shape
    with rasterio.open(path, "w", height=height, width=width, transform=rasterio.Affine.scale(2), **profile) as raster:
        raster.write(classes, 1)
        raster.update_tags(**tags)


def rename_classes(folder: Path, names: dict[str, str]) -> None:
    """Give classes of a run other names, in its checkpoints and results."""
    for path in (folder / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        classes = content["hyper_parameters"]["data"]["classes"]
        for key in ("names", "averaged"):
            classes[key] = [names.get(name, name) for name in classes[key]]
        torch.save(content, path)
    path = folder / "test/test_scenarios.json"
    content = json.loads(path.read_text())
    for figures in content["scenarios"].values():
        figures["classes"] = {names.get(name, name): value for name, value in figures["classes"].items()}
    path.write_text(json.dumps(content))
