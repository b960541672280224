"""Figures of several seeds for people: each seed's of the validation, means and deviations of the test."""

import math
from collections.abc import Mapping, Sequence

from mobanet.plain.text_tables import as_text, fitted, stacked
from mobanet.trials.seed_figures import SUMMARY, Figure, Tested, Validation


def validation_text(seeds: Sequence[int], validation: Validation, width: int) -> str:
    """One row a metric: each seed's value at its best epoch, mean and deviation, in lines of `width` characters."""
    names, figures = list(validation.figures), list(validation.figures.values())
    each = [
        (f"seed {seed}\nepoch {epoch}", [_decimal(figure.values[i]) for figure in figures])
        for i, (seed, epoch) in enumerate(zip(seeds, validation.epochs, strict=True))
    ]
    over = [
        ("mean", [_decimal(figure.mean) for figure in figures]),
        ("deviation", [_decimal(figure.deviation) for figure in figures]),
    ]
    monitor = validation.monitor
    notes = [
        f"of each seed the epoch with the {'highest' if monitor.goal == 'maximize' else 'lowest'} {monitor.name}, "
        "which its best.ckpt is of; shares from 0 to 1",
        _DEVIATION,
    ]
    return as_text(fitted("validation", names, len(names), [], [*each, *over], width), notes)


def scenarios_text(seeds: Sequence[int], test: Tested, width: int) -> str:
    """One row a scenario, then the summary's; mean and deviation over the seeds in per cent.

    Classes that do not fit into lines of `width` characters go into further tables below.
    """
    # what is expected has its label for a name already
    rows = {**test.scenarios, **{SUMMARY.get(name, name): figures for name, figures in test.summary.items()}}
    first = [(head, _column(rows, key)) for head, key in (("OA", "oa"), ("mean\nF1", "mean_f1"), ("mIoU", "miou"))]
    for head, key in (("soft J", "soft_jaccard"), ("ECE", "ece"), ("ECE\nat T", "ece_calibrated")):
        # tests of earlier versions lack these
        if any(key in figures for figures in rows.values()):
            first.append((head, _column(rows, key)))
    ious = [(stacked(name), _column(rows, f"iou_{name.replace(' ', '_')}")) for name in test.classes]
    tables = fitted("test", list(rows), len(test.scenarios), first, ious, width)
    notes = [f"per cent, mean ± deviation over the seeds {', '.join(map(str, seeds))}; under a class's name its IoU"]
    notes += [_DEVIATION]
    if test.summary:
        notes += ["worst: of each seed the scenario with the lowest mIoU; incomplete: every one that lacks a modality"]
    return as_text(tables, [*notes, *(f"{name}: {text}" for name, text in test.protocol.items())])


def _column(rows: Mapping[str, Mapping[str, Figure]], key: str) -> list[str]:
    return [_shown(figures[key]) if key in figures else "absent" for figures in rows.values()]


def _shown(figure: Figure) -> str:
    """Mean and deviation in per cent."""
    if math.isnan(figure.mean):
        return "absent"
    mean = f"{100 * figure.mean:.2f}"
    return mean if math.isnan(figure.deviation) else f"{mean} ± {100 * figure.deviation:.2f}"


def _decimal(value: float) -> str:
    return "absent" if math.isnan(value) else f"{value:.4f}"


_DEVIATION = "deviation: the sample standard deviation; absent figures are left out of means and deviations"
