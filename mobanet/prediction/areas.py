"""What a finished map holds: pixels, shares and areas of classes and of scenarios."""

from dataclasses import dataclass

import numpy as np

from mobanet.prediction.assemble import MapCounts, MapFiles
from mobanet.rasters.grid import Grid

_HECTARE = 10_000.0


@dataclass(frozen=True)
class Share:
    """Of a map, one class or one scenario.

    Attributes:
        name: of it.
        pixels: so many.
        share: of the pixels that have a value, 0..1.
        area: in square metres on the ground; None where the map has no place on the earth.
    """

    name: str
    pixels: int
    share: float
    area: float | None


@dataclass(frozen=True)
class FinishedMap:
    """A map that is written.

    Attributes:
        scene: its id.
        files: its files.
        grid: of the map.
        classes: one entry a class.
        scenarios: one entry a scenario that some pixel was predicted in.
        nothing: pixels without a value.
        never: names of the scenarios that the model was not trained in.
        more: what to say of polygons and zones.
    """

    scene: str
    files: MapFiles
    grid: Grid
    classes: tuple[Share, ...]
    scenarios: tuple[Share, ...]
    nothing: int
    never: frozenset[str] = frozenset()
    more: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        scene: str,
        files: MapFiles,
        grid: Grid,
        counts: MapCounts,
        classes: tuple[str, ...],
        scenarios: tuple[str, ...],
        never: frozenset[str] = frozenset(),
        more: tuple[str, ...] = (),
    ) -> "FinishedMap":
        """From counted pixels.

        Args:
            scene: id.
            files: written.
            grid: of the map.
            counts: of its pixels.
            classes: names.
            scenarios: names.
            never: those of them that the model was not trained in.
            more: what to say of polygons and zones.
        """
        total = max(int(counts.classes.sum()), 1)

        def shares(names: tuple[str, ...], pixels: np.ndarray, areas: np.ndarray | None) -> tuple[Share, ...]:
            measured = [None] * len(names) if areas is None else areas.tolist()
            found = zip(names, pixels.tolist(), measured, strict=True)
            return tuple(Share(name, count, count / total, area) for name, count, area in found)

        by_class = shares(classes, counts.classes, counts.class_areas)
        by_scenario = tuple(one for one in shares(scenarios, counts.scenarios, counts.scenario_areas) if one.pixels)
        return cls(scene, files, grid, by_class, by_scenario, counts.nothing, never, more)

    def described(self) -> str:
        """A few lines to read."""
        total = self.grid.height * self.grid.width
        size = f"{self.grid.width} x {self.grid.height} pixels"
        empty = f", {100 * self.nothing / total:.1f} % without a value" if self.nothing else ""
        scenarios = [(f"in {each.name}", each) for each in self.scenarios]
        wide = max(len(name) for name in (*(each.name for each in self.classes), *(name for name, _ in scenarios)))
        lines = [f"{self.files.classes}: {size}{empty}"]
        for each in self.classes:
            area = "" if each.area is None else f"  {each.area / _HECTARE:12,.2f} ha"
            lines.append(f"  {each.name:<{wide}}  {100 * each.share:5.1f} %{area}")
        for name, each in scenarios:
            strange = ", which the model was not trained in" if each.name in self.never else ""
            lines.append(f"  {name:<{wide}}  {100 * each.share:5.1f} %{strange}")
        return "\n".join([*lines, *self.more])
