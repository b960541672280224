"""Building tile stores: find the tiles, prepare what is not current, report all problems at once."""

import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mobanet.datasets.base import Layout
from mobanet.datasets.catalogue import LOCK_FILE, STORE_FILE, Listings, check_root, list_files
from mobanet.errors import UserError
from mobanet.files import write_bytes
from mobanet.plain.collector import collector_at_rest
from mobanet.store.build_tile import build_tile
from mobanet.store.index import INDEX_FILE, Index
from mobanet.store.jobs import TileJob, TileOutcome, inspect_labels, jobs_for, nothing_drawn, stored_tile
from mobanet.store.locking import only_builder
from mobanet.store.pool import in_processes
from mobanet.store.progress import TaskProgress
from mobanet.store.scratch import clear_left
from mobanet.store.stored import VERSION, TileStore, default_store, read_json, read_tile
from mobanet.store.writing import clear_parts, writable, write_json

_LISTINGS = "archives.json"
_SCRATCH = "scratch"


def build_store(
    layout: Layout,
    root: Path,
    store: Path | None = None,
    modalities: Sequence[str] | None = None,
    workers: int = 0,
    allow_missing: bool = False,
    options: str = "--",
) -> TileStore:
    """Prepare the tiles below `root`. What is already prepared from unchanged sources is left alone.

    Only sizes and times are looked at where everything is current. Only one process builds a store; others wait for it
    and then find it done. Stopped half-way, the next call goes on with the tiles that are not finished.

    Args:
        layout: the data set's conventions.
        root: folder with rasters or zip archives, or one zip archive.
        store: where the prepared tiles go; None for `default_store(root, layout.name)`.
        modalities: those to prepare; None for the layout's usual ones. Others that the store has are kept.
        workers: processes, a tile each; 0 for one a core but no more than 8, 1 for none but this.
        allow_missing: accept tiles that lack some of `modalities`.
        options: what stands before `store` where the user gives it, for messages.

    Returns:
        The finished store.

    Raises:
        UserError: with every problem of every tile. Tiles without problems are kept, but the store is not finished.
        OSError: when the disk is full; what was not finished is removed.
    """
    root = Path(root)
    check_root(root, layout.name)
    wanted = layout.check_modalities(modalities)
    folder = Path(store) if store is not None else default_store(root, layout.name)
    scratch = folder / _SCRATCH
    _check_owner(folder, layout, options)
    # first without the lock: many processes begin with a finished store, and some may not write to it
    if (folder / STORE_FILE).is_file():
        with collector_at_rest():
            catalogue = list_files(root, known=Listings.load(folder / _LISTINGS))
            survey = layout.survey(catalogue, wanted)
            jobs = jobs_for(survey, catalogue, layout, wanted, folder, scratch, allow_missing)
            finished = _finished(folder, layout, jobs)
        if finished is not None:
            return finished
    with _only_builder(folder, options):
        clear_left(folder)
        clear_parts(folder)
        try:
            catalogue = list_files(root, scratch, Listings.load(folder / _LISTINGS))
            survey = layout.survey(catalogue, wanted, scratch)
            jobs = jobs_for(survey, catalogue, layout, wanted, folder, scratch, allow_missing)
            # looked at again: whoever was waited for may have done it all
            finished = _finished(folder, layout, jobs)
            if finished is None:
                if catalogue.listings.filled:
                    catalogue.listings.save(folder / _LISTINGS)
                (folder / INDEX_FILE).unlink(missing_ok=True)  # from here on readers wait
                _report(root, jobs, _prepare(jobs, (*survey.notes, *_older(folder)), workers, scratch), options)
                _check_drawn(root, jobs)
                _finish(folder, layout, wanted, jobs)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return TileStore(folder) if finished is None else finished


def _prepare(jobs: list[TileJob], notes: Iterable[str], workers: int, scratch: Path) -> list[TileOutcome]:
    """Prepare the tiles that are not current."""
    stale = [job for job in jobs if not job.is_current(stored_tile(job.folder))]
    outcomes = []
    if stale:
        # only where a tile is to be made: files of labels are opened for it as wholes
        notes = [*notes, *inspect_labels(jobs, stale[0].layout, scratch)]
    with TaskProgress("preparing tiles", len(stale)) as steps:
        for note in notes:
            steps.say(f"note: {note}")
        for outcome in in_processes(build_tile, stale, workers):
            outcomes.append(outcome)
            for problem in outcome.problems:
                steps.say(f"problem: {problem}")
            steps.advance()
    return outcomes


def _report(root: Path, jobs: list[TileJob], outcomes: list[TileOutcome], options: str) -> None:
    """Raise all problems as one sentence; a modality that no tile has is said once."""
    problems = []
    absent = Counter(name for job in jobs if not job.allow_missing for name in job.tile.missing)
    # of a single tile its own complaint says as much
    nowhere = [name for name, count in absent.items() if count == len(jobs) > 1]
    for name in nowhere:
        problems.append(f"no tile has {name}: there is no file such as {jobs[0].tile.missing[name]}")
    # outcomes come in any order, and a sentence should be the same each time
    order = {job.tile.id: number for number, job in enumerate(jobs)}
    for outcome in sorted(outcomes, key=lambda outcome: order[outcome.tile]):
        told = tuple(f"tile {outcome.tile} has no {name}:" for name in nowhere)
        problems.extend(problem for problem in outcome.problems if not (told and problem.startswith(told)))
    problems = list(dict.fromkeys(problems))  # of a file that several tiles share
    if not problems:
        return
    start = f"{root} has " + ("a problem" if len(problems) == 1 else f"{len(problems)} problems")
    hint = ""
    if absent:
        hint = f"; add the missing files, leave it out of {options}modalities, or set {options}allow_missing true"
    raise UserError(f"{start}: {'; '.join(problems)}{hint}.")


def _check_drawn(root: Path, jobs: list[TileJob]) -> None:
    """Refuse labels of which none has anything on it, whenever they were drawn."""
    tiles = (stored_tile(job.folder) for job in jobs)
    if problems := nothing_drawn(jobs, (tile.notes if tile is not None else () for tile in tiles)):
        raise UserError(f"{root} has a problem: {problems[0]}.")


def _finished(folder: Path, layout: Layout, jobs: list[TileJob]) -> TileStore | None:
    """The store, where its index has every tile as it would be prepared now; tiles' own descriptions are not read."""
    if not jobs:
        return None
    try:
        store = TileStore(folder, wait=False)
        tiles = list(store.tiles.values()) if len(store.tiles) == len(jobs) else []
    except UserError:
        return None
    # also those of earlier calls, which the store keeps though nobody asks for them now
    names = {name for tile in tiles for name in tile.modalities}
    wanted = _description(layout, {*jobs[0].wanted, *names}, jobs, store.description["index"])
    if not tiles or store.description != wanted:
        return None
    current = all(job.is_current(tile) for job, tile in zip(jobs, tiles, strict=True))
    return store if current else None


def _finish(folder: Path, layout: Layout, wanted: Sequence[str], jobs: list[TileJob]) -> None:
    """Write the index, and then that the store is finished."""
    found = [read_tile(job.folder)[1] for job in jobs]
    index, names = Index.of(found), {*wanted, *(name for content in found for name in content["modalities"])}
    # in this order: a store that says it is finished has the index whose sum it names
    write_bytes(folder / INDEX_FILE, index.content, own=True)
    write_json(folder / STORE_FILE, _description(layout, names, jobs, index.sum))


def _description(layout: Layout, modalities: Collection[str], jobs: list[TileJob], index: str) -> dict[str, object]:
    """Content of `store.json` once all tiles are prepared, with the modalities that are stored and the index's sum."""
    told = layout.told_split()
    return {
        "version": VERSION,
        "layout": layout.name,
        # in the layout's order, whichever was prepared first: readers and tables go by it
        "modalities": {name: modality.to_plain() for name, modality in layout.modalities.items() if name in modalities},
        "classes": {
            "names": list(layout.classes.names),
            "colours": [list(colour) for colour in layout.classes.colours],
            "averaged": list(layout.classes.averaged),
        },
        "tiles": [job.tile.id for job in jobs],
        "index": index,
        # no key where there is nothing to tell, so that stores of earlier versions stay equal
        **({} if told is None else {"split": told}),
    }


def _check_owner(folder: Path, layout: Layout, options: str) -> None:
    """Refuse to mix data sets in one store, and to overwrite what a newer version made."""
    try:
        content = read_json(folder / STORE_FILE)
    except UserError:
        return  # not there, or damaged; it is written anew once the tiles are checked
    if isinstance(content, dict) and isinstance(content.get("version"), int) and content["version"] > VERSION:
        # which says so in its own words
        TileStore(folder)
    other = content.get("layout") if isinstance(content, dict) else None
    if other not in (None, layout.name):
        raise UserError(
            f"{folder} was prepared with layout {other}, not {layout.name}: give another place with {options}store."
        )


def _older(folder: Path) -> Iterator[str]:
    """A remark where an earlier version made the store."""
    with suppress(UserError, OSError, TypeError, KeyError):
        version = read_json(folder / STORE_FILE)["version"]
        if version < VERSION:
            yield (
                f"{folder} was prepared by an earlier mobanet, whose stores are laid out in another way (version "
                f"{version}, now {VERSION}): all tiles are prepared again"
            )


@contextmanager
def _only_builder(folder: Path, options: str) -> Iterator[None]:
    """Hold the store's lock; wait for another builder. A store in which nothing was finished is removed again."""
    with ExitStack() as stack:
        with writable(folder, f"give another place with {options}store"):
            stack.enter_context(only_builder(folder))
        try:
            yield
        finally:
            with suppress(OSError):
                # fails, as it should, where a tile is in it
                (folder / "tiles").rmdir()
            # while the lock is held: whoever waits for it notices that the folder has gone, and makes another
            if {path.name for path in folder.iterdir()} <= {LOCK_FILE, _LISTINGS}:
                shutil.rmtree(folder, ignore_errors=True)
