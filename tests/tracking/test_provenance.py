"""What is written down of how a run came about."""

import json
import subprocess
from pathlib import Path

import mobanet
from mobanet.runs import provenance
from mobanet.runs.saved_config import flat


def test_every_start_leaves_a_line(fit, tmp_path):
    assert fit("--trainer.max_steps", "1").code == 0
    assert fit("--trainer.max_steps", "1", "--model.lr", "1e-3").code == 0
    lines = [json.loads(line) for line in (tmp_path / "run/provenance.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    assert lines[1]["command"].endswith("--model.lr 1e-3")
    assert (lines[0]["mobanet"], lines[0]["processes"], lines[0]["device"]) == (mobanet.__version__, 1, "cpu")
    assert fit("--trainer.fast_dev_run", "true", "--run", str(tmp_path / "fast")).code == 0
    assert not (tmp_path / "fast").exists()


def repository(folder, *files):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=folder, check=True)

    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
        git("init", "-q")
        git("add", file)
    git("commit", "-q", "-m", "first")
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_of_the_tree_that_the_package_lies_in(tmp_path, monkeypatch):
    commit = repository(tmp_path, "mobanet/__init__.py")
    monkeypatch.setattr(mobanet, "__file__", str(tmp_path / "mobanet/__init__.py"))
    assert provenance._source() == (commit, False)
    Path(mobanet.__file__).write_text("x = 2\n")
    assert provenance._source() == (commit, True)


def test_an_installed_package_has_no_commit_even_within_another_tree(tmp_path, monkeypatch):
    repository(tmp_path, "readme.txt")
    inside = tmp_path / "venv/mobanet/__init__.py"
    inside.parent.mkdir(parents=True)
    inside.write_text("")
    monkeypatch.setattr(mobanet, "__file__", str(inside))
    assert provenance._source() == (None, None)


def test_settings_are_called_as_options_are():
    nested = {"a": {"b": 1, "c": {"d": [1, 2], "e": {}}}, "f": None}
    assert flat(nested) == {"a.b": 1, "a.c.d": [1, 2], "a.c.e": {}, "f": None}
