"""A figure of one window: its inputs and truth, and what a model makes of it in every scenario."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mobanet.evaluation.window_maps import WindowMaps
from mobanet.figures.canvas import new_figure
from mobanet.figures.predictions import RIGHT, WRONG, errors, legend_patches, picture, shares
from mobanet.rasters.contents import IGNORE_INDEX, Classes, Modality
from mobanet.rasters.pictures import coloured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE = 2.5
"""Of a picture with its title, in inches."""


def window_figure(maps: WindowMaps, modalities: Mapping[str, Modality], classes: Classes, title: str) -> "Figure":
    """Inputs and truth in the first row; below, each scenario's prediction above its errors."""
    from matplotlib.patches import Patch

    truth = maps.truth
    columns = len(maps.inputs) + 1
    names = list(maps.predictions)
    blocks = [names[first : first + columns] for first in range(0, len(names), columns)]
    rows = 1 + 2 * len(blocks)
    figure = new_figure(_SIDE * columns, _SIDE * rows + 0.9)
    grid = figure.subplots(rows, columns, squeeze=False)
    # all off first: the last block may have fewer scenarios than columns
    for axis in grid.flat:
        axis.set_axis_off()
    pictures = {name: picture(array, modalities[name]) for name, array in maps.inputs.items()}
    for axis, (name, array) in zip(grid[0], [*pictures.items(), ("truth", coloured(truth, classes))], strict=True):
        _draw(axis, array, name)
    for block, above, below in zip(blocks, grid[1::2], grid[2::2], strict=True):
        for name, prediction, wrong in zip(block, above, below, strict=False):  # the last block may be short
            found = maps.predictions[name]
            share = share_right(truth, found)
            known = f"{100 * share:.1f} % right" if np.isfinite(share) else "no truth"
            _draw(prediction, coloured(found, classes), f"{name}\n{known}")
            _draw(wrong, errors(truth, found))
        above[0].set_ylabel("prediction", fontsize=10)
        below[0].set_ylabel("errors", fontsize=10)
    handles = legend_patches(classes)
    handles.append(Patch(facecolor=shares(RIGHT), edgecolor="0.4", label="right"))
    handles.append(Patch(facecolor=shares(WRONG), edgecolor="0.4", label="wrong"))
    across = min(len(handles), 2 * columns - 2) if columns > 2 else 2
    figure.legend(handles=handles, loc="outside lower center", ncols=across, fontsize=9, frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure


def share_right(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Share of the pixels that count which are right, 0..1; NaN where all are ignored."""
    counted = truth != IGNORE_INDEX
    return float((truth == prediction)[counted].mean()) if counted.any() else float("nan")


class WindowList(Protocol):
    """A list of samples, or what reads them when they are asked for."""

    def __len__(self) -> int:
        """Number of windows."""

    def __getitem__(self, number: int, /) -> Mapping[str, Any]:
        """A window."""


def varied_windows(windows: WindowList, count: int = 1, most: int = 300) -> list[int]:
    """Numbers of the windows whose truth holds the most classes; of several, those which the largest fills least.

    Each is of another tile, as long as there are tiles.

    Args:
        windows: such as `data.windows("test")`; at least one.
        count: how many are wanted; fewer where there are no more.
        most: to look at, evenly spread over all, as large tiles have tens of thousands.
    """
    found: list[tuple[int, float, int, str]] = []
    for number in range(0, len(windows), -(-len(windows) // most)):
        window = windows[number]
        # one place more than there are classes, for ignored pixels, which are then cut off
        counts = np.bincount(np.asarray(window["label"]).ravel(), minlength=IGNORE_INDEX + 1)[:IGNORE_INDEX]
        share = counts.max() / max(counts.sum(), 1)
        found.append((-int(np.count_nonzero(counts)), share, number, str(window.get("tile", ""))))
    # by class count, highest first as it is negative, then by the largest share, then by number
    found.sort()
    first_of_tile: dict[str, int] = {}
    for _, _, number, tile in found:
        first_of_tile.setdefault(tile, number)
    ranked = list(first_of_tile.values())
    others = [number for _, _, number, tile in found if number != first_of_tile[tile]]
    return [*ranked, *others][:count]


def _draw(axis: "Axes", image: np.ndarray, title: str = "") -> None:
    axis.set_axis_on()
    axis.imshow(image, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=10)
