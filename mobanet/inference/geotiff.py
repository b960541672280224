"""Maps as GeoTIFF: tiled, compressed, with colours and names, written from top to bottom, whole or not at all."""

import errno
import os
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from mobanet.data.sources.rasters import Grid, gdal_error
from mobanet.errors import UserError
from mobanet.files import put_in_place, write_bytes
from mobanet.inference.categories import RasterKind, class_kind, probability_kind, scenario_kind, sidecar
from mobanet.inference.readback import BLOCK, compare

if TYPE_CHECKING:
    from rasterio.crs import CRS
    from rasterio.io import DatasetWriter

__all__ = ["RasterKind", "RowWriter", "class_kind", "probability_kind", "scenario_kind"]

SMALLEST_OVERVIEW = 256
"""A raster is halved until its smaller side is under this."""

_CACHE = 64_000_000
"""Bytes that GDAL may hold of decoded blocks."""

_PROBE = 4 << 20
"""Bytes, more than any block has, that a disk is asked to take to learn why it took no block."""


class RowWriter:
    """Writes a raster from top to bottom; under its final name it is there whole or not at all.

    Rows are gathered to rows of blocks, so that the bytes of the file do not depend on how the rows were cut, and
    memory holds one row of blocks, whatever the raster's height. The raster grows in `NAME.tif.part` beside its final
    name. GDAL tells of a full disk only in part, so that what was written is read again and compared before it gets
    its name.

    As a context manager it finishes, or abandons if the block fails.

    Args:
        path: of the GeoTIFF; its folder is made where it is absent, and an older file replaced.
        grid: size and place.
        kind: what the pixels mean.
        tags: texts to store in the file, by name.

    Raises:
        UserError: when the grid's coordinate reference system is none.
        OSError: here, on writing and on finishing, with the file's name, when the file cannot be written.
    """

    def __init__(self, path: Path, grid: Grid, kind: RasterKind, tags: Mapping[str, str] | None = None) -> None:
        self.path, self.kind = Path(path), kind
        self._part = self._beside(".part")
        self._shape = (len(kind.bands), grid.height, grid.width)
        self._factors = _overview_factors(grid.height, grid.width)
        self._top = 0
        """Rows in the file."""
        self._filled = 0
        """Rows of the buffer that wait for the rest of their row of blocks."""
        self._buffer: np.ndarray | None = None
        self._sums: list[int] = []
        """A checksum each row of blocks."""
        self._dataset: DatasetWriter | None = None
        self._finished = False
        crs = _parsed(grid.crs)
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self.path))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._guarded():
            self._create(grid, crs, tags or {})

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.abandon()
        elif not self._finished:
            self.finish()

    def write(self, rows: np.ndarray) -> None:
        """Take the next rows, (bands, h, W) in the kind's type; any h.

        Raises:
            ValueError: for another shape or type, and for more rows than the raster has.
        """
        bands, height, width = self._shape
        if rows.ndim != 3 or (rows.shape[0], rows.shape[2]) != (bands, width) or rows.dtype != self.kind.dtype:
            raise ValueError(
                f"{self.path} takes {self.kind.dtype} rows of shape ({bands}, h, {width}), not {rows.dtype} of "
                f"{rows.shape}."
            )
        if self._top + self._filled + rows.shape[1] > height:
            raise ValueError(f"{self.path} has {height} rows; these would be more.")
        if self._dataset is None:
            raise ValueError(f"{self.path} is not being written any more.")
        while rows.shape[1]:
            full = min(BLOCK, height - self._top)
            taken, rows = rows[:, : full - self._filled], rows[:, full - self._filled :]
            if taken.shape[1] < full:
                if self._buffer is None:
                    self._buffer = np.empty((bands, min(BLOCK, height), width), self.kind.dtype)
                self._buffer[:, self._filled : self._filled + taken.shape[1]] = taken
                self._filled += taken.shape[1]
                if self._filled < full:
                    return
                taken, self._filled = self._buffer[:, :full], 0
            self._put(taken)

    def finish(self) -> None:
        """Make overviews, compare the file with what was handed in, and give it its name.

        Raises:
            ValueError: when rows are missing; nothing is left of the raster then.
        """
        if self._top < self._shape[1] or self._dataset is None:
            self.abandon()
            raise ValueError(f"{self.path} has {self._shape[1]} rows, of which {self._top + self._filled} came.")
        self._buffer = None
        with self._guarded():
            self._dataset.close()
            self._compare([])
            if self._factors:
                self._add_overviews()
                self._compare(self._factors)
            self._dataset = None
            self._put_in_place()
        self._finished = True

    def abandon(self) -> None:
        """Remove what was written; a raster that is finished stays."""
        self._close()
        with suppress(OSError):  # what went wrong before says more
            self._clear()

    # parts

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.name}{ending}")

    def _clear(self) -> None:
        for ending in (".part", ".part.aux.xml", ".aux.xml.part"):
            self._beside(ending).unlink(missing_ok=True)

    def _create(self, grid: Grid, crs: "CRS | None", tags: Mapping[str, str]) -> None:
        import rasterio
        from affine import Affine

        self._clear()
        self._part.open("wb").close()  # says why where it cannot be written
        self._part.unlink()
        kind = self.kind
        place = {} if grid.transform is None else {"transform": Affine(*grid.transform), "crs": crs}
        # GDAL takes three bands of bytes for red, green and blue, and a fourth for alpha
        meaning = {} if kind.colours else {"photometric": "MINISBLACK", "ALPHA": "NO"}
        self._dataset = dataset = rasterio.open(
            self._part,
            "w",
            driver="GTiff",
            count=len(kind.bands),
            height=grid.height,
            width=grid.width,
            dtype=kind.dtype,
            nodata=kind.nodata,
            tiled=True,
            blockxsize=BLOCK,
            blockysize=BLOCK,
            compress="DEFLATE",
            predictor=3 if kind.dtype == "float32" else 1 if kind.colours else 2,
            interleave="band",
            BIGTIFF="IF_SAFER",
            **place,
            **meaning,
        )
        if kind.colours:
            dataset.write_colormap(1, dict(enumerate(kind.colours)))
        for band, name in enumerate(kind.bands, start=1):
            dataset.set_band_description(band, name)
        if kind.scale != 1:
            dataset.scales = (kind.scale,) * len(kind.bands)
        dataset.update_tags(**tags)
        # names in the file too, so that they survive a sidecar that is lost
        dataset.update_tags(1, **{f"{kind.bands[0].upper()}_{k}": name for k, name in enumerate(kind.categories)})

    def _put(self, block: np.ndarray) -> None:
        """Write a row of blocks, (bands, h, W)."""
        import rasterio
        from rasterio.windows import Window

        checksum = 0
        with self._guarded():
            for band, plane in enumerate(block, start=1):
                if self.kind.dtype == "float32":
                    plane = np.where(np.isnan(plane), np.float32(np.nan), plane)  # one of the many bit patterns of NaN
                checksum = zlib.crc32(np.ascontiguousarray(plane), checksum)
                # block by block: of a whole row GDAL's cache may hold too little, and write blocks half-filled
                for left in range(0, plane.shape[1], BLOCK):
                    part = plane[:, left : left + BLOCK]
                    self._dataset.write(part, band, window=Window(left, self._top, part.shape[1], part.shape[0]))
            with rasterio.Env(GDAL_CACHEMAX=1):
                pass  # empties the cache, so that the order in the file does not depend on how much memory there is
        self._sums.append(checksum)
        self._top += block.shape[1]

    def _compare(self, factors: list[int]) -> None:
        compare(self._part, self._shape, self.kind.dtype, self._sums, factors)

    def _add_overviews(self) -> None:
        """To a file that is known to be whole: where rows are still to be written, GDAL crashes on a full disk."""
        import rasterio
        from rasterio.enums import Resampling

        self._dataset = rasterio.open(self._part, "r+")
        self._dataset.build_overviews(self._factors, Resampling[self.kind.overviews])
        self._dataset.close()

    def _close(self) -> None:
        """Close a file that is given up."""
        from rasterio.errors import RasterioError

        dataset, self._dataset, self._buffer = self._dataset, None, None
        if dataset is not None:
            with suppress(RasterioError, gdal_error()), self._gdal():
                dataset.close()

    def _put_in_place(self) -> None:
        told = self._beside(".part.aux.xml")  # by GDAL, where the file itself has no room for all tags
        existing = told.read_bytes() if told.exists() else None
        names = self._beside(".aux.xml")
        content = sidecar(self.kind.categories, self.kind.colours, existing) if self.kind.categories else existing
        if content is None:
            names.unlink(missing_ok=True)
        else:
            write_bytes(names, content)
        for ending in (".ovr", ".msk"):  # an older map's, which GDAL would take for this one's
            self._beside(ending).unlink(missing_ok=True)
        put_in_place(self._part, self.path)
        told.unlink(missing_ok=True)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """GDAL's settings, and its errors as the system words them, with nothing left behind."""
        from rasterio.errors import RasterioError

        try:
            with self._gdal():
                yield
        except BaseException as error:
            number = None
            self._close()  # before more is appended, which GDAL would take for its own
            if isinstance(error, OSError | RasterioError | gdal_error()):
                number = (error.errno if isinstance(error, OSError) else None) or _refusal(self._part)
            self.abandon()
            if number is None:
                raise
            raise OSError(number, os.strerror(number), str(self.path)) from error

    @contextmanager
    def _gdal(self) -> Iterator[None]:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning

        row = BLOCK * self._shape[2] * np.dtype(self.kind.dtype).itemsize
        settings = {
            "GDAL_CACHEMAX": max(_CACHE, 4 * row),
            "GDAL_NUM_THREADS": 1,
            "GDAL_PAM_ENABLED": True,
            "GDAL_TIFF_OVR_BLOCKSIZE": BLOCK,
        }
        with warnings.catch_warnings(), rasterio.Env(**settings):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield


def _overview_factors(height: int, width: int) -> list[int]:
    factors = []
    while min(height, width) / 2 ** len(factors) >= SMALLEST_OVERVIEW:
        factors.append(2 ** (len(factors) + 1))
    return factors


def _parsed(crs: str | None) -> "CRS | None":
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        return None if crs is None else CRS.from_user_input(crs)
    except CRSError as error:
        raise UserError(f"{crs} is no coordinate reference system; give one such as EPSG:32633.") from error


def _refusal(part: Path) -> int:
    """Why a file takes no more bytes, as an error number: GDAL says only that it did not."""
    try:
        with part.open("ab") as file:
            file.write(bytes(_PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno or errno.EIO
    return errno.EIO
