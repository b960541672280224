"""Exported models in the commands that take checkpoints: the same figures, and what an export cannot do."""

import json
import shutil

import huggingface_hub
import numpy as np
import onnx
import pytest

import mobanet
from mobanet.cli.commands import main
from mobanet.export import main as export
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.report import main as report
from tests.conftest import same

KINDS = {"folder": "roofs", "safetensors": "roofs.safetensors"}


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """The run's best checkpoint as a folder and as a file, where nothing of the run is."""
    place = tmp_path_factory.mktemp("exported")
    for kind, name in KINDS.items():
        export(["--ckpt_path", str(finished), "--format", kind, "--output", str(place / name)])
    return place


@pytest.fixture(scope="module")
def tested(finished, tmp_path_factory):
    """What the test of the checkpoint itself has found."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("tested") / "run")
    main("test", ["--ckpt_path", str(run / "checkpoints/best.ckpt")])
    return json.loads((run / "test/test_scenarios.json").read_text())


@pytest.mark.parametrize("name", KINDS.values())
def test_an_export_has_the_figures_of_its_checkpoint(exported, tested, small, command, tmp_path, name):
    words = ["--experiment", str(small), "--run", str(tmp_path / "run")]
    ended = command(main, "test", ["--ckpt_path", str(exported / name), *words])
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "run/test/test_scenarios.json").read_text()) == tested
    assert "warning: the model was trained with every sensor there, and never in rgb" in ended.err


def test_an_export_inside_its_run_is_tested_with_the_run_s_settings(finished, tested, command, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    assert command(export, ["--ckpt_path", str(run), "--format", "folder"]).code == 0
    ended = command(main, "test", ["--ckpt_path", str(run / "checkpoints/best"), "--scenarios.evaluate", "rgb,full"])
    assert ended.code == 0, ended.err
    found = json.loads((run / "test/test_scenarios.json").read_text())["scenarios"]
    assert found == {name: tested["scenarios"][name] for name in ("rgb", "rgb+ir+dsm")}


def test_a_model_on_the_hub_is_tested_by_its_name(exported, tested, small, command, tmp_path, monkeypatch):
    cache = tmp_path / "cache/models--office--roofs"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text("1" * 40)
    shutil.copytree(exported / "roofs", cache / "snapshots" / ("1" * 40))
    monkeypatch.chdir(tmp_path)
    words = ["--experiment", str(small), "--run", "run"]
    ended = command(main, "test", ["--ckpt_path", "office/roofs", *words])
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "run/test/test_scenarios.json").read_text()) == tested
    ended = command(export, ["--ckpt_path", "office/roofs", "--format", "safetensors"])
    assert ended.code == 0, ended.err
    assert (tmp_path / "roofs.safetensors").is_file()  # and not in the hub's cache
    ended = command(main, "test", ["--ckpt_path", "office/streets", *words])
    assert "office/streets is no folder here, and cannot be fetched from the hub" in ended.sentence()


def test_scores_are_those_of_the_checkpoint(finished, exported, small, command, tmp_path):
    words = ["--experiment", str(small), "--scenarios.num_windows", "2"]
    for name, source in (("a", finished / "checkpoints/best.ckpt"), ("b", exported / "roofs")):
        given = ["--ckpt_path", str(source), "--output", str(tmp_path / f"{name}.json"), *words]
        ended = command(main, "scores", [*given, "--run", str(tmp_path / name)])
        assert ended.code == 0, ended.err
    one, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    differ = {key for key in one if one[key] != other[key]}
    assert differ <= {"checkpoint", "seconds"}


def test_training_begins_with_the_weights_of_an_export(finished, exported, fit, tmp_path):
    words = ["--init_from", str(exported / "roofs"), "--trainer.max_epochs", "1", "--model.lr", "0", "--run"]
    ended = fit(*words, str(tmp_path / "next"), "--model.backbone_lr", "0", "--model.weight_decay", "0")
    assert ended.code == 0, ended.err
    before, after = (
        read_checkpoint(path) for path in (finished / "checkpoints/best.ckpt", tmp_path / "next/checkpoints/last.ckpt")
    )
    trained = [name for name in before["state_dict"] if name.endswith(".weight") and "norm" not in name]
    assert trained
    assert all(same(before["state_dict"][name], after["state_dict"][name]) for name in trained)
    assert after["RasterDataModule"]["scaling"] == before["RasterDataModule"]["scaling"]


@pytest.mark.parametrize(
    ("name", "words", "parts"),
    [
        ("fit", [], ["roofs is an exported model, which has no state of a training", "--init_from"]),
        ("adapt", [], ["roofs is an exported model", "name it with --output FILE.ckpt"]),
        ("test", ["--model.lr", "1"], ["--model.lr is 1.0, but the checkpoint has"]),
        ("test", ["--backbone", "weights.pth"], ["holds all its weights", "leave it out"]),
        ("test", ["--modalities", "rgb"], ["--modalities is rgb, but the checkpoint has rgb, ir, dsm"]),
    ],
)
def test_what_an_export_has_not_is_said(name, words, parts, exported, small, command, tmp_path):
    given = ["--experiment", str(small), "--run", str(tmp_path / "run")]
    ended = command(main, name, ["--ckpt_path", str(exported / "roofs"), *given, *words])
    assert all(part in ended.sentence() for part in parts), ended.err
    assert not (tmp_path / "run").exists()


def test_a_damaged_export_is_said(exported, small, command, tmp_path):
    folder = shutil.copytree(exported / "roofs", tmp_path / "roofs")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    for name in ("test", "scores", "adapt"):
        ended = command(main, name, ["--ckpt_path", str(folder), "--experiment", str(small)])
        assert "model.safetensors cannot be read as safetensors" in ended.sentence()


def test_an_export_adapts_to_a_checkpoint(finished, exported, small, command, tmp_path):
    words = ["--experiment", str(small), "--windows", "2", "--output"]
    ends = []
    for number, source in enumerate((finished, exported / "roofs")):
        out = tmp_path / f"{number}.ckpt"
        ended = command(main, "adapt", ["--ckpt_path", str(source), *words, str(out), "--run", str(tmp_path / "run")])
        ends.append((ended.code, [line for line in ended.err.splitlines() if "mIoU" in line], out.is_file()))
    assert ends[0] == ends[1]


@pytest.mark.long
def test_an_export_becomes_another_format(exported, command, tmp_path):
    ended = command(export, ["--ckpt_path", str(exported / "roofs"), "--output", str(tmp_path / "roofs.onnx")])
    assert ended.code == 0, ended.err
    onnx.checker.check_model(str(tmp_path / "roofs.onnx"))
    again = ["--ckpt_path", str(exported / "roofs.safetensors"), "--format", "folder", "--output"]
    ended = command(export, [*again, str(tmp_path / "again")])
    assert ended.code == 0, ended.err
    assert "figures and settings of its run are not known of an export" in ended.out
    one, other = (
        json.loads(path.read_text()) for path in (exported / "roofs/config.json", tmp_path / "again/config.json")
    )
    assert one == other
    for kind, place in (("folder", "roofs"), ("safetensors", "roofs/model.safetensors")):
        words = ["--ckpt_path", str(exported / "roofs"), "--format", kind, "--output", str(exported / place)]
        ended = command(export, words)
        assert f"{exported / place} is the model that is to be exported; name another place" in ended.sentence()


def test_python_takes_a_checkpoint_and_a_run_s_folder_like_an_export(finished, exported):
    one = mobanet.from_pretrained(exported / "roofs")
    for source in (finished, finished / "checkpoints/best.ckpt"):
        other = mobanet.from_pretrained(source)
        assert other.windows == one.windows
        assert other.training == one.training
        assert other.temperatures == one.temperatures
        assert all(np.array_equal(other.learnt[name], one.learnt[name]) for name in one.learnt)
        state = other.module.state_dict()
        network = {name: x for name, x in one.module.state_dict().items() if name.startswith("network.")}
        assert all(same(state[name], value) for name, value in network.items())


def test_a_report_is_of_a_run(finished, exported, command, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    assert command(export, ["--ckpt_path", str(run), "--format", "folder"]).code == 0
    for place in ("checkpoints/best.ckpt", "checkpoints/best"):
        ended = command(report, [str(run / place), "--output", str(tmp_path / "report.html")])
        assert ended.code == 0, ended.err
    ended = command(report, [str(exported / "roofs")])
    assert f"{exported / 'roofs'} is an exported model, which has no figures of a run" in ended.err.splitlines()[-1]
