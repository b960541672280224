"""What an opened run offers notebooks: scores, figures and windows."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import mobanet
from mobanet.errors import UserError
from mobanet.scenarios.history import ScoreRecord, write_record, write_scores
from mobanet.scenarios.scores import ScoreSettings


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    return mobanet.open_run(shutil.copytree(finished, tmp_path_factory.mktemp("opened") / "run"))


def record(run, epoch=0):
    names = tuple(scenario.name for scenario in run.module.scenarios)
    settings = ScoreSettings()
    distortion = tuple(0.01 * (len(names) - 1 - k) * (epoch + 1) for k in range(len(names)))
    found = settings.score(distortion)
    scores, probabilities = tuple(found.scores.tolist()), tuple(found.probabilities.tolist())
    errors = (0.001,) * len(names)
    return ScoreRecord(epoch, names, distortion, errors, scores, probabilities, 8, 0.5, settings)


def test_a_run_says_what_it_is(run):
    assert list(run.modalities) == ["rgb", "ir", "dsm"]
    assert run.modalities["dsm"].kind == "elevation"
    assert run.classes.names[1] == "building"
    assert run.tested is None


def test_without_scores_the_command_is_said(run):
    for call in (run.scores, run.plot_history, run.plot_scores, run.plot_sensitivity):
        with pytest.raises(
            UserError, match=r"run has no scenario scores; measure them: mobanet.scores --ckpt_path .*best"
        ):
            call()


def test_scores_are_the_history_or_else_those_measured_once(run):
    alone = record(run, 3)
    write_scores(run.folder / "scenario_scores.json", alone, alone.settings.score(alone.distortion), "best.ckpt")
    assert run.scores() == [alone]
    write_record(run.folder / "scenario_scores.jsonl", record(run, 0))
    write_record(run.folder / "scenario_scores.jsonl", record(run, 1))
    again = mobanet.open_run(run.folder)
    assert [each.epoch for each in again.scores()] == [0, 1]
    assert run.scores() == [alone]  # as it was when it was opened


def bars(figure):
    """Lengths of the bars of the last panel that has some."""
    return [bar.get_width() for bar in [axis for axis in figure.axes if axis.patches][-1].patches]


def test_figures_are_of_the_scores(run, tmp_path):
    first, last = record(run, 0), record(run, 1)
    run = replace(run, history=[first, last])
    figure = run.plot_history(tmp_path / "history.png")
    assert (tmp_path / "history.png").is_file()
    assert figure.axes[0].lines[0].get_ydata().tolist() == [first.distortion[0], last.distortion[0]]
    np.testing.assert_allclose(bars(run.plot_scores()), last.probabilities)
    np.testing.assert_allclose(bars(run.plot_scores(first)), first.probabilities)
    alike = replace(first.settings, tau=0.0)
    np.testing.assert_allclose(bars(run.plot_scores(first, alike)), 1 / len(first.scenarios))
    assert "(set: 0.5)" in run.plot_sensitivity().axes[0].get_xlabel()
    assert "(set: 0)" in run.plot_sensitivity(first, alike).axes[0].get_xlabel()


def test_a_window_is_shown_in_every_scenario(run):
    (number,) = run.varied_windows()
    assert len(set(run.varied_windows(2))) == 2
    windows = run.data.windows("test")
    kinds = [len(set(np.unique(window["label"])) - {255}) for window in windows]
    assert kinds[number] == max(kinds)
    figure = run.plot_window(number)
    titles = [axis.get_title().partition("\n")[0] for axis in figure.axes if axis.get_title()]
    assert titles == ["rgb", "ir", "dsm", "truth", *(scenario.name for scenario in run.module.scenarios)]
    assert figure.get_suptitle() == f"tile {windows[number]['tile']}, window {number}"
