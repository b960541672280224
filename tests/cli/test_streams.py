"""Three streams from training to a map and to exported files, and what is refused of streams."""

import json

import numpy as np
import pytest
import rasterio

from mobanet.cli.commands import main
from mobanet.export import main as export
from mobanet.predict import main as predict
from mobanet.synthetic import synthesize
from tests.cli.test_fit_and_test import rows, said

THREE = ("--model.streams", "{optical: [rgb], infrared: [ir], elevation: [dsm]}", "--model.network.absent", "left_out")
RASTERS = {"rgb": "2_Ortho_RGB/top_potsdam_2_13_RGB.tif", "ir": "3_Ortho_IRRG/top_potsdam_2_13_IRRG.tif[1]"}
LATENT = ("--scenarios.strategy", "latent", "--scenarios.num_windows", "8", "--scenarios.validate", "full")


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    """A run of two epochs on three streams, the second of them resumed."""
    folder = tmp_path_factory.mktemp("three") / "run"
    words = ["--experiment", str(small), "--run", str(folder), "--wandb", "off", *THREE, *LATENT]
    main("fit", [*words, "--trainer.max_epochs", "1", "--data.steps_per_epoch", "1"])
    main("fit", ["--ckpt_path", str(folder), "--trainer.max_epochs", "2", "--wandb", "off"])
    return folder


def test_three_streams_fit_resume_and_are_tested_in_seven_scenarios(run, command):
    ended = command(main, "test", ["--ckpt_path", str(run)])
    assert ended.code == 0, ended.err
    table = rows(run / "test/test_scenarios.csv")
    assert [row["scenario"] for row in table[:7]] == ["rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm", "rgb+ir+dsm"]
    assert len({row["oa"] for row in table[:7]}) > 3
    history = (run / "scenario_scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in history] == [0, 1]


def test_a_map_without_a_sensor_is_that_of_the_streams_that_are_there(run, command, city, tmp_path):
    given = [f"--input={name}={city / path}" for name, path in RASTERS.items()]
    ended = command(predict, ["--ckpt_path", str(run), *given, "--output", str(tmp_path / "map.tif")])
    assert ended.code == 0, ended.err
    with rasterio.open(tmp_path / "map.tif") as file:
        assert np.isin(file.read(1), range(7)).all()


@pytest.mark.parametrize("kind", ["folder", pytest.param("onnx", marks=pytest.mark.long)])
def test_three_streams_are_exported(kind, run, command, tmp_path):
    ended = command(export, ["--ckpt_path", str(run), "--format", kind, "--output", str(tmp_path / f"made.{kind}")])
    assert ended.code == 0, ended.err
    if kind == "folder":
        found = command(
            main,
            "test",
            [
                "--ckpt_path",
                str(tmp_path / "made.folder"),
                "--run",
                str(tmp_path / "run"),
                "--experiment",
                str(run / "config.yaml"),
                "--scenarios.evaluate",
                "all_but_one,full",
            ],
        )
        assert found.code == 0, found.err
        tested = rows(tmp_path / "run/test/test_scenarios.csv")
        assert [row["scenario"] for row in tested[:4]] == ["rgb+ir", "rgb+dsm", "ir+dsm", "rgb+ir+dsm"]


def test_other_streams_than_the_checkpoints_are_refused(run, small, command, tmp_path):
    two = "{optical: [rgb, ir], elevation: [dsm]}"
    sentence = command(main, "fit", ["--ckpt_path", str(run), "--model.streams", two, "--wandb", "off"]).sentence()
    assert "--model.streams" in sentence
    assert "another model" in sentence


def test_networks_of_two_streams_say_so(fit):
    words = ("--model.architecture", "cmx", "--model.cmx.encoder", "cnn", "--model.masking.ratio", "0")
    sentence = fit(*THREE[:2], *words).sentence()
    assert "--model.streams names 3 (optical, infrared, elevation), and CMX has two streams: share" in sentence
    assert "--model.architecture mobanet, which takes any number" in sentence


def test_hunan_on_three_streams(command, tmp_path):
    synthesize("hunan", tmp_path / "hunan", tiles=3, size=128, seed=2, workers=0)
    words = [
        "--experiment",
        "hunan_three_streams",
        "--root",
        str(tmp_path / "hunan"),
        "--run",
        str(tmp_path / "run"),
    ]
    words += [
        "--model.backbone",
        "{name: vit_tiny_patch16_224, pretrained: false, options: {depth: 4, embed_dim: 32, num_heads: 2}}",
    ]
    words += ["--crop_size", "32", "--batch_size", "2", "--data.steps_per_epoch", "1", "--workers", "0"]
    words += ["--trainer.max_epochs", "1", "--accelerator", "cpu", "--wandb", "off"]
    ended = command(main, "fit", words)
    assert ended.code == 0, ended.err
    (line,) = [line for line in said(ended) if line.startswith("streams ")]
    assert "optical: s2; radar: s1; elevation: topo" in line
