"""Maps as cloud optimised GeoTIFF: compressed, with overviews, colours and names, whole or not at all."""

import os
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from mobanet.errors import UserError
from mobanet.files import PART, make_room_for, part_of, put_in_place, refusal, write_bytes
from mobanet.rasters.categories import RasterKind, sidecar
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import gdal_error
from mobanet.rasters.readback import BLOCK, check_overviews, compare
from mobanet.rasters.styles import paletted_style, style_of

if TYPE_CHECKING:
    from rasterio.crs import CRS
    from rasterio.io import DatasetWriter

SMALLEST_OVERVIEW = 256  # a raster is halved until its smaller side is under this

_CACHE = 64_000_000  # bytes of decoded blocks; by default 5 % of all memory, which each of several processes would take


class RowWriter:
    """Writes a raster from top to bottom; under its final name it is there whole or not at all.

    Rows are gathered to rows of blocks, of which memory holds one, whatever the raster's height. In a cloud optimised
    GeoTIFF the overviews stand before the pixels that they are made of: the rows grow, uncompressed, in
    `NAME.tif.rows.part` beside the final name, get their overviews, and are then compressed to `NAME.tif.part` in that
    order. GDAL tells of a full disk only in part, so that this is read again and compared with what was handed in
    before it gets its name.

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
        self._part, self._rows = self._beside(".part"), rows_of(self.path)
        self._shape = (len(kind.bands), grid.height, grid.width)
        self._factors = _overview_factors(grid.height, grid.width)
        self._top = 0  # rows in the file
        self._filled = 0  # rows of the buffer that wait for the rest of their row of blocks
        self._buffer: np.ndarray | None = None
        self._sums: list[int] = []  # a checksum each row of blocks
        self._dataset: DatasetWriter | None = None
        self._finished = False
        crs = _parsed(grid.crs)
        make_room_for(self.path)
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
            self._put(taken, self._dataset)

    def finish(self) -> None:
        """Make overviews, compress, compare the file with what was handed in, and give it its name.

        Raises:
            ValueError: when rows are missing; nothing is left of the raster then.
        """
        if self._top < self._shape[1] or self._dataset is None:
            self.abandon()
            raise ValueError(f"{self.path} has {self._shape[1]} rows, of which {self._top + self._filled} came.")
        self._buffer = None
        with self._guarded():
            self._dataset.close()
            if self._factors:
                self._add_overviews()
                check_overviews(self._rows, self._shape, self._factors)
            self._dataset = None
            self._compress()
            self._clear_rows()
            compare(self._part, self._shape, self.kind.dtype, self._sums, self._factors)
            self._put_in_place()
        self._finished = True

    def abandon(self) -> None:
        """Remove what was written; a raster that is finished stays."""
        self._close()
        with suppress(OSError):  # what went wrong before says more
            self._clear()

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.name}{ending}")

    def _clear(self) -> None:
        for ending in (".part", ".part.aux.xml", ".aux.xml.part"):
            self._beside(ending).unlink(missing_ok=True)
        part_of(style_of(self.path)).unlink(missing_ok=True)
        self._clear_rows()

    def _clear_rows(self) -> None:
        for ending in ("", ".aux.xml"):
            self._rows.with_name(f"{self._rows.name}{ending}").unlink(missing_ok=True)

    def _create(self, grid: Grid, crs: "CRS | None", tags: Mapping[str, str]) -> None:
        import rasterio
        from affine import Affine

        self._clear()
        self._rows.open("wb").close()  # says why where it cannot be written
        self._rows.unlink()
        kind = self.kind
        place = {} if grid.transform is None else {"transform": Affine(*grid.transform), "crs": crs}
        # GDAL takes three bands of bytes for red, green and blue, and a fourth for alpha
        meaning = {} if kind.colours else {"photometric": "MINISBLACK", "ALPHA": "NO"}
        self._dataset = dataset = rasterio.open(
            self._rows,
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
            # as rows are written; by pixel, a block would be put together anew for every band
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

    def _put(self, block: np.ndarray, dataset: "DatasetWriter") -> None:
        """Write a row of blocks, (bands, h, W)."""
        from rasterio.windows import Window

        checksum = 0
        with self._guarded():
            for band, plane in enumerate(block, start=1):
                if self.kind.dtype == "float32":
                    plane = np.where(np.isnan(plane), np.float32(np.nan), plane)  # one of the many bit patterns of NaN
                checksum = zlib.crc32(np.ascontiguousarray(plane).data, checksum)
                # block by block: of a whole row GDAL's cache may hold too little, and write blocks half-filled
                for left in range(0, plane.shape[1], BLOCK):
                    part = plane[:, left : left + BLOCK]
                    dataset.write(part, band, window=Window(left, self._top, part.shape[1], part.shape[0]))
        self._sums.append(checksum)
        self._top += block.shape[1]

    def _add_overviews(self) -> None:
        """To a file that is known to be whole: where rows are still to be written, GDAL crashes on a full disk."""
        import rasterio
        from rasterio.enums import Resampling

        self._dataset = rasterio.open(self._rows, "r+", driver="GTiff")
        self._dataset.build_overviews(self._factors, Resampling[self.kind.overviews])
        self._dataset.close()

    def _compress(self) -> None:
        import rasterio.shutil

        kind = self.kind
        # neighbouring probabilities differ little; by how much class indices differ means nothing
        predictor = "FLOATING_POINT" if kind.dtype == "float32" else "NO" if kind.colours else "STANDARD"
        rasterio.shutil.copy(
            self._rows,
            self._part,
            driver="COG",
            compress="DEFLATE",
            # probabilities become hardly smaller with more effort, which doubles the time
            level=6 if kind.colours else 1,
            predictor=predictor,
            blocksize=BLOCK,
            # by itself the driver makes overviews where there are none, and by a method of its own
            overviews="FORCE_USE_EXISTING" if self._factors else "NONE",
            # GDAL cannot know how large a compressed file becomes, and 4 GB are the end of a plain one
            bigtiff="IF_SAFER",
            num_threads=1,
        )

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
            # before the map has its name, so that a map that is there has its names
            write_bytes(names, content)
        style = style_of(self.path)
        if self.kind.categories and self.kind.colours:
            write_bytes(style, paletted_style(self.kind.categories, self.kind.colours))
        else:
            style.unlink(missing_ok=True)
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
                number = (error.errno if isinstance(error, OSError) else None) or refusal(self._rows, self._part)
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
            "GDAL_NUM_THREADS": 1,  # more would outlive the writer, and a fork of the process would wait for them
            # whatever the environment says: tags for which the file has no room go to a sidecar
            "GDAL_PAM_ENABLED": True,
            "GDAL_TIFF_OVR_BLOCKSIZE": BLOCK,
        }
        with warnings.catch_warnings(), rasterio.Env(**settings):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield


def rows_of(path: Path) -> Path:
    """Where the rows of a raster grow."""
    return path.with_name(f"{path.name}.rows{PART}")


def give_up(path: Path) -> None:
    """Let a writer of another thread fail at the next block: GDAL, compressing for minutes, hears of no interrupt.

    Where the raster at `path` is not being compressed, nothing happens.
    """
    if path.with_name(f"{path.name}{PART}").exists():  # rows are only read then; cut while it writes, GDAL may hang
        with suppress(OSError):
            os.truncate(rows_of(path), 0)


def _overview_factors(height: int, width: int) -> list[int]:
    factors: list[int] = []
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
