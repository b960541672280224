"""Reliability diagrams, one for each scenario, as inline SVG that follows the page's colours."""

import math
from collections.abc import Mapping

from mobanet.evaluation.calibration import BINS, Reliability
from mobanet.plain.text_tables import percent
from mobanet.reporting.markup import Markup, element, scenario_words
from mobanet.reporting.scales import Scale

_WIDTH, _HEIGHT = 220, 240
_LEFT, _RIGHT, _TOP, _MIDDLE, _BOTTOM = 34, 6, 6, 186, 20
"""Of the diagram; `_MIDDLE` is where the bars end and the space for shares of pixels begins."""
_GAP = 12


def calibration_section(
    found: Mapping[str, Reliability], calibrated: Mapping[str, Reliability] | None = None
) -> Markup:
    """A diagram a scenario and what is to be seen on it.

    Args:
        found: by name of the scenario, at least one, in the usual order.
        calibrated: the same at the temperatures of the scenarios that have one.
    """
    calibrated = calibrated or {}
    figures = (_figure(name, reliability, calibrated.get(name)) for name, reliability in found.items())
    words = (
        "Pixels by their highest probability. Bars: the share of them that is right; red: what lies between that "
        "and their mean probability; dashed: where the two are equal; below: the share of all pixels in per cent. "
        f"ECE: the mean of the gaps over all pixels, {BINS} bins."
    )
    if calibrated:
        words += " Line: the share that is right at probabilities calibrated by the scenario's temperature T."
    return element("div", element("div", *figures, class_="charts small"), element("p", words, class_="remark"))


def _figure(name: str, reliability: Reliability, calibrated: Reliability | None) -> Markup:
    error = "no pixel" if math.isnan(reliability.error) else f"ECE {percent(reliability.error)} %"
    if calibrated is not None and not math.isnan(calibrated.error):
        error += f", {percent(calibrated.error)} % at T"
    caption = element("figcaption", scenario_words(name), element("span", f" {error}", class_="last"))
    return element("figure", caption, _drawing(name, reliability, calibrated, error), class_="chart")


def _drawing(name: str, reliability: Reliability, calibrated: Reliability | None, error: str) -> Markup:
    across = Scale(0, 1, _LEFT, _WIDTH - _RIGHT)
    up = Scale(0, 1, _MIDDLE, _TOP)
    total = max(sum(reliability.pixels), 1)
    share = Scale(0, 1, _HEIGHT - _BOTTOM, _MIDDLE + _GAP)
    parts = [_axes(across, up, share)]
    for k in range(BINS):
        pixels, p, right = reliability.pixels[k], reliability.confidence[k], reliability.accuracy[k]
        if not pixels:
            continue
        told = f"{pixels} pixels: mean probability {percent(p)} %, right {percent(right)} %"
        low, high = sorted((p, right))
        bars = [
            _bar(k, across, up(right), up(0), "right"),
            _bar(k, across, up(high), up(low), "gap"),
            _bar(k, across, share(pixels / total), share(0), "share"),
        ]
        parts.append(element("g", element("title", told), *bars))
    ends = {"x1": f"{across(0):.1f}", "y1": f"{up(0):.1f}", "x2": f"{across(1):.1f}", "y2": f"{up(1):.1f}"}
    parts.append(element("line", **ends, class_="line c-ink", stroke_dasharray="4 3", stroke_width=1.2))
    if calibrated is not None:
        parts.append(_curve(calibrated, across, up))
    described = f"Reliability diagram of {name}: {error}"
    return element(
        "svg", element("title", described), *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", class_="plot"
    )


def _curve(reliability: Reliability, across: Scale, up: Scale) -> Markup:
    """Through the bins that have pixels; one alone is a dot."""
    there = [
        (across(p), up(right))
        for n, p, right in zip(reliability.pixels, reliability.confidence, reliability.accuracy, strict=True)
        if n
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in there)
    dots = (element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2, class_="line c-2") for x, y in there)
    return element("g", element("polyline", points=points, class_="line c-2"), *dots)


def _bar(k: int, across: Scale, top: float, bottom: float, look: str) -> Markup:
    left, right = across(k / BINS), across((k + 1) / BINS)
    place = {"x": f"{left + 0.4:.1f}", "y": f"{top:.1f}", "width": f"{right - left - 0.8:.1f}"}
    return element("rect", **place, height=f"{max(bottom - top, 0):.1f}", class_=f"bin {look}")


def _axes(across: Scale, up: Scale, share: Scale) -> Markup:
    parts = []
    for tick in (0, 0.5, 1):
        x, y = f"{across(tick):.1f}", f"{up(tick):.1f}"
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", f"{tick:g}", x=_LEFT - 5, y=y, class_="tick up"))
        parts.append(element("text", f"{tick:g}", x=x, y=_HEIGHT - 5, class_="tick across"))
    bottom = f"{share(0):.1f}"
    parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=bottom, y2=bottom, class_="axis"))
    parts.append(element("text", "100", x=_LEFT - 5, y=f"{share(1) + 4:.1f}", class_="tick up"))
    return element("g", *parts, aria_hidden="true")
