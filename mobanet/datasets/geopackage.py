"""GeoPackages looked at as the SQLite databases that they are, before GDAL reads them."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from mobanet.datasets.vector_settings import as_word
from mobanet.errors import UserError
from mobanet.rasters.contents import FileRef

_TABLE = re.compile(r"\s*CREATE\s+TABLE\b", re.IGNORECASE)
_INDEX = re.compile(r"\s*CREATE\s+VIRTUAL\s+TABLE\b[^;]*\bUSING\s+rtree\b", re.IGNORECASE)
# virtual and stored ones, as SQLite's documentation of the pragma numbers them
_GENERATED = (2, 3)
"""Of a column in `PRAGMA table_xinfo`: it is computed when it is read."""

_NAMES = ("Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection")
_TYPES = {name.upper(): name for name in (*_NAMES, "CurvePolygon", "MultiSurface")} | {"GEOMETRY": "Unknown"}
"""Types as GDAL calls them, by their names in a GeoPackage."""


def check_geopackage(path: Path, file: FileRef, start: bytes) -> None:
    """Refuse a file, known by its first 100 bytes, that is no GeoPackage, cut short, being written, or runs SQL."""
    if not start.startswith(b"SQLite format 3\0") or len(start) < 100:
        raise UserError(f"{file} is no GeoPackage, or cut short: fetch it again or remove it")
    # by SQLite's file format: page size at 16, change counter at 24, pages at 28, the counter that these are of at 92
    size, pages = int.from_bytes(start[16:18], "big"), int.from_bytes(start[28:32], "big")
    # the number of pages counts where the two counters agree, which all but very old programs see to
    # 1 stands for 65536, which two bytes do not hold
    if start[24:28] == start[92:96] and pages * (65536 if size == 1 else size) > path.stat().st_size:
        raise UserError(f"{file} is cut short: fetch it again or remove it")
    for ending in ("-wal", "-journal"):
        beside = path.with_name(f"{path.name}{ending}")
        if beside.is_file() and beside.stat().st_size:
            raise UserError(
                f"{file} has changes that are not written into it yet ({beside.name}): close the program that has it "
                "open, such as QGIS, or open and close it there once"
            )
    with _database(path, file) as database:
        for name, kind, text in database.execute("SELECT name, type, sql FROM sqlite_master").fetchall():
            # of the layers themselves `layers_of` looks at those that count; these GDAL asks of its own accord
            if kind in ("view", "table") and str(name).lower().startswith(("gpkg_", "rtree_")):
                _check_table(str(name), text, file)


def layers_of(path: Path, file: FileRef, tables: bool = False) -> dict[str, str]:
    """Declared types of geometry by the names of layers; with `tables` also of those without, whose type is `None`."""
    with _database(path, file) as database:
        # lower, as to SQLite itself names of tables that differ in case are one
        rows = database.execute(
            "SELECT c.table_name, coalesce(g.geometry_type_name, 'None') FROM gpkg_contents c "
            "LEFT JOIN gpkg_geometry_columns g ON lower(c.table_name) = lower(g.table_name) "
            "WHERE (c.data_type = 'features' AND g.table_name IS NOT NULL) OR (? AND c.data_type = 'attributes') "
            "ORDER BY c.rowid",
            (tables,),
        ).fetchall()
        for name, _ in rows:
            made = database.execute(
                "SELECT sql FROM sqlite_master WHERE type IN ('table', 'view') AND lower(name) = lower(?)", (name,)
            ).fetchone()
            if made is None:
                raise UserError(f"{file} lists the layer {as_word(str(name))} and does not hold it: export it again")
            _check_table(str(name), made[0], file)
            hidden = database.execute("SELECT hidden FROM pragma_table_xinfo(?)", (name,)).fetchall()
            if any(row[0] in _GENERATED for row in hidden):
                raise _runs(str(name), file)
    return {str(name): _TYPES.get(str(kind).upper(), str(kind)) for name, kind in rows}


@contextmanager
def _database(path: Path, file: FileRef) -> Iterator[sqlite3.Connection]:
    # immutable: nothing is written beside it, as would be to lock it
    try:
        # quoted, as ? and # in a name would end the path
        database = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True)
        try:
            # lets a stranger's schema call no function that could do harm
            database.execute("PRAGMA trusted_schema = OFF")
            yield database
        finally:
            database.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no GeoPackage, or damaged: fetch it again or remove it") from error


def _check_table(name: str, made: str | None, file: FileRef) -> None:
    """Refuse what is neither a table nor a spatial index."""
    text = made or ""
    if not (_TABLE.match(text) or (name.lower().startswith("rtree_") and _INDEX.match(text))):
        raise _runs(name, file)


def _runs(name: str, file: FileRef) -> UserError:
    return UserError(
        f"{file} has a view or computed columns as {as_word(name)}, and SQL in a file is not run: export the layer to "
        "a file of its own, which then holds a table"
    )
