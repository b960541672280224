"""A figure of all scenarios: which sensors are there, the mIoU that is left, and the IoU of each class."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mobanet.evaluation.bootstrap import INTERVAL, Intervals
from mobanet.evaluation.metrics import Scores
from mobanet.evaluation.scenario_summary import ScenarioSummary
from mobanet.evaluation.scenario_table import ScenarioResults
from mobanet.figures.canvas import new_figure, wrapped
from mobanet.rasters.contents import Classes
from mobanet.scenarios.scenario import Scenario

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _GREY, _LEFT, _LOST, _WORST = "#1a1a1a", "#9aa7b5", "#5b7fa6", "#e3e7ec", "#c4452d"
_ROW, _COLUMN = 0.29, 0.5
"""Height of a scenario and width of a class, in inches."""
_DASH = "\N{EN DASH}"
_MEAN: dict[str, Any] = {"color": _INK, "linewidth": 1.1, "linestyle": (0, (4, 2.5))}
_NUMBER: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 8.5, "color": _INK}


def scenario_figure(results: ScenarioResults) -> "Figure":
    """A row for each scenario that was evaluated; below them the protocol."""
    classes, intervals = results.classes, results.intervals
    shown = [scenario for scenario in results.scenarios if scenario.name in results.scores]
    figures = [results.scores[scenario.name] for scenario in shown]
    rows = _rows(shown)
    modalities = [scenario.name for scenario in results.scenarios if sum(scenario.available) == 1]
    widths = [0.24 * len(modalities) + 0.1, 3.4, max(_COLUMN * len(classes), 1.0)]
    summary = results.summary()
    keys = _keys(summary, lost=shown[-1].full and not math.isnan(figures[-1].mean_iou), intervals=intervals is not None)
    # besides the panels: headings and legend above, scales and the protocol below
    height = _ROW * (rows[-1] + 1) + 2.0 + 0.15 * max(len(keys) - 3, 0)
    figure = new_figure(sum(widths) + 0.5, height)
    sensors, bars, cells = panels = figure.subplots(1, 3, sharey=True, width_ratios=widths)
    for axes in panels:
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=8.5, colors=_INK, labelleft=False)
    _draw_sensors(sensors, shown, rows, modalities)
    _draw_miou(bars, shown, figures, rows, summary)
    if intervals is not None:
        _draw_intervals(bars, shown, rows, intervals)
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    bars.legend(handles=keys, fontsize=8, frameon=False, handlelength=1.8, **place)
    _draw_classes(cells, figures, rows, classes)
    # upside down: the first scenario on top; the panels share this axis
    sensors.set_ylim(rows[-1] + 0.55, -0.55)
    figure.supxlabel(wrapped(results.protocol, int(14 * figure.get_figwidth())), fontsize=7, color="0.35")
    return figure


def contrasting(colour: tuple[float, ...]) -> str:
    """White where it stands out from a colour, RGB 0..1, at least 3.5 to 1 (WCAG 2), otherwise black."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
    luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b  # relative luminance of sRGB, as WCAG 2 has it
    return "white" if 1.05 / (luminance + 0.05) >= 3.5 else "black"


def _rows(shown: Sequence[Scenario]) -> list[float]:
    """Where each scenario lies: numbers of sensors a little apart, the full scenario more."""
    rows, at = [], 0.0
    for i, scenario in enumerate(shown):
        if i:
            grown = sum(scenario.available) > sum(shown[i - 1].available)
            at += 1 + (0.6 if scenario.full else 0.3 if grown else 0)
        rows.append(at)
    return rows


def _draw_sensors(axes: "Axes", shown: Sequence[Scenario], rows: Sequence[float], modalities: Sequence[str]) -> None:
    for row, scenario in zip(rows, shown, strict=True):
        there = [k for k, has in enumerate(scenario.available) if has]
        # joined by a line, as in UpSet plots
        axes.plot([there[0], there[-1]], [row, row], color=_INK, linewidth=1.4, zorder=1)
        axes.scatter(range(len(modalities)), [row] * len(modalities), s=36, c="white", edgecolors=_GREY, zorder=2)
        axes.scatter(there, [row] * len(there), s=36, color=_INK, zorder=3, label=scenario.name)
    axes.set_xlim(-0.6, len(modalities) - 0.4)
    axes.set_xlabel("\N{WHITE CIRCLE} missing", fontsize=7.5, color=_GREY)
    _headings(axes, modalities)


def _draw_miou(
    axes: "Axes", shown: Sequence[Scenario], figures: Sequence[Scores], rows: Sequence[float], summary: ScenarioSummary
) -> None:
    from matplotlib.ticker import MaxNLocator

    values = [100 * f.mean_iou for f in figures]
    full = values[-1] if shown[-1].full else math.nan
    end = max([1.0, *(value for value in values if not math.isnan(value))])
    numbers, drops = 1.21 * end, 1.41 * end  # right of the bars
    for row, value, scenario in zip(rows, values, shown, strict=True):
        axes.text(numbers, row, _number(value), **_NUMBER)
        if not math.isnan(value):
            colour = _WORST if scenario.name == summary.worst_name else _INK if scenario.full else _LEFT
            axes.barh(row, value, height=0.62, color=colour, zorder=2)
        if not scenario.full and not math.isnan(full):
            axes.text(drops, row, _number(full - value), **_NUMBER)
            if full > value:
                axes.barh(row, full - value, left=value, height=0.62, color=_LOST, zorder=1)
    top, bottom = -0.55, rows[-1] + 0.55
    ticks = [tick for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, end) if 0 <= tick <= end]
    axes.vlines(ticks, top, bottom, color="0.9", linewidth=0.7, zorder=0)
    axes.set_xticks(ticks)
    axes.set_xlim(0, 1.43 * end)
    axes.set_xlabel("mIoU %", fontsize=8.5, color=_INK, x=0.5 / 1.43)
    mean = 100 * summary.mean.mean_iou
    if not math.isnan(mean):
        axes.vlines(mean, top, bottom, color="white", linewidth=2.2, zorder=3)  # shows the line on dark bars
        axes.vlines(mean, top, bottom, zorder=4, label="mean", **_MEAN)
    heads = {numbers: "mIoU"} if math.isnan(full) else {numbers: "mIoU", drops: "drop"}
    for x, head in heads.items():
        # in points above the axes: a share of them, of many scenarios, would be in the legend
        place: dict[str, Any] = {
            "xycoords": axes.get_xaxis_transform(),
            "textcoords": "offset points",
            "xytext": (0, 4),
        }
        axes.annotate(head, (x, 1), **place, ha="right", fontsize=8.5, color=_INK)


def _draw_intervals(axes: "Axes", shown: Sequence[Scenario], rows: Sequence[float], intervals: Intervals) -> None:
    """A thin line over the end of each bar, readable on the bar and beside it."""
    found = [
        (row, intervals.scenarios[s.name]) for row, s in zip(rows, shown, strict=True) if s.name in intervals.scenarios
    ]
    for row, (low, high) in found:
        axes.hlines(row, 100 * low, 100 * high, color="white", linewidth=3.4, zorder=5)
        axes.hlines(row, 100 * low, 100 * high, color=_INK, linewidth=1.4, zorder=6, label="interval")


def _keys(summary: ScenarioSummary, lost: bool, intervals: bool) -> "list[Artist]":
    """The legend's, from the top."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    keys: list[Artist] = []
    if summary.worst:  # then there is a mean, too
        keys.append(Line2D([], [], label=f"mean {100 * summary.mean.mean_iou:.1f}", **_MEAN))
        keys.append(Patch(color=_WORST, label=f"worst {100 * summary.worst.mean_iou:.1f} ({summary.worst_name})"))
    if lost:
        keys.append(Patch(color=_LOST, label="lost against full"))
    if intervals:
        keys.append(Line2D([], [], color=_INK, linewidth=1.4, label=f"{INTERVAL} interval over tiles"))
    for failure, expected in summary.expected if summary.worst else ():
        words = f"expected {_number(100 * expected.mean_iou)} if each sensor fails, {failure.label}"
        keys.append(Line2D([], [], linestyle="", label=words))
    if summary.deviation:
        words = f"standard deviation {_number(100 * summary.deviation.mean_iou)}"
        keys.append(Line2D([], [], linestyle="", label=words))
    return keys


def _number(per_cent: float) -> str:
    if math.isnan(per_cent):
        return _DASH
    return f"{round(per_cent, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")  # + 0.0: no -0.0


def _draw_classes(axes: "Axes", figures: Sequence[Scores], rows: Sequence[float], classes: Classes) -> None:
    import matplotlib
    from matplotlib.patches import Rectangle

    colours = matplotlib.colormaps["Blues"]
    for row, f in zip(rows, figures, strict=True):
        for k, iou in enumerate(f.iou):
            absent = math.isnan(iou)
            # without the palest and the darkest blue, which read as white and black
            fill = (1.0, 1.0, 1.0, 1.0) if absent else colours(0.03 + 0.85 * iou)
            hatch: dict[str, Any] = {"hatch": "//////", "edgecolor": "0.85"} if absent else {}
            axes.add_patch(Rectangle((k - 0.5, row - 0.5), 1, 1, facecolor=fill, linewidth=0, **hatch))
            axes.add_patch(Rectangle((k - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="white"))
            axes.text(k, row, _number(100 * iou), ha="center", va="center", fontsize=8, color=contrasting(fill))
    axes.set_xlim(-0.5, len(classes) - 0.5)
    _headings(axes, [name if name in classes.averaged else f"{name} *" for name in classes.names])
    absent = any(math.isnan(iou) for f in figures for iou in f.iou)
    remarks = ["IoU %", *["* not averaged"] * (len(classes.averaged) < len(classes)), *[f"{_DASH} absent"] * absent]
    between = "    " if len(classes) > 5 else "\n"  # the layout makes no room for a long label
    axes.set_xlabel(between.join(remarks), fontsize=8.5, color=_INK)


def _headings(axes: "Axes", names: Sequence[str]) -> None:
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(names)), names, rotation=45, ha="left", rotation_mode="anchor")
