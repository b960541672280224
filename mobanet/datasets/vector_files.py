"""Vector files opened: which drivers may see them, their layers, systems and attributes, and polygons by place.

A file chooses nothing but its content. GDAL takes whichever driver accepts a file's first bytes, and some drivers run
SQL or pipelines, or fetch what an address in the file stands for. So a file is looked at first: its first bytes have to
be those of the format that its ending names. GeoJSON is parsed here, since GDAL would follow links in it and takes
several other formats for it; a GeoPackage, which is a database, must have tables where views would run SQL.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobanet.datasets.geojson import Collection, read_collection
from mobanet.datasets.geopackage import check_geopackage, layers_of
from mobanet.datasets.shapefile import check_shapefile
from mobanet.datasets.vector_settings import ENDINGS, VectorLabel, as_word, ending_of
from mobanet.errors import UserError
from mobanet.plain.wording import did_you_mean, shorten
from mobanet.rasters.contents import FileRef
from mobanet.rasters.opening import gdal_error
from mobanet.rasters.reference_systems import name_of, same_plane

Bounds = tuple[float, float, float, float]
"""Least x, least y, greatest x and greatest y, in the file's system."""

EVERYWHERE: Bounds = (-1e300, -1e300, 1e300, 1e300)
"""Around all features but those without an outline, which lie nowhere."""

# unknown: a layer of anything, of which features that are no polygons are refused when they are drawn
_POLYGONS = ("Polygon", "MultiPolygon", "CurvePolygon", "MultiSurface", "GeometryCollection", "Unknown")
"""Declared types of layers that may hold polygons, without their Z and M."""

_UNDEFINED = re.compile(r'\w+\["Undefined (Cartesian|geographic) SRS"')
"""What a GeoPackage says that names no system."""

_ODD = set("!;")
"""Characters of a path that pyogrio takes for the marks of an address."""


@dataclass(frozen=True)
class Features:
    """Some features of a layer: their places in the file, (N,) int64 ascending, and by attribute their (N,) values."""

    ids: np.ndarray
    columns: dict[str, np.ndarray]


class VectorLayer(ABC):
    """The layer of a vector file that labels are drawn from; a damaged file is refused by whatever reads of it.

    Attributes:
        file: as messages name it.
        key: of the description that names it, for messages.
        crs: its coordinate reference system as text; None where neither file nor settings name one.
        fields: names of its attributes.
    """

    file: FileRef
    key: str
    crs: str | None
    fields: tuple[str, ...]

    @abstractmethod
    def features(self, columns: Sequence[str], bounds: Bounds | None = None) -> Features:
        """Attributes of the features within bounds; of all for None."""

    @abstractmethod
    def geometries(self, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
        """Ids, (N,) int64 ascending, and geometries, (N,), of the features within bounds; None for what is none."""

    @abstractmethod
    def extent(self) -> Bounds | None:
        """Around all features; None where there is none."""

    def check_columns(self, columns: Sequence[str]) -> None:
        """Refuse attributes that the layer does not have, with the nearest name and all that there are."""
        for name in columns:
            if name not in self.fields:
                hint = did_you_mean(name, self.fields, quoted=True)
                there = shorten(map(as_word, self.fields), 20) or "none"
                raise UserError(f"{self.file} has no attribute {name!r}{hint}: there are {there}")


def open_layer(path: Path, file: FileRef, label: VectorLabel) -> VectorLayer:
    """The layer that settings name, or the only one with polygons, of a file that can be read, with its sidecars.

    Raises:
        UserError: when there is no such layer, the layer holds no polygons, or the file cannot be read. Sentences have
            no full stop.
    """
    ending = ending_of(file.name) or ""
    if ending in (".geojson", ".json"):
        with _readable(file):
            collection = read_collection(path, file)
        _choose({collection.name: "Unknown"}, file, label)
        return _GeoJson(file, collection, label)
    path = path.absolute()  # of which nothing looks like the scheme of an address
    _check_path(path, file, ending)
    with _readable(file):
        _check_content(path, file, ending)
        return _Pyogrio(path, file, ending, label)


class _Pyogrio(VectorLayer):
    """What GDAL reads by the driver that `_check_content` has settled."""

    def __init__(self, path: Path, file: FileRef, ending: str, label: VectorLabel) -> None:
        from pyogrio import list_layers, read_info

        self.file, self.key, self._path = file, label.key, path
        # immutable: without it SQLite may write beside the file
        self._options = {"IMMUTABLE": "YES"} if ending == ".gpkg" else {}
        if ending == ".gpkg":
            layers = layers_of(path, file, tables=not label.outlines)
        elif not (layers := {str(name): str(kind or "Unknown") for name, kind in list_layers(path)}):
            raise _damaged(file)
        self._layer = _choose(layers, file, label)
        with np.errstate(all="ignore"):
            # counted: some drivers say -1 unless they are made to
            info = read_info(path, layer=self._layer, force_feature_count=True, **self._options)
        self._count = int(info["features"])
        _check_kind(str(info["geometry_type"]), file, self._layer, label)
        self.fields = tuple(str(name) for name in info["fields"])
        self.crs = _system(info["crs"], file, label)

    def features(self, columns: Sequence[str], bounds: Bounds | None = None) -> Features:
        ids, _, values = self._read(bounds, columns=list(dict.fromkeys(columns)), read_geometry=False)
        if bounds is None and len(ids) != self._count:
            raise _damaged(self.file)
        return Features(ids, values)

    def geometries(self, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
        import shapely

        ids, content, _ = self._read(bounds, columns=[], read_geometry=True)
        # fix: rings that do not end where they began are closed
        return ids, shapely.from_wkb(content, on_invalid="fix")

    def extent(self) -> Bounds | None:
        from pyogrio import read_info

        with _readable(self.file):
            options = {"force_total_bounds": True, **self._options}
            bounds = read_info(self._path, layer=self._layer, **options)["total_bounds"]
        if bounds is None or not np.isfinite(bounds).all():
            return None
        left, bottom, right, top = map(float, bounds)
        return left, bottom, right, top

    def _read(self, bounds: Bounds | None, **wanted: Any) -> tuple[np.ndarray, Any, dict[str, np.ndarray]]:
        from pyogrio.raw import read

        with _readable(self.file):
            # heights of vertices play no part on a grid
            more = {"layer": self._layer, "force_2d": True, "return_fids": True, **self._options}
            meta, ids, content, values = read(self._path, bbox=bounds, **wanted, **more)
        # a spatial index gives them in an order of its own
        order = np.argsort(ids, kind="stable")
        columns = {str(name): column[order] for name, column in zip(meta["fields"], values, strict=True)}
        return np.asarray(ids, np.int64)[order], None if content is None else content[order], columns


class _GeoJson(VectorLayer):
    def __init__(self, file: FileRef, collection: Collection, label: VectorLabel) -> None:
        self.file, self.key, self._collection, self.fields = file, label.key, collection, collection.fields
        # without a system of its own a file is in degrees (RFC 7946), unless somebody knows better
        self.crs = _system(collection.crs, file, label) if collection.crs or label.crs else "EPSG:4326"

    def features(self, columns: Sequence[str], bounds: Bounds | None = None) -> Features:
        ids = self._within(bounds)
        return Features(ids, {name: self._collection.column(name)[ids] for name in columns})

    def geometries(self, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
        ids = self._within(bounds)
        return ids, self._collection.geometries[ids]

    def extent(self) -> Bounds | None:
        known = self._collection.bounds[np.isfinite(self._collection.bounds).all(axis=1)]
        if not len(known):
            return None
        return (*known[:, :2].min(axis=0).tolist(), *known[:, 2:].max(axis=0).tolist())

    def _within(self, bounds: Bounds | None) -> np.ndarray:
        own = self._collection.bounds
        if bounds is None:
            return np.arange(len(own))
        left, bottom, right, top = bounds
        # those without bounds count as beside the tile: NaN compares false
        hits = (own[:, 0] <= right) & (own[:, 2] >= left) & (own[:, 1] <= top) & (own[:, 3] >= bottom)
        return np.flatnonzero(hits)


@contextmanager
def _readable(file: FileRef) -> Iterator[None]:
    """Within, what pyogrio raises of a damaged file is a sentence."""
    import warnings

    from pyogrio import errors
    from shapely.errors import ShapelyError

    own = (errors.DataSourceError, errors.DataLayerError, errors.FeatureError, errors.FieldError, errors.CRSError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of measures and of several layers
        try:
            yield
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}): mend its permissions or remove it") from error
        except UnicodeDecodeError as error:
            raise UserError(
                f"{file} has text in another encoding than it says: write the right one into the .cpg file beside it, "
                "such as ISO-8859-1 or UTF-8"
            ) from error
        # the last is what pyogrio raises of a system that is no text
        except (*own, errors.GeometryError, ShapelyError, ValueError, RuntimeError, OverflowError, NameError) as error:
            raise _damaged(file) from error


def _damaged(file: FileRef) -> UserError:
    return UserError(f"{file} is unreadable or cut short: fetch it again or remove it")


def _choose(layers: dict[str, str], file: FileRef, label: VectorLabel) -> str:
    """Name of a layer, of those there are by name with their declared types; refused where it cannot be told."""
    if label.layer is not None:
        if label.layer not in layers:
            hint = did_you_mean(label.layer, layers, quoted=True)
            raise UserError(
                f"{file} has no layer {label.layer!r}{hint}: there are {shorten(map(as_word, layers), 20) or 'none'}"
            )
        return label.layer
    fitting = [name for name, kind in layers.items() if _plain(kind) in _POLYGONS or not label.outlines]
    if len(fitting) == 1:
        return fitting[0]
    if len(fitting) > 1:
        kind = " with polygons" if label.outlines else ""
        raise UserError(
            f"{file} has {len(fitting)} layers{kind}, {shorten(map(as_word, fitting), 20)}: name one as "
            f"{label.key}.layer"
        )
    if len(layers) == 1:
        _check_kind(next(iter(layers.values())), file, next(iter(layers)), label)
    if not label.outlines:
        raise UserError(f"{file} has no table: export it again")
    told = shorten((f"{as_word(name)} ({as_word(kind)})" for name, kind in layers.items()), 20)
    raise UserError(f"{file} has no layer with polygons{f', only {told}' if told else ''}: export the polygons again")


def _check_kind(kind: str, file: FileRef, layer: str, label: VectorLabel) -> None:
    if label.outlines and _plain(kind) not in _POLYGONS:
        what = "no geometries" if kind == "None" else f"features of the type {as_word(kind)}"
        raise UserError(
            f"{file} has {what} in the layer {as_word(layer)} where polygons are needed: export the polygons, or name "
            f"another layer as {label.key}.layer"
        )


def _plain(kind: str) -> str:
    """A declared type without its dimensions: `2.5D MultiPolygon` and `Polygon ZM` are polygons, too."""
    names = [word for word in kind.replace("2.5D", "").split() if word not in ("Z", "M", "ZM", "Measured", "3D")]
    return names[0] if names else "Unknown"


def _system(own: str | None, file: FileRef, label: VectorLabel) -> str | None:
    """The system of a file; that of the settings where it names none. Two different ones are refused."""
    own = None if own is not None and _UNDEFINED.match(own) else own
    if own is None or label.crs is None:
        return own or label.crs
    if not same_system(own, label.crs):
        raise UserError(
            f"{label.key}.crs is {label.crs}, and {file} itself says {as_word(name_of(own))}: take crs out from under "
            f"{label.key}"
        )
    return own


def same_system(one: str, other: str) -> bool:
    """Whether coordinates in two systems mean the same, however the systems are written."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    if same_plane(one, other):
        return True
    try:
        return CRS.from_user_input(one) == CRS.from_user_input(other)
    except (CRSError, gdal_error()):
        return False


def _check_path(path: Path, file: FileRef, ending: str) -> None:
    """Refuse a path that pyogrio would take for an address."""
    text = str(path)
    # SQLite opens a database by an address, in which GDAL leaves % as it is
    if odd := sorted((_ODD | ({"%"} if ending == ".gpkg" else set())) & set(text)):
        raise UserError(f"{file} has {odd[0]!r} in its path, which stands for something else there: rename it")
    if text.startswith("/vsi"):
        raise UserError(f"{file} lies in a folder whose name begins with vsi, which stands for more: rename it")


def _check_content(path: Path, file: FileRef, ending: str) -> None:
    """Refuse a file that is not of the format that its ending names, or is cut short."""
    with path.open("rb") as content:
        start = content.read(100)
    if ending == ".gpkg":
        check_geopackage(path, file, start)
    elif ending == ".shp":
        check_shapefile(path, file, start)
    # the eighth byte is a patch version, which may be any; four with the header's length follow
    elif ending == ".fgb" and not (start.startswith(b"fgb\x03fgb") and len(start) > 12):
        raise UserError(f"{file} is no FlatGeobuf, or cut short: fetch it again or remove it")
    elif ending in (".parquet", ".geoparquet"):
        from pyogrio import list_drivers

        if "Parquet" not in list_drivers():
            raise UserError(
                f"{file} is GeoParquet, which the GDAL of this pyogrio does not read: convert it, as with ogr2ogr "
                f"{Path(file.name).stem}.gpkg {file.name}"
            )
        if not start.startswith(b"PAR1"):
            raise UserError(f"{file} is no {ENDINGS[ending]}, or cut short: fetch it again or remove it")
