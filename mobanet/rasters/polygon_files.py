"""Files of polygons, opened for reading: of four formats, local, and of one layer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobanet.errors import UserError

ENDINGS = {".gpkg": "GPKG", ".shp": "ESRI Shapefile", ".geojson": "GeoJSON", ".json": "GeoJSON", ".fgb": "FlatGeobuf"}
"""Formats that are read, as GDAL names them: none that leads to further files, addresses or queries."""

_BEGINNINGS = {
    "GPKG": b"SQLite format 3\0",
    "ESRI Shapefile": b"\0\0\x27\x0a",
    "GeoJSON": b"{",
    "FlatGeobuf": b"fgb",
}
"""Looked at before GDAL is, which goes by a file's content and would take any format for what its name says."""


_POLYGON, _MULTIPOLYGON = 3, 6
"""As shapely numbers types of geometries."""


@dataclass(frozen=True)
class PolygonFile:
    """Features of a file.

    Attributes:
        path: of the file.
        crs: reference system as text.
        polygons: (n,) valid geometries, None for features without one.
        columns: (n,) of each attribute, by name.
        repaired: how many were not valid.
        empty: how many features have no polygon.
    """

    path: Path
    crs: str
    polygons: np.ndarray
    columns: dict[str, np.ndarray]
    repaired: int
    empty: int


def read_polygons(path: Path, option: str) -> PolygonFile:
    """Read all features of a file.

    Args:
        path: of it.
        option: what names it on the command line.

    Raises:
        UserError: for a file of another format, one that cannot be read, has several layers of polygons, no polygon, or
            no reference system.
    """
    import shapely
    from pyogrio.raw import read

    shown = f"{option} {path}"
    layer = _layer(path, shown)
    with _readable(shown):
        meta, _, geometries, values = read(str(path.absolute()), layer=layer, force_2d=True)
        shapes = shapely.from_wkb(geometries, on_invalid="ignore")
    if not meta["crs"]:
        raise UserError(
            f"{shown} names no coordinate reference system, so that its polygons have no place: write it into the "
            "file, as with ogr2ogr -a_srs EPSG:CODE."
        )
    polygons, repaired = _repaired(shapes)
    empty = int(shapely.is_missing(polygons).sum())
    if empty == len(polygons):
        raise UserError(f"{shown} has no polygon in it: give a file with some.")
    columns = dict(zip(meta["fields"].tolist(), values, strict=True))
    return PolygonFile(path, str(meta["crs"]), polygons, columns, repaired, empty)


def _layer(path: Path, shown: str) -> str:
    """The one layer with polygons."""
    from pyogrio import list_layers, read_info

    driver = ENDINGS.get(path.suffix.lower())
    if driver is None:
        raise UserError(
            f"{shown} must end with one of {', '.join(ENDINGS)}; ogr2ogr makes a GeoPackage of other formats."
        )
    if not path.is_file():
        raise UserError(f"{shown} does not exist; check the path.")
    if "!" in str(path.absolute()):
        raise UserError(
            f"{shown} has an exclamation mark in its path, which the reader takes for an archive: rename it."
        )
    try:
        with path.open("rb") as file:
            begin = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise UserError(f"{shown} cannot be read ({os.strerror(error.errno or 5)}); check that you may.") from error
    if not begin.startswith(_BEGINNINGS[driver].lstrip()):
        raise _unreadable(shown)
    with _readable(shown):
        layers = [(str(name), str(kind)) for name, kind in list_layers(str(path.absolute())).tolist()]
        if not layers or read_info(str(path.absolute()), layer=layers[0][0])["driver"] != driver:
            raise _unreadable(shown)
    names = [name for name, kind in layers if "Polygon" in kind or kind in ("Unknown", "GeometryCollection")]
    if not names:
        raise UserError(f"{shown} has no layer of polygons in it: give a file with one.")
    if len(names) > 1:
        raise UserError(
            f"{shown} has several layers of polygons ({', '.join(names[:5])}): keep one of them, as with ogr2ogr "
            f"one.gpkg {path.name} {names[0]}."
        )
    return names[0]


@contextmanager
def _readable(shown: str) -> Iterator[None]:
    """Within, a file that cannot be read is a sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of any bytes the readers raise anything
        raise _unreadable(shown) from error


def _unreadable(shown: str) -> UserError:
    return UserError(f"{shown} is unreadable or cut short: write it again as GeoPackage.")


def _repaired(shapes: np.ndarray) -> tuple[np.ndarray, int]:
    """Valid polygons, None for what has none, and how many were not valid."""
    import shapely

    out = shapes.copy()
    out[~is_finite(out)] = None
    wrong = ~shapely.is_missing(out) & ~shapely.is_valid(out)
    out[wrong] = shapely.make_valid(out[wrong])
    return with_area(out), int(wrong.sum())


def is_finite(shapes: np.ndarray) -> np.ndarray:
    """(n,) bool, whether there is a shape, all of whose coordinates are numbers."""
    import shapely

    points, which = shapely.get_coordinates(shapes, return_index=True)
    out = ~shapely.is_missing(shapes)
    out[which[~np.isfinite(points).all(axis=1)]] = False
    return out


def with_area(shapes: np.ndarray) -> np.ndarray:
    """Of collections, such as come of repairing and cutting, the polygons alone; None where there are none."""
    import shapely

    out = shapes.copy()
    for k in np.flatnonzero(~np.isin(shapely.get_type_id(out), (_POLYGON, _MULTIPOLYGON))):
        parts = [] if out[k] is None else [p for p in shapely.get_parts(out[k]) if shapely.get_dimensions(p) == 2]
        out[k] = shapely.union_all(parts) if parts else None
    out[~(shapely.area(out) > 0)] = None
    return out
