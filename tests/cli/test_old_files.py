"""A run as mobanet wrote it at commit 715f612 is read, tested, mapped with and gone on with, to the same figures.

`tests/data/run_of_715f612` holds its configuration and last checkpoint (MoBaNet around a frozen backbone that it leaves
out, scenarios by latent distortion, heights above the ground), its data, and what that version made of them.
"""

import csv
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from mobanet.cli.commands import main
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.predict import main as predict

OLD = Path(__file__).parents[1] / "data/run_of_715f612"
LAST = "checkpoints/last.ckpt"
PIXELS = 72 * 72
FLIPPED = 2
"""Pixels of the test tile that may fall on the other side of a tie where a processor adds in another order."""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The run, from where its configuration finds its files."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD / "scene", "data")
    shutil.copyfile(OLD / "backbone.safetensors", "backbone.safetensors")
    Path("run/checkpoints").mkdir(parents=True)
    shutil.copyfile(OLD / "config.yaml", "run/config.yaml")
    Path("run", LAST).write_bytes(lzma.decompress((OLD / f"{LAST}.xz").read_bytes()))
    return Path("run")


def figures(path):
    """By row and column, the numbers of a table."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {
        (row["scenario"], column): float(value)
        for row in rows
        for column, value in row.items()
        if column != "scenario" and value
    }


def raster(path):
    with rasterio.open(path) as file:
        return file.read()


def test_an_old_run_is_tested_mapped_with_and_gone_on_with(run, command):
    ended = command(main, "test", ["--ckpt_path", str(run / LAST)])
    assert ended.code == 0, ended.err
    found, wanted = figures(run / "test/test_scenarios.csv"), figures(OLD / "expected/test_scenarios.csv")
    assert found.keys() >= wanted.keys()
    pixel = FLIPPED / PIXELS
    assert {key: found[key] for key in wanted} == {key: pytest.approx(x, abs=pixel) for key, x in wanted.items()}

    rasters = ["rgb=data/ortho/west.tif[1,2,3]", "ir=data/ortho/west.tif[4]", "dsm=data/dsm/west.tif"]
    words = ["--ckpt_path", str(run / LAST), "--input", *rasters, "--output", "map.tif", "--confidence", "float32"]
    ended = command(predict, words)
    assert ended.code == 0, ended.err
    assert (raster("map.tif") != raster(OLD / "expected/map.tif")).sum() <= FLIPPED
    names = "map_confidence.tif", OLD / "expected/map_confidence.tif"
    np.testing.assert_allclose(*map(raster, names), rtol=1e-5)

    words = ["--trainer.max_epochs", "3", "--trainer.limit_train_batches", "2", "--wandb", "off"]
    ended = command(main, "fit", ["--ckpt_path", str(run / LAST), *words])
    assert ended.code == 0, ended.err
    new = read_checkpoint(run / LAST)
    assert (new["epoch"], new["global_step"]) == (2, 52)
