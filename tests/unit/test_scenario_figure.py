from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from PIL import Image

from mobanet.evaluation.bootstrap import bootstrap
from mobanet.evaluation.calibration import BINS, Reliability
from mobanet.evaluation.metrics import scores
from mobanet.evaluation.scenario_table import ScenarioResults
from mobanet.figures.calibration import reliability_figure
from mobanet.figures.canvas import write_png
from mobanet.figures.scenarios import contrasting, scenario_figure
from mobanet.rasters.contents import Classes
from mobanet.scenarios.failure import usual_failures
from mobanet.scenarios.scenario import scenarios_of

CLASSES = Classes(("road", "house", "clutter"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), averaged=("road", "house"))
MATRICES = {
    "rgb": [[8, 2, 0], [2, 8, 0], [0, 0, 0]],  # IoU 8/12 twice, no clutter anywhere
    "dsm": [[5, 5, 0], [5, 5, 0], [0, 0, 0]],  # IoU 5/15 twice
    "rgb+dsm": [[10, 0, 0], [0, 9, 1], [0, 0, 0]],  # IoU 1, 9/10, and a pixel wrongly called clutter
}
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def results(matrices=MATRICES, modalities=("rgb", "dsm"), protocol="toy, 1 test tile", **more):
    matrices = {name: torch.tensor(matrix) for name, matrix in matrices.items()}
    return ScenarioResults(
        scenarios=scenarios_of(modalities),
        classes=CLASSES,
        scores={name: scores(matrix, CLASSES) for name, matrix in matrices.items()},
        matrices=matrices,
        unmasked=dict.fromkeys(matrices, 0),
        windows=4,
        protocol={"data": protocol},
        **more,
    )


def drawn(*given, **more):
    return scenario_figure(results(*given, **more))


def by_row(axes):
    """Texts, from left to right, by row."""
    found = {}
    for text in sorted(axes.texts, key=lambda text: text.get_position()[0]):
        if text.get_transform() == axes.transData:
            found.setdefault(text.get_position()[1], []).append(text.get_text())
    return [found[row] for row in sorted(found)]


def bars(axes):
    """Left end, length and colour of every bar, by row from the top."""
    return [
        [
            (bar.get_x(), bar.get_width(), bar.get_facecolor()[:3])
            for bar in sorted(axes.patches, key=lambda bar: bar.get_x())
            if bar.get_y() + bar.get_height() / 2 == pytest.approx(row)
        ]
        for row in sorted({round(bar.get_y() + bar.get_height() / 2, 6) for bar in axes.patches})
    ]


def mean_line(axes):
    (line,) = (c for c in axes.collections if isinstance(c, LineCollection) and c.get_label() == "mean")
    return line.get_segments()[0][0, 0]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_bars_are_the_miou_and_what_is_lost_against_the_full_scenario():
    _, axes, _ = drawn().axes
    rgb, dsm, full = bars(axes)
    assert [bar[:2] for bar in rgb] == [pytest.approx((0, 200 / 3)), pytest.approx((200 / 3, 95 - 200 / 3))]
    assert [bar[:2] for bar in dsm] == [pytest.approx((0, 100 / 3)), pytest.approx((100 / 3, 95 - 100 / 3))]
    assert [bar[:2] for bar in full] == [pytest.approx((0, 95))]
    assert len({rgb[0][2], dsm[0][2], full[0][2]}) == 3  # the worst and the full one stand out
    assert by_row(axes) == [["66.7", "28.3"], ["33.3", "61.7"], ["95.0"]]


def test_mean_and_worst_are_marked():
    _, axes, _ = drawn().axes
    assert mean_line(axes) == pytest.approx(65)
    assert legend(axes) == ["mean 65.0", "worst 33.3 (dsm)", "lost against full", "standard deviation 25.2"]


def test_cells_are_the_iou_of_each_class_and_absent_ones_are_hatched():
    _, _, axes = drawn().axes
    assert by_row(axes) == [["66.7", "66.7", DASH], ["33.3", "33.3", DASH], ["100.0", "90.0", "0.0"]]
    hatched = {patch.get_center()[0] for patch in axes.patches if patch.get_hatch()}
    assert hatched == {2}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["road", "house", "clutter *"]
    assert axes.get_xlabel().split("\n") == ["IoU %", "* not averaged", f"{DASH} absent"]


def test_filled_dots_are_the_sensors_that_are_there():
    modalities = ("rgb", "ir", "dsm")
    names = [scenario.name for scenario in scenarios_of(modalities)]
    axes = drawn({name: MATRICES["rgb"] for name in names}, modalities).axes[0]
    filled = {dots.get_label(): dots.get_offsets() for dots in axes.collections if dots.get_label() in names}
    assert {name: "+".join(modalities[int(x)] for x in dots[:, 0]) for name, dots in filled.items()} == {
        name: name for name in names
    }
    heights = [filled[name][0, 1] for name in names]
    gaps = np.diff(heights)
    assert heights == sorted(heights)
    assert gaps[-1] == max(gaps) > gaps[0]  # the full one is set apart


def test_without_the_full_scenario_nothing_is_called_lost():
    _, axes, _ = drawn({name: MATRICES[name] for name in ("rgb", "dsm")}).axes
    assert by_row(axes) == [["66.7"], ["33.3"]]
    assert legend(axes) == ["mean 50.0", "worst 33.3 (dsm)", "standard deviation 16.7"]
    assert [len(row) for row in bars(axes)] == [1, 1]


def test_better_than_full_is_a_negative_drop_and_no_figure_is_a_dash():
    _, axes, _ = drawn({"rgb": MATRICES["rgb"], "dsm": [[0] * 3, [0] * 3, [0, 0, 4]], "rgb+dsm": MATRICES["dsm"]}).axes
    assert by_row(axes) == [["66.7", f"{MINUS}33.3"], [DASH, DASH], ["33.3"]]
    assert legend(axes)[:2] == ["mean 50.0", "worst 33.3 (rgb+dsm)"]


def test_numbers_stand_out_from_every_colour():
    def luminance(grey):
        return grey / 12.92 if grey <= 0.04045 else ((grey + 0.055) / 1.055) ** 2.4

    for grey in np.linspace(0, 1, 101):
        text = luminance({"black": 0.0, "white": 1.0}[contrasting((grey, grey, grey, 1.0))])
        light, dark = sorted((text, luminance(grey)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 3.4


def test_png_is_written_whole_and_nothing_reaches_over_its_edge(tmp_path):
    path = tmp_path / "new" / "test_scenarios.png"
    write_png(drawn(protocol="a long protocol, " * 20), path, dpi=200)
    assert [p.name for p in path.parent.iterdir()] == ["test_scenarios.png"]
    picture = np.asarray(Image.open(path).convert("L"))
    assert min(picture.shape) > 400
    edges = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (edges == 255).all()
    assert (picture < 60).any()


def test_evaluation_without_a_counted_pixel_can_be_drawn(tmp_path):
    nothing = [[0] * 3] * 3
    path = tmp_path / "test_scenarios.png"
    write_png(drawn({"rgb": nothing, "rgb+dsm": nothing}), path, dpi=200)
    assert path.stat().st_size > 0


def test_intervals_are_lines_on_the_bars_and_the_legend_says_what_is_expected():
    tiles = {name: torch.stack([torch.tensor(m), 2 * torch.eye(3).long()]) for name, m in MATRICES.items()}
    failures = usual_failures(("rgb", "dsm"))
    found = bootstrap(tiles, CLASSES, "rgb+dsm", failures)
    names = scenarios_of(("rgb", "dsm"))
    _, axes, _ = drawn(failures=failures, intervals=found).axes
    drawn_lines = [c.get_segments()[0] for c in axes.collections if c.get_label() == "interval"]
    assert [line[:, 0] for line in drawn_lines] == [
        pytest.approx([100 * end for end in found.scenarios[scenario.name]]) for scenario in names
    ]
    expected = (0.9025 * 0.95 + 0.0475) / 0.9975
    assert legend(axes)[2:5] == [
        "lost against full",
        "95 % interval over tiles",
        f"expected {100 * expected:.1f} if each sensor fails, p = 0.05",
    ]
    assert legend(axes)[-1] == "standard deviation 25.2"
    axes.figure.canvas.draw()
    box, whole = axes.get_legend().get_window_extent(), axes.figure.bbox
    assert whole.y1 >= box.y1
    assert whole.x1 >= box.x1


def test_reliability_diagrams_are_drawn_for_each_scenario(tmp_path):
    counts = torch.zeros(3, BINS, dtype=torch.int64)
    counts[:, 7], counts[:, 14] = torch.tensor([10, 8, 5 * 2**30]), torch.tensor([30, 30, 29 * 2**30])
    names = [scenario.name for scenario in scenarios_of(("rgb", "ir", "dsm"))]
    found = {**dict.fromkeys(names, Reliability.of(counts)), "dsm": Reliability.absent()}
    given = results(protocol="a long protocol, " * 20, reliability=found)
    upper = [axes for axes in reliability_figure(given).axes if axes.get_title()]
    assert [axes.get_title().split("\n")[-1] for axes in upper] == ["ECE 10.0 %"] * 2 + ["no pixel"] + [
        "ECE 10.0 %"
    ] * 4
    bars = [patch.get_height() for patch in upper[0].patches if not patch.get_hatch()]
    gaps = [(patch.get_y(), patch.get_height()) for patch in upper[0].patches if patch.get_hatch()]
    assert bars == pytest.approx([0.8, 1.0])
    assert gaps == [pytest.approx((0.5, 0.3)), pytest.approx((29 / 30, 1 / 30))]
    figure = reliability_figure(replace(given, calibrated={name: Reliability.of(counts) for name in ("rgb", "dsm")}))
    both = [axes for axes in figure.axes if axes.get_title()]
    assert both[0].get_title().endswith("ECE 10.0 %, 10.0 % at T")
    assert [len(axes.lines) - len(plain.lines) for axes, plain in zip(both, upper, strict=True)] == [1, 0, 1, *[0] * 4]
    assert both[0].lines[-1].get_xdata() == pytest.approx([0.5, 29 / 30])
    assert both[0].lines[-1].get_ydata() == pytest.approx([0.8, 1.0])
    path = tmp_path / "new" / "test_calibration.png"
    write_png(figure, path, dpi=150)
    picture = np.asarray(Image.open(path).convert("L"))
    edges = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (edges == 255).all()
    assert (picture < 60).any()
