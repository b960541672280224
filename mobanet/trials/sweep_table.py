"""What the trials of a sweep came to: as CSV, and as a table with the best first."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mobanet.plain.text_tables import as_text, csv_text, fitted
from mobanet.trials.metric import Metric
from mobanet.trials.trial import Record

_BEHIND = {"finished": 0, "ended": 1, "running": 2, "interrupted": 3, "failed": 4}


@dataclass(frozen=True)
class TrialRow:
    """A trial by its number, from 1."""

    number: int
    record: Record


def results_csv(rows: Sequence[TrialRow], names: Sequence[str]) -> str:
    """One row a trial.

    Args:
        rows: in the order of their numbers.
        names: of the parameters.
    """
    lines: list[Sequence[Any]] = [["number", "status", *names, "best", "epoch", "last", "seconds", "folder"]]
    for row in rows:
        outcome, trial = row.record.outcome, row.record.trial
        values = [plain(trial.parameters[name]) if name in trial.parameters else "" for name in names]
        figures = ["" if figure is None else figure for figure in (outcome.best, outcome.epoch, outcome.last)]
        lines.append([row.number, outcome.status, *values, *figures, outcome.seconds, trial.folder])
    return csv_text(lines)


def best_first(rows: Sequence[TrialRow], metric: Metric) -> list[TrialRow]:
    """Finished trials by what they reached, then those ended early, under way, failed; the earlier one of equals."""

    def rank(row: TrialRow) -> tuple[int, float, int]:
        outcome = row.record.outcome
        value = outcome.best if outcome.best is not None else 0.0
        return _BEHIND[outcome.status], -value if metric.goal == "maximize" else value, row.number

    return sorted(rows, key=rank)


def sweep_table(rows: Sequence[TrialRow], metric: Metric, varied: Sequence[str], width: int = 120) -> str:
    """A table for people, the best trial first.

    Args:
        rows: of at least one trial.
        metric: that they are compared by.
        varied: names of the parameters that are not the same in all trials.
        width: characters of a line.
    """
    ordered = best_first(rows, metric)
    outcomes = [row.record.outcome for row in ordered]
    first: list[tuple[str, Sequence[str]]] = [
        ("status", [outcome.status for outcome in outcomes]),
        (f"best\n{metric.name}", [_short(outcome.best) for outcome in outcomes]),
        ("epoch", [_short(outcome.epoch) for outcome in outcomes]),
        ("last", [_short(outcome.last) for outcome in outcomes]),
        ("minutes", [f"{outcome.seconds / 60:.1f}" for outcome in outcomes]),
    ]
    given = [row.record.trial.parameters for row in ordered]
    more = [(name.replace(".", "\n"), [_short(each.get(name, "")) for each in given]) for name in varied]
    tables = fitted("trial", [str(row.number) for row in ordered], len(ordered), first, more, width)
    notes = [f"best: of all epochs, {'highest' if metric.goal == 'maximize' else 'lowest'} first; epochs count from 1"]
    notes += [f"trial {row.number}: {row.record.outcome.error}" for row in ordered if row.record.outcome.error]
    return as_text(tables, notes)


def plain(value: Any) -> str:
    """A parameter's value as YAML and JSON have it: `null`, `true`, `["rgb", "dsm"]`; text as it is."""
    return value if isinstance(value, str) else json.dumps(value)


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else plain(value)
