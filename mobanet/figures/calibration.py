"""A figure of how far probabilities can be trusted: a reliability diagram for each scenario."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from mobanet.evaluation.calibration import BINS, Reliability
from mobanet.evaluation.scenario_table import ScenarioResults
from mobanet.figures.canvas import new_figure, wrapped

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _RIGHT, _GAP, _SHARE, _AT_T = "#1a1a1a", "#5b7fa6", "#c4452d", "#b9c2cc", "#1f7a4d"
_SIDE, _FOOT = 1.75, 0.5
"""Width of a panel, and height of the shares below it, in inches."""


def reliability_figure(results: ScenarioResults) -> "Figure":
    """A diagram for each scenario whose reliability is known, at least one; below it the protocol."""
    found, calibrated = results.reliability, results.calibrated
    # of five modalities there are 31 scenarios: eight across keep the figure on a page
    columns = min(len(found), 4 if len(found) <= 16 else 8)
    lines = math.ceil(len(found) / columns)
    width = max(_SIDE * columns + 0.6, 3.6)
    figure = new_figure(width, (_SIDE + _FOOT + 0.45) * lines + 1.0)
    grid = figure.subplots(
        2 * lines, columns, sharex=True, squeeze=False, height_ratios=[_SIDE, _FOOT] * lines, sharey="row"
    )
    for place, (name, reliability) in enumerate(found.items()):
        line, column = divmod(place, columns)
        upper, lower = grid[2 * line][column], grid[2 * line + 1][column]
        _draw_accuracy(upper, reliability)
        if name in calibrated:
            _draw_calibrated(upper, calibrated[name])
        upper.set_title(_title(name, reliability, calibrated.get(name)), fontsize=8.5, color=_INK)
        _draw_shares(lower, reliability)
        if column == 0:
            upper.set_ylabel("share right", fontsize=8, color=_INK)
            lower.set_ylabel("pixels %", fontsize=8, color=_INK)
    for place in range(len(found), lines * columns):
        line, column = divmod(place, columns)
        grid[2 * line][column].set_visible(False)
        grid[2 * line + 1][column].set_visible(False)
    keys = _keys(bool(calibrated))
    beside = 2 if columns < 4 and len(keys) > 3 else len(keys)
    figure.legend(handles=keys, loc="outside upper center", ncols=beside, fontsize=8, frameon=False)
    below = wrapped(results.protocol, int(16 * width))
    figure.supxlabel(f"highest probability of a pixel\n{below}", fontsize=7, color="0.35")
    return figure


def _title(name: str, reliability: Reliability, calibrated: Reliability | None) -> str:
    error = "no pixel" if math.isnan(reliability.error) else f"ECE {100 * reliability.error:.1f} %"
    if calibrated is not None and not math.isnan(calibrated.error):
        error += f", {100 * calibrated.error:.1f} % at T"
    # textwrap breaks at blanks only: one behind each plus, taken out again
    return "\n".join([*textwrap.wrap(name.replace("+", "+ "), 24), error]).replace("+ ", "+")


def _draw_accuracy(axes: "Axes", reliability: Reliability) -> None:
    """A bar a bin up to the share that is right, and what lies between that and the mean probability."""
    there = [k for k, right in enumerate(reliability.accuracy) if not math.isnan(right)]
    p, right = (np.array(of)[there] for of in (reliability.confidence, reliability.accuracy))
    middles, low = (np.array(there) + 0.5) / BINS, np.minimum(p, right)
    # one call for all bars: each works out the limits of the axes anew
    axes.bar(middles, right, 1 / BINS, color=_RIGHT, edgecolor="white", linewidth=0.4)
    gap: dict[str, Any] = {"facecolor": "none", "edgecolor": _GAP, "hatch": "//////", "linewidth": 0.5}
    axes.bar(middles, np.maximum(p, right) - low, 1 / BINS, bottom=low, **gap)
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=(0, (4, 2.5)))
    axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[0, 0.5, 1])
    _plain(axes)
    axes.tick_params(labelbottom=False)


def _draw_calibrated(axes: "Axes", reliability: Reliability) -> None:
    """A curve through the bins of calibrated probabilities."""
    there = [k for k, n in enumerate(reliability.pixels) if n]
    across, up = ([of[k] for k in there] for of in (reliability.confidence, reliability.accuracy))
    axes.plot(across, up, color=_AT_T, linewidth=1.2, marker="o", markersize=2.2)


def _draw_shares(axes: "Axes", reliability: Reliability) -> None:
    total = max(sum(reliability.pixels), 1)
    middles = [(k + 0.5) / BINS for k in range(BINS)]
    axes.bar(middles, [100 * n / total for n in reliability.pixels], width=1 / BINS, color=_SHARE)
    axes.set(ylim=(0, 100), yticks=[0, 100], xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])
    _plain(axes)


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2, labelsize=7, colors=_INK)


def _keys(calibrated: bool) -> "list[Artist]":
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    gap = Patch(facecolor="none", edgecolor=_GAP, hatch="//////", label="gap to the mean probability")
    line = Line2D([], [], color=_INK, linewidth=0.8, linestyle=(0, (4, 2.5)), label="as probable as it says")
    curve = Line2D([], [], color=_AT_T, linewidth=1.2, marker="o", markersize=2.2, label="share right, calibrated")
    return [Patch(color=_RIGHT, label="share right"), gap, line, *[curve] * calibrated]
