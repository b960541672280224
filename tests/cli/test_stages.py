"""Backbones with stages of their own, by the commands: training to export, light checkpoints, and what is refused."""

import numpy as np
import pytest
import rasterio
import timm
import torch
import yaml
from safetensors.torch import save_file

from mobanet.checkpoints.frozen import left_out
from mobanet.cli.commands import main
from mobanet.export import main as export
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.predict import main as predict
from tests.cli.conftest import small_experiment
from tests.cli.test_fit_and_test import rows
from tests.models.tiny import STAGED

LATENT = ("--scenarios.strategy", "latent", "--scenarios.num_windows", "8", "--scenarios.validate", "full")


def experiment(family, root, path, **backbone):
    name, options = STAGED[family]
    settings = small_experiment(root)
    settings["model"]["backbone"] = {"name": name, "pretrained": False, "options": options, **backbone}
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a whole model of timm's, with its classifier."""
    torch.manual_seed(3)
    name, options = STAGED["hiera"]
    model = timm.create_model(name, num_classes=5, **{**options, "stages": tuple(options["stages"])})
    path = tmp_path_factory.mktemp("weights") / "hiera.safetensors"
    save_file(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def run(prepared, weights, tmp_path_factory):
    """A run of two epochs around a frozen Hiera, the second of them resumed, and tested."""
    folder = tmp_path_factory.mktemp("stages")
    own = experiment("hiera", prepared, folder / "own.yaml", checkpoint=str(weights))
    words = ["--experiment", str(own), "--run", str(folder / "run"), "--wandb", "off", *LATENT]
    main("fit", [*words, "--trainer.max_epochs", "1", "--data.steps_per_epoch", "1"])
    main("fit", ["--ckpt_path", str(folder / "run"), "--trainer.max_epochs", "2", "--wandb", "off"])
    main("test", ["--ckpt_path", str(folder / "run")])
    return folder / "run"


def test_a_light_checkpoint_leaves_the_backbone_out_and_maps(run, weights, command, city, tmp_path):
    checkpoint = read_checkpoint(run / "checkpoints/last.ckpt")
    assert not any(name.startswith("network.backbone.") for name in checkpoint["state_dict"])
    name, options = STAGED["hiera"]
    backbone = build_backbone(BackboneSettings(name, checkpoint=str(weights), options=options))
    assert left_out(checkpoint).fingerprint == backbone.fingerprint()
    table = rows(run / "test/test_scenarios.csv")
    assert len({row["oa"] for row in table[:7]}) > 3
    given = ["--input", f"rgb={city}/2_Ortho_RGB/top_potsdam_2_13_RGB.tif", "--output", str(tmp_path / "map.tif")]
    ended = command(predict, ["--ckpt_path", str(run), *given])
    assert ended.code == 0, ended.err
    with rasterio.open(tmp_path / "map.tif") as file:
        assert np.isin(file.read(1), range(7)).all()


def test_other_weights_are_refused(run, weights, command, tmp_path):
    name, options = STAGED["hiera"]
    torch.manual_seed(4)
    save_file(
        build_backbone(BackboneSettings(name, pretrained=False, options=options)).vit.state_dict(),
        tmp_path / "other.safetensors",
    )
    words = ["--ckpt_path", str(run), "--backbone", str(tmp_path / "other.safetensors")]
    assert "was trained around weights of hiera_tiny_224" in command(main, "test", words).sentence()


def test_it_is_exported(run, command, tmp_path):
    """As a folder; its graphs are those of `tests/exporting/test_graphs.py`."""
    ended = command(export, ["--ckpt_path", str(run), "--format", "folder", "--output", str(tmp_path / "made")])
    assert ended.code == 0, ended.err
    words = ["--run", str(tmp_path / "run"), "--experiment", str(run / "config.yaml")]
    ended = command(main, "test", ["--ckpt_path", str(tmp_path / "made"), *words])
    assert ended.code == 0, ended.err
    theirs, ours = (rows(path / "test/test_scenarios.csv") for path in (tmp_path / "run", run))
    assert theirs == ours


@pytest.mark.parametrize("family", ["swin", pytest.param("convnext", marks=pytest.mark.long)])
def test_a_backbone_with_stages_is_trained_at_a_rate_of_its_own(family, prepared, command, tmp_path):
    own = experiment(family, prepared, tmp_path / "own.yaml", freeze=False)
    words = ["--experiment", str(own), "--run", str(tmp_path / "run"), "--wandb", "off", "--trainer.max_epochs", "1"]
    ended = command(main, "fit", [*words, "--model.backbone_lr", "1e-3", "--data.steps_per_epoch", "1"])
    assert ended.code == 0, ended.err
    checkpoint = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    assert any(name.startswith("network.backbone.vit.") for name in checkpoint["state_dict"])
    rates = {group["name"]: group["initial_lr"] for group in checkpoint["optimizer_states"][0]["param_groups"]}
    assert rates["backbone"] == rates["backbone_no_decay"] == 1e-3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--model.network.pyramid", "scaled"), "has four scales of its own: set it to plain"),
        (
            ("--model.backbone.options", "{depths: [1, 1, 1]}"),
            "depths is '[1, 1, 1]': give a list of 4 whole numbers from 1 to 128",
        ),
        (("--model.backbone.options", "{depths: [1, 1, 0, 1]}"), "give a list of 4 whole numbers from 1 to 128"),
        (("--model.backbone.options", "{depths: 2}"), "depths is '2': give a list of 4 whole numbers"),
        (("--model.backbone.options", "{depth: 4}"), "do not fit convnext_tiny"),
        (
            ("--model.backbone.name", "mvitv2_tiny"),
            "is of a family that does not work here: choose a plain transformer",
        ),
        (("--model.lora.rank", "4"), "it has no attention, and its frozen linear layers are backbone.vit.stages"),
        (("--model.backbone_lr", "1e-4"), "changes nothing while the backbone is frozen"),
    ],
)
def test_what_makes_no_sense_is_refused(words, sentence, prepared, command, tmp_path):
    own = experiment("convnext", prepared, tmp_path / "own.yaml")
    given = ["--experiment", str(own), "--run", str(tmp_path / "run"), "--wandb", "off", *words]
    assert sentence in command(main, "fit", given).sentence()
