"""Ctrl-C in `mobanet.predict`: a sentence with the command that goes on, which ends with the same map."""

import os
import shlex
import signal
import time

import pytest

from mobanet.errors import Stopped
from mobanet.predict import _way_on, main, predict
from mobanet.prediction.workspace import Workspace
from tests.cli.conftest import start, wait
from tests.cli.test_predict import large, model, words_of

__all__ = ["large", "model"]  # fixtures


def way_on(said):
    """The words of the command that the last line names."""
    sentence, _, command = said.splitlines()[-1].partition("; go on with: ")
    assert command.startswith("python -m mobanet.predict ")
    return sentence, shlex.split(command)[3:]


def test_one_process(model, large, command, tmp_path, monkeypatch):
    predict(str(model), large, str(tmp_path / "whole.tif"))
    save = Workspace.save

    def save_and_interrupt(self, part, maps):
        save(self, part, maps)
        if len(list(self.folder.glob("*.npz"))) == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Workspace, "save", save_and_interrupt)
    target = tmp_path / "a map.tif"
    ended = command(main, words_of(model, large, target, "--overwrite"))
    assert ended.code == 130
    sentence, words = way_on(ended.err)
    assert sentence.startswith("SIGINT has stopped the prediction after 2 of ")
    assert not target.exists()
    monkeypatch.undo()
    ended = command(main, words)
    assert ended.code == 0, ended.err
    assert "going on with 2 of" in ended.err
    assert target.read_bytes() == (tmp_path / "whole.tif").read_bytes()


@pytest.mark.long
def test_two_processes_say_it_once(model, large, command, tmp_path):
    words = words_of(model, large, tmp_path / "map.tif", "--batch_size", "1", "--devices", "2", "--accelerator", "cpu")
    process = start("mobanet.predict", *words, folder=tmp_path, fresh=True)  # all in one group
    parts, deadline = tmp_path / "map.tif.parts", time.monotonic() + 400
    while not list(parts.glob("*.npz")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(parts.glob("*.npz")), "it did not begin in time"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
    ended = wait(process)
    assert ended.code == 130, ended.err
    assert ended.err.count("go on with") == 1
    assert "Traceback" not in ended.err
    assert "interrupted" not in ended.err
    _, words = way_on(ended.err)
    words[words.index("--devices") + 1] = "1"
    ended = command(main, words)
    assert ended.code == 0, ended.err
    assert "going on with" in ended.err


@pytest.mark.parametrize(
    ("given", "interrupt", "behind"),
    [
        (["--output", "m.tif"], KeyboardInterrupt(), "--output m.tif --resume"),
        (["--output", "m.tif", "--resume"], KeyboardInterrupt(), "--output m.tif --resume"),
        (["--resume", "true", "--output=m.tif"], Stopped("x"), "--output=m.tif --resume"),
        (["--overwrite", "--output", "a b"], KeyboardInterrupt(), "--output 'a b' --overwrite"),
        (["--overwrite=true", "--output", "m.tif"], Stopped("x"), "--output m.tif --resume"),
        (["--overwrite", "true", "--output", "m.tif"], Stopped("x"), "--output m.tif --resume"),
    ],
)
def test_the_command_fits_how_far_it_came(given, interrupt, behind):
    assert _way_on(given, interrupt).endswith(f"; go on with: python -m mobanet.predict {behind}")
