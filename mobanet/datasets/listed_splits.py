"""Splits that files beside the rasters tell: lists of tiles, a file a part, or a table of tiles and their parts."""

import csv
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from mobanet.datasets.file_patterns import parts_of, placeholders
from mobanet.datasets.held_out import ROLES, Role
from mobanet.datasets.tiling_settings import ROLE_WORDS, check_roles
from mobanet.datasets.vector_files import open_layer
from mobanet.datasets.vector_settings import VectorLabel, as_text, ending_of
from mobanet.errors import UserError
from mobanet.plain.bounds import read_bounded, shown
from mobanet.plain.wording import shorten
from mobanet.rasters.archives import disk_copy
from mobanet.rasters.contents import FileRef

_MOST_BYTES = 1 << 28
"""Of a list or a table in text: millions of lines."""

_COMMA = (".csv", ".txt", ".tsv")
"""Endings of tables in text."""

Told = dict[str, Role]
"""By tile, its part."""


@dataclass
class SplitLists:
    """Text files with a tile a line, by its id or by the name of one of its files; what follows # is left out.

    Attributes:
        train: path below the root of the list of tiles to train on; `*` and `**/` stand for more, as in patterns.
        validation: of those held out, by which checkpoints are chosen; null for none.
        test: of those for the final figures; null for none.
    """

    train: str | None = None
    validation: str | None = None
    test: str | None = None


@dataclass
class SplitTable:
    """A table that says which part each tile is in.

    Attributes:
        path: below the root, of a CSV file (commas, semicolons or tabs) or of a GeoPackage, shapefile, GeoJSON or
            FlatGeobuf, of which the attributes count; `*` and `**/` stand for more, as in patterns.
        tile: column with the tiles' ids, or with the name of one of their files.
        attribute: column that says which part a tile is in.
        values: `train`, `validation`, `test` or `ignored` by the column's value; null where the values are these words,
            or `training`, `val` and the like. Tiles with other values are in no part.
        layer: of the file; null for the only one.
    """

    path: str
    tile: str
    attribute: str
    values: dict[Any, str] | None = None
    layer: str | None = None


class _TableFile(VectorLabel):
    """A table as settings of a vector file."""

    key: ClassVar[str] = "splits.table"
    outlines: ClassVar[bool] = False


def check_table(table: SplitTable) -> None:
    """Refuse settings that contradict themselves."""
    _check_path(table.path, "splits.table.path")
    if ending_of(table.path) is None and not table.path.lower().endswith(_COMMA):
        raise UserError(
            f"splits.table.path is {shown(table.path, 80)}: name a table by its ending .csv, .gpkg, .shp, .geojson or "
            ".fgb."
        )
    check_roles(table.values, "splits.table.values")


def check_lists(lists: SplitLists) -> None:
    """Refuse settings that name no list."""
    given = files_of(lists)
    if not given:
        raise UserError("splits.lists names no file: give the list of train, and of validation and test.")
    for key, path in given.items():
        _check_path(path, key)


def files_of(given: SplitLists | SplitTable | None) -> dict[str, str]:
    """Paths of the files that tell a split, by the keys that name them."""
    if given is None:
        return {}
    if isinstance(given, SplitTable):
        return {"splits.table.path": given.path}
    named = {f"splits.lists.{role}": getattr(given, role) for role in ROLES}
    return {key: path for key, path in named.items() if path is not None}


def told_by(
    given: SplitLists | SplitTable,
    files: Mapping[str, FileRef],
    ids: Iterable[str],
    patterns: Iterable[str],
    scratch: Path | None,
) -> tuple[Told, list[str]]:
    """The part of each tile that files name, also of those that there are not, and remarks.

    Args:
        given: lists or a table.
        files: by the keys of `files_of`.
        ids: tiles that there are.
        patterns: of their files, by which a path names a tile.
        scratch: folder for unpacked archive members; a temporary one for None.
    """
    with ExitStack() as stack:
        folder = scratch or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mobanet-")))
        paths = {key: (stack.enter_context(disk_copy(file, folder)), file) for key, file in files.items()}
        if isinstance(given, SplitTable):
            path, file = paths["splits.table.path"]
            rows, notes = _parts(given, file, _rows(given, path, file))
        else:
            by_part = {part: paths[key] for part in ROLES if (key := f"splits.lists.{part}") in paths}
            rows, notes = [(name, part) for part, at in by_part.items() for name in _lines(*at)], []
    known, named, told = dict.fromkeys(ids), [text for text in patterns if placeholders(text)], Told()
    where = " and ".join(map(str, files.values()))
    for name, role in rows:
        tile = _tile_of(name, known, named)
        # twice in one part is no harm: a list may name several files of a tile
        if told.setdefault(tile, role) != role:
            raise UserError(f"{where}: the tile {tile} is in {told[tile]} and in {role}; leave it in one.")
    if not told:
        raise UserError(f"{where}: no tile is in {', '.join(ROLES)}; look at the file, or name another.")
    return told, notes


def _tile_of(name: str, known: Mapping[str, None], patterns: Sequence[str]) -> str:
    """The id of a tile that is named by it, or by the path or name of a file."""
    if name in known:
        return name
    path = PurePosixPath(name.replace("\\", "/"))
    # as if from the root: lists name files from the folder that they lie in, too, or from a disk's root
    location = "/".join(part for part in path.parts if part not in ("/", "..", "."))
    for pattern in patterns:
        if parts := parts_of(pattern, location):
            return "_".join(parts[part] for part in placeholders(pattern))
    if path.name in known:
        return path.name
    return re.sub(r"\.(tiff?|png|jpe?g|vrt|jp2|img)$", "", path.name, flags=re.IGNORECASE)


def _lines(path: Path, file: FileRef) -> Iterator[str]:
    for line in _text(path, file).splitlines():
        if name := line.partition("#")[0].strip():
            yield name


def _text(path: Path, file: FileRef) -> str:
    try:
        return read_bounded(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is no text that can be read ({error}): name a list or table in UTF-8.") from error


def _rows(table: SplitTable, path: Path, file: FileRef) -> list[tuple[Any, Any]]:
    """Tile and value of each row of a table."""
    if ending_of(file.name) is not None:
        columns = [table.tile, table.attribute]
        try:
            # of text the whole table is read; here, by columns, outlines stay where they are
            layer = open_layer(path, file, _TableFile(table.path, table.attribute, {}, table.layer))
            layer.check_columns(columns)
            found = layer.features(columns).columns
        except UserError as error:
            raise UserError(f"splits.table: {str(error).rstrip('.')}.") from error
        return list(zip(found[table.tile].tolist(), found[table.attribute].tolist(), strict=True))
    lines = _text(path, file).splitlines()
    head = lines[0] if lines else ""
    # by the heading alone, as names in the rows may hold any of them
    delimiter = max(",;\t", key=head.count)
    try:
        reader = csv.DictReader(lines, delimiter=delimiter)
        names = [name for name in reader.fieldnames or () if name is not None]
        for name in (table.tile, table.attribute):
            if name not in names:
                raise UserError(
                    f"splits.table: {file} has no column {name!r}: there are {shorten(names, 20) or 'none'}."
                )
        return [(row[table.tile], row[table.attribute]) for row in reader]
    except csv.Error as error:
        raise UserError(f"splits.table: {file} is no table with a head ({error}): name another file.") from error


def _parts(
    table: SplitTable, file: FileRef, rows: Sequence[tuple[Any, Any]]
) -> tuple[list[tuple[str, Role]], list[str]]:
    """Name and part of the rows that are in one, and a remark on values that say nothing."""
    given = ROLE_WORDS if table.values is None else table.values
    meaning = {as_text(key): role for key, role in given.items()}
    parts, strange = list[tuple[str, Role]](), dict[str, int]()
    for tile, value in rows:
        name, text = as_text(tile), as_text(value)
        role = meaning.get(text)
        if role is None:
            strange[text or "nothing"] = strange.get(text or "nothing", 0) + 1
        elif name is not None:
            parts += [(name, part) for part in ROLES if part == role]  # none for what is ignored
    if table.values is not None:
        # whoever writes values down has named those that count
        return parts, []
    told = shorten((f"{shown(text)} ({count})" for text, count in strange.items()), 5)
    return parts, [f"{file}: values of {table.attribute} that name no part of a split: {told}"] if strange else []


def _check_path(path: str, key: str) -> None:
    if not path or path.startswith("/") or ".." in re.split(r"[/\\]", path) or placeholders(path):
        raise UserError(f"{key} is {shown(path, 80)}: give the path of one file below the root, and put it there.")
