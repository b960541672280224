"""`mobanet` without a command lists what there is, and loads nothing heavy for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from mobanet.__main__ import COMMANDS, main
from mobanet.datasets import LAYOUTS
from mobanet.shipped import experiment_names, variant_names
from mobanet.trials.sweep_file import sweep_names


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_everything_is_listed(words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mobanet", *words])
    main()
    out = capsys.readouterr().out
    named = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    assert {*COMMANDS, *experiment_names(), *variant_names(), *sweep_names()} <= named
    assert all(name in out for name in LAYOUTS)
    assert len(out.splitlines()) < 60


def test_data_that_is_there_is_told_from_what_is_not(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mobanet"])
    Path("data/potsdam").mkdir(parents=True)
    Path("data/vaihingen/mobanet_store").mkdir(parents=True)
    Path("data/vaihingen/mobanet_store/store.json").write_text("{}")
    main()
    lines = {words[0]: " ".join(words[1:]) for line in capsys.readouterr().out.splitlines() if (words := line.split())}
    assert lines["data/potsdam"].startswith("there, not prepared yet: python -m mobanet.prepare --layout potsdam")
    assert lines["data/vaihingen"] == "there, and prepared"
    assert lines["data/hunan"].startswith("not there: ")
    assert "mobanet.synthesize" in lines["demo/city"]


def test_neither_the_list_nor_the_short_help_loads_anything_heavy():
    program = """
import sys
from mobanet.__main__ import main
for words in ([], ["fit", "--help"], ["test", "--help"], ["scores", "--help"], ["adapt", "--help"]):
    sys.argv = ["mobanet", *words]
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, None)
assert not {"torch", "lightning", "timm", "rasterio", "matplotlib"} & sys.modules.keys(), sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
