"""Looking at a data set without preparing it: what is there, what it looks like, and everything that is wrong.

Rasters are read thinned out, every so many pixels, so that shares and ranges are estimates and a check takes a fraction
of the time that preparing does.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobanet.datasets.base import DrawnLabel, Layout
from mobanet.datasets.catalogue import check_root, list_files
from mobanet.datasets.held_out import ROLES, KeptRows
from mobanet.datasets.scalings import usual_scaling
from mobanet.errors import UserError
from mobanet.plain.wording import absent_note, shorten
from mobanet.rasters.alignment import Fit, align_label, source_window, window_grid
from mobanet.rasters.contents import IGNORE_INDEX, FileRef
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import grid_of, opened
from mobanet.rasters.reader import check_values, settled
from mobanet.rasters.rows import CACHE_BYTES, CHUNK, rows_at_once
from mobanet.rasters.values import DESCRIBED, fitting_maximum, range_note
from mobanet.store.decoding import LabelDecoder
from mobanet.store.jobs import TileJob, clause_of, inspect_labels, jobs_for, label_kind, nothing_drawn
from mobanet.store.pool import in_processes
from mobanet.store.products import Products, fit_notes, label_notes, label_strip, nothing_note
from mobanet.store.progress import TaskProgress
from mobanet.store.scratch import scratch_folder
from mobanet.store.stored import default_store

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

SAMPLE = 512  # pixels along the longer side of a thinned-out raster


@dataclass(frozen=True)
class RasterLook:
    """One raster of one tile, thinned out.

    Attributes:
        product: a modality, `label_full` or `label_eroded`.
        source: the file, below the root.
        grid: of the whole raster.
        bands: number of the bands that are used, or of a label's, or of the outlines it is drawn from.
        dtype: in the file; `outlines` for such a label.
        low, high: of the valid pixels, in stored units; None for labels.
        missing: share of the tile's pixels that are not measured, or for a label are ignored: by the raster itself, or
            since it does not reach there.
        shares: of the classes among a label's pixels that are not ignored; empty for modalities.
        pixels: (bands, h, w) values, or (1, h, w) class indices.
        valid: (h, w) bool, or None when every pixel is.
    """

    product: str
    source: str
    grid: Grid
    bands: int
    dtype: str
    low: float | None
    high: float | None
    missing: float
    shares: tuple[float, ...]
    pixels: np.ndarray
    valid: np.ndarray | None


@dataclass(frozen=True)
class TileLook:
    """Everything about one tile: rasters by product, remarks, and complaints."""

    tile: str
    looks: dict[str, RasterLook]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """Of a whole data set.

    Attributes:
        layout: the data set's conventions.
        modalities: names of those looked at.
        tiles: in natural order.
        notes: remarks about the whole set.
        windows: of tiles that are cut from larger rasters, by tile, the raster's name and top, left, height and width.
        overall: complaints about the whole set.
        roles: by tile, `train`, `validation` or `test` in the layout's first split, of tiles that have one.
    """

    layout: Layout
    modalities: tuple[str, ...]
    tiles: tuple[TileLook, ...]
    notes: tuple[str, ...]
    windows: Mapping[str, tuple[str, int, int, int, int]]
    overall: tuple[str, ...]
    roles: Mapping[str, str]

    @property
    def problems(self) -> list[str]:
        """Of the whole set and of all tiles."""
        # once each: several tiles may share a file
        return list(dict.fromkeys((*self.overall, *(problem for tile in self.tiles for problem in tile.problems))))

    @property
    def products(self) -> list[str]:
        """Modalities, then the kinds of label that any tile has."""
        kinds = [kind for kind in ("label_full", "label_eroded") if any(kind in tile.looks for tile in self.tiles)]
        return [*self.modalities, *kinds]


def check_files(
    layout: Layout,
    root: Path,
    store: Path | None = None,
    modalities: Sequence[str] | None = None,
    workers: int = 0,
    allow_missing: bool = False,
) -> Findings:
    """Look at every tile below `root`; problems of tiles are collected, not raised. Arguments as for `build_store`.

    Raises:
        UserError: when there is nothing to look at.
    """
    root = Path(root)
    check_root(root, layout.name)
    wanted = layout.check_modalities(modalities)
    folder = Path(store) if store is not None else default_store(root, layout.name)
    with scratch_folder(folder) as scratch:
        catalogue = list_files(root, scratch)
        survey = layout.survey(catalogue, wanted, scratch)
        jobs = jobs_for(survey, catalogue, layout, wanted, folder, scratch, allow_missing)
        notes, problems = [*survey.notes], list[str]()
        try:
            notes += inspect_labels(jobs, layout, scratch)
        except UserError as error:
            problems.append(clause_of(error))
            # which would only say so once more for every tile
            jobs = [replace(job, tile=replace(job.tile, labels={})) for job in jobs]
        found: dict[str, TileLook] = {}
        with TaskProgress("checking tiles", len(jobs)) as steps:
            for look in in_processes(look_at, jobs, workers):
                found[look.tile] = look
                steps.advance()
    tiles = tuple(found[tile.id] for tile in survey.tiles)
    problems += nothing_drawn(jobs, [tile.notes for tile in tiles])
    roles = _roles(layout, [tile.tile for tile in tiles])
    notes += _overall(layout, wanted, tiles, roles)
    # a layout that cuts rasters into tiles names, for each, the one that sets the grid
    cut = [(tile.id, tile.reference, tile.window) for tile in survey.tiles]
    windows = {name: (str(whole[1]), *window) for name, whole, window in cut if whole and window}
    return Findings(layout, wanted, tiles, tuple(notes), windows, tuple(problems), roles)


def _overall(layout: Layout, wanted: Sequence[str], tiles: Sequence[TileLook], roles: Mapping[str, str]) -> list[str]:
    """Remarks about all tiles together: ranges that nobody declares, and classes that a part of the split lacks."""
    notes = []
    for modality in (layout.modalities[name] for name in wanted):
        looks = [tile.looks[modality.name] for tile in tiles if modality.name in tile.looks]
        if modality.maximum is None and usual_scaling(layout, modality) == "unit" and looks:
            dtype = np.result_type(*(look.pixels.dtype for look in looks))
            inside = [look.pixels if look.valid is None else look.pixels[:, look.valid] for look in looks]
            # 98, as the statistics of a store have it: training finds its range by these (`range_of`)
            typical = max(float(np.percentile(values, 98)) for values in inside)
            notes.append(range_note(modality, fitting_maximum(dtype, max(look.high or 0 for look in looks), typical)))
    notes += _pixel_ratios(layout, wanted, tiles)
    for kind in ("label_full", "label_eroded"):
        for role, name in (("train", "training"), ("validation", "validation"), ("test", "test")):
            chosen = [tile for tile in tiles if roles.get(tile.tile) == role]
            chosen = list(tiles) if role == "train" and not chosen else chosen
            shares = [tile.looks[kind].shares for tile in chosen if kind in tile.looks]
            if shares:
                notes.append(_lacking(np.sum(shares, axis=0), layout.classes.names, role, name))
    return [note for note in dict.fromkeys(notes) if note]


def _pixel_ratios(layout: Layout, wanted: Sequence[str], tiles: Sequence[TileLook]) -> Iterator[str]:
    """Remarks on described modalities whose pixels are wider than the finest's by another ratio than is described."""
    # the ratios of other layouts are their own, and nobody can set them
    if layout.name != "folder":
        return
    for name in wanted:
        found = [ratio for tile in tiles if (ratio := _times_as_wide(name, wanted, tile.looks)) is not None]
        if not found:
            continue
        times, given = round(float(np.median(found))), layout.modalities[name].pixel_ratio
        if times < 1 or times == given:
            continue
        becomes = "is resampled to the grid's" if given == 1 else f"is resampled to ones of {given}"
        yield (
            f"{name}: its pixels are about {times} times as wide as the finest modality's, and it {becomes}; "
            f"pixel_ratio: {times} under modalities.{name} keeps its own"
        )


def _times_as_wide(name: str, wanted: Sequence[str], looks: Mapping[str, RasterLook]) -> float | None:
    """A modality's pixels by the finest's, of one tile; None where that cannot be told."""
    grids = {other: looks[other].grid for other in wanted if other in looks and looks[other].grid.transform is not None}
    own = grids.get(name)
    # in one plane only: pixels in degrees have no ratio to pixels in metres
    alike = [grid for grid in grids.values() if own is not None and not grid.needs_transform(own)]
    return own.steps[0] / min(grid.steps[0] for grid in alike) if own is not None and len(alike) > 1 else None


def _lacking(shares: np.ndarray, names: Sequence[str], role: str, name: str) -> str:
    """A remark on the classes that a part of the split lacks; empty for none."""
    if role == "train":
        return absent_note(shares, names, f"{name} tile")
    absent = [name for name, share in zip(names, shares, strict=True) if not share]
    if not absent:
        return ""
    return f"no {name} tile has a pixel of {shorten(absent)}, whose figures will be those of no pixel"


def _roles(layout: Layout, tiles: Sequence[str]) -> dict[str, str]:
    """By tile, its part of the layout's first split; of none where that makes no sense, which fitting says."""
    try:
        split = layout.resolve_split(next(iter(layout.splits)), tiles)
    except UserError:
        return {}
    return {tile: role for role in ROLES for tile in getattr(split, role)}


def look_at(job: TileJob) -> TileLook:
    """One tile, thinned out."""
    import rasterio

    problems, notes = job.problems(), [*job.tile.notes]
    looks: dict[str, RasterLook] = {}
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES))
        products = Products(job, stack)
        grid = None
        try:
            grid, _ = products.reference()
        except UserError as error:
            problems.append(clause_of(error))
        labels = [(f"label_{kind}", file) for kind, file in job.tile.labels.items()]
        for name, file in [*((name, source.file) for name, source in job.tile.sources.items()), *labels]:
            try:
                drawn = look = None
                if grid is not None and name.startswith("label_"):
                    drawn = job.layout.draw_label(job.tile, label_kind(name), grid, products.disk_path)
                if grid is not None and drawn is not None:
                    look, remarks = _look_at_outlines(products, name, file, grid, drawn)
                else:
                    products.compare_copies(name, file)
                    look, remarks = _look(products, name, file, grid)
                looks |= {name: look} if look is not None else {}
                notes.extend(remarks)
            except UserError as error:
                if clause_of(error) not in problems:  # two modalities may share a file
                    problems.append(clause_of(error))
    return TileLook(job.tile.id, looks, tuple(notes), tuple(problems))


def _look(products: Products, name: str, file: FileRef, grid: Grid | None) -> tuple[RasterLook | None, list[str]]:
    from rasterio.windows import Window

    job = products.job
    source = job.tile.sources.get(name)
    ratio = 1 if source is None else job.layout.modalities[name].pixel_ratio
    grid = None if grid is None else grid.coarser(ratio)
    with opened(products.path(file), file, overviews=False) as raster:
        own, part = grid_of(raster, job.layout.crs, file), None
        fit: Fit = "same"
        remarks: list[str] = []
        if grid is not None:
            own, fit, part, remarks = _placed(products, raster, name, file, grid, ratio)
        small = _thinned(own)
        shape = (small.height, small.width)
        raster.read(1, window=Window(0, raster.height - 1, raster.width, 1))  # the end, which a cut file lacks
        dtype = raster.dtypes[0]
        if source is None:
            label = label_strip(raster, job.layout, part, shape=shape)
        else:
            reading = settled(raster, source, job.tile.band_counts.get(name), *products.known(name))
            values, valid = reading.read(raster, part, shape)

    def placed(plane: np.ndarray) -> np.ndarray:
        """A thinned-out plane as the tile will have it; `IGNORE_INDEX` where the raster does not reach."""
        return align_label(plane, _thinned(own), _thinned(grid)) if grid is not None and fit == "warp" else plane

    if source is None:
        decoder = LabelDecoder(job.layout, file)
        classes = decoder.count(*label)
        decoder.judge(lambda: [label])
        remarks += label_notes(name, decoder, thinned=shape != (own.height, own.width))
        kept = _kept(products, placed(classes), grid)
        return _label_look(job, name, file, own, len(label[0]), dtype, kept), remarks
    inside = values if valid is None else values[:, valid]
    if inside.size == 0:
        if job.tile.window is None:
            raise UserError(f"{file} has no valid pixel: replace or remove it")
        return None, [nothing_note(name, file)]
    # brought to the grid as a label is: where the raster does not reach there is 255, which is not 1
    measured = placed(np.ones(shape, np.uint8) if valid is None else valid.astype(np.uint8)) == 1
    missing = 1 - float(measured.mean())
    low, high = float(inside.min()), float(inside.max())
    # once more, of all that was read: `settled` had looked at a few windows
    check_values(reading, low, high, DESCRIBED, products.known(name)[1])
    remarks += reading.remarks()
    location = job.entries[file].location
    return RasterLook(name, location, own, len(values), dtype, low, high, missing, (), values, valid), remarks


def _placed(
    products: Products, raster: "DatasetReader", name: str, file: FileRef, grid: Grid, ratio: int
) -> tuple[Grid, Fit, "Window | None", list[str]]:
    """Grid of the part of a raster that a tile needs, how that gets to the tile's, the part, None for all; remarks."""
    at = products.placed(raster, file, grid, ratio)
    remarks = fit_notes(name, file, at, grid)
    if products.job.tile.window is None:
        return at.whole, at.fit, None, remarks
    # of a raster that many tiles share, only what lies here
    part = source_window(at.whole, grid) if at.part is None else at.part.crop(at.whole.height, at.whole.width)
    own = window_grid(at.whole, part)
    whole = at.part is not None and ((own.height, own.width) == (grid.height, grid.width) or own.transform is None)
    return own, "same" if whole else "warp", part, remarks


def _kept(products: Products, classes: np.ndarray, grid: Grid | None) -> np.ndarray:
    """A label, thinned out, ignored where it does not count."""
    tile = products.job.tile
    if tile.held is None or grid is None:
        return classes
    rows, columns = (nearest(*lengths) for lengths in zip((grid.height, grid.width), classes.shape, strict=True))
    step = rows_at_once(grid.width)
    kept = KeptRows(tile.held, grid, products.job.layout.draw_areas(tile, products.disk_path), step)
    strips = [kept.take(min(step, grid.height - top))[:, columns] for top in range(0, grid.height, step)]
    return np.where(np.concatenate(strips)[rows], classes, np.uint8(IGNORE_INDEX))


def nearest(length: int, thinned: int) -> np.ndarray:
    """The pixels of a side that one with so many takes, in their middles."""
    return ((np.arange(thinned) + 0.5) * length / thinned).astype(int).clip(max=length - 1)


def _thinned(grid: Grid) -> Grid:
    """The same place in pixels as large as a look takes."""
    thinner = max(1, -(-max(grid.height, grid.width) // SAMPLE))
    return grid.in_pixels(grid.width / -(-grid.width // thinner), grid.height / -(-grid.height // thinner))


def _label_look(
    job: TileJob, name: str, file: FileRef, own: Grid, bands: int, dtype: str, classes: np.ndarray
) -> RasterLook:
    # 256, as an ignored pixel is 255
    counts = np.bincount(classes.ravel(), minlength=256)
    ignored = counts[IGNORE_INDEX] / counts.sum()
    # of the labelled pixels, not of all: shares of tiles with gaps can be compared then
    known = counts[: len(job.layout.classes)]
    shares = tuple((known / max(1, known.sum())).tolist())
    location = job.entries[file].location
    return RasterLook(name, location, own, bands, dtype, None, None, ignored, shares, classes[None], None)


def _look_at_outlines(
    products: Products, name: str, file: FileRef, grid: Grid, drawn: DrawnLabel
) -> tuple[RasterLook, list[str]]:
    thinner = max(1, -(-max(grid.height, grid.width) // SAMPLE))
    # a multiple of the thinning, so that each strip begins with a row that is kept
    strips = drawn.strips(thinner * max(1, CHUNK // thinner))
    classes = _kept(products, np.concatenate([strip[::thinner, ::thinner] for strip in strips]), grid)
    look = _label_look(products.job, name, file, grid, drawn.outlines, "outlines", classes)
    return look, [f"{name}: {note}" for note in drawn.notes]
