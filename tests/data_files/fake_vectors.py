"""Tiny vector files, and the tiles that they lie on."""

from pathlib import Path

import numpy as np
import shapely
import yaml

from tests.data_files.fake_files import georeferenced, noise, write

LEFT, TOP, PIXEL, SYSTEM = 500_000.0, 5_800_000.0, 0.5, "EPSG:32633"
CLASSES = ["building", "tree", "grass"]
VALUES = {"building": "building", "tree": "tree", "grass": "grass"}
DRIVERS = {".gpkg": "GPKG", ".shp": "ESRI Shapefile", ".geojson": "GeoJSON", ".fgb": "FlatGeobuf"}


def box(left, top, right, bottom, tile=0):
    """A rectangle by columns and rows of a tile's pixels; tiles of 64 pixels lie side by side."""
    x = LEFT + tile * 64 * PIXEL
    return shapely.box(x + left * PIXEL, TOP - bottom * PIXEL, x + right * PIXEL, TOP - top * PIXEL)


def write_vector(path: Path, shapes, columns, crs=SYSTEM, layer=None, kind="Polygon", append=False, **options):
    """Write geometries and attributes by name; None among geometries is a feature without one."""
    from pyogrio.raw import write as write_features

    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = [values if isinstance(values, np.ndarray) else np.array(values, object) for values in columns.values()]
    write_features(
        path,
        np.array([None if shape is None else shapely.to_wkb(shape) for shape in shapes], object),
        arrays,
        list(columns),
        geometry_type=kind,
        crs=crs,
        driver=DRIVERS[path.suffix.lower()],
        layer=layer,
        append=append,
        **options,
    )
    return path


def tiles(root: Path, names=("a", "b"), size=(64, 64), crs=SYSTEM):
    """Orthophotos side by side, from left to right."""
    for number, name in enumerate(names):
        place = georeferenced(LEFT + number * size[1] * PIXEL, TOP, PIXEL, crs)
        write(root / f"ortho/{name}.tif", noise(name, 3, size), **({} if crs is None else place))


def described(path: Path, label, more):
    """A YAML file that describes tiles with labels; `more` has further keys, or others for the whole of one."""
    content = {
        "modalities": {"rgb": {"pattern": "ortho/{tile}.tif", "band_numbers": [1, 2, 3], "maximum": 255}},
        "classes": CLASSES,
        "label": {"vector": "cover.gpkg", "attribute": "class", "values": dict(VALUES)} | label,
    } | more
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
