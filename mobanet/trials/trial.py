"""One trial: a run of `mobanet.fit` in a folder that remembers what was run and how it ended."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mobanet.cli.option_names import as_typed
from mobanet.errors import UserError
from mobanet.plain.command_words import take
from mobanet.trials.files import held, read_json, write_json
from mobanet.trials.metric import Metric, reached
from mobanet.trials.process import Commands

TRIAL_FILE = "trial.json"
LOCK_FILE = "trial.lock"
METRICS_FILE = "metrics.csv"

Status = Literal["running", "finished", "ended", "failed", "interrupted"]
"""`ended`: early, as it was worse than others."""

DONE = ("finished", "ended")
"""What is not run again."""


@dataclass(frozen=True)
class Trial:
    """What is to be run.

    Attributes:
        folder: of the run.
        words: for `mobanet.fit`, without `--run` and `--ckpt_path`.
        parameters: value by name, which are among the words.
    """

    folder: Path
    words: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialOutcome:
    """How far a trial is.

    Attributes:
        status: running, or how it ended.
        best: best value of the metric over the epochs, with its `epoch` from 1; None without one.
        last: value that was logged last.
        seconds: that it has run, all attempts together.
        error: of a failed one, a sentence without its full stop.
        code: exit code of `mobanet.fit`; 2 where it was done but has not logged the metric.
    """

    status: Status
    best: float | None = None
    epoch: int | None = None
    last: float | None = None
    seconds: float = 0.0
    error: str | None = None
    code: int = 0


@dataclass(frozen=True)
class Record:
    """A trial as its folder remembers it."""

    trial: Trial
    outcome: TrialOutcome


def only_here(folder: Path) -> AbstractContextManager[bool]:
    """Hold a trial's folder against other processes; yields False where another holds it."""
    return held(folder / LOCK_FILE)


def read_record(folder: Path) -> Record | None:
    """What a trial's folder remembers; None where nothing has been run there."""
    path = folder / TRIAL_FILE
    content = read_json(path, "remove it to run the trial again")
    if content is None:
        return None
    try:
        words, parameters = tuple(content.pop("words")), content.pop("parameters")
        return Record(Trial(folder, words, parameters), TrialOutcome(**content))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it to run the trial again.") from error


def last_checkpoint(folder: Path) -> Path | None:
    """What a run in this folder would go on from; None where it would begin."""
    path = folder / "checkpoints" / "last.ckpt"
    return path if path.is_file() else None


def run_trial(
    trial: Trial,
    commands: Commands,
    metric: Metric | None = None,
    variables: Mapping[str, str] | None = None,
    hopeless: Callable[[Path], bool] | None = None,
) -> TrialOutcome:
    """Run a trial, or go on with it; a finished one is left alone. To be called with its folder held.

    Args:
        trial: what to run.
        commands: runs it.
        metric: that it has to log; None for none.
        variables: further ones for its environment.
        hopeless: whether it is to be ended early, by its folder; None where it is not.

    Raises:
        UserError: where the folder has trained with other words.
    """
    record, last = read_record(trial.folder), last_checkpoint(trial.folder)
    if record is not None:
        check_same_words(trial, record)
        if record.outcome.status in DONE:
            return record.outcome
    # what ran here with other words is no attempt of this trial
    spent = record.outcome.seconds if record and record.trial.words == trial.words else 0.0
    # before it starts, so that a killed sweep leaves behind what was tried
    _write(trial, TrialOutcome("running", seconds=spent))
    words = [*trial.words, "--run", str(trial.folder)]
    if last is not None:  # fit refuses both, as one begins a run and the other goes on with it
        words = [*take(words, "--init_from")[1], "--ckpt_path", str(last)]
    # None stays None: without a question the process is waited for, and not looked at
    ended = commands.run("mobanet.fit", words, variables, hopeless and partial(hopeless, trial.folder))
    spent = round(spent + ended.seconds, 1)
    if ended.interrupted:
        outcome = TrialOutcome("interrupted", seconds=spent, code=ended.code)
    # one that was ended early has the code of its signal, and is no failure
    elif ended.code and not ended.early:
        outcome = TrialOutcome("failed", seconds=spent, error=ended.told, code=ended.code)
    else:
        outcome = _done(trial, metric, spent, "ended" if ended.early else "finished")
    _write(trial, outcome)
    return outcome


def check_same_words(trial: Trial, record: Record) -> None:
    """Refuse a trial that is not what its folder has trained; where nothing has been trained, it may be anything."""
    now, before = trial.words, record.trial.words
    if now == before or (record.outcome.status not in DONE and last_checkpoint(trial.folder) is None):
        return
    added = [word for word in now if word not in before]
    dropped = [word for word in before if word not in now]
    what = [f"{shlex.join(words)} {how}" for words, how in ((added, "is new"), (dropped, "is gone")) if words]
    raise UserError(
        f"{trial.folder} has run with other words ({'; '.join(what) or 'their order differs'}); give another --run, or "
        "the words of then."
    )


def fit_command(words: Sequence[str]) -> str:
    """A command line to copy."""
    return shlex.join(["python", "-m", "mobanet.fit", *(as_typed(word, "fit") for word in words)])


def _done(trial: Trial, metric: Metric | None, seconds: float, status: Status) -> TrialOutcome:
    if metric is None:
        return TrialOutcome(status, seconds=seconds)
    try:
        found = reached(trial.folder / METRICS_FILE, metric)
    except UserError as error:
        return TrialOutcome("failed", seconds=seconds, error=str(error).rstrip("."), code=2)
    return TrialOutcome(status, found.best, found.epoch, found.last, seconds)


def _write(trial: Trial, outcome: TrialOutcome) -> None:
    content = {"words": list(trial.words), "parameters": dict(trial.parameters), **asdict(outcome)}
    write_json(trial.folder / TRIAL_FILE, content)
