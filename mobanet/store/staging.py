"""From rows of a tile's grid to files that wait for their place in a store, in memory that no tile's height changes."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from mobanet.files import named
from mobanet.rasters.blocks import block_rows, block_shape
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.rasters.rows import RowsPart
from mobanet.rasters.statistics import BandStatistics, describe_rows
from mobanet.rasters.strips import strips
from mobanet.store.stored import MARK, marks_shape
from mobanet.store.writing import ArrayWriter, stage_array


@dataclass(frozen=True)
class Staged:
    """A modality's arrays.

    Attributes:
        parts: the temporary files, by the place they are for.
        statistics: one a band; none where no pixel is valid.
        valid: number of valid pixels.
    """

    parts: dict[Path, Path]
    statistics: tuple[BandStatistics, ...]
    valid: int


def stage_modality(
    rows: Iterable[RowsPart], target: Path, shape: tuple[int, int, int], dtype: np.dtype, origin: tuple[int, int] | None
) -> Staged:
    """Write a modality's values, its validity where a pixel is missing, and its blocks.

    Args:
        rows: of the tile from top to bottom, (h, W, C) values and (h, W) bool or None; gone through once.
        target: where the values are to be.
        shape: (H, W, C).
        dtype: uint8, uint16 or float32.
        origin: of the tile, where blocks are wanted, from `origin_of`; None for no blocks.

    Raises:
        OSError: when the disk is full, with the name of a file.
    """
    if dtype == np.float32:
        return _stage_measured(rows, target, shape, origin)
    with ArrayWriter(target, shape, dtype) as writer, _ValidityWriter(target, shape[:2]) as validity:

        def written() -> Iterator[RowsPart]:
            for values, valid in rows:
                writer.write(values)
                validity.write(valid, len(values))
                yield values, valid

        statistics = describe_rows(written, dtype)  # which takes whole numbers once
    return Staged({target: writer.part} | validity.parts, statistics, validity.count)


def stage_label(
    rows: Iterable[np.ndarray], target: Path, shape: tuple[int, int]
) -> tuple[dict[Path, Path], np.ndarray]:
    """Write a label, and which squares have a labelled pixel where some have none.

    Rows, (h, W) uint8 class indices, come from top to bottom.

    Returns:
        The temporary files by the places they are for, and how many pixels have each index, (256,).

    Raises:
        OSError: when the disk is full, with the name of the file.
    """
    pixels, marks, first = np.zeros(256, np.int64), np.zeros(marks_shape(shape), bool), 0
    columns = np.arange(0, shape[1], MARK)
    with ArrayWriter(target, shape, np.uint8) as writer:
        for classes in rows:
            writer.write(classes)
            pixels += np.bincount(classes.ravel(), minlength=256)
            squares = np.logical_or.reduceat(classes != IGNORE_INDEX, columns, axis=1)
            lines = (first + np.arange(len(classes))) // MARK
            # rows come in strips that need not begin where squares do
            starts = np.flatnonzero(np.diff(lines, prepend=-1))
            marks[lines[starts]] |= np.logical_or.reduceat(squares, starts, axis=0)
            first += len(classes)
    parts = {target: writer.part}
    if not marks.all():
        place = _beside(target, "marks")
        parts[place] = stage_array(place, marks.astype(np.uint8))
    return parts, pixels


def _stage_measured(
    rows: Iterable[RowsPart], target: Path, shape: tuple[int, int, int], origin: tuple[int, int] | None
) -> Staged:
    """Of float32: missing pixels take a band's median, which is known once all rows are."""
    height, width, bands = shape
    with _Spool(target, shape) as spool:
        for values, valid in rows:
            spool.write(values, valid)
        statistics = tuple(figures for band in range(bands) for figures in spool.described(band))
        if not statistics:
            return Staged({}, (), 0)
        median = np.array([figures.p50 for figures in statistics], np.float32)
        with ExitStack() as stack:
            writer = stack.enter_context(ArrayWriter(target, shape, np.float32))
            validity = stack.enter_context(_ValidityWriter(target, shape[:2]))

            def written() -> Iterator[RowsPart]:
                for part in strips(shape if origin is None else shape[:2]):
                    values, valid = spool.read(part)
                    if valid is not None:
                        values[~valid] = median
                    writer.write(values)
                    validity.write(valid, len(values))
                    yield values, valid

            if origin is None:
                for _ in written():
                    pass
                return Staged({target: writer.part} | validity.parts, statistics, validity.count)
            # made as the values are written, so that the spool is read once less
            blocks = (*block_shape(shape[:2], origin), 3 + bands)
            summary = stack.enter_context(ArrayWriter(_beside(target, "blocks"), blocks, np.float32))
            for sums in block_rows(written, height, width, origin):
                summary.write(sums)
        parts = {target: writer.part, summary.target: summary.part} | validity.parts
        return Staged(parts, statistics, validity.count)


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f"{target.stem}.{what}.npy")


class _ValidityWriter:
    """Writes which pixels of a modality are valid, from the first that is not; a context manager.

    Attributes:
        count: of valid pixels so far.
    """

    def __init__(self, target: Path, shape: tuple[int, int]) -> None:
        self.count = 0
        self._target, self._shape = _beside(target, "valid"), shape
        self._writer: ArrayWriter | None = None
        self._above = 0
        self._stack = ExitStack()

    def __enter__(self) -> "_ValidityWriter":
        return self

    @property
    def parts(self) -> dict[Path, Path]:
        """The temporary file by its place; empty where all pixels are valid."""
        return {self._target: self._writer.part} if self._writer is not None else {}

    def write(self, valid: np.ndarray | None, height: int) -> None:
        """The next rows, (h, W) bool; None where all of them are valid."""
        count = height * self._shape[1] if valid is None else int(np.count_nonzero(valid))
        self.count += count
        if self._writer is None:
            if count == height * self._shape[1]:
                self._above += height
                return
            self._writer = self._stack.enter_context(ArrayWriter(self._target, self._shape, np.uint8))
            # the rows above were all valid, of which nothing was written so far
            for part in strips((self._above, self._shape[1])):
                self._writer.write(np.ones((part.stop - part.start, self._shape[1]), np.uint8))
        # a view of bool as bytes costs no copy; True is 1
        rows = np.ones((height, self._shape[1]), np.uint8) if valid is None else valid.view(np.uint8)
        self._writer.write(rows)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        return self._stack.__exit__(kind, error, trace)


class _Spool:
    """Rows of float32 in a file without a name, plane by plane, that can be read again; a context manager."""

    def __init__(self, target: Path, shape: tuple[int, int, int]) -> None:
        self._target, self._shape = target, shape
        self._rows, self._complete = 0, True

    def __enter__(self) -> "_Spool":
        with named(self._target):
            # unbuffered, since planes are large: a write or read may then end early, and is gone on with
            self._file = tempfile.TemporaryFile(dir=self._target.parent, buffering=0)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def write(self, values: np.ndarray, valid: np.ndarray | None) -> None:
        """The next rows, (h, W, C) float32; of (h, W) bool that is false, NaN is kept."""
        for band in range(self._shape[2]):
            plane = values[:, :, band]
            if valid is not None:
                self._complete = False
                plane = np.where(valid, plane, np.float32(np.nan))
            content = np.ascontiguousarray(plane).data.cast("B")
            with named(self._target):
                self._file.seek(self._place(band, self._rows))
                while content:
                    content = content[self._file.write(content) :]
        self._rows += len(values)

    def described(self, band: int) -> tuple[BandStatistics, ...]:
        """Statistics of a band's valid pixels; empty where there is none."""

        def rows() -> Iterator[RowsPart]:
            for part in strips(self._shape[:2]):
                plane = self._plane(band, part)
                yield plane[:, :, None], None if self._complete else ~np.isnan(plane)

        return describe_rows(rows, np.dtype(np.float32))

    def read(self, rows: slice) -> RowsPart:
        """Rows again: (h, W, C), NaN where missing, and (h, W) bool; None where none is in the whole raster."""
        planes = [self._plane(band, rows) for band in range(self._shape[2])]
        values = planes[0][:, :, None] if len(planes) == 1 else np.stack(planes, axis=2)
        # any band tells, for a pixel is missing in all of them or in none
        return values, None if self._complete else ~np.isnan(planes[0])

    def _plane(self, band: int, rows: slice) -> np.ndarray:
        plane = np.empty((rows.stop - rows.start, self._shape[1]), np.float32)
        content = plane.data.cast("B")
        self._file.seek(self._place(band, rows.start))
        while content:
            content = content[self._file.readinto(content) :]
        return plane

    def _place(self, band: int, row: int) -> int:
        # plane by plane, as statistics are taken of one band at a time
        return 4 * (band * self._shape[0] + row) * self._shape[1]
