"""Files of zones, opened as labels are: of the same formats, with the same care about what a file may lead to."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobanet.datasets.vector_files import EVERYWHERE, VectorLayer, open_layer
from mobanet.datasets.vector_outlines import is_finite
from mobanet.datasets.vector_settings import ENDINGS, VectorLabel, ending_of
from mobanet.errors import UserError
from mobanet.rasters.contents import FileRef

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

    @property
    def fingerprint(self) -> str:
        """Its name, and a few characters that tell files of other content apart."""
        import shapely

        # of all values: arrays of a thousand and more are written with their ends alone
        columns = {name: values.tolist() for name, values in self.columns.items()}
        content = repr((self.crs, shapely.to_wkb(self.polygons).tolist(), columns))
        return f"{self.path.name} {hashlib.sha256(content.encode()).hexdigest()[:16]}"


def read_polygons(path: Path, option: str) -> PolygonFile:
    """Read all features of a file, which an option of the command line names.

    Raises:
        UserError: for a file of another format, one that cannot be read, has several layers of polygons, no polygon, or
            no reference system.
    """
    import shapely

    shown = f"{option} {path}"
    if ending_of(path.name) is None:
        raise UserError(
            f"{shown} must end with one of {', '.join(ENDINGS)}; ogr2ogr makes a GeoPackage of other formats."
        )
    if not path.is_file():
        raise UserError(f"{shown} does not exist; check the path.")
    try:
        layer = open_layer(path, FileRef(path), VectorLabel(path.name, "", {}))
        shapes, columns = _features(layer)
    except UserError as error:  # which speaks of labels, and has no full stop
        said = str(error).replace(": name one as label.layer", ": leave one in it, as ogr2ogr does")
        said = said.replace(", or name another layer as label.layer", "")
        raise UserError(f"{option} {said.replace('polygons are needed', 'zones need polygons')}.") from error
    if not layer.crs:
        raise UserError(
            f"{shown} names no coordinate reference system, so that its polygons have no place: write it into the "
            "file, as with ogr2ogr -a_srs EPSG:CODE."
        )
    polygons, repaired = _repaired(shapes)
    empty = int(shapely.is_missing(polygons).sum())
    if empty == len(polygons):
        raise UserError(f"{shown} has no polygon in it: give a file with some.")
    return PolygonFile(path, layer.crs, polygons, columns, repaired, empty)


def _features(layer: VectorLayer) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(n,) geometries, None for features without one, and (n,) of each attribute."""
    features = layer.features(layer.fields)
    ids, shapes = layer.geometries(EVERYWHERE)
    every = np.full(len(features.ids), None, object)
    # features without an outline lie nowhere, and so are not among those that were asked for by place
    every[np.searchsorted(features.ids, ids)] = shapes
    return every, {name: _typed(values) for name, values in features.columns.items()}


def _typed(values: np.ndarray) -> np.ndarray:
    """Values of an attribute in one type, as a GeoPackage wants them; GeoJSON may have any in each feature."""
    if values.dtype != object:
        return values
    given = values.tolist()
    known = [value for value in given if value is not None]
    kinds = {type(value) for value in known}
    if kinds == {int} and len(known) == len(given) and all(-(1 << 63) <= value < 1 << 63 for value in known):
        return values.astype(np.int64)
    # beyond 2^53 a float would make two ids one: such numbers are kept as text
    if kinds and kinds <= {int, float} and all(isinstance(value, float) or abs(value) <= 1 << 53 for value in known):
        return np.array([np.nan if value is None else value for value in given], np.float64)
    return np.array([None if value is None else str(value) for value in given], object)


def _repaired(shapes: np.ndarray) -> tuple[np.ndarray, int]:
    """Valid polygons, None for what has none, and how many were not valid."""
    import shapely

    out = shapes.copy()
    out[~is_finite(out)] = None
    wrong = ~shapely.is_missing(out) & ~shapely.is_valid(out)
    out[wrong] = shapely.make_valid(out[wrong])
    return with_area(out), int(wrong.sum())


def with_area(shapes: np.ndarray) -> np.ndarray:
    """Of collections, such as come of repairing and cutting, the polygons alone; None where there are none."""
    import shapely

    out = shapes.copy()
    for k in np.flatnonzero(~np.isin(shapely.get_type_id(out), (_POLYGON, _MULTIPOLYGON))):
        parts = [] if out[k] is None else [p for p in shapely.get_parts(out[k]) if shapely.get_dimensions(p) == 2]
        # united, since a MultiPolygon whose parts share an edge is not valid
        out[k] = shapely.union_all(parts) if parts else None
    # not <= 0, as the area of None is NaN
    out[~(shapely.area(out) > 0)] = None
    return out
