"""Labels that are polygons of a vector file: the settings, and what may stand in them."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mobanet.datasets.file_patterns import placeholders
from mobanet.errors import UserError
from mobanet.plain.bounds import shown
from mobanet.plain.wording import shorten
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.rasters.elsewhere import is_address

IGNORED = "ignored"
"""In place of a class: pixels that neither loss nor metrics look at."""

FILE_ORDER = "file"
"""Of overlapping polygons the one that comes later in the file lies on top."""

ENDINGS = {
    ".gpkg": "GeoPackage",
    ".shp": "shapefile",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".fgb": "FlatGeobuf",
    ".parquet": "GeoParquet",
    ".geoparquet": "GeoParquet",
}
"""The formats that are read; no other driver is ever given a file."""

# with a zero in front it is a code, such as 017, which is not 17
_WHOLE = re.compile(r"([+-]?)(0|[1-9]\d*)(\.0*)?")
_SYSTEM = re.compile(r"[A-Za-z]{2,12}:[\w.]{1,20}")


@dataclass
class VectorLabel:
    """Labels as polygons of a vector file.

    Attributes:
        vector: path below the root of a GeoPackage, shapefile, GeoJSON or FlatGeobuf. One file for all tiles, or, with
            `{tile}` in it, one a tile. `*` and `**/` stand for more, as in other patterns.
        attribute: that says what a polygon is.
        values: class by the attribute's value, or `ignored`; `null` is for polygons without a value, which are ignored
            unless it is there. 17, 17.0 and "17" are the same.
        layer: of the file; null for the only one with polygons.
        background: what pixels without a polygon are: `ignored`, or a class.
        order: what lies on top where polygons overlap: `file` for whichever comes later in the file; the classes from
            the bottom to the top; or an attribute, of which the greatest number or latest date is on top, and what has
            none at the bottom. Within a class, and of equal numbers, the later one in the file is on top.
        all_touched: a polygon takes all pixels that it touches, and not only those whose centre it holds; or the
            classes for which it does.
        crs: coordinate reference system of a file that names none, such as EPSG:25832.
    """

    key: ClassVar[str] = "label"
    """Of the description under which the settings stand, for messages."""
    outlines: ClassVar[bool] = True
    """Whether its features have to be polygons; of a table only the attributes count."""

    vector: str
    attribute: str
    values: dict[Any, str]
    layer: str | None = None
    background: str = IGNORED
    order: str | list[str] = FILE_ORDER
    all_touched: bool | list[str] = False
    crs: str | None = None

    @property
    def shared(self) -> bool:
        """Whether one file has the polygons of all tiles."""
        return not placeholders(self.vector)

    @property
    def columns(self) -> tuple[str, ...]:
        """Attributes that are read."""
        return (self.attribute, *((self.order,) if isinstance(self.order, str) and self.order != FILE_ORDER else ()))


def ending_of(name: str) -> str | None:
    """The ending of a vector file's name, in lower case; None for that of another file."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)


def as_word(name: str) -> str:
    """A name out of a file as messages have it: in quotation marks where it is long, or cannot be printed."""
    return name if name.isprintable() and 0 < len(name) <= 60 else shown(name)


def as_text(value: Any) -> str | None:
    """An attribute's value, or a key of `values`, as the two are compared; None for none."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    if isinstance(value, np.datetime64 | np.timedelta64):
        # midnight in a column of times is the day that `values` names
        return None if np.isnat(value) else str(value).removesuffix("T00:00:00.000")
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    text = unicodedata.normalize("NFC", str(value)).strip()  # some systems write letters and their marks apart
    if not text:
        return None
    whole = _WHOLE.fullmatch(text)
    if whole:
        return f"{'-' if whole[1] == '-' and whole[2] != '0' else ''}{whole[2]}"
    return text


def class_table(label: VectorLabel, classes: Sequence[str]) -> dict[str | None, int]:
    """Class index by the text of the attribute's value; `IGNORE_INDEX` for what is ignored, such as None."""
    table: dict[str | None, int] = {None: IGNORE_INDEX}
    return table | {as_text(key): index_of(name, classes) for key, name in label.values.items()}


def index_of(name: str, classes: Sequence[str]) -> int:
    """Index of a class, or of what is ignored."""
    # a class may not be called so (`check_vector_label`)
    return IGNORE_INDEX if name == IGNORED else list(classes).index(name)


def check_vector_label(label: VectorLabel, classes: Sequence[str]) -> None:
    """Refuse settings that contradict themselves, or name none of the classes."""
    check_file(label.vector, f"{label.key}.vector")
    for key in ("background", "order", "all_touched"):  # which a parser lets pass
        if getattr(label, key) is None:
            raise UserError(f"{label.key}.{key} is null: give a value, or take it out.")
    if IGNORED in classes:
        raise UserError(f"classes has one named {IGNORED}, which under label stands for no class: rename it.")
    if not label.values:
        raise UserError(f"{label.key}.values is empty: say which value of the attribute is which class.")
    for key, name in label.values.items():
        _check_class(f"{label.key}.values.{'null' if key is None else key}", name, classes)
    _check_class(f"{label.key}.background", label.background, classes)
    _check_twice(label)
    if isinstance(label.order, list):
        _check_order(label.order, label, classes)
    if isinstance(label.all_touched, list):
        for name in label.all_touched:
            _check_class(f"{label.key}.all_touched", name, classes)
    if label.crs is not None:
        check_system(label.crs, f"{label.key}.crs")


def check_file(name: str, key: str) -> None:
    """Refuse what is no path of a vector file below the root."""
    if is_address(name) and not name.startswith("/"):
        raise UserError(f"{key} is an address, where only rasters are read: download the file and name it by its path.")
    if ending_of(name) is None:
        raise UserError(
            f"{key} is {shown(name, 80)}: name a GeoPackage, shapefile, GeoJSON or FlatGeobuf by its ending .gpkg, "
            ".shp, .geojson or .fgb; others can be converted, as with ogr2ogr landcover.gpkg FILE."
        )
    if name.startswith("/") or ".." in re.split(r"[/\\]", name):
        raise UserError(f"{key} is {shown(name, 80)}: give its path below the root, and put it there.")


def _check_class(key: str, name: str, classes: Sequence[str]) -> None:
    if name != IGNORED and name not in classes:
        raise UserError(
            f"{key} is {shown(str(name))}, which is none of the classes {', '.join(classes)}: name one, or {IGNORED}."
        )


def _check_twice(label: VectorLabel) -> None:
    """Refuse keys that are one value and two classes."""
    seen: dict[str | None, tuple[Any, str]] = {}
    for key, name in label.values.items():
        other, meant = seen.setdefault(as_text(key), (key, name))
        if meant != name:
            raise UserError(f"{label.key}.values has {other!r} and {key!r}, which are the same value: leave it in one.")


def _check_order(order: Sequence[str], label: VectorLabel, classes: Sequence[str]) -> None:
    for name in order:
        _check_class(f"{label.key}.order", name, classes)
    if len(set(order)) < len(order):
        raise UserError(f"{label.key}.order is {', '.join(order)}: list each class once, from the bottom to the top.")
    lacking = [name for name in dict.fromkeys(label.values.values()) if name not in order]
    if lacking:
        raise UserError(
            f"{label.key}.order lacks {shorten(lacking)}, to which {label.key}.values maps polygons: list all, from "
            "the bottom to the top."
        )


def check_system(crs: str, key: str) -> None:
    """Refuse what is no code of a register."""
    if not is_system(crs):
        raise UserError(f"{key} is {shown(crs)}: give the code of a system, such as EPSG:25832.")


def is_system(crs: str) -> bool:
    """Whether a text is the code of a system in a register; one of another kind might name a file or an address."""
    import rasterio
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        with rasterio.Env():  # GDAL's complaint goes to the log and not to the terminal
            return _SYSTEM.fullmatch(crs) is not None and CRS.from_user_input(crs) is not None
    except CRSError:
        return False
