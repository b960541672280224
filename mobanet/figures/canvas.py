"""Figures that are drawn in memory, and written whole or not at all."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mobanet.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    # draws without a display, and without pyplot, which would keep each figure
    FigureCanvasAgg(figure)
    return figure


def wrapped(protocol: Mapping[str, str], width: int) -> str:
    """How figures came about, in lines of so many characters, as it stands below a figure."""
    return textwrap.fill(" · ".join(f"{name}: {text}" for name, text in protocol.items()), width)


def write_png(figure: "Figure", path: Path, dpi: int) -> None:
    """Write a figure, at once or not at all."""
    with whole_file(path) as file:
        # into a file object, whose name ends in no format
        figure.savefig(file, format="png", dpi=dpi)
