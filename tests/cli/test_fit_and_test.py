"""From a command line to a run folder, and on from there: resume, test, figures."""

import csv
import json
import math
import os
import shutil
import signal
import sys
import time
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from mobanet.__main__ import main as console
from mobanet.cli.commands import main
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.synthetic import synthesize
from tests.cli.conftest import leftovers, start, wait
from tests.conftest import TINY, same

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def weights(path):
    return read_checkpoint(path)["state_dict"]


def differing(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    return [name for name in one if not same(one[name], other[name])]


def said(ended):
    """Lines without the marks that pytest's logging puts before them."""
    return [line.removeprefix("INFO: ") for line in ended.err.splitlines()]


def test_a_run_leaves_its_configuration_log_metrics_and_checkpoints(finished):
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml",
        "log.txt",
        "metrics.csv",
        "provenance.jsonl",
        "validation.csv",
        "validation.json",
        "validation_confusion.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }
    table = rows(finished / "metrics.csv")
    assert [(row["step"], row["epoch"]) for row in table] == [("0", "0"), ("1", "0"), ("2", "1"), ("3", "1")]
    assert all(math.isfinite(float(row["train/loss"])) for row in table)
    assert [bool(row["val/miou"]) for row in table] == [False, True, False, True]
    with (finished / "validation_confusion.csv").open() as file:
        matrix = np.array([row[1:] for row in csv.reader(file)][1:], int)
    assert matrix.shape == (6, 6)
    assert 0 < matrix.sum() <= 160 * 160
    log = (finished / "log.txt").read_text()
    for part in (
        "train: 4 of the 20 tiles",
        "grid        that of rgb, pixels of 0.4 m",
        "streams     optical: rgb, ir; elevation: dsm",
        "epoch 2 of 2",
        "the run is in",
    ):
        assert part in log
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["seed_everything"] == 42
    assert config["model"]["backbone"]["options"] == TINY
    assert config["model"]["weight_decay"] == 0.05  # nothing asked for it, and it is there all the same


def test_a_printed_configuration_can_be_fed_back(command, small, tmp_path):
    changed = ("--model.lr", "1e-5", "--data.scaling.dsm", "standard", "--precision", "bf16-mixed")
    printed = command(main, "fit", ["--experiment", str(small), *changed, "--print_config"])
    assert printed.code == 0
    config = yaml.safe_load(printed.out)
    assert (config["model"]["lr"], config["data"]["scaling"], config["data"]["crop"]) == (1e-5, {"dsm": "standard"}, 32)
    file = tmp_path / "printed.yaml"
    file.write_text(printed.out)
    again = command(main, "fit", ["--config", str(file), "--print_config"])
    assert yaml.safe_load(again.out) == config
    run = tmp_path / "run"
    main("fit", ["--config", str(file), "--run", str(run), "--wandb", "off", "--trainer.max_epochs", "1"])
    kept = yaml.safe_load((run / "config.yaml").read_text())
    del config["seeds"], config["test"]  # of a call, not of a run
    assert config["data"]["evaluation"]["validation_stride"] is None  # what follows from others is settled in a run
    config["data"]["evaluation"]["validation_stride"] = 64
    assert (config["monitor"], config["scenarios"]["validate"]) == (None, "auto")
    config["monitor"], config["scenarios"]["validate"] = "val/miou", "full"
    assert kept == {**config, "experiment": "custom", "wandb": "off", "trainer": {**config["trainer"], "max_epochs": 1}}


@pytest.mark.parametrize("value", ["warn", "true"])
def test_deterministic_algorithms_can_be_asked_for(value, fit, finished, tmp_path):
    try:
        assert fit("--trainer.deterministic", value).code == 0
        assert torch.is_deterministic_algorithms_warn_only_enabled() == (value == "warn")
    finally:
        torch.use_deterministic_algorithms(False)
    assert differing(tmp_path / "run/checkpoints/last.ckpt", finished / "checkpoints/last.ckpt") == []


def test_the_same_command_twice_into_one_folder_gives_the_same_run(fit, finished, tmp_path):
    assert fit().code == 0
    first = rows(tmp_path / "run/metrics.csv")
    assert fit().code == 0
    assert rows(tmp_path / "run/metrics.csv") == first == rows(finished / "metrics.csv")
    for name in ("last.ckpt", "best.ckpt"):
        assert differing(tmp_path / "run/checkpoints" / name, finished / "checkpoints" / name) == []
    assert len(list((tmp_path / "run/checkpoints").iterdir())) == 2


def test_without_a_folder_a_run_gets_one_of_its_own(command, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        words = [
            "--experiment",
            str(small),
            "--wandb",
            "off",
            "--trainer.max_epochs",
            "1",
            "--data.steps_per_epoch",
            "1",
        ]
        assert command(main, "fit", words).code == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["small"]
    assert len(list((tmp_path / "runs/small").iterdir())) == 2


def test_a_trial_run_leaves_nothing_behind(fit, tmp_path):
    assert fit("--trainer.fast_dev_run", "true").code == 0
    assert not (tmp_path / "run").exists()


def test_resuming_goes_on_in_the_same_folder_with_what_is_new(command, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    before, last = rows(run / "metrics.csv"), run / "checkpoints/last.ckpt"
    words = ["--ckpt_path", str(last), "--trainer.max_epochs", "3", "--model.lr", "1e-5", "--wandb", "off"]
    ended = command(main, "fit", words)
    assert ended.code == 0
    assert "resuming with --model.lr 1e-05 (the checkpoint has 0.0002)" in said(ended)
    after = rows(run / "metrics.csv")
    assert [{key: row[key] for key in before[0]} for row in after[:4]] == before
    assert [(row["step"], row["epoch"]) for row in after[4:]] == [("4", "2"), ("5", "2")]
    assert 0 < float(after[5]["train/lr"]) <= 1e-5
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["lr"] == 1e-5
    assert read_checkpoint(last)["hyper_parameters"]["lr"] == 1e-5
    assert read_checkpoint(last)["global_step"] == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    assert "resuming with" in (run / "log.txt").read_text()

    ended = command(main, "fit", ["--ckpt_path", str(last), "--wandb", "off"])
    assert ended.code == 0
    assert any(line.startswith("nothing was left to train") for line in said(ended))


@pytest.mark.long
def test_a_killed_run_resumed_ends_with_the_very_same_weights(fit, small, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the other process: sums are rounded in the order of the threads
    try:
        words = ("--trainer.max_epochs", "8", "--workers", "1")
        killed = tmp_path / "killed"
        process = start(
            "mobanet.fit", "--experiment", str(small), "--run", str(killed), "--wandb", "off", *words, folder=tmp_path
        )
        last = killed / "checkpoints/last.ckpt"
        deadline = time.monotonic() + 90
        while not last.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert read_checkpoint(last)["global_step"] < 16
        assert fit("--run", str(killed), "--ckpt_path", str(last), *words).code == 0
        assert fit(*words).code == 0
    finally:
        torch.set_num_threads(threads)
    whole = tmp_path / "run"
    assert differing(last, whole / "checkpoints/last.ckpt") == []
    best = [read_checkpoint(run / "checkpoints/best.ckpt")["epoch"] for run in (killed, whole)]
    assert best[0] == best[1]
    columns = ("step", "train/loss", "val/miou")
    resumed, uninterrupted = (
        [{key: row[key] for key in columns} for row in rows(r / "metrics.csv")] for r in (killed, whole)
    )
    assert resumed == uninterrupted
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.long)])
def test_a_run_resumed_in_the_middle_of_an_epoch_ends_with_the_very_same_weights(workers, fit, finished, tmp_path):
    steps = tmp_path / "steps"
    keep = {"dirpath": str(steps), "filename": "{step}", "every_n_train_steps": 1, "save_top_k": -1}
    callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": keep}
    assert fit(f"--trainer.callbacks={json.dumps([callback])}").code == 0
    for name in ("step=1.ckpt", "step=2.ckpt", "step=3.ckpt"):
        words = ("--ckpt_path", str(steps / name), "--workers", workers)
        assert fit("--run", str(tmp_path / name), *words).code == 0
        assert differing(tmp_path / name / "checkpoints/last.ckpt", finished / "checkpoints/last.ckpt") == []


def test_a_test_takes_all_from_the_run_folder_and_writes_what_it_found(
    command, finished, pictures, tmp_path, monkeypatch
):
    run = shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    ended = command(main, "test", ["--ckpt_path", "run/checkpoints/best.ckpt"])
    assert ended.code == 0
    names = {path.name for path in (run / "test").iterdir()}
    assert names == {
        "test.csv",
        "test.json",
        "test_calibration.png",
        "test_confusion.csv",
        "test_scenarios.csv",
        "test_scenarios.json",
        "test_scenarios.png",
        "confusion",
        "maps",
        "predictions.png",
    }
    scenarios = ("rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm", "rgb+ir+dsm")
    assert {path.name for path in (run / "test/maps").glob("*.tif")} == {"2_13.tif"}
    assert {path.name for path in (run / "test/confusion").iterdir()} == {f"test_{name}.csv" for name in scenarios}
    listed = [row["scenario"] for row in rows(run / "test/test_scenarios.csv")]
    assert listed[:7] == [*scenarios]
    with (run / "test/test_confusion.csv").open() as file:
        head, *body = csv.reader(file)
    classes = head[1:]
    matrix = np.array([row[1:] for row in body], float)
    assert [row[0] for row in body] == classes
    truth, predicted, hit = matrix.sum(1), matrix.sum(0), np.diag(matrix)
    union = truth + predicted - hit
    iou = np.divide(hit, union, out=np.full(6, np.nan), where=union > 0)
    f1 = np.divide(2 * hit, truth + predicted, out=np.full(6, np.nan), where=union > 0)
    found = json.loads((run / "test/test.json").read_text())
    averaged = [k for k, name in enumerate(classes) if name != "clutter"]
    assert found["oa"] == pytest.approx(hit.sum() / matrix.sum())
    chance = (truth * predicted).sum() / matrix.sum() ** 2
    assert found["kappa"] == pytest.approx((found["oa"] - chance) / (1 - chance))
    assert found["miou"] == pytest.approx(np.nanmean(iou[averaged]))
    assert found["mean_f1"] == pytest.approx(np.nanmean(f1[averaged]))
    for k, name in enumerate(classes):
        entry = found["classes"][name]
        assert entry["pixels"] == truth[k]
        assert (np.nan if entry["iou"] is None else entry["iou"]) == pytest.approx(iou[k], nan_ok=True)
    table = {row["class"]: row for row in rows(run / "test/test.csv")}
    assert float(table["mean"]["iou"]) == pytest.approx(found["miou"], abs=1e-6)
    assert {name for name, row in table.items() if row["averaged"] == "1"} == {*classes} - {"clutter"}

    text = "\n".join(said(ended))
    assert f"{100 * found['miou']:.2f}" in text
    for part in (
        "split paper, 1 test tile\n",
        "eroded; ignored pixels count nowhere",
        "over 5 of 6 classes",
        "64 pixels",
    ):
        assert part in text
    assert found["protocol"]["data"] == "potsdam, split paper, 1 test tile"

    picture = np.asarray(Image.open(run / "test/predictions.png").convert("RGB"))
    assert min(picture.shape[:2]) > 200
    colours = {tuple(colour) for colour in picture.reshape(-1, 3)[::7].tolist()}
    assert len(colours) > 100
    assert {(255, 255, 255), (0, 0, 255), (0, 255, 255)} <= colours  # paper, building, low vegetation

    folder = tmp_path / "elsewhere"
    again = command(
        main, "test", ["--ckpt_path", "run/checkpoints/best.ckpt", "--run", str(folder), "--batch_size", "3"]
    )
    assert again.code == 0
    assert json.loads((folder / "test/test.json").read_text())["miou"] == pytest.approx(found["miou"], abs=1e-3)


@pytest.fixture(scope="module")
def vit_tiny(tmp_path_factory):
    """Weights of a small transformer, as a user would have them in a file."""
    import timm

    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "vit_tiny.pth"
    torch.save(timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict(), path)
    return path


@pytest.mark.long
def test_the_usual_overrides_take_effect_together(command, prepared, vit_tiny, tmp_path):
    run = tmp_path / "run"
    given = {
        "trainer.max_epochs": 2,
        "data.root": str(prepared),
        "data.batch_size": 4,
        "model.lr": 1e-4,
        "model.backbone.name": "vit_tiny_patch16_224",
        "model.backbone.pretrained": False,
        "model.backbone.checkpoint": str(vit_tiny),
        "model.backbone.freeze": False,
    }
    quick = "--crop_size 64 --data.steps_per_epoch 2 --workers 0 --accelerator cpu --wandb off"
    words = [
        word
        for name, value in given.items()
        for word in (f"--{name}", str(value).lower() if value is False else str(value))
    ]
    ended = command(main, "fit", ["--experiment", "potsdam_irrgb_dsm", "--run", str(run), *words, *quick.split()])
    assert ended.code == 0, ended.err
    config = yaml.safe_load((run / "config.yaml").read_text())
    for name, value in given.items():
        node = config
        for key in name.split("."):
            node = node[key]
        assert node == value
    assert config["data"]["sampling"] == "area"  # the experiment's own, which nothing overrides
    sizes = [config["data"]["evaluation"][name] for name in ("window", "validation_stride", "test_stride")]
    assert sizes == [64, 64, 32]  # as the crop has it
    assert [row["step"] for row in rows(run / "metrics.csv")] == ["1", "3"]  # one an epoch, the next after ten steps
    checkpoint = read_checkpoint(run / "checkpoints/last.ckpt")
    assert checkpoint["global_step"] == 4
    assert checkpoint["hyper_parameters"]["backbone"]["checkpoint"] == str(vit_tiny)
    start_, name = torch.load(vit_tiny, weights_only=True), "blocks.3.mlp.fc1.weight"
    moved = (checkpoint["state_dict"][f"network.backbone.vit.{name}"] - start_[name]).abs().max()
    assert 0 < moved < 4.1 * 1e-4  # by no more than its learning rate a step
    assert "backbone    vit_tiny_patch16_224, trained" in "\n".join(said(ended))


@pytest.fixture(scope="module")
def city_of(prepared, tmp_path_factory):
    """Rasters under the names of each layout that can be drawn, drawn when they are asked for."""
    root = tmp_path_factory.mktemp("cities")
    tiles = {"vaihingen": (3, 128), "dstl_crops": (10, 256), "hunan": (3, 128)}

    @cache
    def drawn(layout):
        if layout == "potsdam":
            return prepared
        assert layout in tiles, "the fixture has to draw a data set in this layout"
        count, size = tiles[layout]
        synthesize(layout.removesuffix("_crops"), root / layout, tiles=count, size=size, seed=1, workers=0)
        return root / layout

    return drawn


QUICK = ("potsdam_irrgb_dsm", "hunan_s2_s1_topo")  # the others' settings are read by the command line in any case
IN_CODE = [path for path in EXPERIMENTS if yaml.safe_load(path.read_text())["data"]["layout"] != "folder"]
"""Those of described data are fitted by `test_described_data.py`."""


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.long] * (path.stem not in QUICK), id=path.stem) for path in IN_CODE],
)
def test_every_experiment_runs_for_a_step(path, city_of, command, tmp_path):
    settings = yaml.safe_load(path.read_text())
    printed = command(main, "fit", ["--experiment", path.stem, "--print_config"])
    assert printed.code == 0, printed.err
    assert path.read_text().startswith("# ")
    root = city_of(settings["data"]["layout"])
    words = f"--root {root} --store {tmp_path / 'store'} --accelerator cpu"
    words += " --devices 1 --trainer.max_steps 1 --trainer.limit_val_batches 1 --trainer.num_sanity_val_steps 0"
    words += f" --workers 0 --crop_size 64 --batch_size 2 --data.steps_per_epoch 1 --run {tmp_path / 'run'}"
    words = [*words.split(), "--wandb", "off"]
    if "name" in settings["model"].get("backbone", {}):
        backbone = {"name": "vit_tiny_patch16_224", "pretrained": False, "options": TINY}
        words += [f"--model.backbone.{key}={value}" for key, value in backbone.items()]
    from mobanet.datasets import get_layout
    from mobanet.store.build import build_store

    names = settings["data"].get("modalities")
    build_store(get_layout(settings["data"]["layout"]), root, tmp_path / "store", names, workers=1)
    ended = command(main, "fit", ["--experiment", path.stem, *words])
    assert ended.code == 0, ended.err
    assert read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["global_step"] == 1


def test_a_wheel_brings_every_experiment():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    folders = ("", "variants/", "sweeps/", "folders/")
    assert built["include"] == ["/mobanet", *(f"/experiments/{folder}*.yaml" for folder in folders)]
    assert built["sources"] == {"experiments": "mobanet/experiments"}
    assert EXPERIMENTS


def test_tracking_is_offline_unless_asked_for_and_output_is_plain(small, tmp_path):
    environment = {
        "WANDB_MODE": "",
        "WANDB_API_KEY": "",
        "HOME": str(tmp_path / "home"),
        "NETRC": str(tmp_path / "none"),
    }
    run = tmp_path / "run"
    ended = wait(start("mobanet.fit", "--experiment", str(small), "--run", str(run), folder=tmp_path, **environment))
    assert ended.code == 0, ended.err
    assert len(list((run / "wandb").glob("offline-run-*"))) == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["run"]
    text = ended.out + ended.err
    assert "\r" not in text
    assert "\x1b" not in text
    assert "Traceback" not in text
    assert "warn" not in text.lower()
    lines = ended.err.splitlines()
    assert any(line.startswith("epoch 1 of 2: ") and "s left" in line and "val/miou 0." in line for line in lines)
    assert lines[-1] == f"the run is in {run}"


def test_no_tracking_when_told_so(finished):
    assert not (finished / "wandb").exists()


def test_the_console_script(command, capsys, monkeypatch):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["mobanet", *words])
        return command(console)

    ended = call("--help")
    assert ended.code == 0
    assert all(f"  {name}" in ended.out for name in ("fit", "test", "prepare", "check", "synthesize"))
    assert call("fitt").sentence().startswith("fitt is not a command; did you mean fit?")
    for name, option in {
        "fit": "--model.backbone.name",
        "test": "--ckpt_path",
        "prepare": "--layout",
        "check": "--sheet",
    }.items():
        ended = call(name, "--help")
        assert ended.code == 0
        assert option in ended.out
    assert call("--version").out.strip()
