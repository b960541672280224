"""Files of scenario scores: the history of a run, a line an epoch, and the scores of one checkpoint."""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mobanet.errors import UserError
from mobanet.files import write_text
from mobanet.plain.json_files import parse_json
from mobanet.scenarios.scores import ScenarioScores, ScoreSettings

_LISTS = ("distortion", "standard_error", "scores", "probabilities")


@dataclass(frozen=True)
class ScoreRecord:
    """What one computation of the probabilities found, S numbers each.

    Attributes:
        epoch: at whose start it was made, from 0.
        scenarios: names, in the usual order.
        distortion: D.
        standard_error: of D over windows.
        scores: r.
        probabilities: p.
        num_windows: windows that distortion was measured on.
        seconds: it took.
        settings: that led from D to p.
    """

    epoch: int
    scenarios: tuple[str, ...]
    distortion: tuple[float, ...]
    standard_error: tuple[float, ...]
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    num_windows: int
    seconds: float
    settings: ScoreSettings

    def __post_init__(self) -> None:
        """Refuse lists of different lengths, and numbers that JSON has no words for."""
        for name in _LISTS:
            numbers = getattr(self, name)
            if len(numbers) != len(self.scenarios):
                raise ValueError(f"{name} has {len(numbers)} numbers for {len(self.scenarios)} scenarios")
            if not all(map(math.isfinite, numbers)):
                raise ValueError(f"{name} holds numbers that are not finite")


def read_history(path: str | Path) -> list[ScoreRecord]:
    """The records of a run, in the order of the file.

    Raises:
        UserError: if it cannot be read, or for a line that is no record.
    """
    lines = _text(path, "scenario_scores.jsonl of a run").splitlines()
    remedy = "remove the line, or the file"
    return [_record(line, f"{path}, line {k}", remedy) for k, line in enumerate(lines, 1) if line.strip()]


def read_scores(path: str | Path) -> ScoreRecord:
    """What `write_scores` wrote of one checkpoint.

    Raises:
        UserError: if it cannot be read, or holds no scores.
    """
    return _record(_text(path, "JSON file that mobanet.scores wrote"), str(path), "make it anew with mobanet.scores")


def write_record(path: str | Path, record: ScoreRecord) -> None:
    """Add a record to a history; those of its epoch and of later ones go, as a resumed run makes them again.

    Its folder is made. The file is replaced as a whole, so that an interruption leaves the old one.

    Raises:
        UserError: if an existing file holds a line that is no record.
    """
    path = Path(path)
    earlier = [old for old in read_history(path) if old.epoch < record.epoch] if path.exists() else []
    write_text(path, "".join(json.dumps(_plain(each), allow_nan=False) + "\n" for each in [*earlier, record]))


def drop_records(path: str | Path, epoch: int) -> None:
    """Drop the records of an epoch and of later ones, which belong to an earlier run; an empty history goes.

    Nothing happens where there is none.

    Raises:
        UserError: if the file holds a line that is no record.
    """
    path = Path(path)
    records = read_history(path) if path.is_file() else []
    kept = [record for record in records if record.epoch < epoch]
    if kept and len(kept) < len(records):
        # the last one written anew drops all behind it, in one move of the file
        write_record(path, kept[-1])
    elif records and not kept:
        path.unlink()


def write_scores(path: str | Path, record: ScoreRecord, details: ScenarioScores, checkpoint: str) -> None:
    """Write the scores of one checkpoint as JSON that people and `read_probabilities` read.

    Args:
        path: of the file; its folder is made.
        record: what was measured and found.
        details: what lies between.
        checkpoint: of the model that was measured.
    """
    plain = _plain(record)
    content = {
        **{name: plain[name] for name in ("scenarios", "distortion", "standard_error")},
        **{
            name: np.asarray(getattr(details, name)).tolist()
            for name in ("kernel", "scores", "normalized", "softmax", "probabilities", "bandwidth")
        },
        **{name: plain[name] for name in ("num_windows", "epoch", "seconds", "settings")},
        "checkpoint": checkpoint,
    }
    write_text(Path(path), _readable(content))


def _text(path: str | Path, kind: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); give the {kind}.") from error


def _record(text: str, where: str, remedy: str) -> ScoreRecord:
    try:
        content = parse_json(text)
        lists = {name: tuple(map(float, content[name])) for name in _LISTS}
        return ScoreRecord(
            epoch=int(content["epoch"]),
            scenarios=tuple(content["scenarios"]),
            num_windows=int(content["num_windows"]),
            seconds=float(content["seconds"]),
            settings=ScoreSettings(**content["settings"]),
            **lists,
        )
    except (ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(f"{where}: no record of scenario scores ({error!r}); {remedy}.") from error


def _plain(record: ScoreRecord) -> dict[str, Any]:
    # named, as a run's settings hold more than these
    settings = {field.name: getattr(record.settings, field.name) for field in fields(ScoreSettings)}
    return {**asdict(record), "settings": settings}


def _readable(content: dict[str, Any]) -> str:
    # json's own indentation puts every number on a line
    parts = []
    for key, value in content.items():
        text = json.dumps(value, allow_nan=False)
        if key == "kernel":
            text = "[\n" + ",\n".join(f"    {json.dumps(row, allow_nan=False)}" for row in value) + "\n  ]"
        parts.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
