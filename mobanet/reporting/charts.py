"""Line charts as inline SVG that follow the page's colours; every line also differs from the others by its dashes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mobanet.reporting.markup import render
from mobanet.reporting.scales import Scale, extent, tick_label, ticks

COLOURS = 7
"""Colours of lines that the style sheet has (`--line-0` and on)."""

_DASHES = (None, "7 3", "2 2.5", "7 3 2 3", "12 3", "4 4 1 4", "1 4")
_WIDTH, _HEIGHT = 400, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 57, 12, 12, 40
_MARKED = 40
"""A line of at most so many points shows each of them, and its number when pointed at."""
_LONGEST = 240
"""A longer line is drawn through means of so many groups of neighbours."""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: in the legend.
        x: in rising order.
        y: one an x; gaps where not finite.
        emphasised: drawn in ink and thicker, and takes no colour: what the others are compared with.
        error: half the height of a band around the line, one an x; empty for none.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    emphasised: bool = False
    error: Sequence[float] = ()


@dataclass(frozen=True)
class Chart:
    """A chart with its legend.

    Attributes:
        title: above it.
        x_label: below it.
        lines: at least one with something finite.
        floor: the vertical axis reaches at least down to this.
        level: a dashed horizontal line, such as what chance would give; None for none.
        level_label: in the legend.
        remark: below the legend; empty for none.
    """

    title: str
    x_label: str
    lines: Sequence[Line]
    floor: float | None = None
    level: float | None = None
    level_label: str = ""
    remark: str = ""


@dataclass(frozen=True)
class _Look:
    colour: str
    dashes: str | None
    width: float = 1.8


_LEVEL = _Look("level", "3 3", 1.2)


def _looks(lines: Sequence[Line]) -> list[_Look]:
    looks, number = [], 0
    for line in lines:
        if line.emphasised:
            looks.append(_Look("ink", None, 2.4))
            continue
        # colours come round again with other dashes, which move on by one each round, as there are as many of both
        dashes = _DASHES[(number + number // COLOURS) % len(_DASHES)]
        looks.append(_Look(str(number % COLOURS), dashes))
        number += 1
    return looks


def charts_of(charts: Sequence[Chart]) -> Markup:
    """Beside each other, each a `figure` element: title, drawing, legend with each line's last value."""
    return Markup('<div class="charts">{}</div>').format(Markup().join(map(chart_figure, charts)))


def chart_figure(chart: Chart) -> Markup:
    """A `figure` element."""
    levels = [] if chart.level is None else [chart.level]
    heights = [y for line in chart.lines for y in _reach(line)]
    # the axis goes from tick to tick, so that no line leaves the drawing
    rows = ticks(*extent([*heights, *levels], chart.floor))
    # lines may end between ticks here: an axis on to the next tick would show empty time
    left, right = extent(x for line in chart.lines for x in line.x)
    places = sorted({x for line in chart.lines for x in line.x})
    columns = [tick for tick in ticks(left, right, whole=True) if left <= tick <= right]
    # of shares such as severities the places themselves, as no whole number may lie among them; so of a single place
    if len(places) == 1 or not all(float(x).is_integer() for x in places):
        columns = places
    across = Scale(left, right, _LEFT, _WIDTH - _RIGHT)
    up = Scale(rows[0], rows[-1], _HEIGHT - _BOTTOM, _TOP)
    # thousands of points would be finer than a pixel, and megabytes in the page
    smoothed = any(len(line.x) > _LONGEST for line in chart.lines)
    remarks = [chart.remark, "lines: means of neighbouring values; bands: their lowest and highest" * smoothed]
    return render(
        "chart",
        chart=chart,
        described=f"{chart.title}, {chart.x_label} from left to right. {'. '.join(map(_described, chart.lines))}.",
        rows=[(f"{up(tick):.1f}", tick_label(tick, rows)) for tick in rows],
        columns=[(f"{across(tick):.1f}", tick_label(tick, columns)) for tick in columns],
        level=None if chart.level is None else f"{up(chart.level):.1f}",
        level_look=_LEVEL,
        lines=[_line(line, look, across, up) for line, look in zip(chart.lines, _looks(chart.lines), strict=True)],
        remark="; ".join(filter(None, remarks)),
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        bottom=_HEIGHT - _BOTTOM,
        width=_WIDTH,
        height=_HEIGHT,
    )


def _line(line: Line, look: _Look, across: Scale, up: Scale) -> dict[str, Any]:
    """What a line is drawn of."""
    points, edges = list(zip(line.x, line.y, strict=True)), list[tuple[float, float, float]]()
    if len(points) > _LONGEST:
        groups = _groups(points)
        points, edges = [(x, mean) for x, mean, _, _ in groups], [(x, low, high) for x, _, low, high in groups]
    elif line.error:
        edges = [(x, y - e, y + e) for (x, y), e in zip(points, line.error, strict=True)]
        # bands bridge gaps that lines leave
        edges = [edge for edge in edges if all(map(math.isfinite, edge))]
    path, marks, begun = [], [], False
    for x, y in points:
        if math.isfinite(y):
            place = f"{across(x):.1f}", f"{up(y):.1f}"
            # behind a gap the pen is set down anew
            path.append(f"{'L' if begun else 'M'}{' '.join(place)}")
            marks.append((*place, f"{line.label}: {_short(y)} at {x:g}"))
        begun = math.isfinite(y)
    shown = marks if len(points) <= _MARKED else []
    named = {"label": line.label, "last": _short(_last(line)), "look": look}
    return {**named, "band": _band(edges, across, up), "path": " ".join(path), "marks": shown}


def _band(edges: Sequence[tuple[float, float, float]], across: Scale, up: Scale) -> str:
    # a band of one place has no area
    if len(edges) < 2:
        return ""
    there = [f"{across(x):.1f} {up(high):.1f}" for x, _, high in edges]
    back = [f"{across(x):.1f} {up(low):.1f}" for x, low, _ in reversed(edges)]
    return f"M{' L'.join([*there, *back])}Z"


def _groups(points: Sequence[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """Middle x, mean, lowest and highest y of groups of neighbours; what is not finite is left out."""
    finite = [point for point in points if math.isfinite(point[1])]
    # rounded up, so that there are never more groups than that
    size = -(-len(finite) // _LONGEST)
    groups = []
    for first in range(0, len(finite), size):
        group = finite[first : first + size]
        ys = [y for _, y in group]
        groups.append((sum(x for x, _ in group) / len(group), sum(ys) / len(ys), min(ys), max(ys)))
    return groups


def _reach(line: Line) -> list[float]:
    """What the vertical axis has to hold."""
    errors = line.error or [0.0] * len(line.y)
    return [edge for y, e in zip(line.y, errors, strict=True) for edge in (y - e, y + e)]


def _described(line: Line) -> str:
    finite = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    if not finite:
        return f"{line.label}: no finite value"
    lowest, highest = (_short(find(y for _, y in finite)) for find in (min, max))
    return f"{line.label}: {_short(finite[0][1])} first, {_short(finite[-1][1])} last, between {lowest} and {highest}"


def _last(line: Line) -> float:
    return next((y for y in reversed(line.y) if math.isfinite(y)), math.nan)


def _short(value: float) -> str:
    """Three digits that count."""
    if not math.isfinite(value):
        return "\N{EN DASH}"
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return text.replace("e-0", "e-").replace("-", "\N{MINUS SIGN}")
