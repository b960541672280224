"""A run folder that is none or is damaged, and options that make no sense: one sentence, and nothing is written."""

import os
import shutil

import numpy as np
import pytest

from mobanet import report
from tests.reporting.conftest import write_map


def broken_yaml(run):
    (run / "config.yaml").write_text("data: [")


def no_data(run):
    (run / "config.yaml").write_text("model: {}")


def cut_checkpoint(run):
    path = run / "checkpoints/best.ckpt"
    path.write_bytes(path.read_bytes()[:1000])


def no_checkpoints(run):
    shutil.rmtree(run / "checkpoints")


def cut_results(run):
    path = run / "test/test_scenarios.json"
    path.write_text(path.read_text()[:300])


def bad_metrics(run):
    with (run / "metrics.csv").open("a") as file:
        file.write("9,2\n")


def bad_scores(run):
    with (run / "scenario_scores.jsonl").open("a") as file:
        file.write("{}\n")


def other_map(run):
    write_map(run / "test/maps/2_13.tif", np.zeros((3, 9), np.uint8))


BROKEN = {
    broken_yaml: "config.yaml is no configuration of a run (ParserError); give a folder that mobanet.fit has written.",
    no_data: "config.yaml is no configuration of a run (it has no data)",
    cut_checkpoint: "checkpoints/best.ckpt cannot be read as a checkpoint",
    no_checkpoints: "run has no checkpoints/best.ckpt or last.ckpt; train it for at least an epoch.",
    cut_results: "test_scenarios.json is damaged (JSONDecodeError",
    bad_metrics: "metrics.csv, line 6: no metrics of a run",
    bad_scores: "scenario_scores.jsonl, line 3: no record of scenario scores",
    other_map: "has 9 x 3 pixels and its tile 2_13 160 x 160; run mobanet.test again.",
}


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda function: function.__name__)
def test_a_damaged_run_is_told_in_one_sentence_and_nothing_is_written(breaks, command, copied):
    breaks(copied)
    before = sorted(copied.rglob("*"))
    assert BROKEN[breaks] in command(report.main, [str(copied)]).sentence()
    assert sorted(copied.rglob("*")) == before


def test_folders_that_are_no_runs_and_wrong_options(command, run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for words, part in {
        ("nowhere",): "--run nowhere is no run folder, it does not exist",
        (str(tmp_path / "empty"),): "it has no config.yaml; give a folder that mobanet.fit has written.",
        (str(tmp_path / "file"),): "it is not a folder",
        (): "--run is missing",
        (str(run), "other"): "takes one run folder, not 2",
        (str(run), "--tiles", "0"): "--tiles is 0; give at least 1.",
        (str(run), "--side", "4"): "--side is 4; give at least 16.",
        (str(run), "--side", "wide"): "--side cannot be wide; give a whole number.",
        (str(run), "--sides", "4"): "--sides is not an option (did you mean --side?)",
        (str(run), "--output"): "--output needs a value.",
    }.items():
        assert part in command(report.main, list(words)).sentence()


def test_an_output_that_cannot_be_written_is_named(command, run, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for output in (tmp_path / "file/report.html", tmp_path / "folder"):
        sentence = command(report.main, [str(run), "--output", str(output)]).sentence()
        assert sentence.startswith(f"--output {output} cannot be written (")
        assert sentence.endswith("); give another file.")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert os.listdir(tmp_path / "folder") == []
