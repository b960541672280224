"""The notebook is executed as a whole: on a run, on one without a history, and without any run."""

import base64
import io
import json
import os
import re
import shutil
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from nbclient.exceptions import CellTimeoutError
from PIL import Image

from mobanet.scenarios.history import read_history, read_scores
from tests.cli.conftest import fork_server, small_experiment
from tests.notebooks import Client

NOTEBOOK = Path(__file__).parent.parent / "notebooks/scenario_scores.ipynb"
RUN = "runs/small"
FIGURES = ("plot-history", "plot-kernel", "plot-sensitivity", "test-table", "plot-window")
"""Cells that show a picture each."""


class Executed:
    """An executed notebook; `cells` by their ids."""

    def __init__(self, notebook):
        self.cells = {cell.id: cell for cell in notebook.cells}
        self.widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})

    def outputs(self, cell):
        return self.cells[cell].outputs

    def said(self, cell):
        return "".join(output.text for output in self.outputs(cell) if output.output_type == "stream")

    def pictures(self):
        """Sizes of the pictures, by cell."""
        found = {}
        for name, cell in self.cells.items():
            for output in cell.get("outputs", []):
                png = output.get("data", {}).get("image/png")
                if png:
                    found.setdefault(name, []).append(Image.open(io.BytesIO(base64.b64decode(png))).size)
        return found

    def table(self, cell):
        (html,) = (o.data["text/html"] for o in self.outputs(cell) if "text/html" in o.get("data", {}))
        return rows_of(html)

    def slider_table(self):
        """What stands below the sliders in the end."""
        (state,) = (w["state"] for w in self.widgets["state"].values() if w["model_name"] == "OutputModel")
        assert any("image/png" in output.get("data", {}) for output in state["outputs"])
        (html,) = (o["data"]["text/html"] for o in state["outputs"] if "text/html" in o.get("data", {}))
        return rows_of(html)


def rows_of(html):
    """Text of a table's cells, by the first in the row."""
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    return {unescape(row[0]): row[1:] for row in rows if row}


def execute(project, run=None, before="", after_sliders=""):
    """Execute the notebook in the folder `notebooks` of a project."""
    (project / "notebooks").mkdir(parents=True, exist_ok=True)
    (project / "pyproject.toml").touch()
    try:
        notebook = run_all(project, run, before, after_sliders)
    except CellTimeoutError:  # once in many runs the client misses a reply of the idle kernel, and waits for ever
        shutil.rmtree(project / "runs/tiny", ignore_errors=True)  # which the first try may have made
        notebook = run_all(project, run, before, after_sliders)
    done = Executed(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []
    assert all(len(sizes) == 1 and min(sizes[0]) > 300 for sizes in done.pictures().values())
    return done


def run_all(project, run, before, after_sliders):
    """All cells, and two more; the notebook with its outputs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    at = [cell.id for cell in notebook.cells].index("sliders") + 1
    notebook.cells.insert(at, nbformat.v4.new_code_cell(after_sliders))
    forked = f"import sys\n\nsys.executable = {str(fork_server().python)!r}\n"  # starts the commands that it runs
    notebook.cells.insert(0, nbformat.v4.new_code_cell(forked + before))
    own = {key: value for key, value in os.environ.items() if key != "MOBANET_RUN"}
    own |= {"OMP_NUM_THREADS": "1", "IPYTHONDIR": str(project / "ipython")}
    own |= {"MOBANET_RUN": run} if run else {}
    client = Client(
        notebook,
        kernel_name="python3",
        timeout=900,
        coalesce_streams=True,
        resources={"metadata": {"path": str(project / "notebooks")}},
    )
    client.execute(env=own)
    return notebook


@pytest.fixture(scope="session")
def project(city, tmp_path_factory) -> Path:
    """A project with a small run of the strategy latent, which has not been tested; tests copy it."""
    from mobanet.cli.commands import main

    folder = tmp_path_factory.mktemp("project")
    experiment = small_experiment(city) | {"scenarios": {"strategy": "latent", "num_windows": 8}}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(experiment, sort_keys=False))
    main("fit", ["--experiment", str(path), "--run", str(folder / RUN), "--wandb", "off"])
    assert not (folder / RUN / "test").exists()
    return folder


def shown_probabilities(done, cell, column):
    return {name: float(cells[column]) for name, cells in done.table(cell).items()}


def as_shown(record, settings=None):
    p = record.probabilities if settings is None else settings.score(record.distortion).probabilities
    return {name: round(value, 3) for name, value in zip(record.scenarios, p, strict=True)}


@pytest.mark.long
def test_a_run_is_tested_and_shown_with_its_history(project, tmp_path):
    shutil.copytree(project, tmp_path, dirs_exist_ok=True)
    done = execute(tmp_path, RUN, after_sliders='sliders["tau"].value = 0')
    assert "$ python -m mobanet.test --ckpt_path runs/small/checkpoints/best.ckpt" in done.said("make")
    assert "mobanet.fit" not in done.said("make")
    assert set(done.pictures()) == set(FIGURES)
    records = read_history(tmp_path / RUN / "scenario_scores.jsonl")
    assert len(records) == 2
    assert "2 refreshes, in the course of training" in done.said("open")
    last = records[-1]
    assert shown_probabilities(done, "last-refresh", -1) == as_shown(last)
    errors = {name: float(cells[1]) for name, cells in done.table("last-refresh").items()}
    np.testing.assert_allclose(list(errors.values()), last.standard_error, rtol=0.06)
    assert shown_probabilities(done, "changed", 0) == as_shown(last)
    changed = replace(last.settings, tau=1.0, gamma=0.8, bandwidth="median")
    assert shown_probabilities(done, "changed", 1) == as_shown(last, changed)
    moved = done.slider_table()
    assert {name: float(cells[0]) for name, cells in moved.items()} == as_shown(last)
    assert {cells[1] for cells in moved.values()} == {"0.143"}  # tau 0: all scenarios alike
    tested = json.loads((tmp_path / RUN / "test/test_scenarios.json").read_text())["scenarios"]
    table = done.table("test-table")
    assert {name: float(table[name][0]) for name in tested} == {n: round(100 * f["oa"], 1) for n, f in tested.items()}
    assert list(table)[len(tested)] == "mean"


@pytest.mark.long
def test_a_run_without_a_history_is_measured(project, tmp_path):
    shutil.copytree(project, tmp_path, dirs_exist_ok=True)
    (tmp_path / RUN / "scenario_scores.jsonl").unlink()
    (tmp_path / RUN / "test").mkdir()
    (tmp_path / RUN / "test/test.json").write_text("{}")  # as if tested in one scenario only
    done = execute(tmp_path, RUN)
    assert set(done.pictures()) == set(FIGURES) - {"test-table"}
    assert "$ python -m mobanet.scores --ckpt_path runs/small/checkpoints/best.ckpt" in done.said("make")
    assert "mobanet.test" not in done.said("make")
    assert "1 refresh, of the best checkpoint, as the strategy was not latent" in done.said("open")
    found = read_scores(tmp_path / RUN / "scenario_scores.json")
    assert shown_probabilities(done, "last-refresh", -1) == as_shown(found)
    assert "Tested in one scenario;" in done.said("test-table")


@pytest.mark.long
def test_without_a_run_a_tiny_one_is_made_and_without_ipywidgets_there_are_no_sliders(tmp_path):
    done = execute(tmp_path, before='import sys\n\nsys.modules["ipywidgets"] = None')
    said = done.said("make")
    assert said.startswith(f"There is no runs/latent in {tmp_path}: what follows shows the tiny run runs/tiny/run.")
    assert re.findall(r"^\$ python -m mobanet\.(\w+)", said, re.M) == ["synthesize", "fit", "test"]
    assert max(map(len, said.splitlines())) < 400  # no progress bars drawn over each other
    assert set(done.pictures()) == set(FIGURES)
    assert "ipywidgets is not installed" in done.said("sliders")
    records = read_history(tmp_path / "runs/tiny/run/scenario_scores.jsonl")
    assert len(records) == 2  # of three epochs; in the first all sensors are shown
    assert shown_probabilities(done, "last-refresh", -1) == as_shown(records[-1])


def test_it_ends_with_the_table_and_the_picture_of_the_paired_comparison(monkeypatch, tmp_path, capsys):
    (cell,) = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.id == "claims-table"]
    tables, figures = [], []
    given = {"Path": Path, "display": lambda table: tables.append(table.data), "show": figures.append, "sys": sys}
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(NOTEBOOK.parents[1])
    exec(cell.source, given)
    (table,), (figure,) = tables, figures
    assert "| uniform: every scenario alike |" in table
    assert {"full", "uniform", "then_norm"} <= {mark.get_label() for mark in figure.axes[0].collections}
    monkeypatch.chdir(tmp_path)
    exec(cell.source, given)
    assert "at experiments/results/claims.csv" in capsys.readouterr().out


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert {key for cell in notebook.cells for key in cell.metadata} <= {"tags"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert all(re.fullmatch(r"[a-z-]+", cell.id) for cell in notebook.cells)  # named, not drawn anew by an editor
