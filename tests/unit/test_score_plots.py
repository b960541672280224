import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from mobanet.figures.scores import plot_history, plot_scores, plot_sensitivity
from mobanet.scenarios.history import ScoreRecord
from mobanet.scenarios.scenario import scenarios_of
from mobanet.scenarios.scores import ScoreSettings, median_bandwidth

MODALITIES = ("rgb", "nir", "swir", "dsm")
COUNTS = {1: 1, 2: 3, 3: 7, 4: 15}


def names(modalities):
    return tuple(scenario.name for scenario in scenarios_of(MODALITIES[:modalities]))


def distortion(modalities, epoch=0):
    return np.linspace(0.8, 0, COUNTS[modalities]) / (epoch + 1) if modalities > 1 else np.zeros(1)


def history(modalities, epochs):
    records = []
    for epoch in range(epochs):
        d = distortion(modalities, epoch)
        s = ScoreSettings().score(d)
        lists = [tuple(x.tolist()) for x in (d, d / 10, s.scores, s.probabilities)]
        records.append(ScoreRecord(epoch, names(modalities), *lists, 192, 1.0, ScoreSettings()))
    return records


def scenario_lines(axis, wanted):
    by_label = {line.get_label(): line for line in axis.lines}
    return [by_label[name] for name in wanted]


def legend_labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("modalities", COUNTS)
@pytest.mark.parametrize("epochs", [1, 4])
def test_a_history_shows_distortion_scores_and_probabilities_of_every_epoch(modalities, epochs):
    records, wanted = history(modalities, epochs), names(modalities)
    figure = plot_history(records)
    assert len(figure.axes) == 3
    for axis, field in zip(figure.axes, ("distortion", "scores", "probabilities"), strict=True):
        for k, line in enumerate(scenario_lines(axis, wanted)):
            assert line.get_xdata().tolist() == list(range(1, epochs + 1))
            assert line.get_ydata().tolist() == [getattr(record, field)[k] for record in records]
    assert [axis.get_ylabel().split()[0] for axis in figure.axes] == ["distortion", "scores", "probabilities"]
    uniform = figure.axes[2].lines[-1]
    assert uniform.get_linestyle() == "--"
    assert set(uniform.get_ydata()) == {1 / COUNTS[modalities]}
    assert legend_labels(figure)[:-1] == list(wanted)
    assert legend_labels(figure)[-1].startswith("uniform")


def test_the_band_reaches_one_standard_error_to_either_side():
    records = history(2, 3)
    bands = plot_history(records).axes[0].collections
    assert len(bands) == 3
    for k, band in enumerate(bands):
        heights = band.get_paths()[0].vertices[:, 1]
        for record in records:
            for sign in (-1, 1):
                assert np.isclose(heights, record.distortion[k] + sign * record.standard_error[k]).any()


def test_a_history_can_be_written_to_a_new_folder(tmp_path):
    path = tmp_path / "figures" / "history.png"
    figure = plot_history(history(3, 2), path)
    with Image.open(path) as picture:
        assert picture.size == tuple((figure.get_size_inches() * 150).astype(int))


def test_a_history_of_nothing_or_of_different_scenarios_is_refused():
    with pytest.raises(ValueError, match="the same scenarios"):
        plot_history([])
    with pytest.raises(ValueError, match="the same scenarios"):
        plot_history([*history(2, 1), *history(3, 1)])


@pytest.mark.parametrize("modalities", COUNTS)
def test_the_kernel_and_the_bars_beside_it_show_the_scores_in_the_usual_order(modalities):
    d, wanted = distortion(modalities), list(names(modalities))
    scores = ScoreSettings(bandwidth="median").score(d)
    figure = plot_scores(scores, d, wanted)
    figure.canvas.draw()
    kernel, _, *bars = figure.axes
    assert (kernel.images[0].get_array() == scores.kernel).all()
    for axis in (kernel.xaxis, kernel.yaxis, bars[0].yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == wanted
    assert f"{scores.bandwidth:.3g}" in kernel.get_title()
    for axis, values in zip(bars, (d, scores.scores, scores.normalized, scores.probabilities), strict=True):
        assert [bar.get_width() for bar in axis.patches] == values.tolist()
        assert [bar.get_y() + bar.get_height() / 2 for bar in axis.patches] == pytest.approx(range(len(wanted)))
        assert axis.get_ylim() == kernel.get_ylim()
        assert axis.get_position().bounds[1::2] == pytest.approx(kernel.get_position().bounds[1::2])
    assert set(bars[-1].lines[-1].get_xdata()) == {1 / len(wanted)}


def test_the_kernels_numbers_are_written_where_they_can_be_read():
    d = distortion(3)
    scores = ScoreSettings().score(d)
    written = [text.get_text() for text in plot_scores(scores, d, names(3)).axes[0].texts]
    assert written == [f"{value:.2f}" for value in scores.kernel.ravel()]
    assert not plot_scores(ScoreSettings().score(distortion(4)), distortion(4), names(4)).axes[0].texts


@pytest.mark.parametrize("modalities", COUNTS)
def test_sensitivity_shows_what_each_setting_alone_would_change(modalities):
    d, wanted, settings = distortion(modalities), names(modalities), ScoreSettings(tau=0.7, gamma=0.6)
    figure = plot_sensitivity(d, wanted, settings)
    assert len(figure.axes) == 4
    for axis, name in zip(figure.axes, ("tau", "gamma", "ridge", "bandwidth"), strict=True):
        lines = scenario_lines(axis, wanted)
        x = lines[0].get_xdata()
        assert x[0] <= getattr(settings, name) <= x[-1]
        for at in (0, len(x) // 3, len(x) - 1):
            given = {"tau": 0.7, "gamma": 0.6, name: float(x[at])}
            expected = ScoreSettings(**given).score(d).probabilities
            np.testing.assert_allclose([line.get_ydata()[at] for line in lines], expected, rtol=1e-12)
        mark = next(line for line in axis.lines if line.get_label() == "as set")
        assert set(mark.get_xdata()) == {getattr(settings, name)}
    assert legend_labels(figure)[: len(wanted)] == list(wanted)


def test_sensitivity_marks_the_median_bandwidth_beside_the_given_one_within_its_grid():
    d = 1e-4 * distortion(3)
    axis = plot_sensitivity(d, names(3), ScoreSettings()).axes[3]
    marks = {line.get_label(): line.get_xdata()[0] for line in axis.lines}
    assert marks["as set"] == 1.0
    assert marks["bandwidth median"] == median_bandwidth(d)
    grid = scenario_lines(axis, names(3))[0].get_xdata()
    assert grid[0] < median_bandwidth(d) < 1 < grid[-1]
    axis = plot_sensitivity(d, names(3), ScoreSettings(bandwidth="median")).axes[3]
    marks = {line.get_label(): line.get_xdata()[0] for line in axis.lines}
    assert marks["as set"] == median_bandwidth(d)
    assert "bandwidth median" not in marks


def test_sensitivity_takes_other_grids_and_refuses_unknown_ones():
    axes = plot_sensitivity(distortion(2), names(2), ScoreSettings(), tau=[0, 1, 5], bandwidth=[0.1, 1]).axes
    assert scenario_lines(axes[0], names(2))[0].get_xdata().tolist() == [0, 1, 5]
    assert scenario_lines(axes[3], names(2))[0].get_xdata().tolist() == [0.1, 1]
    with pytest.raises(ValueError, match="no grid of sigma: there are tau, gamma, ridge, bandwidth"):
        plot_sensitivity(distortion(2), names(2), ScoreSettings(), sigma=[1])


def test_a_scenario_looks_the_same_in_every_figure_and_the_full_one_is_black():
    d, wanted = distortion(4), names(4)
    lines = scenario_lines(plot_history(history(4, 2)).axes[0], wanted)
    colours = [line.get_color() for line in lines]
    bars = plot_scores(ScoreSettings().score(d), d, wanted).axes[2].patches
    assert [tuple(bar.get_facecolor()) for bar in bars] == [tuple(to_rgba(colour)) for colour in colours]
    others = scenario_lines(plot_sensitivity(d, wanted, ScoreSettings()).axes[0], wanted)
    looks = [(line.get_color(), line.get_linestyle()) for line in lines]
    assert [(line.get_color(), line.get_linestyle()) for line in others] == looks
    assert len(set(looks)) == 15
    assert colours[-1] == "black"
    assert "black" not in colours[:-1]
