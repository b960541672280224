"""What a finished map holds: pixels, shares and areas of classes and of scenarios."""

from dataclasses import dataclass

from mobanet.data.sources.rasters import Grid
from mobanet.inference.assemble import MapCounts, MapFiles

_HECTARE = 10_000.0


@dataclass(frozen=True)
class Share:
    """Of a map, one class or one scenario.

    Attributes:
        name: of it.
        pixels: so many.
        share: of the pixels that have a value, 0..1.
        area: in square metres; None where the map's grid is not in a projected system.
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
    """

    scene: str
    files: MapFiles
    grid: Grid
    classes: tuple[Share, ...]
    scenarios: tuple[Share, ...]
    nothing: int

    @classmethod
    def of(
        cls,
        scene: str,
        files: MapFiles,
        grid: Grid,
        counts: MapCounts,
        classes: tuple[str, ...],
        scenarios: tuple[str, ...],
    ) -> "FinishedMap":
        """From counted pixels.

        Args:
            scene: id.
            files: written.
            grid: of the map.
            counts: of its pixels.
            classes: names.
            scenarios: names.
        """
        area, total = pixel_area(grid), max(int(counts.classes.sum()), 1)

        def share(name: str, pixels: int) -> Share:
            return Share(name, pixels, pixels / total, None if area is None else pixels * area)

        by_class = tuple(share(*pair) for pair in zip(classes, counts.classes.tolist(), strict=True))
        by_scenario = tuple(share(*pair) for pair in zip(scenarios, counts.scenarios.tolist(), strict=True) if pair[1])
        return cls(scene, files, grid, by_class, by_scenario, counts.nothing)

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
        lines += [f"  {name:<{wide}}  {100 * each.share:5.1f} %" for name, each in scenarios]
        return "\n".join(lines)


def pixel_area(grid: Grid) -> float | None:
    """Of a pixel, in square metres; None where the grid is not in a projected system.

    Args:
        grid: of the map.
    """
    if grid.transform is None or grid.crs is None:
        return None
    from rasterio.crs import CRS

    crs = CRS.from_user_input(grid.crs)
    if not crs.is_projected:
        return None
    a, b, _, d, e, _ = grid.transform
    return abs(a * e - b * d) * crs.linear_units_factor[1] ** 2
