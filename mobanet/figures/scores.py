"""Figures of scenario scores: a run's history, one computation in full, and what the settings change."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mobanet.figures.canvas import new_figure
from mobanet.files import whole_file
from mobanet.scenarios.history import ScoreRecord
from mobanet.scenarios.scores import ScenarioScores, ScoreSettings, median_bandwidth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# told apart by people with any colour vision, and on paper by lightness and line
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")  # Okabe and Ito; Paul Tol
_LINES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (7, 1.5, 1, 1.5, 1, 1.5)))
_MARKERS = "osD^v"
_SMALL = 8.5  # points
_PANELS = {"tau": r"$\tau$", "gamma": r"$\gamma$", "ridge": r"ridge $\lambda$", "bandwidth": r"bandwidth $\sigma$"}


@dataclass(frozen=True)
class _Look:
    colour: str
    line: Any
    marker: str


def plot_history(records: Sequence[ScoreRecord], path: str | Path | None = None) -> "Figure":
    """Distortion with a band of one standard error, scores and probabilities of each scenario over the epochs.

    Raises:
        ValueError: without records, or if their scenarios differ.
    """
    if len({record.scenarios for record in records}) != 1:
        raise ValueError("records must be of one or more epochs with the same scenarios")
    names, epochs = records[0].scenarios, [record.epoch + 1 for record in records]  # counted from 1, as everywhere
    figure = new_figure(10.5, max(3.2, 0.18 * len(names) + 0.8))
    panels = figure.subplots(1, 3, sharex=True)
    for axis, title, field in zip(
        panels,
        ("distortion $D$ ± standard error", "scores $r$", "probabilities $p$"),
        ("distortion", "scores", "probabilities"),
        strict=True,
    ):
        values = np.array([getattr(record, field) for record in records])  # (epochs, S)
        _lines(axis, epochs, values, names, marked=len(epochs) <= 20)
        axis.set_ylabel(title, fontsize=10)
        axis.set_xlabel("epoch", fontsize=10)
    distortion, error = (np.array([getattr(record, f) for record in records]) for f in ("distortion", "standard_error"))
    for k, look in enumerate(_looks(len(names))):
        low, high = distortion[:, k] - error[:, k], distortion[:, k] + error[:, k]
        panels[0].fill_between(epochs, low, high, color=look.colour, alpha=0.2, linewidth=0)
        if len(epochs) == 1:
            panels[0].vlines(epochs, low[0], high[0], color=look.colour, linewidth=1.5)
    _whole_epochs(panels[0], epochs)
    _uniform(panels[2], len(names))
    _legend(figure, panels[2])
    if path is not None:
        with whole_file(Path(path)) as file:
            figure.savefig(file, format=Path(path).suffix[1:] or None, dpi=150)  # the file itself is a temporary one
    return figure


def plot_scores(scores: ScenarioScores, distortion: Sequence[float], names: Sequence[str]) -> "Figure":
    """The kernel, and beside its rows distortion, scores, normalized scores and probabilities.

    Args:
        scores: of S scenarios.
        distortion: D, (S,).
        names: of the scenarios, in the usual order.
    """
    count = len(names)
    side = max(2.0, 0.3 * count)
    figure = new_figure(side + 9.0, side + 1.3)
    widths = [side, 0.12, 1.6, 1.6, 1.6, 1.6]
    kernel, scale, *bars = figure.subplots(1, 6, width_ratios=widths)
    # cividis grows evenly in lightness, and is alike to people with any colour vision
    image = kernel.imshow(scores.kernel, vmin=0, vmax=1, cmap="cividis", aspect="auto", interpolation="nearest")
    kernel.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=_SMALL)
    kernel.set_yticks(range(count), names, fontsize=_SMALL)
    kernel.tick_params(length=0)
    kernel.set_title(rf"kernel $K$ ($\sigma$ = {scores.bandwidth:.3g})", fontsize=10)
    _numbers(kernel, scores.kernel)
    figure.colorbar(image, cax=scale).ax.tick_params(labelsize=_SMALL)
    looks = _looks(count)
    values = {
        "distortion $D$": np.asarray(distortion, float),
        "scores $r$": scores.scores,
        "normalized scores $r'$": scores.normalized,
        "probabilities $p$": scores.probabilities,
    }
    for axis, (title, numbers) in zip(bars, values.items(), strict=True):
        axis.barh(range(count), numbers, height=0.7, color=[look.colour for look in looks])
        axis.set_ylim(count - 0.5, -0.5)  # rows of the kernel
        axis.set_yticks(range(count), names if axis is bars[0] else [], fontsize=_SMALL)
        axis.set_title(title, fontsize=10)
        axis.axvline(0, color="0.3", linewidth=0.8)
        axis.locator_params(axis="x", nbins=4)
        if not np.any(numbers):
            axis.set_xlim(0, 1)
        _plain(axis, "x")
    _uniform(bars[3], count, upright=True)
    bars[3].set_xlabel(f"dashed: {_uniform_label(count)}", fontsize=_SMALL)
    return figure


def plot_sensitivity(
    distortion: Sequence[float], names: Sequence[str], settings: ScoreSettings, **grids: Sequence[float]
) -> "Figure":
    """Probabilities against each of tau, gamma, ridge and bandwidth, the others as given.

    Args:
        distortion: D, (S,).
        names: of the scenarios, in the usual order.
        settings: marked in each panel.
        grids: values of tau, gamma, ridge or bandwidth to draw instead of the usual ones.

    Raises:
        ValueError: for a grid of something else.
    """
    unknown = set(grids) - set(_PANELS)
    if unknown:
        raise ValueError(f"no grid of {', '.join(sorted(unknown))}: there are {', '.join(_PANELS)}")
    d = np.asarray(distortion, float)
    given = {name: getattr(settings, name) for name in _PANELS}
    # where it is set to `median`, the number that this comes to
    given["bandwidth"] = settings.score(d).bandwidth
    median = median_bandwidth(d)
    usual = {
        "tau": np.linspace(0, max(2.0, 2 * given["tau"]), 81),
        "gamma": np.linspace(0, 1, 41),
        "ridge": given["ridge"] * np.geomspace(1e-3, 1e5, 81),
        "bandwidth": np.geomspace(min(given["bandwidth"], median) / 100, max(given["bandwidth"], median) * 100, 101),
    }
    figure = new_figure(12.5, max(3.2, 0.18 * len(names) + 0.8))
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axis, (name, title) in zip(panels, _PANELS.items(), strict=True):
        grid = np.asarray(grids.get(name, usual[name]), float)
        values = np.array([replace(settings, **{name: float(x)}).score(d).probabilities for x in grid])
        _lines(axis, grid, values, names)
        _uniform(axis, len(names))
        axis.axvline(given[name], color="0.3", linewidth=1, zorder=1, label="as set")
        axis.set_xlabel(f"{title}  (set: {given[name]:.3g})", fontsize=10)
        if name in ("ridge", "bandwidth"):
            axis.set_xscale("log")
    if not np.isclose(median, given["bandwidth"]):
        panels[3].axvline(median, color="0.3", linewidth=1, linestyle=":", zorder=1, label="bandwidth median")
    panels[0].set_ylabel("probability $p$", fontsize=10)
    _legend(figure, panels[3])
    return figure


def _looks(count: int) -> list[_Look]:
    # the last is the full scenario; beyond the colours' number lines and markers tell scenarios apart
    rounds = [divmod(k, len(_COLOURS)) for k in range(count - 1)]
    looks = [_Look(_COLOURS[c], _LINES[r % len(_LINES)], _MARKERS[r % len(_MARKERS)]) for r, c in rounds]
    return [*looks, _Look("black", "-", "o")]


def _lines(
    axis: "Axes", x: Sequence[float] | np.ndarray, values: np.ndarray, names: Sequence[str], marked: bool = False
) -> None:
    for k, (name, look) in enumerate(zip(names, _looks(len(names)), strict=True)):
        axis.plot(
            x,
            values[:, k],
            color=look.colour,
            linestyle=look.line,
            linewidth=1.6,
            marker=look.marker if marked else None,
            markersize=4,
            label=name,
        )
    _plain(axis, "y")


def _numbers(axis: "Axes", matrix: np.ndarray) -> None:
    if len(matrix) > 8:  # too small to read
        return
    for (row, column), value in np.ndenumerate(matrix):
        colour = "black" if value > 0.5 else "white"
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)


def _uniform(axis: "Axes", count: int, upright: bool = False) -> None:
    draw = axis.axvline if upright else axis.axhline
    draw(1 / count, color="0.45", linestyle="--", linewidth=1.2, label=_uniform_label(count))


def _uniform_label(count: int) -> str:
    return f"uniform, 1/{count}" if count > 1 else "uniform, 1"


def _legend(figure: "Figure", axis: "Axes") -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=_SMALL, frameon=False, handlelength=2.6)


def _whole_epochs(axis: "Axes", epochs: Sequence[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(epochs) == 1:
        axis.set_xlim(epochs[0] - 0.5, epochs[0] + 0.5)


def _plain(axis: "Axes", values: Literal["x", "y"]) -> None:
    axis.ticklabel_format(axis=values, scilimits=(-3, 4), useMathText=True)  # 0.0004 is hard to read
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=_SMALL)
    axis.grid(color="0.92", linewidth=0.8)
    axis.set_axisbelow(True)
