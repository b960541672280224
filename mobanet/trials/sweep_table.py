"""What the trials of a sweep came to: as CSV, and as a table with the best first."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mobanet.plain.text_tables import as_text, csv_text, fitted
from mobanet.trials.metric import Metric
from mobanet.trials.trial import Record

# finished ones first, even where one that was ended early had been better by then
_BEHIND = {"finished": 0, "ended": 1, "running": 2, "interrupted": 3, "failed": 4}


def results_csv(records: Mapping[int, Record], names: Sequence[str]) -> str:
    """One row a trial, with the values of the parameters of these names."""
    lines: list[Sequence[Any]] = [["number", "status", *names, "best", "epoch", "last", "seconds", "folder"]]
    for number, record in records.items():
        outcome, trial = record.outcome, record.trial
        values = [plain(trial.parameters[name]) if name in trial.parameters else "" for name in names]
        figures = ["" if figure is None else figure for figure in (outcome.best, outcome.epoch, outcome.last)]
        lines.append([number, outcome.status, *values, *figures, outcome.seconds, trial.folder])
    return csv_text(lines)


def best_first(records: Mapping[int, Record], metric: Metric) -> dict[int, Record]:
    """Finished trials by what they reached, then those ended early, under way, failed; the earlier one of equals."""

    def rank(number: int) -> tuple[int, float, int]:
        outcome = records[number].outcome
        value = outcome.best if outcome.best is not None else 0.0
        return _BEHIND[outcome.status], -value if metric.goal == "maximize" else value, number

    return {number: records[number] for number in sorted(records, key=rank)}


def sweep_table(records: Mapping[int, Record], metric: Metric, varied: Sequence[str], width: int) -> str:
    """A table of at least one trial for people, the best first.

    Args:
        records: by number of the trial.
        metric: that they are compared by.
        varied: names of the parameters that are not the same in all trials.
        width: characters of a line.
    """
    ordered = best_first(records, metric)
    outcomes = [record.outcome for record in ordered.values()]
    # these stay together where a table is split for want of width
    first: list[tuple[str, Sequence[str]]] = [
        ("status", [outcome.status for outcome in outcomes]),
        (f"best\n{metric.name}", [_short(outcome.best) for outcome in outcomes]),
        ("epoch", [_short(outcome.epoch) for outcome in outcomes]),
        ("last", [_short(outcome.last) for outcome in outcomes]),
        ("minutes", [f"{outcome.seconds / 60:.1f}" for outcome in outcomes]),
    ]
    given = [record.trial.parameters for record in ordered.values()]
    more = [(name.replace(".", "\n"), [_short(each.get(name, "")) for each in given]) for name in varied]
    tables = fitted("trial", list(map(str, ordered)), len(ordered), first, more, width)
    notes = [f"best: of all epochs, {'highest' if metric.goal == 'maximize' else 'lowest'} first; epochs count from 1"]
    notes += [f"trial {number}: {each.outcome.error}" for number, each in ordered.items() if each.outcome.error]
    return as_text(tables, notes)


def plain(value: Any) -> str:
    """A parameter's value as YAML and JSON have it: `null`, `true`, `["rgb", "dsm"]`; text as it is."""
    return value if isinstance(value, str) else json.dumps(value)


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else plain(value)
