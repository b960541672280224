"""The folder of a local sweep: what was asked for, so that going on means the same, and what its trials came to."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobanet.errors import UserError
from mobanet.files import write_text
from mobanet.trials.files import held, read_json, write_json
from mobanet.trials.sweep_file import Sweep, read_content
from mobanet.trials.sweep_table import results_csv
from mobanet.trials.trial import DONE, Record, last_checkpoint, read_record

SWEEP_FILE = "sweep.yaml"
PLAN_FILE = "sweep.json"
RESULTS_FILE = "results.csv"
LOCK_FILE = "sweep.lock"

_DECISIVE = ("metric", "parameters", "command", "program")
"""Keys of a sweep file that say what its trials are."""


@dataclass(frozen=True)
class SweepPlan:
    """What the command line says of a sweep: at most `count` trials, with `words` behind those of its file."""

    method: str
    seed: int
    count: int
    words: tuple[str, ...]


def trial_folder(folder: Path, number: int) -> Path:
    """Where a trial, from 1, is run."""
    return folder / f"trial_{number:03d}"


def begin(folder: Path, sweep: Sweep, plan: SweepPlan) -> None:
    """Keep the sweep's file and plan, or see that they are the ones that the folder has been begun with.

    Where nothing has been trained yet, others may take their place; more trials are fine at any time.

    Raises:
        UserError: naming what differs.
    """
    with held(folder / LOCK_FILE, wait=True):
        given = {"method": plan.method, "seed": plan.seed, "words": list(plan.words)}
        # under the lock: the same command may have been started several times at once
        before = read_json(folder / PLAN_FILE, "give another --run")
        if before is not None and _has_trained(folder):
            differing = [key for key in given if given[key] != before.get(key)]
            # by content, not by bytes: comments and names may change
            differing += _differing_keys(read_content(folder / SWEEP_FILE), read_content(sweep.path))
            if differing:
                raise UserError(
                    f"{folder} was begun with another {' and '.join(differing)}; give what it was begun "
                    "with, or another --run."
                )
        # a sweep may go on from the copy in its own folder, which copyfile refuses to copy onto itself
        if not (folder / SWEEP_FILE).exists() or not sweep.path.samefile(folder / SWEEP_FILE):
            shutil.copyfile(sweep.path, folder / SWEEP_FILE)
        write_json(folder / PLAN_FILE, given)


def write_results(folder: Path, sweep: Sweep) -> dict[int, Record]:
    """Write `results.csv`, and return what is in it."""
    with held(folder / LOCK_FILE, wait=True):  # another process of the same sweep may be writing
        found = records(folder)
        names = [parameter.name for parameter in sweep.parameters]
        write_text(folder / RESULTS_FILE, results_csv(found, names))
    return found


def records(folder: Path) -> dict[int, Record]:
    """Of the trials that have been begun, by their numbers and in the order of these."""
    found = {}
    for path in folder.glob("trial_*"):
        number = path.name.removeprefix("trial_")
        record = read_record(path) if number.isdecimal() else None
        if record is not None:
            found[int(number)] = record
    return dict(sorted(found.items()))  # by name, trial_1000 comes before trial_999


def _has_trained(folder: Path) -> bool:
    found = records(folder).values()
    return any(record.outcome.status in DONE or last_checkpoint(record.trial.folder) for record in found)


def _differing_keys(before: dict[str, Any], now: dict[str, Any]) -> Sequence[str]:
    """Names as in the file, down to a parameter's; the order of parameters, which draws depend on, among them."""
    found: list[str] = []
    for key in _DECISIVE:
        one, other = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            named = [f"{key}.{name}" for name in {**one, **other} if one.get(name, key) != other.get(name, key)]
            found += named or ([f"order of {key}"] if list(one) != list(other) and key == "parameters" else [])
        elif one != other:
            found.append(key)
    return found
