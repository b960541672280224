"""What a map has within the user's own polygons: parcels, districts, test sites.

A pixel is within a zone where its middle is. Zones that overlap each count for themselves.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobanet.datasets.vector_outlines import is_finite
from mobanet.errors import UserError
from mobanet.files import write_bytes
from mobanet.prediction.polygons import Legend
from mobanet.prediction.strips import MapStrip, MapStrips
from mobanet.prediction.zone_files import PolygonFile, read_polygons, with_area
from mobanet.rasters.geopackage import PolygonWriter, free_name
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import gdal_error
from mobanet.rasters.reference_systems import name_of, same_plane
from mobanet.stitching.blending import NOTHING

LAYER = "zones"

_DIGITS = 6
"""Behind the point, of shares in the table."""


@dataclass(frozen=True)
class Zones:
    """The user's polygons, named by an attribute of the file, or by their numbers, from 1 on."""

    file: PolygonFile
    attribute: str | None

    def __len__(self) -> int:
        """Number of features."""
        return len(self.file.polygons)


def read_zones(path: str | None, attribute: str | None) -> Zones | None:
    """From the words of the command line."""
    if path is None:
        if attribute is not None:
            raise UserError(f"--zones_attribute {attribute} names zones, which are not given: give --zones FILE, too.")
        return None
    file = read_polygons(Path(path).expanduser(), "--zones")
    if attribute is not None and attribute not in file.columns:
        known = ", ".join(file.columns) or "none"
        raise UserError(f"--zones_attribute {attribute} is no attribute of {path}; it has {known}.")
    return Zones(file, attribute)


@dataclass(frozen=True)
class PlacedZones:
    """Zones on the grid of a map.

    Attributes:
        shapes: (n,) what lies within the map, in columns and rows; None for nothing.
        inside: (n,) share of each zone that does, 0 to 1; NaN of features without a polygon.
    """

    shapes: np.ndarray
    inside: np.ndarray


def place_zones(zones: Zones, grid: Grid) -> PlacedZones:
    """Bring zones to the grid of a map, which has a place.

    Raises:
        UserError: where there is no way from their reference system to the map's.
    """
    import shapely

    shapes = _in_pixels(zones.file, grid)
    there = ~shapely.is_missing(shapes)
    known = is_finite(shapes)
    shapes[~known] = None
    wrong = known & ~shapely.is_valid(shapes)
    # once more: an outline that was valid may cross itself in another system
    shapes[wrong] = shapely.make_valid(shapes[wrong])
    whole = shapely.area(shapes)
    shapes = with_area(shapely.intersection(shapes, shapely.box(0, 0, grid.width, grid.height)))
    own = shapely.area(shapes)
    inside = np.where(there, 0.0, np.nan)
    # a repair may leave lines, which have no area to take a share of
    known &= (whole > 0) & (own > 0)
    # at most 1: an intersection may come out a few digits larger than what it was cut from
    inside[known] = np.minimum(own[known] / whole[known], 1)
    inside[inside > 1 - 1e-9] = 1  # of a zone that ends with the map, the last digits
    return PlacedZones(shapes, inside)


def _in_pixels(file: PolygonFile, grid: Grid) -> np.ndarray:
    import shapely
    from rasterio.errors import CRSError
    from rasterio.warp import transform

    inverse = np.linalg.inv(grid.matrix)
    known = np.array([shape for shape in file.polygons if shape is not None], object)
    points = shapely.get_coordinates(known)
    if not same_plane(file.crs, grid.crs):
        try:
            points = np.transpose(transform(file.crs, grid.crs, points[:, 0], points[:, 1])[:2])
        except (CRSError, gdal_error()) as error:
            raise UserError(
                f"--zones {file.path} cannot be placed: there is no way from {name_of(file.crs)} to the map's "
                f"{name_of(grid.crs)}; write the right system into the file, as with ogr2ogr -a_srs EPSG:CODE."
            ) from error
    places = points @ inverse[:2, :2].T + inverse[:2, 2]
    out = file.polygons.copy()
    out[~shapely.is_missing(out)] = shapely.set_coordinates(known, places)
    return out


class _Counts:
    """Sums over the pixels of each zone."""

    def __init__(self, count: int, legend: Legend) -> None:
        self.classes = np.zeros((count, len(legend.classes)), np.int64)
        self.scenarios = np.zeros((count, len(legend.scenarios)), np.int64)
        self.nothing, self.area, self.confidence = np.zeros(count, np.int64), np.zeros(count), np.zeros(count)

    def add(self, zone: int, strip: MapStrip, rows: slice, columns: slice, own: np.ndarray) -> None:
        """Take the pixels of a part of a strip that are within."""
        classes = strip.classes[rows, columns]
        valued = own & (classes != NOTHING)
        self.nothing[zone] += own.sum() - valued.sum()
        for sums, plane in ((self.classes, classes), (self.scenarios, strip.scenarios[rows, columns])):
            sums[zone] += np.bincount(plane[valued], minlength=sums.shape[1])
        area = np.nan if strip.area is None else strip.area[columns]
        # by column, since parts of a map that lie side by side have pixels of several sizes on the ground
        self.area[zone] += (valued.sum(axis=0) * area).sum()
        confidence = np.nan if strip.confidence is None else strip.confidence[rows, columns][valued].sum(dtype=float)
        self.confidence[zone] += confidence


def _counted(strips: MapStrips, placed: PlacedZones, legend: Legend) -> _Counts:
    import shapely
    from affine import Affine
    from rasterio.features import rasterize

    counts = _Counts(len(placed.shapes), legend)
    bounds = shapely.bounds(placed.shapes)
    there = np.flatnonzero(np.isfinite(bounds[:, 0]))
    left, top = np.floor(bounds[:, :2]).T
    right, bottom = np.ceil(bounds[:, 2:]).T
    for strip in strips:
        height, width = strip.classes.shape
        for zone in there[(top[there] < strip.top + height) & (bottom[there] > strip.top)].tolist():
            first, last = max(int(top[zone]) - strip.top, 0), min(int(bottom[zone]) - strip.top, height)
            rows, columns = slice(first, last), slice(int(left[zone]), min(int(right[zone]), width))
            place = Affine(1, 0, columns.start, 0, 1, strip.top + first)
            shape = last - first, columns.stop - columns.start
            # by way of bytes, as rasterio burns no bools
            own = rasterize([(placed.shapes[zone], 1)], shape, transform=place, dtype="uint8").view(bool)
            counts.add(zone, strip, rows, columns, own)
    return counts


def write_zones(table: Path, copy: Path, strips: MapStrips, zones: Zones, placed: PlacedZones, legend: Legend) -> str:
    """Write what zones hold, as a table and as a copy of the user's file with its columns, and say so in a line.

    Raises:
        OSError: when the disk is full.
    """
    import shapely

    columns = _columns(_counted(strips, placed, legend), placed, legend)
    own = {zones.attribute: zones.file.columns[zones.attribute]} if zones.attribute else {}
    named = own or {"zone": np.arange(1, len(zones) + 1)}
    _write_table(table, _renamed(named, columns))
    every = _renamed({name: _plain(values) for name, values in zones.file.columns.items()}, columns)
    # all of one type, as a layer of a GeoPackage declares one
    geometries = np.array([shape and _multiple(shape) for shape in zones.file.polygons], object)
    # of each column no rows: names and types alone
    with PolygonWriter(copy, LAYER, zones.file.crs, {k: v[:0] for k, v in every.items()}, "MultiPolygon") as writer:
        writer.write(shapely.to_wkb(geometries), every)
    return f"{table}: {_words(zones, placed)}"


def _columns(counts: _Counts, placed: PlacedZones, legend: Legend) -> dict[str, np.ndarray]:
    pixels = counts.classes.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        # 0 / 0 where a zone has no pixel with a value
        shares = counts.classes / pixels[:, None]
        seen = np.flatnonzero(counts.scenarios.any(axis=0))
        parts = counts.scenarios[:, seen] / pixels[:, None]
        confidence = counts.confidence / pixels
    return {
        "pixels": pixels,
        "area_m2": counts.area,
        "inside": placed.inside,
        "without_value": counts.nothing,
        **{f"share_{name}": shares[:, k] for k, name in enumerate(legend.classes)},
        "confidence": confidence,
        **{f"in_{legend.scenarios[number].name}": parts[:, k] for k, number in enumerate(seen.tolist())},
    }


def _renamed(own: dict[str, np.ndarray], columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The user's columns, and behind them ours, under names that are still free, whatever their case."""
    out: dict[str, np.ndarray] = {}
    for name, values in (*own.items(), *columns.items()):
        out[free_name(name, out)] = values
    return out


def _plain(values: np.ndarray) -> np.ndarray:
    """Values that a GeoPackage has a type for: lists as text."""
    if values.dtype != object or all(value is None or isinstance(value, str | bytes) for value in values):
        return values
    return np.array([None if value is None else str(value) for value in values], object)


def _multiple(shape: Any) -> Any:
    import shapely

    return shape if shape.geom_type == "MultiPolygon" else shapely.multipolygons([shape])


def _write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    text = io.StringIO()
    # its own default is the line end of Windows
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*([_cell(value) for value in values.tolist()] for values in columns.values()), strict=True))
    write_bytes(path, text.getvalue().encode())


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if np.isnan(value) else round(value, _DIGITS)
    return "" if value is None else value


def _words(zones: Zones, placed: PlacedZones) -> str:
    parts = [f"{len(zones):,} zone{'' if len(zones) == 1 else 's'}"]
    partly = int(((placed.inside > 0) & (placed.inside < 1)).sum())
    for count, what in (
        (partly, "partly outside the map, of which what is inside counts"),
        (int((placed.inside == 0).sum()), "wholly outside the map"),
        (zones.file.repaired, "with a bad outline, which was repaired"),
        (zones.file.empty, "without a polygon"),
    ):
        if count:
            parts.append(f"{count:,} {what}")
    return "; ".join(parts)


def check_zones(zones: Zones, grids: Sequence[Grid]) -> None:
    """Refuse zones that lie on none of some maps, and maps without a reference system."""
    import shapely

    path = zones.file.path
    for grid in grids:
        if grid.transform is None or grid.crs is None:
            raise UserError(
                f"--zones {path} cannot be placed on a map without a coordinate reference system: give --crs if its "
                "rasters only lack the name of their system, or georeference them."
            )
    if not any((place_zones(zones, grid).inside > 0).any() for grid in grids):
        left, bottom, right, top = shapely.total_bounds(zones.file.polygons).tolist()
        raise UserError(
            f"--zones {path} lies wholly outside the map: it covers {left:.10g} to {right:.10g}, {bottom:.10g} to "
            f"{top:.10g} ({name_of(zones.file.crs)}), the map {grids[0].extent} ({name_of(grids[0].crs)}); give zones "
            "of the same place."
        )
