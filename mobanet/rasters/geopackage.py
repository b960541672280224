"""Polygons as a GeoPackage with a spatial index, written some at a time; whole or not there at all."""

import errno
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from mobanet.errors import UserError
from mobanet.files import make_room_for, put_in_place, refusal

ENDING = ".gpkg"

_FAST = {
    "OGR_SQLITE_SYNCHRONOUS": "OFF",  # the file is brought to the disk before it gets its name
    "OGR_SQLITE_JOURNAL": "MEMORY",
}


class PolygonWriter:
    """Writes polygons with fields; a context manager, which finishes, or abandons if the block fails.

    Until it is finished the file grows beside its place, as `NAME.part.gpkg`.

    Args:
        path: of the GeoPackage; its folder is made where it is absent, and an older file replaced.
        layer: name of its one layer.
        crs: reference system as text; None for none.
        columns: of every field, an empty array of its type, in their order.
        kind: of the geometries, `Polygon` unless given; `Unknown` for any.

    Raises:
        UserError: when the reference system is none.
        OSError: here, on writing and on finishing, with the file's name, when it cannot be written.
    """

    def __init__(
        self, path: Path, layer: str, crs: str | None, columns: Mapping[str, np.ndarray], kind: str = "Polygon"
    ) -> None:
        self.path, self.layer, self.crs, self.kind = Path(path), layer, crs, kind
        self._columns = dict(columns)
        # names of columns that the file has anyway, and a field may have, too
        fid, geometry = free_name("fid", self._columns), free_name("geom", self._columns)
        self._options = {"FID": fid, "GEOMETRY_NAME": geometry, "SPATIAL_INDEX": "YES"}
        # the ending stays at the end: GDAL warns of a GeoPackage that is called otherwise
        self._part = self.path.with_name(f"{self.path.stem}.part{ENDING}")
        self._begun = self._finished = False
        self._count = 0
        make_room_for(self.path)
        self._clear()
        try:
            self._part.open("wb").close()  # says why where it cannot be written
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._part.unlink()
        # so that a map without a polygon has a file, too
        self.write(np.zeros(0, object), self._columns)

    def __enter__(self) -> "PolygonWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and not self._finished:
                self.finish()
        finally:
            if not self._finished:
                self.abandon()

    def write(self, geometries: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """Add features: (n,) geometries as WKB, and (n,) of each field, of which NaN and None are null."""
        from pyogrio.raw import write

        values = [columns[name] for name in self._columns]
        with self._guarded():
            write(
                str(self._part.absolute()),
                geometries,
                values,
                np.array(list(self._columns), object),
                layer=self.layer,
                driver="GPKG",
                geometry_type=self.kind,
                crs=self.crs,
                append=self._begun,
                layer_options={} if self._begun else self._options,
            )
        self._begun = True
        self._count += len(geometries)

    def finish(self) -> None:
        """Give the file its name; an `OSError` says where the disk did not take all of it."""
        from pyogrio import read_info

        with self._guarded():
            # GDAL tells of a full disk only in part
            if read_info(str(self._part.absolute()), layer=self.layer)["features"] != self._count:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(self.path))
            put_in_place(self._part, self.path)
        self._finished = True

    def abandon(self) -> None:
        """Remove what was written; a file that is finished stays."""
        with suppress(OSError):  # what went wrong before says more
            self._clear()

    def _clear(self) -> None:
        # SQLite keeps these beside a file that is open, and a process that is killed leaves them there
        for ending in ("", "-journal", "-wal", "-shm"):
            self._part.with_name(f"{self._part.name}{ending}").unlink(missing_ok=True)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """GDAL's errors as those of the system, with nothing left behind."""
        from pyogrio import get_gdal_config_option, set_gdal_config_options
        from pyogrio.errors import CRSError, DataLayerError, DataSourceError

        before = {name: get_gdal_config_option(name) for name in _FAST}
        set_gdal_config_options(_FAST)
        try:
            with warnings.catch_warnings():
                # of a file without a reference system, which is what the map has
                warnings.filterwarnings("ignore", message=".*crs.*was not provided")
                yield
        except CRSError as error:
            self.abandon()
            raise UserError(f"{self.crs} is no coordinate reference system; give one such as EPSG:32633.") from error
        except (DataSourceError, DataLayerError) as error:
            number = refusal(self._part)
            self.abandon()
            raise OSError(number, os.strerror(number), str(self.path)) from error
        finally:
            # they hold for all of this process, in which others may write, too; None takes one away
            set_gdal_config_options(before)


def free_name(name: str, taken: Iterable[str]) -> str:
    """A name that no column has yet, whatever its case, which SQLite does not look at."""
    known = {each.casefold() for each in taken}
    number, free = 1, name
    while free.casefold() in known:
        number += 1
        free = f"{name}_{number}"
    return free
