"""Layout `folder`: own data, described by file patterns instead of Python."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path
from typing import Any

import numpy as np

from mobanet.datasets.base import LABEL_KINDS, DrawnLabel, LabelKind, Layout, Split, Survey, Tile
from mobanet.datasets.catalogue import Catalogue
from mobanet.datasets.cutting import Cutter
from mobanet.datasets.file_patterns import (
    SortedFiles,
    at_address,
    check_alone,
    filled,
    parts_of,
    placeholders,
    sort_files,
    why_nothing,
)
from mobanet.datasets.folder_checks import check_settings
from mobanet.datasets.folder_settings import FolderModality, FolderSettings
from mobanet.datasets.held_out import ROLES, RoleStrips
from mobanet.datasets.listed_splits import Told, files_of, told_by
from mobanet.datasets.tile_draw import drawn_roles
from mobanet.datasets.tiling_settings import areas_file
from mobanet.datasets.vector_files import open_layer
from mobanet.datasets.vector_labels import draw_polygons
from mobanet.datasets.vector_settings import VectorLabel
from mobanet.datasets.vector_tiles import only_file, with_sidecars
from mobanet.datasets.vector_values import inspect_layers
from mobanet.errors import UserError
from mobanet.plain.wording import natural_key, shorten
from mobanet.rasters.contents import Classes, DecodedLabel, FileRef, Modality, Source
from mobanet.rasters.elsewhere import is_address
from mobanet.rasters.grid import Grid
from mobanet.rasters.labels import decode_colours, decode_values

SPLIT = "folder"
"""Name of the only split."""


class FolderLayout(Layout):
    """See `FolderSettings`. Tiles are whatever `{tile}` stands for; rasters may lie on different grids."""

    name = "folder"
    placing = "georeference"

    def __init__(self, settings: FolderSettings) -> None:
        """Check the settings.

        Raises:
            UserError: for contradictions, naming the key.
        """
        self.settings = settings
        # the labels that are polygons; None for none
        self._vector = settings.label if isinstance(settings.label, VectorLabel) else None
        self._told: Told | None = None
        self.crs = settings.crs
        check_settings(settings)
        self.modalities = {name: _modality(name, given) for name, given in settings.modalities.items()}
        # the modality that sets the grids of all tiles that have it
        self._grid = settings.grid or next(iter(self.modalities))
        self.default_modalities = tuple(self.modalities)
        labels = {"label_full": settings.label if self._vector is None else self._vector.vector}
        labels["label_eroded"] = settings.eroded_label
        self._patterns = {name: given.pattern for name, given in settings.modalities.items()}
        self._patterns |= {use: pattern for use, pattern in labels.items() if isinstance(pattern, str)}
        self.classes = Classes(
            names=tuple(settings.classes),
            colours=tuple((r, g, b) for r, g, b in settings.colours or spread_colours(len(settings.classes))),
            averaged=tuple(settings.averaged if settings.averaged is not None else settings.classes),
        )
        self.coloured_labels = settings.values is None
        self.label_remedy = (
            f"put the right label there, list its colours under colours or ignored_colours, or raise distance (now "
            f"{settings.distance}) for colours that are a little off"
            if self.coloured_labels
            else "put the right label there, or list its numbers under values or ignored"
        )
        given = settings.splits
        buffer = None if settings.tiling is None else given.buffer
        lists = tuple(given.train), tuple(given.validation), tuple(given.test)
        self.splits = {SPLIT: Split(*lists, buffer=buffer)}

    def __getstate__(self) -> dict[str, Any]:
        """Without what files have told of all tiles: each tile's job takes the layout to another process."""
        return {**self.__dict__, "_told": None}

    def decode_label(self, raster: np.ndarray) -> DecodedLabel:
        """See `Layout.decode_label`: by `values` where given, otherwise by colours."""
        settings = self.settings
        if settings.values is not None:
            return decode_values(raster, settings.values, settings.ignored)
        ignored = [(int(c[0]), int(c[1]), int(c[2])) for c in settings.ignored_colours]
        return decode_colours(raster, self.classes, ignored, settings.distance)

    def label_rule(self) -> str:
        """See `Layout.label_rule`."""
        s = self.settings
        # whatever labels are decoded by, so that tiles are prepared anew when one of these changes
        rule = (self.classes.colours, s.distance, s.ignored_colours, s.values, s.ignored)
        # of label rasters as ever, so that stores stay current
        return repr(rule if self._vector is None else (*rule, self._vector, self.classes.names))

    def inspect_labels(self, tiles: Sequence[Tile], local: Callable[[FileRef], Path]) -> list[str]:
        """See `Layout.inspect_labels`."""
        vector, files = self._vector, dict.fromkeys(tile.labels["full"] for tile in tiles if "full" in tile.labels)
        if vector is None or not files:
            return []
        # one open at a time, each of which may hold as much as a GeoJSON may
        opening = (lambda file=file: open_layer(local(file), file, vector) for file in files)
        return inspect_layers(vector, self.classes.names, opening)

    def draw_label(
        self, tile: Tile, kind: LabelKind, grid: Grid, local: Callable[[FileRef], Path]
    ) -> DrawnLabel | None:
        """See `Layout.draw_label`."""
        if self._vector is None or kind != "full":
            return None
        layer = open_layer(local(tile.labels[kind]), tile.labels[kind], self._vector)
        return draw_polygons(self._vector, self.classes.names, layer, grid)

    def draw_areas(self, tile: Tile, local: Callable[[FileRef], Path]) -> RoleStrips | None:
        """See `Layout.draw_areas`."""
        areas = self.settings.splits.areas
        if areas is None or tile.held is None or tile.held.areas is None:
            return None
        label, file = areas_file(areas), tile.held.areas
        layer = open_layer(local(file), file, label)
        return lambda grid, step: draw_polygons(label, ROLES, layer, grid).strips(step)

    def survey(self, catalogue: Catalogue, modalities: Iterable[str], scratch: Path | None = None) -> Survey:
        """See `Layout.survey`."""
        wanted = tuple(modalities)
        s = self.settings
        patterns, shared = self._patterns, self._shared_files()
        distant = {pattern for pattern in patterns.values() if is_address(pattern)}
        found = sort_files(catalogue, {*patterns.values(), *shared.values()} - distant)
        found |= self._at_addresses(distant, found)
        for use, pattern in patterns.items():
            if not found[pattern] and (use in wanted or use.startswith("label_")):
                folder = (catalogue.root / pattern).is_dir()
                raise UserError(
                    f"the pattern {pattern!r} of {use} matches no file below {catalogue.root}"
                    f"{', where it is a folder' if folder else why_nothing(pattern, catalogue)}: correct it."
                )
        several = [text for name, text in patterns.items() if placeholders(text) and name in s.modalities]
        # nameless where every raster is one for all tiles, into which it is cut
        every = list(dict.fromkeys(tile for pattern in several for tile in found[pattern])) or [""]
        for use, pattern in patterns.items():
            if not placeholders(pattern) and found[pattern]:
                key = "label.vector" if use == "label_full" and self._vector is not None else use
                whole = only_file(pattern, found[pattern][""], key)
                found[pattern] = {tile: [whole] for tile in every}
        labelled = {tile for use, pattern in patterns.items() if use not in s.modalities for tile in found[pattern]}
        known = sorted(dict.fromkeys(t for name in s.modalities for t in found[patterns[name]]), key=natural_key)
        used = {tile for name in wanted for tile in found[patterns[name]]}
        ids = [tile for tile in known if tile in used]
        measure, reads = self._measure(known, found), {name: self._read_with(name) for name in wanted}
        tiles = tuple(self._tile(tile, found, reads, measure) for tile in ids)
        if self._vector is not None:
            tiles = with_sidecars(tiles, catalogue)
        notes = []
        if bare := sorted(labelled - set(known), key=natural_key):
            notes.append(f"left out, since they have labels only: {shorten(bare)}")
        if others := [tile for tile in known if tile not in used]:
            notes.append(f"left out, since there is nothing of {', '.join(wanted)} for them: {shorten(others)}")
        beside = self._beside(catalogue, shared, found)
        if s.splits.told is not None:
            told = {key: beside[key] for key in files_of(s.splits.told)}
            self._told, remarks = told_by(s.splits.told, told, known, patterns.values(), scratch)
            notes += remarks
        if s.tiling is not None:
            tiles, remarks = Cutter(self, s, catalogue, beside).cut(tiles)
            notes += remarks
            # from here on a tile is a part of a raster, and splits name those
            known = ids = [tile.id for tile in tiles]
        split = self.resolve_split(SPLIT, known)
        if absent := self._absent(dict.fromkeys(known)):  # by a hash: of told ones there may be very many
            notes.append(f"in a list of splits, and not there: {shorten(absent)}")
        listed = {*split.train, *split.validation, *split.test}
        if s.splits.areas is None and listed and (unused := [tile for tile in ids if tile not in listed]):
            notes.append(f"in no list of splits, and so not used: {shorten(unused)}")
        elsewhere = tuple(entry for pattern in distant for entries in found[pattern].values() for entry in entries)
        return Survey(tiles, tuple(notes), elsewhere)

    def _at_addresses(self, patterns: Iterable[str], found: SortedFiles) -> SortedFiles:
        """Files at addresses, which cannot be listed: of the tiles that are found on this disk, or named in splits.

        No server is asked at every start: what is prepared is taken to be current as long as its address is the same.
        """
        splits = self.settings.splits
        named = [entry for part in (splits.train, splits.validation, splits.test) for entry in part]
        # a pattern stands for tiles that are listed somewhere, and at an address none are
        plain = [entry for entry in named if not has_magic(entry)]
        ids = dict.fromkeys([*(tile for tiles in found.values() for tile in tiles if tile), *plain])
        if patterns and not ids:
            raise UserError(
                f"the pattern {min(patterns)!r} is an address, where tiles cannot be listed: name each of them in "
                "splits."
            )
        return {pattern: {tile: [at_address(pattern, tile)] for tile in ids} for pattern in patterns}

    def _shared_files(self) -> dict[str, str]:
        """Names of the files beside those of tiles, by the keys that name them."""
        s, files = self.settings, files_of(self.settings.splits.told)
        if s.tiling is not None and s.tiling.index is not None:
            files["tiling.index"] = s.tiling.index
        if s.splits.areas is not None:
            files["splits.areas.vector"] = s.splits.areas.vector
        return files

    @staticmethod
    def _beside(catalogue: Catalogue, shared: dict[str, str], found: SortedFiles) -> dict[str, FileRef]:
        """The files beside those of tiles, by the keys that name them."""
        for use, name in shared.items():
            if not found[name]:
                raise UserError(
                    f"{use} {name!r} matches no file below {catalogue.root}{why_nothing(name, catalogue)}: correct it."
                )
        return {use: only_file(name, found[name][""], use).file for use, name in shared.items()}

    def resolve_split(self, name: str, tiles: Iterable[str]) -> Split:
        """See `Layout.resolve_split`; patterns become ids, and areas and blocks say which ones.

        Raises:
            UserError: when an entry matches no tile, or a tile is in two lists, or there are too few tiles for blocks.
        """
        given, ids = self.settings.splits, dict.fromkeys(tiles)  # of which thousands may be named one by one
        if given.blocks is not None:
            lists = _by_role(drawn_roles(ids, given.blocks))
        elif given.areas is not None:
            # the name of each part of a tile ends with whose ground it is (`area_cells`)
            lists = _by_role({tile: tile.rpartition("_")[2] for tile in ids})
        else:
            lists = self._named_lists(ids) if given.told is None else self._told_lists(ids)
        train, validation, test = (lists[part] for part in ROLES)
        # for its check of the name and for the buffer; its own lists still hold patterns
        return replace(super().resolve_split(name, ()), train=train, validation=validation, test=test)

    def told_split(self) -> dict[str, list[str]] | None:
        """See `Layout.told_split`."""
        return None if self._told is None else {role: list(of) for role, of in _by_role(self._told).items()}

    def recall_split(self, told: Any) -> None:
        """See `Layout.recall_split`."""
        if self._told is None and self.settings.splits.told is not None and isinstance(told, dict):
            self._told = {str(tile): role for role in ROLES for tile in told.get(role, ())}

    def _named_lists(self, ids: dict[str, None]) -> dict[str, tuple[str, ...]]:
        """The lists with patterns as ids."""
        given = self.settings.splits
        lists: dict[str, tuple[str, ...]] = {}
        owner: dict[str, str] = {}
        for part in ROLES:
            chosen: dict[str, None] = {}
            for entry in getattr(given, part):
                hits = _hits(entry, ids)
                if not hits and not given.incomplete:
                    raise UserError(
                        f"splits.{part} names {entry!r}, but no tile is called so: there are {shorten(ids)}; correct "
                        "it, or set splits.incomplete true to go without."
                    )
                chosen.update(dict.fromkeys(hits))
            for tile in chosen:
                if tile in owner:
                    raise UserError(f"tile {tile} is in splits.{owner[tile]} and in splits.{part}: leave it in one.")
                owner[tile] = part
            lists[part] = tuple(chosen)
        return lists

    def _told_lists(self, ids: dict[str, None]) -> dict[str, tuple[str, ...]]:
        """The lists that files have told."""
        key = "splits.lists" if self.settings.splits.table is None else "splits.table"
        if self._told is None:
            raise UserError(f"what is prepared does not say what {key} tells: run python -m mobanet.prepare again.")
        if not self.settings.splits.incomplete and (absent := self._absent(ids)):
            tiles = "a tile that is" if len(absent) == 1 else f"{len(absent)} tiles that are"
            raise UserError(
                f"{key} names {tiles} not there, {shorten(absent)}: add the files, or set splits.incomplete true to go "
                f"without. There are {shorten(ids)}."
            )
        return _by_role({tile: self._told[tile] for tile in ids if tile in self._told})

    def _absent(self, ids: Collection[str]) -> list[str]:
        """What lists name, and no tile is called."""
        given = self.settings.splits
        if given.told is not None:
            return [tile for tile in self._told or () if tile not in ids]
        entries = [entry for part in ROLES for entry in getattr(given, part)]
        return [entry for entry in entries if not _hits(entry, ids)]

    def _tile(self, tile: str, found: SortedFiles, reads: dict[str, dict[str, Any]], measure: FileRef | None) -> Tile:
        """A tile of files found, with `reads` by modality from `_read_with`, and `measure` from `_measure`."""
        patterns, reference = self._patterns, self._reference(tile, found)
        sources: dict[str, Source] = {}
        missing: dict[str, str] = {}
        copies: dict[str, tuple[FileRef, ...]] = {}
        for name, read in reads.items():
            entries = found[patterns[name]].get(tile)
            if not entries:
                known = patterns[reference[0]]
                parts = parts_of(known, found[known][tile][0].location)
                missing[name] = filled(patterns[name], {"tile": tile} | parts)
                continue
            check_alone(patterns[name], name, tile, entries)
            sources[name] = Source(entries[0].file, **read)
            copies[name] = tuple(entry.file for entry in entries[1:])
        # a raster with further bands has to say which of them are meant
        counts = {name: 1 for name in sources if not self.settings.modalities[name].chosen}
        labels: dict[LabelKind, FileRef] = {}
        for kind in LABEL_KINDS:
            use = f"label_{kind}"
            if use in patterns and (entries := found[patterns[use]].get(tile)):
                check_alone(patterns[use], use, tile, entries)
                labels[kind] = entries[0].file
                copies[use] = tuple(entry.file for entry in entries[1:])
        # of a tile that lacks the modality that sets the grid
        size = None if reference[0] == self._grid else measure
        return Tile(tile, sources, labels, counts, missing, copies, reference=reference, measure=size)

    def _read_with(self, name: str) -> dict[str, Any]:
        """What a modality's sources have beside their files."""
        given = self.settings.modalities[name]
        same = [other for other in self.settings.modalities.values() if other.pattern == given.pattern]
        # of all modalities described, in use or not: what one of them reads is no mask for another
        others = sorted({band for other in same for band in other.chosen or (0,)})
        shared = {"nodata": given.nodata, "minimum": given.minimum, "factor": given.factor, "others": tuple(others)}
        return {"bands": given.chosen or (0,), **shared}

    def _reference(self, tile: str, found: SortedFiles) -> tuple[str, FileRef]:
        """What sets a tile's grid (see `Tile`): it does not depend on the modalities that are asked for."""
        name = next(name for name in (self._grid, *self.modalities) if found[self._patterns[name]].get(tile))
        return name, found[self._patterns[name]][tile][0].file

    def _measure(self, known: Sequence[str], found: SortedFiles) -> FileRef | None:
        """The raster whose pixels set the size of all tiles' that lack the modality of the grid; None for none."""
        whole = found[self._patterns[self._grid]]
        # the first of all tiles, so that it is the same raster each time, and stamps hold
        return next((whole[tile][0].file for tile in known if whole.get(tile)), None)


def _by_role(roles: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The tiles of each part of a split."""
    return {part: tuple(tile for tile, role in roles.items() if role == part) for part in ROLES}


def _hits(entry: str, ids: Collection[str]) -> list[str]:
    """The tiles that an entry of a list stands for."""
    # names first, for one may have brackets; and not `fnmatch` itself, which forgets case on some systems
    return [entry] if entry in ids else [tile for tile in ids if fnmatchcase(tile, entry)]


def spread_colours(count: int) -> list[tuple[int, int, int]]:
    """Colours for pictures, evenly spread in hue."""
    import colorsys

    # dark and bright by turns, as neighbours in hue are hard to tell apart among many classes
    hues = [colorsys.hsv_to_rgb(index / count, 0.75, 0.55 + 0.4 * (index % 2)) for index in range(count)]
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in hues]


def _modality(name: str, given: FolderModality) -> Modality:
    return Modality(name, given.names_of_bands(name), given.kind, given.unit, given.maximum, given.pixel_ratio)
