"""Maps of many scenes by any number of processes: each takes one at a time, goes on after failures, and says them."""

import errno
import json
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.errors import UserError
from mobanet.files import write_bytes
from mobanet.models.precision import weight_dtype
from mobanet.plain.json_files import read_json
from mobanet.plain.text_tables import csv_text
from mobanet.prediction.areas import FinishedMap
from mobanet.prediction.claims import Claims
from mobanet.prediction.plan import MapSettings
from mobanet.prediction.run import Model, announce, clear_way, make_maps, network_of
from mobanet.prediction.scene_list import ListedScene
from mobanet.prediction.vectors import VectorSettings
from mobanet.prediction.workspace import Workspace
from mobanet.rasters.elsewhere import redacted

FAILED = "failed.csv"
"""Table of the scenes that failed, in the folder of the maps."""

_WORK = ".scenes"
_SETTINGS = "settings.json"
# the disk, or the user's share of it
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Placing:
    """How the rasters of each scene are brought together; as the options of `mobanet.predict`."""

    reference: str | None = None
    crs: str | None = None
    resolution: str | None = None


@dataclass
class ListOutcome:
    """What became of a list.

    Attributes:
        finished: maps that this process has written.
        there: scenes whose maps were there.
        elsewhere: scenes that other processes were at.
        failed: sentences, by id.
        table: of them.
    """

    finished: list[FinishedMap]
    there: int
    elsewhere: list[str]
    failed: dict[str, str]
    table: Path

    def described(self) -> str:
        """One line."""
        more = [f"{self.there} were there"] if self.there else []
        more += [f"other processes are at {len(self.elsewhere)}"] if self.elsewhere else []
        more += [f"{len(self.failed)} failed"] if self.failed else []
        count = "1 scene" if len(self.finished) == 1 else f"{len(self.finished)} scenes"
        return ", ".join([f"{count} predicted", *more])

    def check(self) -> None:
        """Say what failed, as an error, where anything has."""
        if self.failed:
            name, sentence = next(iter(self.failed.items()))
            count = "a scene" if len(self.failed) == 1 else f"{len(self.failed)} scenes"
            raise UserError(
                f"{count} of the list failed, and {self.table} says why ({name}: {sentence.rstrip('.')}): mend that "
                "and give the same command again, which takes up what is missing."
            )


def predict_list(
    model: Model,
    scenes: Sequence[ListedScene],
    folder: Path,
    settings: MapSettings,
    placing: Placing,
    fabric: Fabric,
    batch_size: int,
    vectors: VectorSettings,
) -> ListOutcome:
    """Predict scenes, in order, that have no map yet and that no other process is at; each failure is kept for the end.

    Several processes may write to the folder of the maps.

    Raises:
        UserError: when maps in the folder were made otherwise.
        OSError: when the disk is full.
    """
    work = folder / _WORK
    _check_places(folder, scenes)
    if scenes:  # of a part that has none, `_numbers` would not know those of the others
        _check_settings(work / _SETTINGS, model, settings, placing, vectors, scenes)
    # once, and not for every scene
    model = replace(model, network=network_of(model, weight_dtype(settings.precision)))

    def maps_of(scene: ListedScene, path: Path) -> list[FinishedMap]:
        placed = model.place(scene.given(), placing.reference, placing.crs, placing.resolution)
        vectors.check([placed])
        # as with --resume: what a process that is gone has left is gone on with
        left, paths = clear_way([placed], [path], settings, True, False, vectors)
        announce(model, left, settings)
        return make_maps(model, left, paths, settings, fabric, batch_size, vectors)

    outcome = ListOutcome([], 0, [], {}, folder / FAILED)
    try:
        with Claims(work) as claims:
            for scene in scenes:
                path = folder / f"{scene.id}.tif"
                if _finished(path, settings, vectors):
                    outcome.there += 1
                    continue
                if _failed_since(work, scene.id, claims.began):
                    continue  # in another process, a moment ago
                with claims.taken(scene.id) as held:
                    if not held:
                        outcome.elsewhere.append(scene.id)
                    elif _finished(path, settings, vectors):  # meanwhile
                        outcome.there += 1
                    else:
                        outcome.finished += _or_record(maps_of, scene, path, work)
    finally:
        with suppress(OSError):  # what ends it early, such as a full disk, says more
            _write_table(outcome.table, work)
    outcome.failed = {scene.id: told for scene in scenes if (told := _failure(work, scene.id)) is not None}
    return outcome


def _or_record(
    maps_of: Callable[[ListedScene, Path], list[FinishedMap]], scene: ListedScene, path: Path, work: Path
) -> list[FinishedMap]:
    """The maps of a scene, told; none, and a record for all processes, where that fails by the scene's own fault."""
    record = work / f"{scene.id}.failed"
    try:
        finished = maps_of(scene, path)
    except Exception as error:
        if _of_all(error):
            raise
        # what GDAL says of an address may hold keys, and this goes to a table
        sentence = redacted(_sentence(error))
        rank_zero_info(f"{scene.id}: failed: {sentence}")
        trace = "" if isinstance(error, UserError) else redacted("".join(traceback.format_exception(error)))
        content = {"sentence": sentence, "trace": trace, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        # own: other processes write to this folder, too, and two of them may write one file
        write_bytes(record, json.dumps(content, indent=1).encode(), own=True)
        return []
    record.unlink(missing_ok=True)
    for each in finished:
        print(each.described(), flush=True)
    return finished


def _of_all(error: Exception) -> bool:
    """Whether the next scene would fail in the same way: a full disk, and a device that is lost or full."""
    full = isinstance(error, OSError) and error.errno in _FULL
    # by its words: what cuBLAS complains of comes as a bare RuntimeError
    return full or isinstance(error, torch.OutOfMemoryError) or "CUDA error" in str(error)


def _sentence(error: Exception) -> str:
    told = " ".join(str(error).split())
    if isinstance(error, UserError):
        return told
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def _finished(path: Path, settings: MapSettings, vectors: VectorSettings) -> bool:
    """Whether all files of a map are there, and nothing is being written."""
    files = vectors.files(settings.files(path)).all
    return all(file.exists() for file in files) and not Workspace.of(path).folder.exists()


def _failed_since(work: Path, name: str, began: float) -> bool:
    try:
        return (work / f"{name}.failed").stat().st_mtime >= began
    except FileNotFoundError:
        return False


def _failure(work: Path, name: str) -> str | None:
    try:
        return str(read_json(work / f"{name}.failed")["sentence"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_table(table: Path, work: Path) -> None:
    """All that failed in any process, so that the last to end leaves the whole of it; none where nothing did."""
    names = sorted(path.name.removesuffix(".failed") for path in work.glob("*.failed"))
    rows = [(name, told) for name in names if (told := _failure(work, name)) is not None]
    if not rows:
        table.unlink(missing_ok=True)
        return
    write_bytes(table, csv_text([("id", "sentence"), *rows]).encode(), own=True)


def _check_places(folder: Path, scenes: Sequence[ListedScene]) -> None:
    """Refuse to write a map where a raster is, which would pass for a finished one."""
    rasters = {file for scene in scenes for file in scene.files}
    for scene in scenes:
        if (path := os.path.abspath(folder / f"{scene.id}.tif")) in rasters:
            raise UserError(f"{path} is a raster of --scenes, which the map would replace: name another --output.")


def _check_settings(
    path: Path,
    model: Model,
    settings: MapSettings,
    placing: Placing,
    vectors: VectorSettings,
    scenes: Sequence[ListedScene],
) -> None:
    """Keep what maps of a folder are made with, and refuse to add others to them."""
    options: dict[str, Any] = {"ckpt_path": model.fingerprint, **asdict(settings), **asdict(placing)}
    options["preset"] = options.pop("blend")  # what says how windows are added up
    options |= {name: getattr(vectors, name) for name in ("polygons", "minimum_area", "fill_holes", "simplify")}
    options["right_angles"] = vectors.right_angles  # null also in folders that were begun before there were any
    options["zones"] = None if vectors.zones is None else vectors.zones.file.fingerprint
    options["zones_attribute"] = None if vectors.zones is None else vectors.zones.attribute
    # by way of JSON, as what was kept came back: tuples are lists there, and paths texts
    now = json.loads(json.dumps({**options, **_numbers(scenes)}, default=str))
    before: Mapping[str, Any] | None = None
    with suppress(FileNotFoundError):
        try:
            before = dict(read_json(path))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); name another --output, or delete it.") from error
    if before is None:
        maps = (path.parents[1] / f"{scene.id}.tif" for scene in scenes)
        if foreign := next((file for file in maps if file.exists()), None):
            raise UserError(f"{foreign} is there already, and was not made from a list: name another --output.")
        write_bytes(path, json.dumps(now, indent=1).encode(), own=True)
        return
    # of both, as either may have been made by a version with an option more
    for key in dict.fromkeys([*now, *before]):
        if now.get(key) != before.get(key):
            raise UserError(
                f"--output {path.parents[1]} holds maps that were made with another --{key} ({before.get(key)}, now "
                f"{now.get(key)}): give the same, or name another folder."
            )


def _numbers(scenes: Sequence[ListedScene]) -> dict[str, Any]:
    """Nodata, factor and minimum by modality, NaN as JSON has it."""
    told: dict[str, dict[str, str]] = {"nodata": {}, "factor": {}, "minimum": {}}
    # those of the first scene, as they are given for a whole list
    for name, numbers in scenes[0].numbers.items():
        for key, value in numbers.items():
            if value is not None:
                # as text, of which NaN equals itself
                told[key][name] = repr(value)
    return told
