"""What a finished map holds: pixels, shares and areas of classes and of scenarios."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobanet.errors import UserError
from mobanet.prediction.assemble import MapCounts, MapFiles
from mobanet.prediction.map_views import Difference, MapPicture, counts_within, difference, highest, picture
from mobanet.prediction.thinning import SIDE
from mobanet.rasters.grid import Grid
from mobanet.rasters.pixel_size import pixel_area

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_HECTARE = 10_000.0


@dataclass(frozen=True)
class Share:
    """Of a map, one class or one scenario.

    Attributes:
        name: of the class or scenario.
        pixels: number of them.
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
        """From counted pixels, and names of all classes and scenarios by index."""
        total = max(int(counts.classes.sum()), 1)  # 0 of 1 where a map has no class at all

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

    def picture(self, of: Literal["classes", "scenarios"] = "classes", side: int = SIDE) -> MapPicture:
        """The map in its own colours, thinned out where it is large.

        Args:
            of: the classes, or the scenarios that pixels were predicted in.
            side: longest side of the picture in pixels.

        Returns:
            `pixels`, (H, W, 3) in 0..1, and the `legend`: the colour of each class, or of each scenario that occurs.

        Raises:
            UserError: for anything else, for scenarios that were not written, or a file that cannot be read.
        """
        if of == "classes":
            return picture(self.files.classes, "CLASS", side)
        if of != "scenarios":
            raise UserError(f"a map has no picture of {of}; ask for that of classes or scenarios.")
        if self.files.scenarios is None:
            raise UserError(f"{self.files.classes} was written without its scenarios; ask for them with the map.")
        return picture(self.files.scenarios, "SCENARIO", side)

    def confidence(self, side: int = SIDE) -> np.ndarray:
        """The probability of each pixel's class, thinned out where the map is large.

        Args:
            side: longest side in pixels.

        Returns:
            (H, W) float32 in 0..1, NaN where there is no class.

        Raises:
            UserError: for a map without confidence and probabilities, or a file that cannot be read.
        """
        # either will do: confidence is the highest of the probabilities, in one band
        path = self.files.confidence or self.files.probabilities
        if path is None:
            raise UserError(
                f"{self.files.classes} was written without confidence and probabilities; ask for one with the map."
            )
        return highest(path, side)

    def difference(self, other: "FinishedMap") -> Difference:
        """Compare the classes with those of another map.

        Args:
            other: of the same grid and the same classes, in the same order.

        Returns:
            Pixels `changed`, which have another class, of those `known`, which have one in both.

        Raises:
            UserError: for a map of another grid or of other classes, or a file that cannot be read.
        """
        # nearly the same will do: two files of one map may differ in the last digits of their place
        if not self.grid.same_as(other.grid):
            raise UserError(
                f"{self.files.classes} and {other.files.classes} lie on different grids; compare maps of the same "
                "pixels."
            )
        # pixels hold places in this list, which of another model may stand for other things
        names, others = ([each.name for each in one.classes] for one in (self, other))
        if names != others:
            raise UserError(
                f"{self.files.classes} has the classes {', '.join(names)} and {other.files.classes} "
                f"{', '.join(others)}; compare maps of the same classes in the same order."
            )
        return difference(self.files.classes, other.files.classes)

    def within(self, area: "BaseGeometry") -> tuple[Share, ...]:
        """The classes within a place; pixels count whose centre is inside.

        Args:
            area: a shapely polygon, or several as one, in the coordinates of the map.

        Returns:
            One entry a class, with its share of the pixels inside that have a class.

        Raises:
            UserError: for a place outside the map, or that is no polygon, or a file that cannot be read.
        """
        # without 255 among them, so that shares are of what has a class
        counts = counts_within(self.files.classes, self.grid, area)[: len(self.classes)].tolist()
        pixel, total = pixel_area(self.grid), max(sum(counts), 1)
        return tuple(
            Share(each.name, count, count / total, None if pixel is None else count * pixel)
            for each, count in zip(self.classes, counts, strict=True)
        )
