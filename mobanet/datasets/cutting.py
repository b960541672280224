"""Large rasters of one's own data as tiles: where each lies, what there is of it, and what is held out around it.

What rasters and labels have on a tile is looked up once, and remembered with the listings of the store: a start with a
finished store opens no raster.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mobanet.datasets.base import Layout, Tile
from mobanet.datasets.catalogue import Catalogue
from mobanet.datasets.cells import Cell, area_cells, index_cells, square_cells
from mobanet.datasets.folder_settings import FolderSettings
from mobanet.datasets.held_out import ROLES, HeldOut, Role, rectangles_near
from mobanet.datasets.scalings import usual_scaling
from mobanet.datasets.tiling_settings import areas_file, index_file
from mobanet.datasets.vector_files import VectorLayer, open_layer
from mobanet.datasets.vector_place import PixelPlacement
from mobanet.datasets.vector_settings import IGNORED, VectorLabel
from mobanet.datasets.vector_tiles import sidecars
from mobanet.datasets.vector_values import classed
from mobanet.errors import UserError
from mobanet.plain.typed import build
from mobanet.plain.wording import shorten
from mobanet.rasters.alignment import cut_place, how_to_fit, overlap_window, part_of
from mobanet.rasters.contents import IGNORE_INDEX, FileRef, Source
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import grid_of, opened, read_label
from mobanet.rasters.palettes import label_colours
from mobanet.rasters.reader import settled
from mobanet.rasters.rows import row_windows, rows_at_once
from mobanet.rasters.values import known_range

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

_RULE = 1
"""Goes up when the same rasters are cut in another way."""


@dataclass(frozen=True)
class CutCell:
    """A cell, the modalities of which a pixel there was measured, and whether the label may have a class there."""

    cell: Cell
    modalities: tuple[str, ...]
    labelled: bool


@dataclass(frozen=True)
class CutRaster:
    """The cells of a raster, and the number of parts that areas reach and that are too narrow to be one."""

    grid: Grid
    cells: tuple[CutCell, ...]
    narrow: int


class Cutter:
    """Cuts the rasters of a data set.

    Args:
        layout: of the data.
        settings: its description.
        catalogue: the files.
        files: of index and areas, by the keys that name them.
    """

    def __init__(
        self, layout: Layout, settings: FolderSettings, catalogue: Catalogue, files: Mapping[str, FileRef]
    ) -> None:
        assert settings.tiling is not None  # or there is nothing to cut
        self._layout, self._catalogue = layout, catalogue
        self._tiling, self._splits = settings.tiling, settings.splits
        self._vector = settings.label if isinstance(settings.label, VectorLabel) else None
        self._index, self._areas = files.get("tiling.index"), files.get("splits.areas.vector")
        drawn = [file for file in (self._areas, self._index) if file is not None]
        self._beside = tuple(file for found in sidecars(drawn, catalogue).values() for file in found)

    def cut(self, wholes: Sequence[Tile]) -> tuple[tuple[Tile, ...], list[str]]:
        """The tiles of rasters that are given as if each were one, and remarks."""
        found = {whole.id: self._raster(whole) for whole in wholes}
        # those without a modality that is asked for are dealt out like all others, so that they do not move any
        dealt, bare = dict[str, tuple[Tile, CutCell, Grid]](), list[str]()
        for whole in wholes:
            raster = found[whole.id]
            for cut in raster.cells:
                name = f"{whole.id}_{cut.cell.name}" if whole.id else cut.cell.name
                if whole.labels and not cut.labelled:
                    bare.append(name)
                elif name in dealt:
                    raise UserError(f"two tiles would be called {name}: rename the rasters of either.")
                else:
                    dealt[name] = whole, cut, part_of(raster.grid, *cut.cell.window)
        tiles = {name: one for name, one in dealt.items() if one[1].modalities}
        empty = [name for name in dealt if name not in tiles]
        self._check_left(wholes, tiles, found)
        by_areas = {name: cut.cell.role for name, (_, cut, _) in dealt.items() if cut.cell.role is not None}
        roles = self._roles(list(dealt)) if self._areas is None else by_areas
        held = self._held(dealt, roles)
        made = tuple(
            replace(
                whole,
                id=name,
                sources={key: source for key, source in whole.sources.items() if key in cut.modalities},
                window=cut.cell.window,
                held=held.get(name),
                # as of labels, so that a tile is prepared anew when a part of a shapefile changes
                extras=(*whole.extras, *self._beside),
            )
            for name, (whole, cut, _) in tiles.items()
        )
        narrow = sum(raster.narrow for raster in found.values())
        return made, _notes(wholes, tiles, empty, bare, narrow)

    def _roles(self, names: Sequence[str]) -> dict[str, Role]:
        split = self._layout.resolve_split(next(iter(self._layout.splits)), names)
        return {tile: part for part in ROLES for tile in getattr(split, part)}

    def _held(self, tiles: dict[str, tuple[Tile, CutCell, Grid]], roles: dict[str, Role]) -> dict[str, HeldOut]:
        """Where the labels of each tile count, of those near ground that is held out."""
        buffer = self._splits.buffer
        if self._areas is not None:
            return {name: HeldOut(role, buffer, areas=self._areas) for name, role in roles.items()}
        places, held = _places(tiles), dict[str, HeldOut]()
        names = [name for name in places if name in roles]
        # boxes of all tiles at once, as only the few that are near are looked at one by one
        corners = np.array([places[name][1].corners() for name in names]).reshape(-1, 4, 2)
        low, high = corners.min(axis=1), corners.max(axis=1)
        order = np.array([ROLES.index(roles[name]) for name in names])
        system = np.array([places[name][0] for name in names])
        for number, name in enumerate(names):
            grid = places[name][1]
            # a pixel more, as what is held out in part counts whole; both sides, as rows and columns may lie askew
            reach = (buffer + 1) * sum(grid.steps)
            near = (low - reach <= high[number]).all(axis=1) & (high + reach >= low[number]).all(axis=1)
            near &= (order > order[number]) & (system == system[number])
            found = rectangles_near(grid, [places[names[at]][1] for at in np.flatnonzero(near)], buffer)
            if found:
                held[name] = HeldOut(roles[name], buffer, found)
        return held

    def _check_left(self, wholes: Sequence[Tile], tiles: Mapping[str, Any], found: dict[str, CutRaster]) -> None:
        if tiles:
            return
        rasters = shorten(next(iter(whole.sources.values())).file.name for whole in wholes)
        cells = sum(len(raster.cells) for raster in found.values())
        if not cells and self._areas is not None:
            raise UserError(
                f"no polygon of {self._areas} lies on {rasters}: look whether the systems of both are right."
            )
        raise UserError(
            f"none of the {cells} tiles of {rasters} has both measured and labelled pixels: look at the files."
        )

    def _raster(self, whole: Tile) -> CutRaster:
        """What was remembered of a raster, or is found out now."""
        key, known = self._key(whole), self._catalogue.listings.cuts
        try:
            raster = build(CutRaster, known[key])
        # not there, or not as it is kept by now: another version's
        except (KeyError, TypeError, ValueError):
            raster = self._found(whole)
        self._catalogue.listings.cuts_used[key] = asdict(raster)
        return raster

    def _key(self, whole: Tile) -> str:
        # all that cells depend on: what a key lacked could change, and old cells would stay
        files = {source.file for source in whole.sources.values()} | {*whole.labels.values(), *whole.extras}
        files |= {*self._beside}
        files |= {file for file in (self._index, self._areas, whole.measure) if file is not None}
        files |= {whole.reference[1]} if whole.reference is not None else set()
        entries = self._catalogue.by_file
        stamps = sorted((entries[file].location, entries[file].stamp) for file in files)
        kinds = [(name, self._layout.modalities[name]) for name in whole.sources]
        reads = [(name, s.bands, s.others, s.nodata, s.minimum, s.factor) for name, s in whole.sources.items()]
        rule, how = (_RULE, whole.id, reads), (repr(self._tiling), repr(self._splits.areas), whole.reference)
        rest = kinds, self._layout.label_rule(), self._layout.crs, *how
        return hashlib.sha256(repr((stamps, rule, [repr(one) for one in rest])).encode()).hexdigest()[:32]

    def _found(self, whole: Tile) -> CutRaster:
        files = [source.file for source in whole.sources.values()]
        for file in [*files, *whole.labels.values(), self._index, self._areas]:
            if file is not None and file.member is not None:
                raise UserError(f"{file} is in an archive, of which rasters cannot be cut into tiles: unpack it.")
        grid = self._grid(whole)
        if self._tiling.size is not None:
            cells = square_cells(grid, self._tiling.size)
        else:
            assert self._index is not None  # where tiles have no size, an index is named
            label = index_file(self._tiling)
            cells = index_cells(open_layer(self._index.disk_path, self._index, label), self._tiling.attribute, grid)
        narrow = 0
        if self._splits.areas is not None and self._areas is not None:
            label = areas_file(self._splits.areas)
            layer = open_layer(self._areas.disk_path, self._areas, label)
            cells, narrow = area_cells(layer, label, grid, cells)
        measured: dict[str, set[str]] = {cell.name: set() for cell in cells}
        for name, source in whole.sources.items():
            for cell in self._measured(name, source, whole, grid, cells):
                measured[cell.name].add(name)
        labelled = {cell.name for cell in self._labelled(whole, grid, cells)}
        # in the order of the modalities, which is that of the sources
        return CutRaster(
            grid,
            tuple(
                CutCell(cell, tuple(n for n in whole.sources if n in measured[cell.name]), cell.name in labelled)
                for cell in cells
            ),
            narrow,
        )

    def _grid(self, whole: Tile) -> Grid:
        assert whole.reference is not None  # a layout that cuts rasters names one for each
        _, file = whole.reference
        grid = self._own_grid(file)
        if whole.measure is None:
            return grid
        other = self._own_grid(whole.measure)
        if grid.transform is None or other.transform is None or grid.crs != other.crs:
            raise UserError(
                f"{file} cannot be cut by pixels as large as those of {whole.measure}: add the raster that lacks."
            )
        return grid.with_pixels_of(other)

    def _own_grid(self, file: FileRef) -> Grid:
        with opened(file.path, file) as raster:
            return grid_of(raster, self._layout.crs, file)

    def _measured(self, name: str, source: Source, whole: Tile, grid: Grid, cells: Sequence[Cell]) -> list[Cell]:
        """The cells of which a raster has a pixel that was measured."""
        layout, file = self._layout, source.file
        modality = layout.modalities[name]
        ratio = modality.pixel_ratio
        with opened(file.path, file) as raster:
            own = self._placed(raster, file, grid.coarser(ratio))
            try:
                known = known_range(modality, usual_scaling(layout, modality))
                reading = settled(raster, source, whole.band_counts.get(name), modality, known)
            except UserError:
                return list(cells)  # what is wrong with it is said of the tiles

            def some(window: "Window") -> bool:
                _, valid = reading.read(raster, window)
                return valid is None or bool(valid.any())

            step = rows_at_once(own.width, len(source.bands), raster.dtypes[0])
            found = [cell for cell in cells if _any(some, own, grid, cell, step, ratio)]
        if cells and not found:
            raise UserError(f"{file} has no measured pixel on any tile: replace it, or leave {name} out.")
        return found

    def _labelled(self, whole: Tile, grid: Grid, cells: Sequence[Cell]) -> list[Cell]:
        """The cells on which the label may have a class; all where there are no labels."""
        if not whole.labels:
            return list(cells)
        # the full one where there are both, since erosion only takes labels away
        file = whole.labels.get("full") or whole.labels["eroded"]
        if "full" in whole.labels and self._vector is not None:
            layer = open_layer(file.disk_path, file, self._vector)
            return [
                cell for cell in cells if _some_polygon(self._vector, self._layout.classes.names, layer, grid, cell)
            ]
        with opened(file.path, file) as raster:
            own = self._placed(raster, file, grid)

            def some(window: "Window") -> bool:
                values, missing, _ = read_label(raster, window)
                values = label_colours(raster, values) if self._layout.coloured_labels else values
                return bool(((self._layout.decode_label(values).classes != IGNORE_INDEX) & ~missing).any())

            step = rows_at_once(own.width, raster.count, raster.dtypes[0])
            try:
                return [cell for cell in cells if _any(some, own, grid, cell, step)]
            except UserError:
                return list(cells)  # it is no label of this kind, which is said of the tiles

    def _placed(self, raster: "DatasetReader", file: FileRef, grid: Grid) -> Grid:
        own = grid_of(raster, self._layout.crs, file)
        try:
            how_to_fit(own, grid, "georeference")
        except UserError as error:
            raise UserError(f"{file} {error}") from error
        return own


def _any(some: "Callable[[Window], bool]", own: Grid, grid: Grid, cell: Cell, step: int, ratio: int = 1) -> bool:
    """Whether a raster has something on a cell; it is read no further than to the first that is found."""
    window = _window_on(own, grid, cell, ratio)
    return window is not None and any(some(part) for part in row_windows(window, step))


def _window_on(own: Grid, grid: Grid, cell: Cell, ratio: int) -> "Window | None":
    """The part of a raster, whose pixels are `ratio` of the grid's wide, that lies on a cell; None where none does."""
    from rasterio.windows import Window

    top, left, height, width = cell.window
    place = part_of(grid, *cell.window)
    window = cut_place(own, place.coarser(ratio))
    if window is None and (own.transform is None or grid.transform is None):
        # without a georeference both begin at the same corner, and the ratio alone tells where
        (first, last), (begin, end) = (
            (start // ratio, -(-(start + side) // ratio)) for start, side in ((top, height), (left, width))
        )
        window = Window(begin, first, end - begin, last - first)
    if window is None:
        return overlap_window(own, place)
    first, last = max(window.row_off, 0), min(window.row_off + window.height, own.height)
    begin, end = max(window.col_off, 0), min(window.col_off + window.width, own.width)
    return Window(begin, first, end - begin, last - first) if end > begin and last > first else None


def _some_polygon(label: VectorLabel, classes: Sequence[str], layer: VectorLayer, grid: Grid, cell: Cell) -> bool:
    """Whether a polygon with a class may lie on a cell."""
    # ground beside the polygons has a class then, too
    if label.background != IGNORED:
        return True
    layer.check_columns(label.columns)
    place = part_of(grid, *cell.window)
    features = layer.features(label.columns, PixelPlacement(layer, place).bounds(0, place.height))
    _, indices = classed(features.columns[label.attribute], label, classes)
    return bool((indices != IGNORE_INDEX).any())


def _places(tiles: dict[str, tuple[Tile, CutCell, Grid]]) -> dict[str, tuple[str, Grid]]:
    """The plane that each tile lies in, and its grid there: of one system; without any, of one raster."""
    places: dict[str, tuple[str, Grid]] = {}
    for name, (whole, cut, grid) in tiles.items():
        if grid.transform is None:
            top, left, height, width = cut.cell.window
            # a plane of the raster's own: two rasters without a georeference are never taken for neighbours
            places[name] = f"of {whole.id}", Grid(height, width, (1, 0, left, 0, 1, top))
        else:
            places[name] = grid.crs or "", grid
    return places


def _notes(
    wholes: Sequence[Tile], tiles: dict[str, Any], empty: Sequence[str], bare: Sequence[str], narrow: int
) -> list[str]:
    notes = []
    if empty:
        notes.append(f"left out, since no raster has a measured pixel there: {shorten(empty)}")
    if bare:
        notes.append(f"left out, since no label lies there: {shorten(bare)}")
    for name in dict.fromkeys(name for whole in wholes for name in whole.sources):
        without = [
            tile for tile, (whole, cut, _) in tiles.items() if name in whole.sources and name not in cut.modalities
        ]
        if without:
            notes.append(f"{name} has nothing on {len(without)} of {len(tiles)} tiles: {shorten(without)}")
    if narrow:
        parts = "a part of a tile" if narrow == 1 else f"{narrow} parts of tiles"
        notes.append(f"left out, since too narrow: {parts} that areas reach")
    return notes
