"""A map as polygons of its classes, with what is known of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobanet.errors import UserError
from mobanet.prediction.regions import Regions, find_regions
from mobanet.prediction.right_angles import RightAngles
from mobanet.prediction.strips import MapStrips
from mobanet.rasters.geopackage import PolygonWriter
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import memory
from mobanet.rasters.outlines import polygons_of, rings_of
from mobanet.rasters.pixel_size import pixel_sides
from mobanet.scenarios.scenario import Scenario

LAYER = "polygons"

_BATCH = 20_000
"""Polygons that are written at a time, at least, unless the map has no more."""

_POINTS = 1_000_000
"""Points of outlines after which they are written, too."""

_EXACT = 64
"""By whose parts pixels are taken for wider than high while outlines are simplified."""

_BYTES = 400
"""A point takes while all outlines are simplified."""


@dataclass(frozen=True)
class Legend:
    """What the numbers of a map mean; without RGB colours, classes have none."""

    classes: Sequence[str]
    scenarios: Sequence[Scenario]
    modalities: Sequence[str]
    colours: Sequence[tuple[int, int, int]] = ()

    def columns(self, regions: Regions, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """Fields of the polygons of the pieces at the places `chosen`, (n,)."""
        value, seen = regions.value[chosen], regions.scenarios[chosen]
        names = np.array([scenario.name for scenario in self.scenarios], object)
        lacking = np.array([[not there for there in self.scenarios[k].available] for k in regions.numbers])
        # (n, S) @ (S, M): pixels of each piece that were seen without each modality
        shares = seen @ lacking.astype(np.float64) / regions.pixels[chosen][:, None]
        return {
            "class": np.array(self.classes, object)[value],
            "class_index": value.astype(np.int32),
            "area_m2": regions.area[chosen],
            "confidence": regions.confidence[chosen],
            "scenario": names[regions.numbers[seen.argmax(axis=1)]],  # of equal ones the first
            **{f"without_{name}": shares[:, k] for k, name in enumerate(self.modalities)},
        }


@dataclass(frozen=True)
class _Batch:
    polygons: np.ndarray
    columns: dict[str, np.ndarray]


def write_polygons(
    path: Path,
    strips: MapStrips,
    grid: Grid,
    legend: Legend,
    simplify: float | None = None,
    right_angles: RightAngles | None = None,
) -> int:
    """Write the polygons of a map as GeoPackage, and say how many there are.

    Args:
        path: to write.
        strips: of the map.
        grid: of the map.
        legend: of its numbers.
        simplify: metres by which outlines may leave the pixels; takes all of them at once, whose memory grows with
            their points. None for outlines along the pixels.
        right_angles: makes outlines of some classes right-angled, which need not fit their neighbours' then.

    Raises:
        UserError: when memory does not suffice to simplify them, or they would not be valid.
        OSError: when the disk is full; nothing is left under the final name that was not there yet.
    """
    import shapely

    count = 0
    if simplify is None:
        batches = _polygons(strips, grid, legend, right_angles)
    else:
        batches = _simplified(strips, grid, legend, simplify, right_angles)
    # of no pieces: names and types of the fields alone
    with PolygonWriter(path, LAYER, grid.crs, legend.columns(Regions.none(), np.zeros(0, np.intp))) as writer:
        for batch in _gathered(batches):
            check_valid(batch.polygons)
            writer.write(shapely.to_wkb(batch.polygons), batch.columns)
            count += len(batch.polygons)
    return count


def check_valid(polygons: np.ndarray) -> None:
    """Let no polygon out that a GIS would refuse."""
    import shapely

    valid = shapely.is_valid(polygons)
    if not valid.all():
        raise ValueError(f"a polygon is not valid: {shapely.is_valid_reason(polygons[~valid][0])}")


def matrix_of(grid: Grid) -> np.ndarray:
    """(3, 3), from (column, row, 1) to coordinates; without a georeference rows go down, as a GIS shows them."""
    return grid.matrix if grid.transform else np.diag([1.0, -1, 1])


def _polygons(strips: MapStrips, grid: Grid, legend: Legend, right_angles: RightAngles | None) -> Iterator[_Batch]:
    for regions in find_regions(strips):
        for rings in rings_of(regions.corners):
            pieces, polygons = polygons_of(rings, matrix_of(grid))
            columns = legend.columns(regions, pieces)
            if right_angles is not None:
                right_angles.put(polygons, polygons, columns)
            yield _Batch(polygons, columns)


def _simplified(
    strips: MapStrips, grid: Grid, legend: Legend, metres: float, right_angles: RightAngles | None
) -> Iterator[_Batch]:
    import shapely

    sides = pixel_sides(grid)
    assert sides is not None  # a map that has no place on the earth is not simplified by metres
    across, down = sides
    # lengths on the ground but for the unit, in numbers whose products are exact: what touches then touches afterwards
    scale = np.array([max(round(across / down * _EXACT), 1) / _EXACT, 1])
    batches, points = [], 0
    for regions in find_regions(strips, noded=True):
        for rings in rings_of(regions.corners):
            points += len(rings.points)
            if points * _BYTES > memory():
                raise UserError(
                    f"--simplify {metres:g} takes all outlines at once, and memory does not hold them: give a larger "
                    "--minimum_area, or leave --simplify out, and go on with --resume."
                )
            pieces, polygons = polygons_of(rings.without_repeats(), np.diag([*scale, 1]))
            batches.append(_Batch(polygons, legend.columns(regions, pieces)))
    if not batches:
        return
    # all at once: a border that only one of two neighbours knew to be shared would come apart
    every = np.concatenate([batch.polygons for batch in batches])
    # in an order that the cut of the strips does not change, since what comes out depends on it: by first pixels
    first = shapely.get_coordinates(shapely.get_point(shapely.get_exterior_ring(every), 0))
    order = np.lexsort(first.T)
    # Visvalingam and Whyatt's way: corners go whose triangle is smaller than the square of the tolerance
    # the tolerance in rows, the unit that `scale` leaves lengths in
    every[order] = shapely.coverage_simplify(every[order], metres / down)
    matrix = matrix_of(grid)

    def on_map(polygons: np.ndarray) -> np.ndarray:
        return shapely.transform(polygons, lambda points: points / scale @ matrix[:2, :2].T + matrix[:2, 2])

    begin = 0
    for batch in batches:
        own = every[begin : begin + len(batch.polygons)]
        begin += len(own)
        placed = on_map(own)
        if not shapely.is_valid(placed).all():
            raise UserError(
                f"--simplify {metres:g} makes outlines cross themselves: give fewer metres, or leave it out, and go on "
                "with --resume."
            )
        placed = shapely.orient_polygons(placed)  # as those that are not simplified
        if right_angles is not None:
            # of the pixels' outlines, so that no tolerance adds to another
            outlines, chosen = batch.polygons.copy(), right_angles.chosen(batch.columns)
            outlines[chosen] = on_map(outlines[chosen])
            right_angles.put(outlines, placed, batch.columns)
        yield _Batch(placed, batch.columns)


def _gathered(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """Small batches as larger ones: to open the file takes longer than to write a few polygons."""
    import shapely

    waiting: list[_Batch] = []
    number = points = 0
    for batch in batches:
        waiting.append(batch)
        number += len(batch.polygons)
        points += int(shapely.get_num_coordinates(batch.polygons).sum())
        # either, as a few polygons of a forest may have as many points as all houses
        if number >= _BATCH or points >= _POINTS:
            yield _together(waiting)
            waiting, number, points = [], 0, 0
    if waiting:
        yield _together(waiting)


def _together(batches: list[_Batch]) -> _Batch:
    names = batches[0].columns
    columns = {name: np.concatenate([batch.columns[name] for batch in batches]) for name in names}
    return _Batch(np.concatenate([batch.polygons for batch in batches]), columns)
