"""Reading and checking the rasters of one tile: every complaint a raster can earn is worded here."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobanet.data.blocks import origin_of, summarise
from mobanet.data.layout import IGNORE_INDEX, DecodedLabel, FileRef, Modality, Source
from mobanet.data.preparation.jobs import Job
from mobanet.data.preparation.statistics import describe
from mobanet.data.scaling import known_range, usual_scaling
from mobanet.data.sources.alignment import Fit, align, align_label, how_to_fit, source_window, window_grid
from mobanet.data.sources.archives import local_copy, read_text
from mobanet.data.sources.bands import colour_table, find_mask
from mobanet.data.sources.declared import Reading, check_values, settle
from mobanet.data.sources.georeference import read_world
from mobanet.data.sources.labels import strips
from mobanet.data.sources.palettes import label_colours
from mobanet.data.sources.rasters import Grid, grid_of, opened, read_label
from mobanet.data.sources.values import Described, Range
from mobanet.data.store import LabelRecord, ModalityRecord
from mobanet.errors import UserError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_SOME = 100_000
"""Pixels of a label that are looked at for an example of what is wrong with it."""

MOSTLY = 0.5
"""A label in which more than this share of the pixels names no class is taken for a wrong file."""


@dataclass(frozen=True)
class Product:
    """Arrays to store, by array name, what is to be recorded about them, and remarks for the user."""

    arrays: dict[str, np.ndarray]
    record: ModalityRecord | LabelRecord
    notes: tuple[str, ...]


class Products:
    """The rasters of one tile. Archive members stay unpacked until `stack` closes."""

    def __init__(self, job: Job, stack: ExitStack) -> None:
        self.job = job
        self._stack = stack
        self._local: dict[FileRef, Path] = {}

    def path(self, file: FileRef) -> Path:
        """Where GDAL can open `file`."""
        if file not in self._local:
            self._local[file] = self._stack.enter_context(local_copy(file, self.job.scratch))
        return self._local[file]

    def reference(self) -> tuple[Grid, str]:
        """The tile's grid, and the modality that sets it: the layout's choice, or the first one wanted that is there.

        Raises:
            UserError: when that raster or the tile's world file is unreadable.
        """
        job = self.job
        name = next(name for name in job.wanted if name in job.tile.sources)
        name, file = job.tile.reference or (name, job.tile.sources[name].file)
        with opened(self.path(file), file) as raster:
            grid = grid_of(raster, job.layout.crs, file)
            if job.tile.measure is not None:
                grid = self._measured(grid, file)
        if job.layout.placing == "extent":
            grid = Grid(grid.height, grid.width)
        if grid.transform is None and job.tile.world is not None:
            text = read_text(job.tile.world, job.scratch)
            transform = read_world(text, grid.height, grid.width, job.tile.world)
            grid = Grid(grid.height, grid.width, transform, job.layout.crs)
        return grid, name

    def _measured(self, grid: Grid, file: FileRef) -> Grid:
        """The same place with pixels of the size that those of another tile have."""
        measure = self.job.tile.measure
        with opened(self.path(measure), measure) as raster:
            other = grid_of(raster, self.job.layout.crs, measure)
        if grid.transform is None or other.transform is None:
            return grid  # rasters without a georeference share their pixels
        if grid.crs != other.crs:
            raise UserError(
                f"{file} lies in {grid.crs} and {measure}, whose pixels set the size of all tiles', in {other.crs}: "
                "add the raster that the tile lacks, or name another modality as grid"
            )
        return grid.with_pixels_of(other)

    def modality(self, name: str, grid: Grid, stamp: str) -> Product:
        """A modality on the tile's grid.

        Raises:
            UserError: when the raster is unreadable, does not fit, or has no valid pixel.
        """
        job, source = self.job, self.job.tile.sources[name]
        self.compare_copies(name, source.file)
        with opened(self.path(source.file), source.file) as raster:
            reading = settled(raster, source, job.tile.band_counts.get(name), *self.known(name))
            own, fit = self.fit(raster, source.file, grid)
            window = source_window(own, grid) if fit == "warp" else None
            values, valid = reading.read(raster, window)
            raw = raster.dtypes[reading.bands[0]], raster.count
        elevation = job.layout.modalities[name].kind == "elevation"
        values, valid = align(values, valid, window_grid(own, window) if window else own, grid, fit)
        if valid is not None and not valid.any():
            raise UserError(f"{source.file} has no valid pixel: replace or remove it")
        statistics = tuple(describe(plane, valid) for plane in values)
        low, high = min(figures.minimum for figures in statistics), max(figures.maximum for figures in statistics)
        check_values(reading, low, high, Described(), self.known(name)[1])
        if valid is not None and values.dtype == np.float32:
            for plane, figures in zip(values, statistics, strict=True):
                plane[~valid] = figures.p50
        flat = [figures.minimum for figures in statistics if figures.minimum == figures.maximum]
        notes = [f"{name}: {source.file.name} is {flat[0]:g} everywhere"] if flat else []
        arrays = {name: np.ascontiguousarray(values.transpose(1, 2, 0))}  # (H, W, bands)
        if valid is not None:
            arrays[f"{name}.valid"] = valid.astype(np.uint8)
        if elevation:
            arrays[f"{name}.blocks"] = _blocks(arrays[name], valid, grid)
        record = ModalityRecord(
            bands=len(values),
            dtype=str(values.dtype),
            complete=valid is None,
            valid_share=1.0 if valid is None else float(valid.mean()),
            statistics=statistics,
            source=job.entries[source.file].location,
            stamp=stamp,
            blocks=elevation,
            rule=reading.rule(*raw),
        )
        return Product(arrays, record, (*fit_notes(name, source.file, own, grid, fit), *reading.remarks(), *notes))

    def known(self, name: str) -> tuple[Modality, Range | None]:
        """A modality, and the values that it may have where the layout's own scaling takes them for granted."""
        layout = self.job.layout
        modality = layout.modalities[name]
        return modality, known_range(modality, usual_scaling(layout, modality))

    def label(self, name: str, grid: Grid, stamp: str) -> Product:
        """A label on the tile's grid.

        Args:
            name: `label_full` or `label_eroded`.
            grid: of the tile.
            stamp: to record.

        Raises:
            UserError: when the raster is unreadable, does not fit, or is no label of the layout.
        """
        job, file = self.job, self.job.tile.labels["full" if name == "label_full" else "eroded"]
        drawn = job.layout.draw_label(job.tile, grid, self.path)
        if drawn is not None:
            decoded, classes, notes = drawn.decoded, drawn.decoded.classes, [f"{name}: {note}" for note in drawn.notes]
        else:
            decoded, classes, notes = self._label_raster(name, file, grid)
        pixels = sum(np.bincount(classes[rows].ravel(), minlength=256) for rows in strips(classes.shape))
        record = LabelRecord(
            pixels=tuple(pixels[: len(job.layout.classes)].tolist()),
            ignored=int(pixels[IGNORE_INDEX]),
            corrected=decoded.corrected,
            unknown=decoded.unknown,
            source=job.entries[file].location,
            stamp=stamp,
        )
        return Product({name: np.ascontiguousarray(classes)}, record, tuple(notes))

    def _label_raster(self, name: str, file: FileRef, grid: Grid) -> tuple[DecodedLabel, np.ndarray, list[str]]:
        """A label raster decoded, (H, W) class indices on the tile's grid, and remarks."""
        self.compare_copies(name, file)
        with opened(self.path(file), file) as raster:
            own, fit = self.fit(raster, file, grid)
            window = source_window(own, grid) if fit == "warp" else None
            label = read_label(raster, window)
            if self.job.layout.coloured_labels:
                label = (label_colours(raster, label[0]), *label[1:])
        decoded, more = self.decode(*label, file)
        classes = align_label(decoded.classes, window_grid(own, window) if window else own, grid, fit)
        notes = [*fit_notes(name, file, own, grid, fit), *label_notes(name, decoded)]
        return decoded, classes, [*notes, *(f"{name}: {note}" for note in more)]

    def decode(
        self, values: np.ndarray, missing: np.ndarray, empty: np.ndarray | None, file: FileRef
    ) -> tuple[DecodedLabel, list[str]]:
        """Class indices of a label raster, and remarks; what the raster itself calls missing is ignored.

        Its nodata value is not, where the layout names a class by it: that comes from the user, and nodata often from
        whichever program wrote the file.

        Args:
            values: (bands, H, W).
            missing: (H, W) bool, pixels without a label.
            empty: (H, W) bool, pixels with the nodata value; None where none is declared.
            file: for messages.

        Raises:
            UserError: when it is no label of the layout.
        """
        notes: list[str] = []
        try:
            if empty is not None and empty.any():
                at = tuple(np.argwhere(empty)[0])
                alone = values[(slice(None), *at)][:, None, None]  # (bands, 1, 1)
                index = int(self.job.layout.decode_label(alone).classes[0, 0])
                if index == IGNORE_INDEX:
                    missing = missing | empty
                else:
                    value = ", ".join(f"{number:g}" for number in alone.ravel().tolist())
                    name = self.job.layout.classes.names[index]
                    notes.append(f"{file.name} declares {value} as nodata, which is the class {name} and counts as it")
            valid = ~missing if missing.any() else None
            if valid is None:
                decoded = self.job.layout.decode_label(values)
            else:
                inside = self.job.layout.decode_label(values[:, valid][:, :, None])  # (bands, valid pixels, 1)
                classes = np.full(valid.shape, IGNORE_INDEX, np.uint8)
                classes[valid] = inside.classes[:, 0]
                decoded = DecodedLabel(classes, inside.corrected, inside.unknown)
        except UserError as error:
            raise UserError(f"{file} {error}") from error
        share = decoded.unknown / decoded.classes.size
        if share > MOSTLY:
            example = self._unknown(values[:, decoded.classes == IGNORE_INDEX])
            raise UserError(
                f"{file} names no class in {100 * share:.0f} % of its pixels, such as {example}: "
                f"{self.job.layout.label_remedy}"
            )
        return decoded, notes

    def _unknown(self, pixels: np.ndarray) -> str:
        """The most frequent value or colour that names no class, among pixels without one, (bands, n)."""
        found, counts = np.unique(pixels[:, :: max(1, pixels.shape[1] // _SOME)], axis=1, return_counts=True)
        for number in np.argsort(-counts, kind="stable"):
            if self.job.layout.decode_label(found[:, number, None, None]).unknown:  # not one that is to be ignored
                break
        return ", ".join(f"{value:g}" for value in found[:, number].tolist())

    def fit(self, raster: "DatasetReader", file: FileRef, grid: Grid) -> tuple[Grid, Fit]:
        """The grid of an open raster, and how it gets to the tile's.

        Raises:
            UserError: when it does not; both sizes or extents are in the sentence.
        """
        own = grid_of(raster, self.job.layout.crs, file)
        try:
            return own, how_to_fit(own, grid, self.job.layout.placing)
        except UserError as error:
            raise UserError(f"{file} {error}") from error

    def compare_copies(self, name: str, file: FileRef) -> None:
        """Refuse copies of a product that have different sizes in pixels."""
        entries = self.job.entries
        for other in self.job.tile.copies.get(name, ()):
            if entries[other].size == entries[file].size:
                continue
            with opened(self.path(file), file) as one, opened(self.path(other), other) as two:
                if one.shape != two.shape:
                    raise UserError(
                        f"{file} has {one.width} x {one.height} pixels and its copy {other} {two.width} x {two.height}:"
                        " remove the wrong one"
                    )


def _blocks(values: np.ndarray, valid: np.ndarray | None, grid: Grid) -> np.ndarray:
    """An elevation raster, (H, W, C), in blocks."""

    def rows() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for part in strips(values.shape[:2]):
            yield values[part], None if valid is None else valid[part]

    return summarise(rows, *values.shape[:2], origin_of(grid.transform))


def settled(
    raster: "DatasetReader", source: Source, declared: int | None, modality: Modality, known: Range | None
) -> Reading:
    """How a modality is read from an open raster.

    Args:
        raster: open.
        source: what is read from it.
        declared: how many data bands it must have; None for at least those read.
        modality: what it is read for.
        known: the values that imagery may have; None for any.

    Raises:
        UserError: when it has another number of bands, or other types or values than declared.
    """
    mask = find_mask(raster, (*source.bands, *source.others), declared)
    table = colour_table(raster, source, modality)
    count = len(mask.data) if table is None else len(table)
    needed = max(source.bands) + 1 if declared is None else declared
    if count < needed or declared not in (None, count):
        bands = "1 band" if count == 1 else f"{count} bands"
        raise UserError(
            f"{source.file} has {bands} where {modality.name} needs {needed}: put the right raster there, or for layout"
            " folder list its bands"
        )
    return settle(raster, source, modality, mask, Described(), known)


def fit_notes(name: str, file: FileRef, own: Grid, grid: Grid, fit: Fit) -> list[str]:
    """What was done to bring a raster to the tile's grid."""
    if fit == "edge":
        return [f"{name}: {file.name} is {own.size} pixels, the tile {grid.size}; padded as missing or cropped"]
    if fit == "warp":
        return [f"{name}: {file.name} ({own.size} pixels) was resampled to the tile's {grid.size}"]
    return []


def label_notes(name: str, decoded: DecodedLabel, thinned: bool = False) -> list[str]:
    """What did not fit the palette: in pixels, or as a share where not all pixels were read."""
    notes = []
    for count, what in (
        (decoded.corrected, "off the palette took the nearest colour's class"),
        (decoded.unknown, "name no class and are ignored"),
    ):
        if count:
            amount = f"about {100 * count / decoded.classes.size:.2g} % of the" if thinned else f"{count}"
            notes.append(f"{name}: {amount} pixels {what}")
    return notes
