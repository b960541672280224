"""Figures of several seeds for other programs: all values with their means and deviations, as CSV and JSON."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mobanet.plain.text_tables import csv_text
from mobanet.trials.seed_figures import Figure, Tested, Validation


def seeds_csv(seeds: Sequence[int], validation: Validation, test: Tested | None) -> str:
    """One row a figure, of the seeds in the order of the figures; absent ones are empty."""
    lines: list[Sequence[Any]] = [["stage", "row", "figure", *(f"seed_{seed}" for seed in seeds), "mean", "deviation"]]
    for stage, row, name, figure in _all(validation, test):
        numbers = (*figure.values, figure.mean, figure.deviation)
        # repr: the shortest text that gives the same float again
        lines.append([stage, row, name, *("" if math.isnan(number) else repr(number) for number in numbers)])
    return csv_text(lines)


def seeds_json(seeds: Sequence[int], validation: Validation, test: Tested | None) -> dict[str, Any]:
    """Everything, for JSON; absent figures are null."""

    def plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
        return {
            name: {
                # keys of JSON are text
                "values": {str(seed): _number(value) for seed, value in zip(seeds, figure.values, strict=True)},
                "mean": _number(figure.mean),
                "deviation": _number(figure.deviation),
            }
            for name, figure in figures.items()
        }

    content: dict[str, Any] = {
        "seeds": list(seeds),
        "validation": {
            "monitor": validation.monitor.name,
            "epochs": {str(seed): epoch for seed, epoch in zip(seeds, validation.epochs, strict=True)},
            "figures": plain(validation.figures),
        },
    }
    if test is not None:
        content["test"] = {
            "protocol": dict(test.protocol),
            "scenarios": {name: plain(figures) for name, figures in test.scenarios.items()},
            "summary": {name: plain(figures) for name, figures in test.summary.items()},
        }
    return content


def _all(validation: Validation, test: Tested | None) -> Iterator[tuple[str, str, str, Figure]]:
    for name, figure in validation.figures.items():
        yield "validation", "best epoch", name, figure
    for rows in (test.scenarios, test.summary) if test else ():
        for row, figures in rows.items():
            for name, figure in figures.items():
                yield "test", row, name, figure


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
