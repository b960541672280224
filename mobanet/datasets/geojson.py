"""GeoJSON, parsed as plain JSON: an address in the file is not followed, and no other format is taken for it."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mobanet.errors import UserError
from mobanet.plain.bounds import size_in_words
from mobanet.rasters.contents import FileRef

MOST_BYTES = 1 << 29
"""Of a file, which is read as a whole for every tile; larger ones are better off with a spatial index."""

_CODE = re.compile(r"(?:urn:ogc:def:crs:)?EPSG:(?:[\d.]*:)?(\d{4,6})", re.IGNORECASE)
_DEGREES = re.compile(r"(?:urn:ogc:def:crs:)?OGC:(?:[\d.]*:)?CRS84", re.IGNORECASE)


@dataclass(frozen=True)
class Collection:
    """The features of a file.

    Attributes:
        name: of the collection, or the file's.
        crs: named by the file; None for none.
        fields: names of all attributes.
        geometries: (N,) of shapely; None for none, and for what is none.
        bounds: (N, 4), NaN for none.
    """

    name: str
    crs: str | None
    fields: tuple[str, ...]
    properties: tuple[dict[str, Any], ...]
    geometries: np.ndarray
    bounds: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """(N,) values of an attribute, None where a feature lacks it."""
        values = np.empty(len(self.properties), object)
        values[:] = [_plain(each.get(name)) for each in self.properties]
        return values


def read_collection(path: Path, file: FileRef) -> Collection:
    """The features of a GeoJSON file, refused where it is none, too large, or names its system in an unknown way."""
    status = path.stat()
    # size and time, so that a file that has changed is not taken for what is kept
    return _parsed(path, file, status.st_size, status.st_mtime_ns)


# one file alone, as it may have half a gigabyte
@lru_cache(maxsize=1)
def _parsed(path: Path, file: FileRef, size: int, _: int) -> Collection:
    """Kept for the next tile of the same file."""
    import shapely

    if size > MOST_BYTES:
        raise UserError(
            f"{file} has more than {size_in_words(MOST_BYTES)} of GeoJSON, which has no spatial index: convert it, as "
            f"with ogr2ogr {Path(file.name).stem}.gpkg {file.name}"
        )
    try:
        # sig: some programs write a byte order mark; and json itself takes NaN and Infinity, which no coordinate is
        content = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no GeoJSON, or cut short: fetch it again or remove it") from error
    if not isinstance(content, dict) or content.get("type") != "FeatureCollection":
        raise UserError(f"{file} is no FeatureCollection of GeoJSON: export the polygons again")
    features = content.get("features")
    if not isinstance(features, list) or not all(isinstance(each, dict) for each in features):
        raise UserError(f"{file} has no list of features: export the polygons again")
    properties = tuple(each["properties"] if isinstance(each.get("properties"), dict) else {} for each in features)
    shapes = [each.get("geometry") for each in features]
    texts = np.array([json.dumps(shape) if isinstance(shape, dict) else None for shape in shapes], object)
    # ignored ones become None, and are counted later among the features without an outline
    geometries = shapely.from_geojson(texts, on_invalid="ignore") if len(texts) else np.empty(0, object)
    name = content.get("name")
    return Collection(
        # as GDAL calls the only layer of such a file
        name=name if isinstance(name, str) and name else file.name.rpartition(".")[0],
        crs=_system(content.get("crs"), file),
        fields=tuple(dict.fromkeys(key for each in properties for key in each)),
        properties=properties,
        geometries=geometries,
        bounds=shapely.bounds(geometries).reshape(-1, 4),
    )


def _system(content: Any, file: FileRef) -> str | None:
    """A system as files from before RFC 7946 name it; links to one are not followed."""
    if content is None:
        return None
    properties = content.get("properties") if isinstance(content, dict) else None
    name = properties.get("name") if isinstance(properties, dict) and content.get("type") == "name" else None
    if isinstance(name, str) and (match := _CODE.fullmatch(name)):
        return f"EPSG:{match[1]}"
    if isinstance(name, str) and _DEGREES.fullmatch(name):
        return "EPSG:4326"  # with longitude first, as coordinates are everywhere here
    raise UserError(
        f"{file} names its coordinate reference system in a way that is not read: write it as "
        '"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::25832"}}'
    )


def _plain(value: Any) -> Any:
    """Lists and mappings as text, of which none will be a key of `values`."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")
