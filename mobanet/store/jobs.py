"""What is to be done for a tile, and whether it has been done: by the stamps of its sources."""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobanet.datasets.base import NOTHING_DRAWN, LabelKind, Layout, Survey, Tile
from mobanet.datasets.catalogue import Catalogue, Entry
from mobanet.datasets.held_out import HeldOut
from mobanet.errors import UserError
from mobanet.plain.bounds import odd_character, shown
from mobanet.rasters.archives import disk_copy
from mobanet.rasters.contents import FileRef
from mobanet.store.stored import VERSION, StoredTile, check_plain, read_tile

READING = 2  # goes up when the same rasters are read to other values, so that stores are made anew
LONGEST = 200  # bytes of a tile's name; file systems take 255, of which endings need some


@dataclass(frozen=True)
class TileJob:
    """What is needed to prepare one tile, in any process.

    Attributes:
        tile: as the layout found it.
        layout: reads labels and names modalities.
        wanted: modalities to prepare, in canonical order.
        folder: where the tile's arrays go.
        scratch: folder for unpacked archive members.
        entries: the catalogue's entries of the tile's files.
        allow_missing: a tile may lack some of `wanted`.
    """

    tile: Tile
    layout: Layout
    wanted: tuple[str, ...]
    folder: Path
    scratch: Path
    entries: dict[FileRef, Entry]
    allow_missing: bool

    def stamps(self) -> dict[str, str]:
        """By product, a text that changes with its source and with the way it is read."""
        tile = self.tile
        world = None if tile.world is None else self.entries[tile.world].stamp
        # for a tile that has none of these, nothing is added, so that stores made earlier stay current
        frame: tuple[Any, ...] = () if tile.reference is None else (self.entries[tile.reference[1]].stamp,)
        frame += () if tile.measure is None else (self.entries[tile.measure].stamp,)
        frame += () if tile.window is None else (tile.window,)
        drawing: tuple[Any, ...] = tuple(self.entries[file].stamp for file in tile.extras)
        drawing += () if tile.held is None else (self._held_rule(tile.held),)
        stamps = {}
        for name, source in tile.sources.items():
            modality = self.layout.modalities[name]
            rule: tuple[Any, ...] = (
                *(READING, source.bands, source.others, source.nodata, source.minimum, source.factor),
                *(modality.kind, modality.unit, modality.maximum, self.layout.crs, world),
            )
            rule += () if modality.pixel_ratio == 1 else (modality.pixel_ratio,)
            stamps[name] = self._stamp(source.file, (*rule, *frame))
        for kind, file in tile.labels.items():
            decoding = (READING, self.layout.label_rule(), self.layout.crs)
            stamps[f"label_{kind}"] = self._stamp(file, (*decoding, *frame, *drawing))
        return stamps

    def _held_rule(self, held: HeldOut) -> tuple[Any, ...]:
        """What tells where labels count."""
        areas = None if held.areas is None else self.entries[held.areas].stamp
        return (held.role, held.buffer, held.rectangles, areas)

    def _stamp(self, file: FileRef, rule: tuple[Any, ...]) -> str:
        # the rule goes in as `repr` has it, which tells None, 0 and 0.0 apart
        entry = self.entries[file]
        # 64 bits do: a stamp is compared with that of one product, never looked for among many
        return hashlib.sha256(repr((VERSION, entry.location, entry.stamp, rule)).encode()).hexdigest()[:16]

    def problems(self) -> list[str]:
        """Complaints about modalities that must be there and are not."""
        if self.allow_missing:
            return []
        return [f"tile {self.tile.id} has no {name}: {file} is missing" for name, file in self.tile.missing.items()]

    def is_current(self, stored: StoredTile | None) -> bool:
        """Whether `stored` is what preparing this tile would give."""
        if stored is None or self.problems():
            return False
        if self.tile.reference is not None and self.tile.reference[0] != stored.reference:
            return False
        have = stored_stamps(stored)
        # modalities of earlier calls do not count; labels do, since every call prepares those that there are
        return {name: have[name] for name in have if name in self.wanted or is_label(name)} == self.stamps()


@dataclass(frozen=True)
class TileOutcome:
    """What became of a tile: it is prepared, unless there are problems that prevented it."""

    tile: str
    problems: tuple[str, ...] = ()


def jobs_for(
    survey: Survey,
    catalogue: Catalogue,
    layout: Layout,
    wanted: tuple[str, ...],
    store: Path,
    scratch: Path,
    allow_missing: bool,
) -> list[TileJob]:
    """A job for each tile of a survey."""
    jobs, folder = [], store / "tiles"
    elsewhere = {entry.file: entry for entry in survey.elsewhere}
    for tile in survey.tiles:
        _check_name(tile.id)
        files = {source.file for source in tile.sources.values()} | {*tile.labels.values()}
        files |= {file for copies in tile.copies.values() for file in copies}
        files |= {tile.world} if tile.world is not None else set()
        files |= {*tile.extras, *((tile.reference[1],) if tile.reference is not None else ())}
        files |= {tile.measure} if tile.measure is not None else set()
        files |= {tile.held.areas} if tile.held is not None and tile.held.areas is not None else set()
        entries = {file: elsewhere.get(file) or catalogue.by_file[file] for file in files}
        for entry in entries.values():
            # a line feed is a character like others in a text, and not in a name
            if odd := odd_character(entry.location.replace("\n", "\0")):
                raise UserError(f"the file {entry.location!r} has the character {odd!r} in its name: rename it.")
        jobs.append(TileJob(tile, layout, wanted, folder / tile.id, scratch, entries, allow_missing))
    return jobs


def _check_name(tile: str) -> None:
    """Refuse a tile of whose name no folder can be made, nor a row of a table."""
    try:
        check_plain(tile)
        # encoded: file systems count bytes, of which an umlaut has two
        if not tile.isprintable() or len(tile.encode()) > LONGEST:
            raise ValueError(tile)
    except ValueError as error:
        raise UserError(
            f"the tile {shown(tile)} cannot be a folder of a store: rename its files, with at most {LONGEST} letters, "
            "and none that cannot be printed."
        ) from error


def clause_of(error: UserError) -> str:
    """What is wrong, to stand among other problems in one sentence."""
    return str(error).rstrip(".")


def is_label(product: str) -> bool:
    """Whether a product's name is that of a label raster."""
    return product in ("label_full", "label_eroded")


def label_kind(product: str) -> LabelKind:
    """The kind of label that a product is."""
    return "full" if product == "label_full" else "eroded"


def inspect_labels(jobs: Sequence[TileJob], layout: Layout, scratch: Path) -> list[str]:
    """Remarks on label files as wholes, before tiles are looked at one by one.

    Raises:
        UserError: with everything that is wrong with the files.
    """
    with ExitStack() as stack:
        return layout.inspect_labels(
            [job.tile for job in jobs], lambda file: stack.enter_context(disk_copy(file, scratch))
        )


def nothing_drawn(jobs: Sequence[TileJob], notes: Iterable[Sequence[str]]) -> list[str]:
    """A complaint where labels are drawn and nothing lies on any tile; the notes are those of each tile."""
    start, first = f"label_full: {NOTHING_DRAWN}", list[str]()
    for job, said in zip(jobs, notes, strict=False):
        if "full" not in job.tile.labels:
            continue
        told = next((note for note in said if note.startswith(start)), None)
        if told is None:
            return []
        details = told.removeprefix(start).strip()
        first.append(f"no polygon of {job.tile.labels['full']} lies on any tile, as on {job.tile.id} {details}")
    return [f"{first[0]}: look whether the systems of both are right"] if first else []


def stored_stamps(stored: StoredTile) -> dict[str, str]:
    """By product, the stamp it was made with, or that of a raster that has nothing there."""
    labels = {f"label_{kind}": record.stamp for kind, record in stored.labels.items()}
    return {name: record.stamp for name, record in stored.modalities.items()} | labels | stored.absent


def stored_tile(folder: Path) -> StoredTile | None:
    """The finished tile in `folder`; None for one that is unfinished or damaged and has to be made again."""
    try:
        return read_tile(folder)[0]
    except UserError:
        return None
