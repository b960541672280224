"""Trials on the small experiment, and in place of processes where those are not what a test is about."""

import csv
import json
import signal
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from mobanet.trials.process import Ended
from tests.cli.conftest import command, prepared, small  # noqa: F401 - fixtures

COMMAND = ["${env}", "${interpreter}", "-m", "mobanet.fit", "--experiment", "NAME", "${args}"]


@pytest.fixture
def sweep_file(tmp_path):
    """Writes a sweep file; keys given replace or, as None, remove those of a working one."""

    def write(file_name="search.yaml", /, **keys) -> Path:
        content = {
            "method": "grid",
            "metric": {"name": "val/miou", "goal": "maximize"},
            "parameters": {"model.lr": {"values": [0.1, 0.2, 0.3]}},
            "command": COMMAND,
        }
        content = {key: value for key, value in {**content, **keys}.items() if value is not None}
        path = tmp_path / file_name
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture
def fake(monkeypatch):
    """Puts functions in the place of processes: `fake.does(words)` returns what the run logs, or how it ends."""

    class Commands:
        stop = 0
        calls: ClassVar[list] = []
        does = staticmethod(lambda words: [0.5])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def run(self, module, words, variables=None, hopeless=None):
            self.calls.append((module, list(words), dict(variables or {})))
            result = self.does(words)
            if isinstance(result, Ended):
                type(self).stop = result.code if result.interrupted else 0
                return result
            if module == "mobanet.fit":
                for count in range(1, 1 + len(result)):
                    log(Path(words[words.index("--run") + 1]), result[:count])
                    if hopeless is not None and hopeless():
                        return Ended(128 + signal.SIGTERM, 0, None, 60.0, early=True)
            return Ended(0, 0, None, 60.0)

    for module in ("local", "seeds"):
        monkeypatch.setattr(f"mobanet.trials.{module}.Commands", Commands)
    return Commands


def log(folder, values, name="val/miou"):
    """What a run of as many epochs of two steps leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "epoch", "train/loss", name])
        writer.writerows((2 * i + 1, i, 1.0, value) for i, value in enumerate(values))


def remembered(folder):
    return json.loads((folder / "trial.json").read_text())


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
