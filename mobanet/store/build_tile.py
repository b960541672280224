"""Preparing one tile: every raster is read, checked and staged first, then all of them take their place together."""

from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

from mobanet.errors import UserError
from mobanet.files import SyncAhead, put_all_in_place
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import gdal_settings
from mobanet.rasters.rows import CACHE_BYTES
from mobanet.store.jobs import TileJob, TileOutcome, clause_of, is_label, stored_stamps, stored_tile
from mobanet.store.products import Products
from mobanet.store.stored import TILE_FILE, VERSION, LabelRecord, ModalityRecord, StoredTile
from mobanet.store.writing import clear_parts, write_json


def build_tile(job: TileJob) -> TileOutcome:
    """Prepare one tile, unless something is wrong with it; what is current is left alone.

    Raises:
        OSError: when the disk is full; temporary files are gone then.
    """
    stored = stored_tile(job.folder)
    if job.is_current(stored):
        return TileOutcome(job.tile.id)
    with ExitStack() as stack:
        stack.enter_context(gdal_settings(GDAL_CACHEMAX=CACHE_BYTES))  # by default 5 % of the memory, in each process
        job.folder.mkdir(parents=True, exist_ok=True)
        # callbacks run the other way round: parts go first, and then the folder if nothing is left in it
        stack.callback(_remove_if_empty, job.folder)
        clear_parts(job.folder)
        stack.callback(clear_parts, job.folder)
        # left before parts are cleared away: nobody brings one to the disk any more then
        return _build(job, stored, Products(job, stack), stack.enter_context(SyncAhead()))


def _build(job: TileJob, stored: StoredTile | None, products: Products, ahead: SyncAhead) -> TileOutcome:
    stamps, problems = job.stamps(), job.problems()
    try:
        grid, reference, kept = _grid(job, stored, products)
    except UserError as error:
        return TileOutcome(job.tile.id, (*problems, clause_of(error)))
    modalities = {name: record for name, record in (stored.modalities if stored else {}).items() if name in kept}
    labels = {kind: record for kind, record in (stored.labels if stored else {}).items() if f"label_{kind}" in kept}
    absent = {name: stamp for name, stamp in (stored.absent if stored else {}).items() if name in kept}
    # a note on a product begins with its name; those of the tile itself are added anew
    notes = [note for note in (stored.notes if stored else ()) if note.split(":")[0] in kept]
    stale = [name for name in stamps if name not in kept]
    staged: dict[Path, Path] = {}
    for name in stale:
        try:
            product = (products.label if is_label(name) else products.modality)(name, grid, stamps[name])
        except UserError as error:
            if clause_of(error) not in problems:  # two modalities may share a file
                problems.append(clause_of(error))
            continue
        staged |= product.parts
        for part in product.parts.values():
            ahead.begin(part)
        if product.record is None:
            absent[name] = stamps[name]
        elif isinstance(product.record, ModalityRecord):
            modalities[name] = product.record
        else:
            labels[name.removeprefix("label_")] = product.record
        notes.extend(product.notes)
    if not modalities and not problems:
        problems.append(f"no raster of the tile {job.tile.id} has a valid pixel there: replace or remove them")
    if problems:
        return TileOutcome(job.tile.id, tuple(problems))
    order = [*job.layout.modalities]
    description = {
        "version": VERSION,
        "id": job.tile.id,
        "height": grid.height,
        "width": grid.width,
        "reference": reference,
        "modalities": {name: modalities[name].to_plain() for name in sorted(modalities, key=order.index)},
        "labels": {kind: asdict(labels[kind]) for kind in ("full", "eroded") if kind in labels},
        "transform": grid.transform,
        "crs": grid.crs,
        "notes": [*job.tile.notes, *notes],
    }
    description |= {"absent": absent} if absent else {}
    _publish(job.folder, staged, ahead, description, modalities, labels)
    return TileOutcome(job.tile.id)


def _grid(job: TileJob, stored: StoredTile | None, products: Products) -> tuple[Grid, str, set[str]]:
    """The tile's grid, the modality it comes from, and the stored products that can stay."""
    if stored is None:
        return *products.reference(), set()
    wanted = job.stamps()
    kept = {name for name, stamp in stored_stamps(stored).items() if wanted.get(name) == stamp}
    # of an earlier call: nobody asks for them now, so that their sources were not looked for
    kept |= {name for name in stored.modalities if name not in job.wanted and name in job.layout.modalities}
    # its raster has not changed and need not be opened for its grid
    if stored.reference in kept and job.tile.reference is None:
        return stored.grid, stored.reference, kept
    grid, reference = products.reference()
    # on another grid nothing that is stored lies where it should
    # compared exactly: JSON keeps every digit of a float
    return grid, reference, kept if grid == stored.grid else set()


def _publish(
    folder: Path,
    staged: dict[Path, Path],
    ahead: SyncAhead,
    description: dict[str, object],
    modalities: dict[str, ModalityRecord],
    labels: dict[str, LabelRecord],
) -> None:
    """Put staged arrays in place. Until `tile.json` is there again, the tile counts as unfinished."""
    # first of all: killed between two arrays, a tile would pass for finished with some new and some old ones
    (folder / TILE_FILE).unlink(missing_ok=True)
    put_all_in_place(staged, ahead)
    names = {*modalities, *(f"label_{kind}" for kind in labels)}
    names |= {f"{name}.valid" for name, record in modalities.items() if not record.complete}
    names |= {f"{name}.blocks" for name, record in modalities.items() if record.blocks}
    names |= {f"label_{kind}.marks" for kind, record in labels.items() if record.marks}
    # of what is stored no more, and validity of a modality that is complete by now
    for old in folder.glob("*.npy"):
        if old.name.removesuffix(".npy") not in names:
            old.unlink()
    # the arrays are on the disk; where this is lost, or empty, the tile is only made again
    write_json(folder / TILE_FILE, description, synced=False)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
