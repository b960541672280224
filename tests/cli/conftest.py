"""Commands in this process and in others, on the city with its tiles prepared."""

import functools
import io
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.conftest import NARROW, TINY
from tests.forkserver import ROOT, ForkServer

PROGRESS = re.compile(
    r"(INFO: )?((preparing|checking|drawing) tiles: |problem: |note: |hint: |GPU available|(train|validation|test): \d|"
    r"(grid|streams|loss|classes|masking|backbone|validation|parameters|precision|scenarios|checkpoints|epoch) |"
    r"resuming |Restor|nothing was left|probabilities are calibrated |\S+: warning: the model was trained )"
)
"""What may stand before the error: how far a command came."""

WIDE = ("--model.network.decoder_channels", "64", "--model.network.projection_channels", "256")
"""The default network: in a few steps, the narrow one of the small experiment learns nothing that figures show."""


@pytest.fixture(scope="package", autouse=True)
def sketched() -> Iterator[Callable[..., None]]:
    """Figures are built of what each run has found, laid out no further, and written as a picture of one pixel.

    How they look takes as long as all else of a test together, and is looked at in tests of their own.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    pixel, whole = io.BytesIO(), Figure.savefig
    Image.new("RGB", (1, 1)).save(pixel, "PNG")

    def sketch(figure, file, **options):
        if figure.get_layout_engine() is None:  # a contact sheet, which has its own
            return whole(figure, file, **options)
        figure.set_layout_engine("none")
        renderer = figure.canvas.get_renderer()
        with renderer._draw_disabled():
            figure.draw(renderer)
        return file.write(pixel.getvalue())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", sketch)
        yield whole


@pytest.fixture
def pictures(sketched, monkeypatch):
    """For tests that look at figures: they are drawn as users get them."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", sketched)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def sentence(self) -> str:
        """The one sentence that a mistake gets: the last line, behind nothing but progress."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert self.code == 2, self.err
        assert lines, "nothing was said"
        assert "Traceback" not in self.err + self.out
        assert [line for line in lines if not PROGRESS.match(line)] == lines[-1:], self.err
        assert lines[-1].startswith("error: ")
        return lines[-1].removeprefix("error: ")


@pytest.fixture(scope="session")
def prepared(city) -> Path:
    """The city with its store, so that no test waits for it."""
    from mobanet.datasets import get_layout
    from mobanet.store.build import build_store

    build_store(get_layout("potsdam"), city, None, ["rgb", "ir", "dsm"], workers=1)
    return city


@pytest.fixture(scope="session")
def small(prepared, tmp_path_factory) -> Path:
    """An experiment of two epochs of two steps."""
    path = tmp_path_factory.mktemp("experiments") / "small.yaml"
    path.write_text(yaml.safe_dump(small_experiment(prepared), sort_keys=False))
    return path


def small_experiment(root):
    return {
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 2,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "precision": "32-true",  # and not what the machine is best at: figures are compared
        },
        "data": {
            "layout": "potsdam",
            "root": str(root),
            "modalities": ["rgb", "ir", "dsm"],
            "crop": 32,
            "batch_size": 4,
            "steps_per_epoch": 2,
            "num_workers": 0,
            "evaluation": {"window": 64, "test_stride": 64, "labels": "eroded"},
        },
        "model": {
            "backbone": {
                "name": "vit_tiny_patch16_224",
                "pretrained": False,
                "freeze": False,
                "options": dict(TINY),
            },
            "network": dict(NARROW),
            "streams": {"optical": ["rgb", "ir"], "elevation": ["dsm"]},
            "schedule": {"warmup_epochs": 0.4},  # the default is longer than the run, which would be announced
        },
        "panels": {"every_n_epochs": None},  # as long to draw as an epoch takes; tests that want them ask for them
    }


@pytest.fixture
def broken(city, tmp_path):
    """A copy of the city's files, without its store, to break."""
    folder = tmp_path / "broken"
    shutil.copytree(city, folder, ignore=shutil.ignore_patterns("mobanet_store", ".mobanet*"))
    return folder


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs an entry point in this process."""

    def run(main, *words) -> Ended:
        capsys.readouterr()
        code = 0
        for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
            for handler in logging.getLogger(name).handlers:
                if type(handler) is logging.StreamHandler:
                    monkeypatch.setattr(handler, "stream", sys.stderr)  # it was made before the capture
        try:
            main(*words)
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return run


@pytest.fixture
def fit(command, small, tmp_path):
    """Runs `mobanet.fit` on the small experiment in this process, into `tmp_path/run` unless told otherwise."""
    from mobanet.cli.commands import main

    def run(*words, experiment=small) -> Ended:
        given = ["--experiment", str(experiment)] if experiment else []
        return command(main, "fit", [*given, "--run", str(tmp_path / "run"), "--wandb", "off", *words])

    return run


@pytest.fixture
def test(command):
    """Runs `mobanet.test` in this process."""
    from mobanet.cli.commands import main

    return lambda *words: command(main, "test", list(words))


@pytest.fixture(scope="session")
def finished(small, tmp_path_factory) -> Path:
    """The folder of a run of the small experiment; tests that change it copy it first."""
    from mobanet.cli.commands import main

    folder = tmp_path_factory.mktemp("finished") / "run"
    main("fit", ["--experiment", str(small), "--run", str(folder), "--wandb", "off"])
    return folder


@functools.cache
def fork_server() -> ForkServer:
    """The one of this process; it ends with it."""
    return ForkServer()


def start(module, *words, folder, fresh=False, **environment) -> subprocess.Popen:
    """`python -m MODULE WORDS` in `folder`, with a closed standard input.

    It is forked from a process that has imported everything; `fresh` takes a real Python, for tests of the start.
    """
    clean = {key: value for key, value in os.environ.items() if key not in ("LOCAL_RANK", "MOBANET_RUN_FOLDER")}
    return subprocess.Popen(
        [sys.executable if fresh else fork_server().python, "-m", module, *words],
        cwd=folder,
        env={**clean, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait(process, timeout=600) -> Ended:
    """The end of a process; it and all it started are killed when it hangs."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        pytest.fail(f"{process.args} hangs; it said {err[-2000:]}")
    return Ended(process.returncode, out, err)


def leftovers(folder):
    """Files that belong to nothing finished."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.suffix == ".part" or "scratch" in path.name or path.name.startswith(("raster-", "inner-"))
    ]
