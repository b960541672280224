"""Runs that were tracked."""

import os
import signal
import time
from pathlib import Path

import pytest

from mobanet.loading.checkpoint import read_checkpoint
from tests.cli.conftest import command, fit, prepared, small, start, test, wait  # noqa: F401

LATENT = ("--scenarios.strategy", "latent", "--scenarios.num_windows", "8", "--scenarios.validate", "all")
OFFLINE = {"WANDB_MODE": "", "WANDB_API_KEY": "", "NETRC": "none", "WANDB_PROJECT": "maps"}
"""As on a machine where nobody has logged in."""


@pytest.fixture(scope="session")
def killed(small, tmp_path_factory) -> Path:  # noqa: F811
    """The folder of a run that was killed some epochs after its beginning, gone on with for three, and tested."""
    folder = tmp_path_factory.mktemp("killed")
    words = ("--experiment", str(small), "--run", "run", "--trainer.max_epochs", "200", *LATENT)
    words += ("--panels.every_n_epochs", "1", "--panels.windows", "1")
    # the same rate at every step, however many there are, so that steps made twice are the same
    words += ("--model.lr", "1e-4", "--model.schedule.min_lr", "1e-4", "--model.schedule.warmup_epochs", "0")
    process = start("mobanet.fit", *words, folder=folder, **OFFLINE)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        recorded = list((folder / "run").glob("wandb/offline-run-*/*.wandb"))  # written every few seconds
        if recorded and recorded[0].stat().st_size > 40_000:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = read_checkpoint(folder / "run/checkpoints/last.ckpt")["epoch"] + 1
    assert done < 200
    resumed = ("--ckpt_path", "run/checkpoints/last.ckpt", "--trainer.max_epochs", str(done + 3))
    resumed += ("--panels.every_n_epochs", "50")
    ended = wait(start("mobanet.fit", *resumed, folder=folder, **{**OFFLINE, "WANDB_PROJECT": "other"}))
    assert ended.code == 0, ended.err
    more = ("--boundary", "2", "--objects", "building")
    ended = wait(start("mobanet.test", "--ckpt_path", "run/checkpoints/best.ckpt", *more, folder=folder, **OFFLINE))
    assert ended.code == 0, ended.err
    assert "tracking    Weights & Biases, offline" in ended.err
    return folder / "run"
