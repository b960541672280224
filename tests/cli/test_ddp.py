"""Two processes on the CPU: one run, every pixel counted once, nothing that hangs, nobody left behind."""

import json
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from mobanet.cli.commands import main
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.scenarios.history import read_history
from tests.cli.conftest import WIDE, Ended, fork_server, leftovers, start, wait
from tests.cli.signals import sending
from tests.cli.test_fit_and_test import differing, rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

LATENT = ("--scenarios.strategy", "latent", "--scenarios.num_windows", "20")
TWO = ("--accelerator", "cpu", "--devices", "2", "--trainer.strategy", "ddp")


def ended_alone(process) -> Ended:
    """The end of a command, of whose processes none lives on; they share its group or have sessions of the server."""
    ended = wait(process)
    deadline = time.monotonic() + 10
    while living(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)  # Python's own resource tracker ends a moment after its parent
    assert living(process.pid) == []
    return ended


def living(group):
    """Ids of the processes that have not ended; one that nobody waits for remains as a zombie."""
    found, sessions = [], fork_server().sessions()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, member_of, session = path.read_text().rpartition(")")[2].split()[:4]
            if (int(member_of) == group or int(session) in sessions) and state != "Z":
                found.append(path.parent.name)
    return found


def matrix(path):
    return np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 7), dtype=int)


@pytest.fixture(scope="module")
def pair(small, tmp_path_factory):
    """A folder in which two processes have trained around a frozen backbone for an epoch."""
    folder = tmp_path_factory.mktemp("pair")
    words = ("--experiment", str(small), *TWO, "--wandb", "offline", "--trainer.max_epochs", "1")
    words += ("--panels.every_n_epochs", "10")
    words += ("--model.backbone.freeze", "true", "--model.network.placement", "block", *LATENT)
    words += ("--model.network.incomplete", "own")  # a batch may have nothing for either set of parts
    words += ("--model.network.normalization", "scenario")  # of which each process may have another
    ended = ended_alone(start("mobanet.fit", *words, *WIDE, folder=folder))
    assert ended.code == 0, ended.err
    return folder, ended


def run_of(folder):
    (run,) = (folder / "runs/small").iterdir()
    return run


def test_two_processes_make_one_run(pair):
    folder, ended = pair
    run = run_of(folder)
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {"config.yaml", "log.txt", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= names
    assert leftovers(folder) == []
    assert len(list(run.glob("wandb/offline-run-*"))) == 1
    assert len((run / "provenance.jsonl").read_text().splitlines()) == 1
    assert len(list((run / "panels").iterdir())) == 2
    assert [row["step"] for row in rows(run / "metrics.csv")] == ["0", "1"]
    lines = ended.err.splitlines()
    for start_ in ("train: 4 of the 20", "streams ", "parameters ", "scenarios ", "epoch 1 of 1", "the run is in"):
        assert len([line for line in lines if line.startswith(start_)]) == 1
    assert "sync_dist" not in ended.err
    assert "find_unused_parameters" not in ended.err
    assert "frozen" in ended.err
    checkpoint = read_checkpoint(run / "checkpoints/last.ckpt")
    assert checkpoint["hyper_parameters"]["network"]["placement"] == "block"
    assert checkpoint["global_step"] == 2
    validated = matrix(run / "validation_confusion.csv")
    assert 0 < validated.sum() <= 160 * 160  # one tile for two processes, counted once
    assert 0 < float(rows(run / "metrics.csv")[-1]["val/loss"]) < 10


@pytest.mark.long
def test_torchrun_resumes_and_two_processes_count_as_one_does(pair, prepared, command, tmp_path):
    folder = shutil.copytree(pair[0], tmp_path / "folder")
    last = run_of(folder) / "checkpoints/last.ckpt"
    alone = ["--devices", "1", "--trainer.strategy", "auto"]
    scores = tmp_path / "scores.json"
    assert command(main, "scores", ["--ckpt_path", str(last), "--output", str(scores), *alone]).code == 0
    # without the dashes torchrun takes --run for one of its own options, cut short
    words = ("--standalone", "--nproc_per_node", "2", "-m", "--", "mobanet.fit", "--run", str(run_of(folder)))
    words += ("--ckpt_path", str(last), "--trainer.max_epochs", "2", "--wandb", "off")
    ended = ended_alone(start("torch.distributed.run", *words, folder=folder))
    assert ended.code == 0, ended.err
    assert ended.err.count("the run is in") == 1
    assert read_checkpoint(last)["global_step"] == 4
    assert [row["step"] for row in rows(run_of(folder) / "metrics.csv")] == ["0", "1", "2", "3"]
    assert sorted(path.name for path in folder.iterdir()) == ["runs"]
    # two ranks at the start of the second epoch and one rank by itself have measured the same weights
    first, second = read_history(run_of(folder) / "scenario_scores.jsonl")
    measured = json.loads(scores.read_text())
    assert (first.epoch, second.epoch, second.num_windows, measured["num_windows"]) == (0, 1, 20, 20)
    assert first.probabilities != second.probabilities
    np.testing.assert_allclose(second.probabilities, measured["probabilities"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(second.distortion, measured["distortion"], rtol=1e-6)

    # three test tiles for two processes: copies of the city's other tiles under names of the split's test list
    more = tmp_path / "more"
    shutil.copytree(prepared, more, ignore=shutil.ignore_patterns("mobanet_store", ".mobanet*"))
    for old, new in (("2_10", "2_14"), ("3_11", "3_13")):
        padded = [(f"{name[0]:0>2}_{name[2:]}", name) for name in (old, new)]
        for path in [path for path in more.rglob("*.*") if old in path.name or padded[0][0] in path.name]:
            shutil.copy(path, path.with_name(path.name.replace(padded[0][0], padded[1][0]).replace(old, new)))
    given = ["--ckpt_path", str(last), "--root", str(more), "--stride", "32"]
    given += ["--degrade", "gaussian,misregistration"]
    ended = ended_alone(start("mobanet.test", *given, "--run", "two", folder=folder))
    assert ended.code == 0, ended.err
    assert "split paper, 3 test tiles" in ended.err
    assert command(main, "test", [*given, *alone, "--run", str(folder / "one")]).code == 0
    names = [path.name for path in (folder / "one/test/confusion").iterdir()]
    assert len(names) == 7
    for name in names:
        two, one = (matrix(folder / run / "test/confusion" / name) for run in ("two", "one"))
        assert two.sum() == one.sum() > 160 * 160
        assert (two.sum(1) == one.sum(1)).all()
        # windows meet in other batches there, whose sums may round differently: a handful of ties at most
        assert np.abs(two - one).sum() <= 6
    degraded = [json.loads((folder / run / "test/test_degraded.json").read_text()) for run in ("two", "one")]
    for two, one in zip(*(content["degraded"] for content in degraded), strict=True):
        assert (two["modality"], two["degradation"], two["severity"]) == tuple(map(one.get, (*one,)[:3]))
        assert np.abs(np.array(two["confusion"]) - np.array(one["confusion"])).sum() <= 6
    assert ended.err.count("rgb+ir+dsm undegraded: ") == 1
    two, one = (json.loads((folder / run / "test/test_scenarios.json").read_text()) for run in ("two", "one"))
    assert two["tiles"] == one["tiles"] == ["2_13", "2_14", "3_13"]  # on two ranks, and on one
    for key in ("mean", "incomplete"):
        np.testing.assert_allclose(
            two["summary"][key]["miou_interval"], one["summary"][key]["miou_interval"], atol=1e-3
        )
    for name, figures in one["scenarios"].items():
        low, high = figures["miou_interval"]
        assert low < figures["miou"] < high
        np.testing.assert_allclose(two["scenarios"][name]["miou_interval"], [low, high], atol=1e-3)
        counted = [each["scenarios"][name]["calibration"]["pixels"] for each in (two, one)]
        assert sum(counted[0]) == sum(counted[1]) == np.sum(figures["confusion"])
        assert np.abs(np.subtract(*counted)).sum() <= 12  # on the borders of bins
        assert two["scenarios"][name]["ece"] == pytest.approx(figures["ece"], abs=1e-3)
    assert (folder / "two/test/predictions.png").stat().st_size > 10_000


@pytest.mark.long
def test_two_processes_of_which_one_is_interrupted_go_on_as_if_nothing_had_been(small, tmp_path):
    words = ("--experiment", str(small), *TWO, *LATENT, "--wandb", "off")
    words += ("--data.steps_per_epoch", "3")
    ended = ended_alone(start("mobanet.fit", *words, "--run", "whole", folder=tmp_path))
    assert ended.code == 0, ended.err
    signalled = sending("on_before_optimizer_step", 4, "SIGTERM", rank=1)
    ended = ended_alone(start("mobanet.fit", *words, signalled, "--run", "stopped", folder=tmp_path))
    assert ended.code == 143, ended.err
    last = tmp_path / "stopped/checkpoints/last.ckpt"
    line = "SIGTERM has stopped the run after step 5; go on with: python -m mobanet.fit --ckpt_path "
    assert ended.err.count("has stopped the run") == 1
    assert ended.err.splitlines()[-1] == f"{line}{last.relative_to(tmp_path)}"
    assert "Traceback" not in ended.err
    words = ("--ckpt_path", str(last), "--trainer.callbacks", "null", "--wandb", "off")
    ended = ended_alone(start("mobanet.fit", *words, folder=tmp_path))
    assert ended.code == 0, ended.err
    assert differing(tmp_path / "whole/checkpoints/last.ckpt", last) == []
    assert rows(tmp_path / "stopped/metrics.csv") == rows(tmp_path / "whole/metrics.csv")
    whole, resumed = (read_history(tmp_path / run / "scenario_scores.jsonl") for run in ("whole", "stopped"))
    assert [record.epoch for record in whole] == [0, 1]
    assert [(r.epoch, r.distortion, r.probabilities) for r in whole] == [
        (r.epoch, r.distortion, r.probabilities) for r in resumed
    ]


def test_a_mistake_in_the_data_is_told_before_the_other_process_is_there(fit, broken, tmp_path):
    (broken / "1_DSM/dsm_potsdam_03_10.tif").unlink()
    assert "tile 3_10 has no dsm" in fit(*TWO, "--root", str(broken)).sentence()
    assert not (tmp_path / "run").exists()


def test_when_only_the_first_process_fails_the_other_ends_too(small, tmp_path):
    words = ("--experiment", str(small), *TWO, "--wandb", "off", "--run", "run")
    (tmp_path / "run/checkpoints/last.ckpt").mkdir(parents=True)  # a folder where the first process writes a file
    words += ("--trainer.max_epochs", "1", "--model.backbone.freeze", "true")  # stages, in the other tests blocks
    ended = ended_alone(start("mobanet.fit", *words, folder=tmp_path))
    assert ended.code == 2, ended.err
    assert "epoch 1 of 1" in ended.err
    assert ended.err.count("error: ") == 1
    assert "last.ckpt cannot be used" in ended.err
    assert "Traceback" not in ended.err
