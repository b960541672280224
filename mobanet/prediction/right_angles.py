"""Polygons of some classes with right-angled outlines, as far as they have such."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from mobanet.rasters.grid import Grid
from mobanet.rasters.pixel_size import pixel_area
from mobanet.rasters.right_angles import right_angled

_PIXELS = 3
"""Sides of pixels below which edges go, unless metres are given."""

_FEWEST = 2
"""That go in any case: shorter ones are steps of pixels."""

_OFTEN = 500
"""Polygons after which it is asked whether to go on."""


class RightAngles:
    """Makes outlines right-angled, and counts those that stay as they are.

    Args:
        classes: names of all classes.
        chosen: names of those whose polygons get right angles.
        grid: of the map, in whose coordinates angles are right.
        metres: below which edges go; None for a few pixels.
        go_on: called from time to time; what it raises ends the work.
    """

    def __init__(
        self,
        classes: Sequence[str],
        chosen: Sequence[str],
        grid: Grid,
        metres: float | None = None,
        go_on: Callable[[], None] = lambda: None,
    ) -> None:
        import shapely

        steps = np.eye(2) if grid.transform is None else grid.matrix[:2, :2]
        # the longer side, in units of the map
        self.pixel = float(np.linalg.norm(steps, axis=0).max())
        own, area = math.sqrt(abs(float(np.linalg.det(steps)))), pixel_area(grid)
        # metres on the ground in units of the map, which in Web Mercator are no metres
        given = _PIXELS * self.pixel if metres is None or area is None else metres * own / math.sqrt(area)
        self.tolerance = max(given, _FEWEST * self.pixel)
        self._go_on = go_on
        # without a georeference rows go down, as those of the polygons (`matrix_of`)
        corners = grid.corners() if grid.transform is not None else Grid(grid.height, grid.width).corners() * (1, -1)
        self._edge = shapely.LinearRing(corners)
        self._numbers = [number for number, name in enumerate(classes) if name in chosen]
        self._seen, self._kept, self._cut = ({name: 0 for name in chosen} for _ in range(3))
        self._asked = 0

    def chosen(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """(n,) bool, which polygons are of the classes."""
        return np.isin(columns["class_index"], self._numbers)

    def put(self, outlines: np.ndarray, polygons: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        """Replace those of the classes that have a right-angled form.

        Args:
            outlines: (n,) polygons along pixels, in the map's coordinates; those not chosen are not looked at.
            polygons: (n,) to be written, changed in place.
            columns: their fields, which stay those of the pixels.
        """
        import shapely

        for k in np.flatnonzero(self.chosen(columns)).tolist():
            self._asked += 1
            if self._asked % _OFTEN == 0:
                self._go_on()
            name = columns["class"][k]
            self._seen[name] += 1
            # along pixels an outline is on the edge or a whole pixel off, so that any part of one will do
            if shapely.dwithin(outlines[k], self._edge, self.pixel / 100):
                self._cut[name] += 1  # its outline there is the map's
                continue
            found = right_angled(outlines[k], self.tolerance, self.pixel)
            if found is None:
                self._kept[name] += 1
            else:
                polygons[k] = found

    def described(self) -> tuple[str, ...]:
        """A line to say of each class."""
        lines = []
        for name, seen in self._seen.items():
            of = f"{seen:,} polygon{'' if seen == 1 else 's'} of {name}"
            cut, kept = self._cut[name], self._kept[name]
            why = [f"the map's edge cuts {cut:,}"] if cut else []
            why += [f"of {kept:,} no right-angled one is near enough"] if kept and cut else []
            why += ["no right-angled one is near enough"] if kept and not cut else []
            if why:
                lines.append(f"  {cut + kept:,} of {of} kept their outline: {', '.join(why)}")
            else:
                lines.append(f"  {of} with right angles")
        return tuple(lines)
