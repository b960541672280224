"""A finished map from top to bottom, a few rows at a time and as often as it is asked for, from the parts that wait."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mobanet.prediction.parts import MapPart, by_strip
from mobanet.prediction.predictor import PartMaps
from mobanet.prediction.workspace import Workspace
from mobanet.rasters.categories import UNITS
from mobanet.rasters.grid import Grid
from mobanet.rasters.strips import strips
from mobanet.stitching.blending import NOTHING


@dataclass(frozen=True)
class MapStrip:
    """Rows of a map.

    Attributes:
        top: the first.
        classes: (h, W) uint8 class indices, 255 where the map has none.
        scenarios: (h, W) uint8 numbers of scenarios, alike.
        confidence: (h, W) float32, the highest of the probabilities, anything where the map has no class; None where
            neither they nor confidence were asked for.
        area: (W,) square metres on the ground of a pixel; None where the map has no place on the earth.
    """

    top: int
    classes: np.ndarray
    scenarios: np.ndarray
    confidence: np.ndarray | None
    area: np.ndarray | None

    def rows(self, chosen: slice) -> "MapStrip":
        """Some of its rows."""
        confidence = None if self.confidence is None else self.confidence[chosen]
        return MapStrip(self.top + chosen.start, self.classes[chosen], self.scenarios[chosen], confidence, self.area)


def areas_of(labels: np.ndarray, pixels: np.ndarray, area: np.ndarray) -> np.ndarray:
    """(n,) square metres of the pieces 1 to n of a strip (h, W), from their pixels (n,) and its `area`, (W,)."""
    # one product rounds once, the sum of an addend a pixel as often as there are pixels
    if np.ptp(area) == 0:
        return pixels * area[0]
    return np.bincount(labels.ravel(), np.broadcast_to(area, labels.shape).ravel(), len(pixels) + 1)[1:]


MapStrips = Iterable[MapStrip]
"""From top to bottom; some users go through them more than once."""


@dataclass(frozen=True)
class SavedStrips:
    """The rows of a scene whose parts are all saved; `go_on` is called before each row of parts, and may end it."""

    workspace: Workspace
    parts: Sequence[MapPart]
    grid: Grid
    go_on: Callable[[], None] = lambda: None

    def __iter__(self) -> Iterator[MapStrip]:
        """Read them anew."""
        for row in by_strip(self.parts):
            self.go_on()
            whole = self._joined(row)
            # a row of parts is as wide as the scene, and users of strips hold several arrays of each
            for rows in strips(whole.classes.shape):
                yield whole.rows(rows)

    def _joined(self, row: list[MapPart]) -> MapStrip:
        classes, scenarios, confidence, areas = [], [], [], []
        for part in row:
            maps = self.workspace.load(part)
            classes.append(maps.classes)
            scenarios.append(maps.scenarios)
            confidence.append(_confidence(maps))
            area = part.pixel_area(self.grid)
            # by column, since parts side by side have pixels of several sizes on the ground
            areas.append(None if area is None else np.full(part.right - part.left, area))
        return MapStrip(
            row[0].top,
            np.concatenate(classes, axis=1),
            np.concatenate(scenarios, axis=1),
            _joined(confidence),
            _joined(areas),
        )


def _joined(parts: list[np.ndarray | None]) -> np.ndarray | None:
    """Side by side; None where one of them is."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known, axis=-1) if len(known) == len(parts) else None


def _confidence(maps: PartMaps) -> np.ndarray | None:
    highest = maps.confidence
    if highest is None:
        if maps.probabilities is None:
            return None
        highest = maps.probabilities.max(axis=0)
    if highest.dtype == np.uint8:
        return np.where(highest == NOTHING, np.float32(0), highest / np.float32(UNITS))
    # any number will do where there is no class, but NaN would spoil sums
    return np.nan_to_num(highest)
