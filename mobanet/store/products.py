"""Reading and checking the rasters of one tile: every complaint a raster can earn is worded here."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobanet.datasets.base import Layout
from mobanet.datasets.held_out import KeptRows, Rectangle
from mobanet.datasets.scalings import usual_scaling
from mobanet.errors import UserError
from mobanet.rasters.alignment import Fit, cut_place, how_to_fit, part_of
from mobanet.rasters.archives import local_copy, read_text
from mobanet.rasters.blocks import origin_of
from mobanet.rasters.contents import IGNORE_INDEX, FileRef, Modality
from mobanet.rasters.elsewhere import Place
from mobanet.rasters.georeference import read_world
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import grid_of, open_raster, read_label, readable
from mobanet.rasters.palettes import label_colours
from mobanet.rasters.reader import Reading, check_values, settled
from mobanet.rasters.resampling import resampled, window_needed
from mobanet.rasters.rows import GridRows, RowsPart, row_windows, rows_at_once, within
from mobanet.rasters.values import DESCRIBED, Range, known_range
from mobanet.store.decoding import LabelDecoder, Raw
from mobanet.store.jobs import TileJob, label_kind
from mobanet.store.staging import stage_label, stage_modality
from mobanet.store.stored import LabelRecord, ModalityRecord

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window


@dataclass(frozen=True)
class StoredProduct:
    """Temporary files by the places they are for, what is to be recorded about them, and remarks for the user.

    Of a raster that has nothing on a tile that was cut, there is no record.
    """

    parts: dict[Path, Path]
    record: ModalityRecord | LabelRecord | None
    notes: tuple[str, ...]


def _window(cut: Rectangle, grid: Grid, ratio: int) -> "Window":
    """Where a cut tile lies in a raster whose pixels are so many times as wide as those of the one that sets the grid.

    Raises:
        UserError: where the tile begins within such a pixel.
    """
    from rasterio.windows import Window

    top, left, *_ = cut
    if top % ratio or left % ratio:
        raise UserError(
            f"has no georeference, and the tile begins at row {top} and column {left}, within one of its pixels, which "
            f"are {ratio} of the grid's wide: cut tiles of a multiple of {ratio} pixels with tiling.size"
        )
    return Window(left // ratio, top // ratio, grid.width, grid.height)


@dataclass(frozen=True)
class Placed:
    """How a raster gets to a tile.

    Attributes:
        own: grid of the raster, or of its part that the tile needs, which for a tile that was cut may reach beyond it.
        fit: how that gets to the tile's.
        part: where that is in the raster; None for the whole of it.
        whole: grid of the raster.
    """

    own: Grid
    fit: Fit
    part: "Window | None"
    whole: Grid

    @property
    def resamples(self) -> bool:
        """Whether its pixels become others."""
        return self.fit in ("warp", "stretch")

    def reading(self, read: "Callable[[Window], RowsPart]") -> "Callable[[Window], RowsPart]":
        """Reads windows of `own` by a function that reads windows of the raster."""
        return read if self.part is None else within(read, self.whole, self.part)


class Products:
    """The rasters of one tile. Archive members stay unpacked, and rasters open, until `stack` closes."""

    def __init__(self, job: TileJob, stack: ExitStack) -> None:
        self.job = job
        self._stack = stack
        self._local: dict[FileRef, Place] = {}
        self._open: dict[FileRef, DatasetReader] = {}
        self._whole: Grid | None = None  # that a cut tile is a part of

    def path(self, file: FileRef) -> Place:
        """Where GDAL can open `file`."""
        if file not in self._local:
            self._local[file] = self._stack.enter_context(local_copy(file, self.job.scratch))
        return self._local[file]

    def disk_path(self, file: FileRef) -> Path:
        """Where `file`, which is no raster, can be read.

        Raises:
            TypeError: for a raster elsewhere.
        """
        return FileRef(self.path(file)).disk_path

    @contextmanager
    def opened(self, file: FileRef) -> Iterator["DatasetReader"]:
        """A raster of the tile: to open one takes as long as to read a small one, and the first is read twice.

        Raises:
            UserError: when opening or, inside the block, reading fails.
        """
        path = self.path(file)
        with readable(path, file):
            if file not in self._open:
                self._open[file] = self._stack.enter_context(open_raster(path, file))
            # within `readable` at each use: its settings and its sentences hold for reading, too
            yield self._open[file]

    def reference(self) -> tuple[Grid, str]:
        """The tile's grid, and the modality that sets it: the layout's choice, or the first one wanted that is there.

        Raises:
            UserError: when that raster or the tile's world file is unreadable.
        """
        job = self.job
        name = next(name for name in job.wanted if name in job.tile.sources)
        name, file = job.tile.reference or (name, job.tile.sources[name].file)
        with self.opened(file) as raster:
            grid = grid_of(raster, job.layout.crs, file)
            if job.tile.measure is not None:
                grid = self._measured(grid, file, job.tile.measure)
        if job.layout.placing == "extent":
            # of such rasters it is known that they show one square, and not where that lies
            grid = Grid(grid.height, grid.width)
        if grid.transform is None and job.tile.world is not None:
            text = read_text(job.tile.world, job.scratch)
            transform = read_world(text, grid.height, grid.width, job.tile.world)
            grid = Grid(grid.height, grid.width, transform, job.layout.crs)
        if job.tile.window is not None:
            top, left, height, width = job.tile.window
            self._whole, grid = grid, part_of(grid, top, left, height, width)
        return grid, name

    def _measured(self, grid: Grid, file: FileRef, measure: FileRef) -> Grid:
        """The same place with pixels of the size that those of another tile have."""
        with self.opened(measure) as raster:
            other = grid_of(raster, self.job.layout.crs, measure)
        if grid.transform is None or other.transform is None:
            return grid  # rasters without a georeference share their pixels
        if grid.crs != other.crs:
            raise UserError(
                f"{file} lies in {grid.crs} and {measure}, whose pixels set the size of all tiles', in {other.crs}: "
                "add the raster that the tile lacks, or name another modality as grid"
            )
        return grid.with_pixels_of(other)

    def modality(self, name: str, grid: Grid, stamp: str) -> StoredProduct:
        """A modality on the tile's grid, or in pixels of its own from the same corner on.

        Raises:
            UserError: when the raster is unreadable, does not fit, or has no valid pixel.
        """
        job, source = self.job, self.job.tile.sources[name]
        elevation, ratio = job.layout.modalities[name].kind == "elevation", job.layout.modalities[name].pixel_ratio
        grid = grid.coarser(ratio)
        self.compare_copies(name, source.file)
        with self.opened(source.file) as raster:
            reading = settled(raster, source, job.tile.band_counts.get(name), *self.known(name))
            placed = self.placed(raster, source.file, grid, ratio)
            shape = (grid.height, grid.width, len(reading.scale))
            # 4 bytes: to be resampled, values are copied as float32
            self._check_room(source.file, placed, grid, shape[2] * reading.dtype.itemsize, 4 * shape[2])
            rows = self._modality_rows(raster, reading, placed, grid)
            origin = origin_of(grid.transform) if elevation else None
            staged = stage_modality(rows, job.folder / f"{name}.npy", shape, reading.dtype, origin)
            rule = reading.rule(raster)
        statistics = staged.statistics
        if not statistics:
            if job.tile.window is None:
                raise UserError(f"{source.file} has no valid pixel: replace or remove it")
            return StoredProduct({}, None, (nothing_note(name, source.file),))
        low, high = min(figures.minimum for figures in statistics), max(figures.maximum for figures in statistics)
        # once more, of every pixel: `settled` had looked at a few windows
        check_values(reading, low, high, DESCRIBED, self.known(name)[1])
        flat = [figures.minimum for figures in statistics if figures.minimum == figures.maximum]
        notes = [f"{name}: {source.file.name} is {flat[0]:g} everywhere"] if flat else []
        pixels = grid.height * grid.width
        record = ModalityRecord(
            bands=shape[2],
            dtype=str(reading.dtype),
            complete=staged.valid == pixels,
            valid_share=staged.valid / pixels,
            statistics=statistics,
            source=job.entries[source.file].location,
            stamp=stamp,
            blocks=elevation,
            rule=rule,
            pixel_ratio=ratio,
        )
        notes = [*fit_notes(name, source.file, placed, grid), *reading.remarks(), *notes]
        return StoredProduct(staged.parts, record, tuple(notes))

    def _modality_rows(
        self, raster: "DatasetReader", reading: Reading, placed: Placed, grid: Grid
    ) -> Iterator[RowsPart]:
        """A modality on the tile's grid, from top to bottom: (h, W, C) values, and (h, W) bool or None."""
        bands, own, fit = len(reading.scale), placed.own, placed.fit
        if not placed.resamples:
            read = placed.reading(partial(reading.read, raster))
            yield from GridRows(read, bands, reading.dtype, own, grid, fit).chunks()
            return

        def marked(window: "Window") -> np.ndarray:
            values, valid = reading.read(raster, window)
            values = values.astype(np.float32)
            if valid is not None:
                values[:, ~valid] = np.nan  # for the warper, which else knows only one number for what is missing
            return values

        with resampled(marked, bands, np.nan, "float32", own, grid, fit, "bilinear", self.job.scratch) as strips:
            for planes in strips:
                yield _unmarked(planes, reading.dtype)

    def _check_room(self, file: FileRef, placed: Placed, grid: Grid, stored: int, copied: int) -> None:
        """Refuse more pixels than the disk takes: a few bytes of a damaged header ask for any number of them.

        `stored` are bytes a pixel of the tile, `copied` a pixel of the raster, where it is copied to be resampled.
        """
        needed, free = grid.height * grid.width * stored, shutil.disk_usage(self.job.folder).free
        if placed.resamples:
            window = window_needed(placed.own, grid, placed.fit)
            needed += window.height * window.width * copied
        if needed > free:
            raise UserError(
                f"{file} says that it has more pixels than the disk holds: they take {needed / 1e9:.3g} GB in the "
                f"store, where {free / 1e9:.3g} GB are free: free some space, or cut it into tiles"
            )

    def known(self, name: str) -> tuple[Modality, Range | None]:
        """A modality, and the values that it may have where the layout's own scaling takes them for granted."""
        layout = self.job.layout
        modality = layout.modalities[name]
        return modality, known_range(modality, usual_scaling(layout, modality))

    def label(self, name: str, grid: Grid, stamp: str) -> StoredProduct:
        """A label, `label_full` or `label_eroded`, on the tile's grid.

        Raises:
            UserError: when the raster is unreadable, does not fit, or is no label of the layout.
        """
        job, kind = self.job, label_kind(name)
        file = job.tile.labels[kind]
        target, shape = job.folder / f"{name}.npy", (grid.height, grid.width)
        drawn = job.layout.draw_label(job.tile, kind, grid, self.disk_path)
        if drawn is not None:
            parts, pixels = stage_label(self._kept(drawn.strips(rows_at_once(grid.width)), grid), target, shape)
            corrected = unknown = 0
            notes = [f"{name}: {note}" for note in drawn.notes]
        else:
            self.compare_copies(name, file)
            with self.opened(file) as raster:
                placed = self.placed(raster, file, grid)
                self._check_room(file, placed, grid, 1, 1)
                decoder = LabelDecoder(job.layout, file)
                rows = self._label_rows(raster, decoder, placed, grid)
                parts, pixels = stage_label(self._kept(rows, grid), target, shape)
            corrected, unknown = decoder.corrected, decoder.unknown
            notes = [*fit_notes(name, file, placed, grid), *label_notes(name, decoder)]
        record = LabelRecord(
            pixels=tuple(pixels[: len(job.layout.classes)].tolist()),
            ignored=int(pixels[IGNORE_INDEX]),
            corrected=corrected,
            unknown=unknown,
            source=job.entries[file].location,
            stamp=stamp,
            marks=len(parts) > 1,
        )
        return StoredProduct(parts, record, tuple(notes))

    def _label_rows(
        self, raster: "DatasetReader", decoder: LabelDecoder, placed: Placed, grid: Grid
    ) -> Iterator[np.ndarray]:
        """A label raster decoded on the tile's grid, from top to bottom, (h, W) class indices."""
        own, fit, part = placed.own, placed.fit, placed.part

        def raw(window: "Window") -> Raw:
            return label_strip(raster, self.job.layout, window)

        def again() -> Iterator[Raw]:
            whole = window_needed(own, grid, fit) if part is None else part.crop(raster.height, raster.width)
            return map(raw, row_windows(whole, rows_at_once(own.width, raster.count, raster.dtypes[0])))

        def decoded(window: "Window") -> np.ndarray:
            return decoder.count(*raw(window))[None]  # (1, h, W)

        if placed.resamples:
            # nearest, since between two classes there is none
            with resampled(decoded, 1, IGNORE_INDEX, "uint8", own, grid, fit, "nearest", self.job.scratch) as strips:
                # all of the raster was read, and so counted, as the block began
                decoder.judge(again)
                for planes in strips:
                    yield planes[0]
            return
        read = placed.reading(lambda window: (decoded(window), None))
        for values, valid in GridRows(read, 1, np.dtype(np.uint8), own, grid, fit).chunks():
            classes = values[:, :, 0]
            if valid is not None:
                # beyond the raster there are zeros, which is a class
                classes[~valid] = IGNORE_INDEX
            yield classes
        decoder.judge(again)

    def _kept(self, strips: Iterator[np.ndarray], grid: Grid) -> Iterator[np.ndarray]:
        """Class indices, ignored where the labels of a tile near ground that is held out do not count."""
        tile = self.job.tile
        if tile.held is None:
            yield from strips
            return
        kept = KeptRows(tile.held, grid, self.job.layout.draw_areas(tile, self.disk_path), rows_at_once(grid.width))
        for classes in strips:
            yield np.where(kept.take(len(classes)), classes, np.uint8(IGNORE_INDEX))

    def placed(self, raster: "DatasetReader", file: FileRef, grid: Grid, ratio: int = 1) -> Placed:
        """How an open raster gets to the tile's grid, in pixels of which `ratio` of the tile's are one wide and high.

        Raises:
            UserError: when it does not; both sizes or extents are in the sentence.
        """
        own, placing = grid_of(raster, self.job.layout.crs, file), self.job.layout.placing
        cut = self.job.tile.window
        try:
            if self._whole is None or cut is None:
                return Placed(own, how_to_fit(own, grid, placing), None, own)
            place = cut_place(own, grid)
            whole_pixels = not (cut[0] % ratio or cut[1] % ratio)
            unplaced = own.transform is None or grid.transform is None
            shared = how_to_fit(own, self._whole.coarser(ratio), placing) in ("same", "edge")
            if place is None and shared and (whole_pixels or unplaced):
                place = _window(cut, grid, ratio)  # rasters without a georeference share their pixels
            if place is not None:
                return Placed(grid, "same", place, own)
            return Placed(own, how_to_fit(own, grid, placing), None, own)
        except UserError as error:
            raise UserError(f"{file} {error}") from error

    def compare_copies(self, name: str, file: FileRef) -> None:
        """Refuse copies of a product that have different sizes in pixels."""
        entries = self.job.entries
        for other in self.job.tile.copies.get(name, ()):
            # of one size in bytes they are taken for alike, without being opened
            if entries[other].size == entries[file].size:
                continue
            with self.opened(file) as one, self.opened(other) as two:
                if one.shape != two.shape:
                    raise UserError(
                        f"{file} has {one.width} x {one.height} pixels and its copy {other} {two.width} x {two.height}:"
                        " remove the wrong one"
                    )


def _unmarked(planes: np.ndarray, dtype: np.dtype) -> RowsPart:
    """Of (C, h, w) float32, NaN where missing: (h, w, C) in the stored type, 0 there, and (h, w) bool or None."""
    # a pixel has one validity for all its bands
    valid = np.isfinite(planes).all(axis=0)
    known = np.where(valid, planes, 0)
    # zeros for NaN before the cast, which makes any number of a NaN
    values = (np.rint(known) if np.issubdtype(dtype, np.integer) else known).astype(dtype)
    return np.ascontiguousarray(values.transpose(1, 2, 0)), None if valid.all() else valid


def nothing_note(name: str, file: FileRef) -> str:
    """Of a raster that has nothing on a tile that was cut."""
    return f"{name}: {file.name} has nothing here"


def fit_notes(name: str, file: FileRef, placed: Placed, grid: Grid) -> list[str]:
    """What was done to bring a raster to the tile's grid."""
    size = placed.own.size
    if placed.fit == "edge":
        return [f"{name}: {file.name} is {size} pixels, the tile {grid.size}; padded as missing or cropped"]
    if placed.fit == "warp":
        return [f"{name}: {file.name} ({size} pixels) was resampled to the tile's {grid.size}"]
    return []


def label_strip(raster: "DatasetReader", layout: Layout, window: "Window | None" = None, **thinned: Any) -> Raw:
    """A part of an open label raster, as colours where the layout tells classes by them; `thinned` as `read_label`."""
    values, missing, empty = read_label(raster, window, **thinned)
    return label_colours(raster, values) if layout.coloured_labels else values, missing, empty


def label_notes(name: str, decoder: LabelDecoder, thinned: bool = False) -> list[str]:
    """What did not fit the palette: in pixels, or as a share where not all pixels were read; and what else was met."""
    notes = []
    for count, what in (
        (decoder.corrected, "off the palette took the nearest colour's class"),
        (decoder.unknown, "name no class and are ignored"),
    ):
        if count:
            amount = f"about {100 * count / decoder.size:.2g} % of the" if thinned else f"{count}"
            notes.append(f"{name}: {amount} pixels {what}")
    return [*notes, *(f"{name}: {note}" for note in decoder.notes)]
