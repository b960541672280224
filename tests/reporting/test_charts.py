import itertools
import math
import re
from importlib.resources import files

import numpy as np
import pytest

from mobanet.reporting.charts import COLOURS, Chart, Line, chart_figure
from mobanet.reporting.curves import history_charts, metric_charts
from mobanet.reporting.logged import Curve
from mobanet.reporting.scales import Scale, extent, tick_label, ticks
from mobanet.scenarios.history import ScoreRecord
from mobanet.scenarios.scores import ScoreSettings
from tests.reporting.html_tree import parse

RANGES = [(0, 1), (0, 0.0009), (10, 44), (-3, 2), (0.3, 0.31), (0, 57.8), (1, 250_000), (1e-9, 3e-9)]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_ticks_are_round_few_and_cover_the_range(low, high):
    found = ticks(low, high)
    step = found[1] - found[0]
    assert found[0] <= low + 1e-9 * step
    assert found[-1] >= high - 1e-9 * step
    assert 3 <= len(found) <= 8
    assert np.allclose(np.diff(found), step)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 2.5, 5, 10)) < 1e-6
    labels = [tick_label(tick, found) for tick in found]
    assert len(set(labels)) == len(labels)
    assert max(map(len, labels)) <= 7


def test_whole_ticks_are_whole():
    assert ticks(1, 3, whole=True) == [1, 2, 3]
    assert all(tick == int(tick) for tick in ticks(1, 9, whole=True))


def test_an_axis_of_equal_values_has_a_height_and_zero_is_kept_where_it_matters():
    assert extent([2.0, 2.0]) == (1.0, 3.0)
    assert extent([0.0]) == (-0.5, 0.5)
    assert extent([3.0, math.nan, 4.0, math.inf], floor=0) == (0, 4.0)
    assert Scale(0, 10, 100, 0)(2.5) == 75


def numbers(path):
    """The corners of a path, in pieces."""
    return [[tuple(map(float, p.split())) for p in piece.split("L")] for piece in path.split("M")[1:]]


def lines_of(figure):
    return [p for p in figure.one("svg", class_="plot").all("path") if "line" in p.attributes["class"]]


def test_a_line_goes_through_its_points_and_breaks_where_there_are_none():
    chart = Chart("t", "epoch", [Line("a", [1, 2, 3, 4], [0, 10, math.nan, 5])], floor=0)
    figure = parse(chart_figure(chart)).one("figure")
    (line,) = lines_of(figure)
    (first, second), ((x, y),) = numbers(line.attributes["d"])
    svg = figure.one("svg", class_="plot")
    _, _, width, height = map(float, svg.attributes["viewbox"].split())
    assert first[0] < second[0] < x
    assert second[1] < y < first[1] < height  # 10 above 5 above 0
    assert (x - second[0]) == pytest.approx(2 * (second[0] - first[0]), abs=0.2)
    assert x < width
    marks = svg.all("circle")
    assert [mark.one("title").text for mark in marks] == ["a: 0 at 1", "a: 10 at 2", "a: 5 at 4"]
    assert svg.attributes["role"] == "img"
    assert "a: 0 first, 5 last, between 0 and 10" in svg.all("title")[0].text


def test_lines_differ_by_dashes_or_colour_and_the_emphasised_one_takes_none():
    many = [Line(f"s{k}", [1, 2], [k, k + 1], emphasised=k == 3) for k in range(2 * COLOURS + 1)]
    figure = parse(chart_figure(Chart("t", "x", many))).one("figure")
    looks = [(line.attributes["class"], line.attributes.get("stroke-dasharray")) for line in lines_of(figure)]
    assert len(set(looks)) == len(looks)
    assert looks[3] == ("line c-ink", None)
    first = [dash for k, (_, dash) in enumerate(looks[: COLOURS + 1]) if k != 3]
    assert len(set(first)) == COLOURS  # told apart on paper, too
    samples = figure.one("ul").all("line")
    assert [(line.attributes["class"], line.attributes.get("stroke-dasharray")) for line in samples] == looks


def test_a_long_line_is_drawn_through_means_and_a_band_keeps_its_extremes():
    y = np.sin(np.arange(5000.0))
    y[1234] = 9.0
    figure = parse(chart_figure(Chart("t", "step", [Line("a", range(1, 5001), y.tolist())], floor=-1))).one("figure")
    svg = figure.one("svg", class_="plot")
    (line,) = lines_of(figure)
    (points,) = numbers(line.attributes["d"])
    assert 100 < len(points) <= 240
    (band,) = (p for p in svg.all("path") if "band" in p.attributes["class"])
    (outline,) = numbers(band.attributes["d"].removesuffix("Z"))
    assert min(p[1] for p in outline) < min(p[1] for p in points) - 50  # up is smaller: the one high value
    assert "means of neighbouring values" in figure.all("p")[-1].text
    assert svg.all("circle") == []
    assert len(chart_figure(Chart("t", "step", [Line("a", range(5000), y.tolist())]))) < 20_000


def test_a_single_epoch_is_a_point_with_its_tick():
    svg = parse(chart_figure(Chart("t", "epoch", [Line("a", [3], [0.5])], floor=0))).one("svg", class_="plot")
    (mark,) = svg.all("circle")
    ticks_below = [t for t in svg.all("text") if t.attributes["class"] == "tick across"]
    assert [t.text for t in ticks_below] == ["3", "epoch"]
    assert ticks_below[0].attributes["x"] == mark.attributes["cx"]


@pytest.mark.parametrize(
    ("places", "shown"),
    [
        ((0.25, 0.5, 0.75), ["0.25", "0.50", "0.75"]),
        ((0.1, 0.2, 0.5), ["0.1", "0.2", "0.5"]),
        ((1.1, 1.5, 3.28084), ["1.1", "1.5", "3.3"]),
        ((1, 3, 5), ["1", "2", "3", "4", "5"]),
    ],
)
def test_places_between_whole_numbers_have_ticks_of_their_own(places, shown):
    svg = parse(chart_figure(Chart("t", "severity", [Line("a", places, [3, 2, 1])]))).one("svg", class_="plot")
    below = [(t.text, float(t.attributes["x"])) for t in svg.all("text") if t.attributes["class"] == "tick across"]
    assert [text for text, _ in below] == [*shown, "severity"]
    marks = [float(mark.attributes["cx"]) for mark in svg.all("circle")]
    assert {marks[0], marks[-1]} <= {x for _, x in below}


def test_legends_are_escaped_and_tell_the_last_finite_value():
    line = Line("<b>", [1, 2, 3], [1, 0.123456, math.nan])
    figure = parse(chart_figure(Chart("<i>", "x", [line], level=0.5, level_label="chance"))).one("figure")
    assert [item.text for item in figure.all("li")] == ["<b>0.123", "chance"]
    assert figure.one("figcaption").text == "<i>"


def test_metrics_become_charts_in_per_cent_and_what_was_not_logged_has_none():
    logged = {
        "train/loss": Curve((10, 20), (1, 2), (2.0, 1.0)),
        "train/auxiliary_optical": Curve((10, 20), (1, 2), (3.0, 2.0)),
        "train/lr": Curve((10, 20), (1, 2), (1e-4, 2e-4)),
        "val/loss": Curve((20,), (2,), (0.7,)),
        "val/miou": Curve((20,), (2,), (0.25,)),
        "val/iou_low_vegetation": Curve((20,), (2,), (0.5,)),
        "val/scenarios/rgb/miou": Curve((20,), (2,), (0.125,)),
    }
    charts = {chart.title: chart for chart in metric_charts(logged)}
    assert len(charts) == 6
    assert [line.label for line in charts["Loss"].lines] == ["train/loss", "val/loss"]
    assert charts["Validation, %"].lines[0].y == [25.0]
    assert charts["IoU of each class in validation, %"].lines[0].label == "low vegetation"
    assert charts["mIoU of each scenario in validation, %"].lines == [Line("rgb", (20,), [12.5])]
    assert charts["Learning rate"].lines[0].x == (1, 2)  # epochs
    assert metric_charts({}) == []


def record(epoch, names, probabilities):
    zeros = (0.0,) * len(names)
    return ScoreRecord(epoch, names, zeros, zeros, zeros, probabilities, 4, 1.0, ScoreSettings())


def test_probabilities_by_epoch_with_gaps_where_a_scenario_was_not_known():
    records = [record(0, ("rgb",), (1.0,)), record(2, ("rgb", "rgb+dsm"), (0.25, 0.75))]
    probabilities, distortion = history_charts(records)
    rgb, full = probabilities.lines
    assert (rgb.label, list(rgb.x), rgb.y, rgb.emphasised) == ("rgb", [1, 3], [1.0, 0.25], False)
    assert math.isnan(full.y[0])
    assert full.y[1] == 0.75
    assert full.emphasised
    assert probabilities.level == 0.5
    assert distortion.lines[0].error == [0.0, 0.0]
    assert "NaN" not in chart_figure(probabilities)
    assert "nan" not in chart_figure(probabilities) + chart_figure(distortion)


# colours of the style sheet


def themes():
    """Hexadecimal colours by name, for light and for dark."""
    css = files("mobanet.reporting").joinpath("page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def rgb(colour):
    return np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])


def linear(colour):
    c = rgb(colour)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    light, dark = sorted((float(linear(c) @ (0.2126, 0.7152, 0.0722)) for c in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_lines_and_text_stand_out_from_their_ground(theme):
    colours = themes()[theme]
    for k in range(COLOURS):
        assert contrast(colours[f"line-{k}"], colours["card"]) >= 3
    for ink, ground in itertools.product(("ink", "soft", "accent"), ("paper", "card")):
        assert contrast(colours[ink], colours[ground]) >= 4.5


# linear RGB as protanopes and deuteranopes see it (Vienot, Brettel and Mollon 1999)
SEEN = {
    "most people": np.eye(3),
    "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def lab(colour, matrix):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = xyz @ (np.array(matrix) @ linear(colour)).clip(0, 1) / (0.9505, 1, 1.089)
    x, y, z = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", SEEN)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_of_lines_are_told_apart_by_colour_blind_eyes(theme, eyes):
    colours = [themes()[theme][name] for name in (*(f"line-{k}" for k in range(COLOURS)), "ink")]
    seen = [lab(colour, SEEN[eyes]) for colour in colours]
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) >= 20


def test_bands_that_would_hide_each_other_are_left_out():
    few, many = (history_charts([record(0, tuple("abcdefghijk"[:n]), (1 / n,) * n)])[1] for n in (8, 9))
    assert len(few.lines[0].error) == 1
    assert "standard error" in few.remark
    assert many.lines[0].error == ()
    assert many.remark == ""
