"""Which vector file is whose label, and the files that a shapefile consists of."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mobanet.datasets.base import Tile
from mobanet.datasets.catalogue import Catalogue, Entry
from mobanet.datasets.file_patterns import another
from mobanet.errors import UserError
from mobanet.rasters.archives import SHAPES
from mobanet.rasters.contents import FileRef


def only_file(pattern: str, entries: Sequence[Entry], use: str) -> Entry:
    """The file of all tiles, of at least one that matches the pattern; several are refused."""
    if (other := another(entries)) is not None:
        raise UserError(
            f"the pattern {pattern!r} of {use} matches {entries[0].location} and {other.location}: name one file, or "
            "put {tile} where the tile's id is."
        )
    return entries[0]


def with_sidecars(tiles: Sequence[Tile], catalogue: Catalogue) -> tuple[Tile, ...]:
    """Tiles with the files beside their shapefiles, so that labels are drawn anew when one of these changes."""
    beside = sidecars({tile.labels["full"] for tile in tiles if "full" in tile.labels}, catalogue)
    return tuple(
        replace(tile, extras=tuple(beside[tile.labels["full"]])) if "full" in tile.labels else tile for tile in tiles
    )


def sidecars(files: Iterable[FileRef], catalogue: Catalogue) -> dict[FileRef, list[FileRef]]:
    """By vector file, those that it consists of beside itself: none, but for a shapefile."""
    owners = {_stem(file): file for file in files if file.name.lower().endswith(".shp")}
    beside: dict[FileRef, list[FileRef]] = defaultdict(list)
    # gone through once for all, and for shapefiles alone: of tiles there may be very many
    for entry in catalogue.entries if owners else ():
        if entry.suffix in SHAPES and (owner := owners.get(_stem(entry.file))):
            beside[owner].append(entry.file)
    return beside


def _stem(file: FileRef) -> tuple[Path, str | None]:
    """What a file and those beside it have in common."""
    if file.member is None:
        return file.disk_path.with_suffix(""), None
    # of a member the whole path counts: two shapefiles of an archive may be called alike in two of its folders
    return file.disk_path, file.member.rpartition(".")[0]
