"""What preparing and checking have to say, as tables on standard output."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from mobanet.datasets.held_out import ROLES
from mobanet.plain.wording import absent_note, natural_key, shorten
from mobanet.rasters.grid import Grid
from mobanet.rasters.pixel_size import pixel_words
from mobanet.rasters.values import range_note
from mobanet.store.check import Findings, RasterLook
from mobanet.store.stored import TileStore
from mobanet.store.summary import range_of

_FEW = 8  # tiles whose rasters have a row each; of more, each tile has one


def print_store(store: TileStore) -> None:
    """A row a tile: size, modalities with the share that was measured, labels; then the notes."""
    console = _console()
    names = [name for name in store.modalities if any(name in tile.modalities for tile in store.tiles.values())]
    table = _table("tile", "pixels", *names, "labels")
    for tile in store.tiles.values():
        cells = []
        for name in names:
            record = tile.modalities.get(name)
            cells.append("-" if record is None else "all" if record.complete else f"{100 * record.valid_share:.2f} %")
        table.add_row(tile.id, f"{tile.width} x {tile.height}", *cells, ", ".join(tile.labels) or "-")
    console.print(table)
    _notes(console, "note", (f"tile {tile.id}: {note}" for tile in store.tiles.values() for note in tile.notes))
    _notes(console, "note", _overall(store))
    console.print(f"{len(store.tiles)} tiles of layout {store.layout} in {store.path}", soft_wrap=True)


def _overall(store: TileStore) -> list[str]:
    """Remarks about all tiles together: ranges that nobody declares, and classes that no label has."""
    tiles = list(store.tiles.values())
    open_ones = [m for m in store.modalities.values() if m.kind == "optical" and m.maximum is None]
    notes = [
        range_note(m, range_of(m.name, tiles)) for m in open_ones if any(m.name in tile.modalities for tile in tiles)
    ]
    for kind in ("full", "eroded"):
        counts = [tile.labels[kind].pixels for tile in tiles if kind in tile.labels]
        if counts:
            notes.append(absent_note(np.sum(counts, axis=0).tolist(), store.classes.names, "tile"))
    return [note for note in dict.fromkeys(notes) if note]


def print_findings(findings: Findings) -> None:
    """A row a modality, then every tile, class shares by kind of label, notes and problems."""
    console = _console()
    console.print(_summary(findings))
    console.print(_rasters(findings) if len(findings.tiles) <= _FEW else _tiles(findings))
    _print_classes(console, findings)
    _notes(console, "note", findings.notes)
    _notes(console, "note", _together(findings))
    _notes(console, "problem", findings.problems)


def _summary(findings: Findings) -> Table:
    """A row a modality or kind of label: what all tiles' rasters of it are."""
    table = _table("raster", "tiles", "pixels", "bands", "system", "pixel size", "values", "missing")
    for name in findings.products:
        looks = [tile.looks[name] for tile in findings.tiles if name in tile.looks]
        if not looks:
            continue
        # by area, so that the smallest and the largest are named
        sizes = sorted({(look.grid.height * look.grid.width, look.grid.size) for look in looks})
        bands = sorted({look.bands for look in looks})
        kinds = f"{' or '.join(map(str, bands))} {', '.join(sorted({look.dtype for look in looks}, key=natural_key))}"
        systems = [_system(look.grid) for look in looks]
        lows, highs = zip(*((look.low, look.high) for look in looks), strict=True)
        missing = [look.missing for look in looks]
        table.add_row(
            name,
            str(len(looks)),
            sizes[0][1] if len(sizes) == 1 else f"{sizes[0][1]} to {sizes[-1][1]}",
            kinds,
            shorten(dict.fromkeys(systems), 2),
            shorten(dict.fromkeys(pixel_words(look.grid) or "unknown" for look in looks), 2),
            "" if lows[0] is None else f"{min(lows):.5g} to {max(highs):.5g}",
            f"{100 * sum(missing) / len(missing):.2f} %, at most {100 * max(missing):.2f} %" if max(missing) else "",
        )
    return table


def _system(grid: Grid) -> str:
    """Short where a system has a name in a register; those written out in full are long."""
    if grid.transform is None:
        return "no georeference"
    return "unknown" if grid.crs is None else grid.crs if len(grid.crs) < 20 else f"{grid.crs[:16]}…"


def _tiles(findings: Findings) -> Table:
    """A row a tile."""
    table = _table("tile", "pixels", *findings.products)
    for tile in findings.tiles:
        cells = []
        for name in findings.products:
            look = tile.looks.get(name)
            values = "" if look is None or look.low is None else f"{look.low:.4g} to {look.high:.4g}"
            missing = f"{100 * look.missing:.2f} % missing" if look is not None and look.missing else ""
            cells.append("-" if look is None else ", ".join(filter(None, (values, missing))) or "all")
        sizes = [look.grid.size for look in tile.looks.values()]
        table.add_row(tile.tile, sizes[0] if sizes else "", *cells)
    return table


def _together(findings: Findings) -> Iterator[str]:
    """The notes of tiles, each once for all tiles that it is true of."""
    tiles: dict[str, list[str]] = defaultdict(list)
    for tile in findings.tiles:
        for note in tile.notes:
            named = re.sub(
                rf"(?<!\d){re.escape(tile.tile)}(?!\d)", "{tile}", note
            )  # file names have the tile's in them
            tiles[named].append(tile.tile)
    for note, names in tiles.items():
        if len(names) == 1:
            yield f"tile {names[0]}: {note.replace('{tile}', names[0])}"
        else:
            yield f"{len(names)} tiles ({shorten(names)}): {note}"


def _rasters(findings: Findings) -> Table:
    """A row a raster."""
    table = _table("tile", "raster", "file", "pixels", "bands", "values", "missing")
    for tile in findings.tiles:
        for number, name in enumerate(name for name in findings.products if name in tile.looks):
            look = tile.looks[name]
            values = "" if look.low is None else f"{look.low:.5g} to {look.high:.5g}"
            table.add_row(
                tile.tile if number == 0 else "",
                name,
                look.source,
                look.grid.size,
                f"{look.bands} {look.dtype}",
                values,
                f"{100 * look.missing:.2f} %" if look.missing else "",
            )
    return table


def _print_classes(console: Console, findings: Findings) -> None:
    kinds = [name for name in findings.products if name.startswith("label_")]
    parts = [part for part in ROLES if part in findings.roles.values()]
    columns = [(kind, part) for kind in kinds for part in ("", *(parts if len(parts) > 1 else ()))]
    if kinds:
        words = {kind: kind.removeprefix("label_") for kind in kinds}
        heads = (f"{words[kind]}, {part}" if part else f"share, {words[kind]} labels" for kind, part in columns)
        shares = _table("class", *heads)
        looks = [_labels(findings, kind, part) for kind, part in columns]
        means = [_mean_shares(found) if found else None for found in looks]
        for index, name in enumerate(findings.layout.classes.names):
            shares.add_row(name, *("-" if mean is None else f"{100 * mean[index]:.1f} %" for mean in means))
        shares.add_row("tiles", *(str(len(found)) for found in looks), style="dim")
        console.print(shares)


def _labels(findings: Findings, kind: str, part: str) -> list[RasterLook]:
    """The labels of a part of the split, or of all tiles."""
    tiles = [tile for tile in findings.tiles if kind in tile.looks]
    return [tile.looks[kind] for tile in tiles if not part or findings.roles.get(tile.tile) == part]


def _mean_shares(looks: Sequence[RasterLook]) -> np.ndarray:
    """Shares of the classes over all labelled pixels."""
    # weighed by labelled pixels: tiles differ in size, and labels in how much of them they cover
    labelled = [look.grid.height * look.grid.width * (1 - look.missing) for look in looks]
    pixels = [np.array(look.shares) * of for look, of in zip(looks, labelled, strict=True)]
    return np.sum(pixels, axis=0) / max(1.0, sum(labelled))


def _console() -> Console:
    # names are what files and users call things: rich would take `[b]` in them for bold and `:car:` for a picture
    plain = partial(Console, markup=False, emoji=False)
    console = plain()
    # in a file or a pipe nothing has to be folded to fit a window
    return console if console.is_terminal else plain(width=200)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _notes(console: Console, word: str, notes: Iterable[str]) -> None:
    for note in notes:
        console.print(f"{word}: {note}", highlight=False, soft_wrap=True)
