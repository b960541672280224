"""Reliability diagrams, one for each scenario, as inline SVG that follows the page's colours."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from mobanet.evaluation.calibration import BINS, Reliability
from mobanet.plain.text_tables import percent
from mobanet.reporting.markup import render
from mobanet.reporting.scales import Scale

_WIDTH, _HEIGHT = 220, 240
_LEFT, _RIGHT, _TOP, _MIDDLE, _BOTTOM = 34, 6, 6, 186, 20
"""Of the diagram; `_MIDDLE` is where the bars end and the space for shares of pixels begins."""
_GAP = 12
# SVG's y grows downwards, so that the upward axis begins at the larger number
_ACROSS, _UP = Scale(0, 1, _LEFT, _WIDTH - _RIGHT), Scale(0, 1, _MIDDLE, _TOP)


def calibration_section(
    found: Mapping[str, Reliability], calibrated: Mapping[str, Reliability] | None = None
) -> Markup:
    """A diagram a scenario, at least one, with a line where it is calibrated, and what is to be seen on it."""
    calibrated = calibrated or {}
    return render(
        "calibration",
        diagrams=[_diagram(name, reliability, calibrated.get(name)) for name, reliability in found.items()],
        calibrated=calibrated,
        bins=BINS,
        across=_ACROSS,
        up=_UP,
        share=Scale(0, 1, _HEIGHT - _BOTTOM, _MIDDLE + _GAP),
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        width=_WIDTH,
        height=_HEIGHT,
    )


def _diagram(name: str, found: Reliability, calibrated: Reliability | None) -> tuple[str, str, list[Any], Any]:
    """Name, errors in words, a bar a bin that has pixels, and the line of calibrated probabilities, None without."""
    error = "no pixel" if math.isnan(found.error) else f"ECE {percent(found.error)} %"
    if calibrated is not None and not math.isnan(calibrated.error):
        error += f", {percent(calibrated.error)} % at T"
    # 0 only where no bin has pixels, and then nothing is divided by it
    total, bars = sum(found.pixels), []
    for k, pixels, p, right in _bins(found):
        told = f"{pixels} pixels: mean probability {percent(p)} %, right {percent(right)} %"
        bars.append((k, told, pixels / total, p, right))
    curve = None if calibrated is None else [(_ACROSS(p), _UP(right)) for _, _, p, right in _bins(calibrated)]
    return name, error, bars, curve


def _bins(found: Reliability) -> Iterator[tuple[int, int, float, float]]:
    """Number, pixels, mean probability and share that is right of the bins that have pixels."""
    bins = zip(found.pixels, found.confidence, found.accuracy, strict=True)
    return ((k, *each) for k, each in enumerate(bins) if each[0])
