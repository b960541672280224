"""A figure of degraded sensors: a panel a degradation, mIoU over its severities, a line a sensor."""

import math
from typing import TYPE_CHECKING, Any

from mobanet.evaluation.degraded_table import DegradedResults, DegradedRow
from mobanet.figures.canvas import new_figure, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACROSS = 3
"""Panels in a row."""
_INK, _GREY = "#1a1a1a", "#9aa7b5"
_MARKERS = "osD^v<>Pph*X"
"""One a sensor, of twelve at most, so that lines differ without colours, too."""
_COLOURS = ("#2f6db5", "#c4452d", "#3c8c53", "#8a5fb0", "#b0832b", "#3a9fa8")


def degraded_figure(results: DegradedResults) -> "Figure":
    """The figure of one test."""
    from matplotlib.lines import Line2D

    degradations = results.degradations()
    across = min(_ACROSS, len(degradations))
    down = math.ceil(len(degradations) / across)
    figure = new_figure(max(2.7 * across, 5.4) + 0.4, 2.1 * down + 1.5)
    panels = figure.subplots(down, across, sharey=True, squeeze=False).flatten().tolist()
    looks: dict[str, dict[str, Any]] = {
        name: {"color": _COLOURS[k % len(_COLOURS)], "marker": _MARKERS[k % len(_MARKERS)]}
        for k, name in enumerate(results.modalities())
    }
    whole = math.nan if results.undegraded is None else 100 * results.undegraded.mean_iou
    known = [100 * f.scores.mean_iou for f in results.figures if not math.isnan(f.scores.mean_iou)]
    panels[0].set_ylim(0, 1.06 * max([1.0, *known, *[whole] * (not math.isnan(whole))]))  # of all, which share it
    for axes, degradation in zip(panels, degradations, strict=False):
        _draw(axes, [row for row in results.rows() if row.label == degradation.name], looks, whole)
        measure = f" ({degradation.measure})" if degradation.measure else ""
        axes.set_title(f"{degradation.name}{measure}", fontsize=9.5, color=_INK)
    # removed, not hidden: the layout would keep the room
    for axes in panels[len(degradations) :]:
        axes.remove()
    handles = [Line2D([], [], label=name, linewidth=1.5, markersize=5, **look) for name, look in looks.items()]
    if not math.isnan(whole):
        label = f"{results.full}, undegraded: {whole:.1f}"
        handles.append(Line2D([], [], color=_INK, linestyle=(0, (4, 2.5)), linewidth=1, label=label))
    # by hand, as each panel has only the lines of the sensors it applies to
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4), fontsize=8.5, frameon=False)
    figure.supylabel("mIoU %", fontsize=9, color=_INK)
    figure.supxlabel(wrapped(results.protocol, int(14 * figure.get_figwidth())), fontsize=7, color="0.35")
    return figure


def _draw(axes: "Axes", rows: list[DegradedRow], looks: dict[str, dict[str, Any]], whole: float) -> None:
    # evenly apart: severities grow by factors, and the mild ones would lie on each other
    at = range(1, len(rows[0].severities) + 1)
    for row in rows:
        mious = [100 * miou for miou in row.mious]
        axes.plot(at, mious, linewidth=1.5, markersize=5, markeredgecolor="white", **looks[row.modality], zorder=3)
    if not math.isnan(whole):
        axes.axhline(whole, color=_INK, linestyle=(0, (4, 2.5)), linewidth=1, zorder=2)
    axes.set_xticks(at, rows[0].severities)
    axes.set_xlim(0.6, len(at) + 0.4)
    axes.tick_params(labelsize=8, colors=_INK, length=0)
    axes.grid(axis="y", color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_GREY)
