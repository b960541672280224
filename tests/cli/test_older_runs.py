"""Runs made before a default changed go on as they were trained."""

import shutil

import numpy as np
import pytest
import torch
import yaml

from mobanet.cli.commands import main
from tests.cli.test_fit_and_test import rows


@pytest.fixture
def older(command, small, tmp_path):
    """A run whose elevations were scaled by what was the default then, `robust`, and which does not say so."""
    given = ["--experiment", str(small), "--run", str(tmp_path / "run"), "--wandb", "off", "--trainer.max_epochs", "1"]
    ended = command(main, "fit", [*given, "--data.scaling.dsm", "robust"])
    assert ended.code == 0, ended.err
    path = tmp_path / "run/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"]["scaling"] = None
    config["data"].pop("ground_radius")
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return tmp_path / "run"


def content(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)


def test_an_older_run_is_tested_scaled_as_it_was_trained(older, command, tmp_path):
    shutil.copytree(older, tmp_path / "said")
    last = ["--ckpt_path", "checkpoints/last.ckpt"]
    for run, words in ((older, ()), (tmp_path / "said", ("--data.scaling.dsm", "robust"))):
        ended = command(main, "test", ["--ckpt_path", str(run / last[1]), *words])
        assert ended.code == 0, ended.err
    assert rows(older / "test/test_scenarios.csv") == rows(tmp_path / "said/test/test_scenarios.csv")


def test_an_older_run_goes_on_scaled_as_it_was_trained(older, command):
    before = content(older)
    last = str(older / "checkpoints/last.ckpt")
    ended = command(main, "fit", ["--ckpt_path", last, "--trainer.max_epochs", "2", "--wandb", "off"])
    assert ended.code == 0, ended.err
    after = content(older)
    assert after["hyper_parameters"]["data"]["scaling"]["dsm"] == "robust"
    assert after["RasterDataModule"]["scaling"] == before["RasterDataModule"]["scaling"]
    assert np.shape(after["RasterDataModule"]["scaling"]["dsm"]) == (2, 1)


def test_a_new_run_that_begins_from_an_older_one_scales_like_it(older, command, small, tmp_path):
    given = ["--experiment", str(small), "--run", str(tmp_path / "new"), "--wandb", "off", "--trainer.max_epochs", "1"]
    ended = command(main, "fit", [*given, "--init_from", str(older / "checkpoints/last.ckpt")])
    assert ended.code == 0, ended.err
    assert content(tmp_path / "new")["hyper_parameters"]["data"]["scaling"]["dsm"] == "robust"


def test_a_run_of_other_modalities_is_refused_for_these_and_not_for_their_scaling(older, command, small, tmp_path):
    given = ["--experiment", str(small), "--run", str(tmp_path / "new"), "--wandb", "off"]
    other = ["--modalities", "rgb,ndsm", "--model.streams", "{optical: [rgb], elevation: [ndsm]}"]
    ended = command(main, "fit", [*given, *other, "--init_from", str(older / "checkpoints/last.ckpt")])
    assert ended.code == 2
    assert "error: the checkpoint belongs to another model" in ended.err
    assert "--modalities" in ended.err


@pytest.mark.parametrize("kind", ["test", "fit"])
def test_another_scaling_than_that_of_the_training_is_refused(kind, older, command):
    last = str(older / "checkpoints/last.ckpt")
    ended = command(main, kind, ["--ckpt_path", last, "--data.scaling.dsm", "ground", "--wandb", "off"])
    assert ended.code == 2
    (line,) = [line for line in ended.err.splitlines() if "error: " in line]
    assert "--data.scaling.dsm is ground here and robust in the checkpoint" in line
    assert "Traceback" not in ended.err
