"""What preparing and checking have to say, as tables on standard output."""

from collections.abc import Iterable

import numpy as np
from rich.console import Console
from rich.table import Table

from mobanet.data.preparation.checks import Findings
from mobanet.data.scaling import range_note, range_of
from mobanet.data.store import TileStore
from mobanet.data.words import absent_note


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
    console.print(f"{len(store.tiles)} tiles of layout {store.layout} in {store.path}", markup=False, soft_wrap=True)


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
    """A row a raster, class shares by kind of label, notes and problems."""
    console = _console()
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
    console.print(table)
    kinds = [name for name in findings.products if name.startswith("label_")]
    if kinds:
        shares = _table("class", *(f"share, {kind.removeprefix('label_')} labels" for kind in kinds))
        means = [_mean_shares(findings, kind) for kind in kinds]
        for index, name in enumerate(findings.layout.classes.names):
            shares.add_row(name, *(f"{100 * mean[index]:.1f} %" for mean in means))
        counted = (str(sum(kind in tile.looks for tile in findings.tiles)) for kind in kinds)
        shares.add_row("tiles", *counted, style="dim")
        console.print(shares)
    _notes(console, "note", findings.notes)
    _notes(console, "note", (f"tile {tile.tile}: {note}" for tile in findings.tiles for note in tile.notes))
    _notes(console, "problem", findings.problems)


def _mean_shares(findings: Findings, kind: str) -> np.ndarray:
    """Shares of the classes over all tiles' labelled pixels."""
    looks = [tile.looks[kind] for tile in findings.tiles if kind in tile.looks]
    labelled = [look.grid.height * look.grid.width * (1 - look.missing) for look in looks]
    total = sum(np.array(look.shares) * pixels for look, pixels in zip(looks, labelled, strict=True))
    return total / max(1.0, sum(labelled))


def _console() -> Console:
    console = Console()
    # in a file or a pipe nothing has to be folded to fit a window
    return console if console.is_terminal else Console(width=200)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _notes(console: Console, word: str, notes: Iterable[str]) -> None:
    for note in notes:
        console.print(f"{word}: {note}", markup=False, highlight=False, soft_wrap=True)
