"""Line charts as inline SVG that follow the page's colours; every line also differs from the others by its dashes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mobanet.reporting.markup import Markup, element
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


def chart_figure(chart: Chart) -> Markup:
    """A `figure` element: title, drawing, legend with each line's last value."""
    looks = _looks(chart.lines)
    entries = [
        element("li", _sample(look), line.label, element("span", _short(_last(line)), class_="last"))
        for line, look in zip(chart.lines, looks, strict=True)
    ]
    if chart.level is not None:
        entries.append(element("li", _sample(_LEVEL), chart.level_label))
    smoothed = any(len(line.x) > _LONGEST for line in chart.lines)
    remarks = [chart.remark] * bool(chart.remark)
    remarks += ["lines: means of neighbouring values; bands: their lowest and highest"] * smoothed
    return element(
        "figure",
        element("figcaption", chart.title),
        _drawing(chart, looks),
        element("ul", *entries, class_="legend"),
        element("p", "; ".join(remarks), class_="remark") if remarks else None,
        class_="chart",
    )


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


def _sample(look: _Look) -> Markup:
    line = element("line", x1=1, y1=5, x2=29, y2=5, **_stroke(look))
    return element("svg", line, viewBox="0 0 30 10", width=30, height=10, class_="sample", aria_hidden="true")


def _stroke(look: _Look) -> dict[str, str | float | None]:
    return {"class_": f"line c-{look.colour}", "stroke_dasharray": look.dashes, "stroke_width": look.width}


def _drawing(chart: Chart, looks: Sequence[_Look]) -> Markup:
    levels = [] if chart.level is None else [chart.level]
    heights = [y for line in chart.lines for y in _reach(line)]
    low, high = extent([*heights, *levels], chart.floor)
    rows = ticks(low, high)
    left, right = extent(x for line in chart.lines for x in line.x)
    if len({x for line in chart.lines for x in line.x}) > 1:
        columns = [tick for tick in ticks(left, right, whole=True) if left <= tick <= right]
    else:
        # of a single place a tick is all that an axis can have
        columns = [next(iter(chart.lines)).x[0]]
    across = Scale(left, right, _LEFT, _WIDTH - _RIGHT)
    up = Scale(rows[0], rows[-1], _HEIGHT - _BOTTOM, _TOP)
    parts = [_axes(chart, rows, columns, across, up)]
    if chart.level is not None:
        place = f"{up(chart.level):.1f}"
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=place, y2=place, **_stroke(_LEVEL)))
    for line, look in zip(chart.lines, looks, strict=True):
        parts.append(_line(line, look, across, up))
    described = f"{chart.title}, {chart.x_label} from left to right. {'. '.join(map(_described, chart.lines))}."
    return element(
        "svg", element("title", described), *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", class_="plot"
    )


def _axes(chart: Chart, rows: Sequence[float], columns: Sequence[float], across: Scale, up: Scale) -> Markup:
    parts = []
    for tick in rows:
        y = f"{up(tick):.1f}"
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", tick_label(tick, rows), x=_LEFT - 7, y=y, class_="tick up"))
    for tick in columns:
        x, bottom = f"{across(tick):.1f}", _HEIGHT - _BOTTOM
        parts.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(element("text", tick_label(tick, columns), x=x, y=bottom + 17, class_="tick across"))
    bottom = _HEIGHT - _BOTTOM
    parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=bottom, y2=bottom, class_="axis"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(element("text", chart.x_label, x=middle, y=_HEIGHT - 5, class_="tick across"))
    return element("g", *parts, aria_hidden="true")


def _line(line: Line, look: _Look, across: Scale, up: Scale) -> Markup:
    points = list(zip(line.x, line.y, strict=True))
    band = Markup()
    if len(points) > _LONGEST:
        groups = _groups(points)
        points = [(x, mean) for x, mean, _, _ in groups]
        band = _band([(x, low, high) for x, _, low, high in groups], look, across, up)
    elif line.error:
        edges = [(x, y - e, y + e) for (x, y), e in zip(points, line.error, strict=True)]
        band = _band([edge for edge in edges if all(map(math.isfinite, edge))], look, across, up)
    path, begun = [], False
    for x, y in points:
        if math.isfinite(y):
            # behind a gap the pen is set down anew
            path.append(f"{'L' if begun else 'M'}{across(x):.1f} {up(y):.1f}")
        begun = math.isfinite(y)
    parts = [band, element("path", d=" ".join(path), **_stroke(look))]
    if len(points) <= _MARKED:
        for x, y in points:
            if math.isfinite(y):
                told = element("title", f"{line.label}: {_short(y)} at {x:g}")
                place: dict[str, str | float] = {
                    "cx": f"{across(x):.1f}",
                    "cy": f"{up(y):.1f}",
                    "r": 2.6,
                    "class_": f"mark c-{look.colour}",
                }
                parts.append(element("circle", told, **place))
    return element("g", *parts)


def _band(edges: Sequence[tuple[float, float, float]], look: _Look, across: Scale, up: Scale) -> Markup:
    if len(edges) < 2:
        return Markup()
    there = [f"{across(x):.1f} {up(high):.1f}" for x, _, high in edges]
    back = [f"{across(x):.1f} {up(low):.1f}" for x, low, _ in reversed(edges)]
    return element("path", d=f"M{' L'.join([*there, *back])}Z", class_=f"band c-{look.colour}")


def _groups(points: Sequence[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """Middle x, mean, lowest and highest y of groups of neighbours; what is not finite is left out."""
    finite = [point for point in points if math.isfinite(point[1])]
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
