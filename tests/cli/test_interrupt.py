"""Signals: a run stops with a checkpoint from which it goes on as if nothing had been."""

import os
import signal
import stat
import sys

import pytest
import torch

from mobanet.loading.checkpoint import read_checkpoint
from mobanet.runs.requeue import going_on, requeue
from tests.cli.conftest import leftovers, start, wait
from tests.cli.signals import sending
from tests.cli.test_fit_and_test import differing, rows, said

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

WORDS = ("--data.steps_per_epoch", "3", "--scenarios.strategy", "uniform", "--data.evaluation.validation_stride", "32")


def resumed(fit, last):
    return fit("--run", str(last.parents[1]), "--ckpt_path", str(last), "--trainer.callbacks", "null", experiment=None)


def assert_same_run(run, whole):
    """All that two runs leave is the same, and so would be all that goes on from them."""
    for name in ("last.ckpt", "best.ckpt"):
        assert differing(run / "checkpoints" / name, whole / "checkpoints" / name) == []
    one, other = (read_checkpoint(folder / "checkpoints/last.ckpt") for folder in (run, whole))
    assert one["loops"]["fit_loop"] == other["loops"]["fit_loop"]
    assert rows(run / "metrics.csv") == rows(whole / "metrics.csv")
    assert (run / "validation_confusion.csv").read_bytes() == (whole / "validation_confusion.csv").read_bytes()
    assert leftovers(run) == []


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """As in other processes: sums are rounded in the order of the threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    from mobanet.cli.commands import main

    folder = tmp_path_factory.mktemp("whole") / "run"
    main("fit", ["--experiment", str(small), "--run", str(folder), "--wandb", "off", *WORDS])
    return folder


@pytest.mark.parametrize(
    ("name", "place", "call", "step"),
    [
        pytest.param("SIGINT", "on_before_optimizer_step", 5, 5, marks=pytest.mark.long),
        ("SIGTERM", "on_train_batch_end", 3, 3),  # the epoch's last: its validation is still to come
        ("SIGINT", "on_validation_batch_start", 2, 3),
        pytest.param("SIGTERM", "on_validation_batch_end", 8, 6, marks=pytest.mark.long),  # of the last epoch
        ("SIGUSR1", "on_train_epoch_end", 1, 3),
    ],
)
def test_a_run_interrupted_anywhere_goes_on_as_if_nothing_had_been(name, place, call, step, fit, whole, tmp_path):
    run = tmp_path / "run"
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    ended = fit(*WORDS, sending(place, call, name))
    assert ended.code == 128 + signal.Signals[name]
    assert {number: signal.getsignal(number) for number in before} == before
    last = run / "checkpoints/last.ckpt"
    line = f"{name} has stopped the run after step {step}; go on with: python -m mobanet.fit --ckpt_path {last}"
    assert said(ended)[-1] == line
    assert "Traceback" not in ended.err
    assert line in (run / "log.txt").read_text()
    assert read_checkpoint(last)["global_step"] == step
    assert [row["step"] for row in rows(run / "metrics.csv")] == [str(n) for n in range(step)]
    assert resumed(fit, last).code == 0
    assert_same_run(run, whole)


@pytest.mark.long
def test_no_gradient_is_lost_where_several_batches_make_a_step(fit, tmp_path):
    words = (*WORDS, "--data.steps_per_epoch", "4", "--trainer.accumulate_grad_batches", "2")
    words += ("--trainer.val_check_interval", "1")  # also between the batches of a step
    assert fit(*words, "--run", str(tmp_path / "whole")).code == 0
    assert fit(*words, sending("on_validation_batch_start", 2, "SIGTERM")).code == 143
    last = tmp_path / "run/checkpoints/last.ckpt"
    assert read_checkpoint(last)["global_step"] == 1
    assert resumed(fit, last).code == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_signal_to_all_processes_leaves_those_that_read_crops_at_work(fit, small, whole, tmp_path):
    words = ("--experiment", str(small), "--wandb", "off", *WORDS, "--workers", "1", "--run", "run")
    process = start("mobanet.fit", *words, sending("on_train_batch_end", 4, "SIGTERM", to="group"), folder=tmp_path)
    ended = wait(process)
    assert ended.code == 143, ended.err
    assert ended.err.splitlines()[-1].endswith("--ckpt_path run/checkpoints/last.ckpt")
    assert "Traceback" not in ended.err
    last = tmp_path / "run/checkpoints/last.ckpt"
    assert read_checkpoint(last)["global_step"] == 4
    assert resumed(fit, last).code == 0
    assert_same_run(tmp_path / "run", whole)


def test_a_second_ctrl_c_ends_at_once(small, tmp_path):
    words = ("--experiment", str(small), "--wandb", "off", *WORDS, "--run", "run")
    process = start("mobanet.fit", *words, sending("on_train_batch_end", 2, "SIGINT", again=0.5), folder=tmp_path)
    ended = wait(process)
    assert ended.code == 130
    assert ended.err.splitlines()[-1] == "stopping after this step; Ctrl-C again ends at once, without saving"
    assert not (tmp_path / "run/checkpoints").exists()


def test_without_checkpoints_an_interruption_says_so(fit, tmp_path):
    words = (*WORDS, "--trainer.enable_checkpointing", "false", "--trainer.num_sanity_val_steps", "1")
    ended = fit(*words, sending("on_train_batch_end", 1, "SIGTERM"))
    assert ended.code == 143
    assert said(ended)[-1] == "SIGTERM has stopped the run after step 1; no checkpoint was asked for"
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The environment of a SLURM job, and a `scontrol` that notes how it was called."""
    script = tmp_path / "bin/scontrol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path / "called"}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    given = {"NTASKS": 1, "JOB_NAME": "train", "JOB_ID": 42, "PROCID": 0, "LOCALID": 0, "NODEID": 0}
    for name, value in given.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    return script


def test_a_slurm_job_goes_back_into_the_queue_and_on_with_its_run(job, fit, whole, tmp_path, monkeypatch):
    words = (*WORDS, sending("on_before_optimizer_step", 4, "SIGUSR1"))
    ended = fit(*words)
    assert ended.code == 128 + signal.SIGUSR1
    assert said(ended)[-1].endswith("last.ckpt (job 42 is back in the queue)")
    assert (tmp_path / "called").read_text() == "requeue 42\n"
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert fit(*words).code == 0  # the very same command
    assert_same_run(tmp_path / "run", whole)


def test_a_job_that_cannot_be_requeued_says_why(job, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    job.write_text("#!/bin/sh\necho 'slurm_update error: Access denied' >&2\nexit 1\n")
    assert requeue() == "job 40_2 could not be requeued: slurm_update error: Access denied"
    job.write_text("#!/bin/sh\nkill -s TERM $$\n")
    assert requeue() == "job 40_2 could not be requeued: scontrol ended with -15"
    job.unlink()
    monkeypatch.setenv("PATH", str(job.parent))
    assert requeue() == "job 40_2 could not be requeued: scontrol: No such file or directory"


def test_only_a_job_that_starts_again_goes_on_by_itself(finished, monkeypatch):
    last, words = finished / "checkpoints/last.ckpt", ["--experiment", "x", "--run", str(finished)]
    assert going_on(words) == words
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    assert going_on(words) == words
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert going_on([*words, "--init_from", "a.ckpt"]) == [*words, "--ckpt_path", str(last)]
    # it began there, and is further by now
    assert going_on([*words, "--ckpt_path", "b.ckpt"]) == [*words, "--ckpt_path", str(last)]
    assert going_on(["--experiment", "x"]) == ["--experiment", "x"]
    elsewhere = ["--experiment", "x", f"--run={finished.parent}", "--ckpt_path", "b.ckpt"]
    assert going_on(elsewhere) == elsewhere


def test_ctrl_c_ends_a_test_with_its_own_code_and_without_a_traceback(finished, tmp_path):
    checkpoint = str(finished / "checkpoints/best.ckpt")
    words = ("--ckpt_path", checkpoint, sending("on_test_batch_end", 1, "SIGINT"))
    ended = wait(start("mobanet.test", *words, folder=tmp_path))
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert ended.err.splitlines()[-1] == "interrupted"
    assert leftovers(finished) == []
