"""The figures of degraded sensors: what is lost at each severity, as table, CSV and JSON."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mobanet.evaluation.degradations import NM, RMM, Degradation
from mobanet.evaluation.metrics import Scores, mean_of, scores
from mobanet.evaluation.scenario_table import as_plain
from mobanet.plain.text_tables import as_text, csv_text, decimal, fitted, none_if_absent, percent, text_width
from mobanet.rasters.contents import Classes

STRENGTHS = ("mild", "medium", "strong")
"""Of the severities of each degradation, in tables that have several of them."""


@dataclass(frozen=True)
class DegradedFigure:
    """What is left with one sensor degraded.

    Attributes:
        modality: name of the sensor.
        degradation: its kind.
        severity: one of the degradation's.
        scores: figures of the full scenario.
        matrix: (K, K) counts, truth in rows.
    """

    modality: str
    degradation: Degradation
    severity: float
    scores: Scores
    matrix: Tensor


@dataclass(frozen=True)
class DegradedRow:
    """One sensor degraded in one way, or the mean of several, at each severity.

    Attributes:
        modality: name of the sensor; empty for a mean.
        label: name of the degradation, or of the mean.
        severities: in words, from mild to strong; empty words for a mean.
        mious: alike, 0..1.
        drops: alike, below the undegraded sensors; NaN where these were not tested.
    """

    modality: str
    label: str
    severities: tuple[str, ...]
    mious: tuple[float, ...]
    drops: tuple[float, ...]


@dataclass(frozen=True)
class DegradedResults:
    """What a test of degraded sensors found.

    Attributes:
        figures: of each degradation each sensor at each severity, from mild to strong.
        full: name of the full scenario, in which all were measured.
        whole: its confusion matrix (K, K) with no sensor degraded; None where it was not evaluated.
        classes: of the confusion matrices.
        protocol: how the figures came about, in words.
    """

    figures: Sequence[DegradedFigure]
    full: str
    whole: Tensor | None
    classes: Classes
    protocol: Mapping[str, str]

    @property
    def undegraded(self) -> Scores | None:
        """Figures with no sensor degraded."""
        return None if self.whole is None else scores(self.whole, self.classes)

    def drop(self, miou: float) -> float:
        """What is missing to the undegraded mIoU, 0..1; NaN where that is not known."""
        return math.nan if self.undegraded is None else self.undegraded.mean_iou - miou

    def modalities(self) -> list[str]:
        """Names of the sensors, in order."""
        return list(dict.fromkeys(figure.modality for figure in self.figures))

    def degradations(self) -> list[Degradation]:
        """Those that were tested, in order."""
        return list({figure.degradation.name: figure.degradation for figure in self.figures}.values())

    def rows(self) -> list[DegradedRow]:
        """One a sensor and degradation, sensor by sensor."""
        out = []
        for modality in self.modalities():
            for degradation in self.degradations():
                own = [f for f in self.figures if (f.modality, f.degradation.name) == (modality, degradation.name)]
                if own:
                    mious = tuple(figure.scores.mean_iou for figure in own)
                    words = tuple(degradation.worded(figure.severity) for figure in own)
                    out.append(DegradedRow(modality, degradation.name, words, mious, tuple(map(self.drop, mious))))
        return out

    def means(self) -> list[DegradedRow]:
        """RMM and NM: over all sensors and what counts as such, at each severity."""
        out = []
        for measure in (RMM, NM):
            names = [degradation.name for degradation in self.degradations() if degradation.measure == measure]
            rows = [row for row in self.rows() if row.label in names]
            if rows:
                mious = tuple(map(mean_of, zip(*(row.mious for row in rows), strict=True)))
                drops = tuple(map(self.drop, mious))
                out.append(DegradedRow("", f"{measure} ({', '.join(names)})", ("",) * len(mious), mious, drops))
        return out

    def notes(self) -> list[str]:
        """What has to stand below every table, without the protocol."""
        drop = f"points of mIoU below {self.full} undegraded"
        drop = f"drop: {drop}" if self.undegraded else f"no drop, as {self.full} was not evaluated"
        lines = [f"per cent; one sensor degraded, all others as they were; {drop}"]
        lines += [f"{each.name}: {each.meaning}" for each in self.degradations()]
        if means := [row.label.split()[0] for row in self.means()]:
            lines.append(f"{' and '.join(means)}: means over all sensors")
        return lines

    def to_log(self) -> dict[str, float]:
        """For the loggers, mIoU by name."""
        return {
            f"test/degraded/{f.modality}/{f.degradation.name}/{f.severity:g}/miou": f.scores.mean_iou
            for f in self.figures
        }


def degraded_table(results: DegradedResults, width: int = 120) -> str:
    """One row a sensor and degradation, then the means, and the protocol, for people.

    Where `width` characters are too narrow for all, each severity has a table of its own.
    """
    rows, means = results.rows(), results.means()
    shown = [*rows, *means]
    labels = [f"{row.modality} {row.label}".strip() for row in shown]
    groups = []
    for k, strength in enumerate(STRENGTHS):
        columns = [(strength, [row.severities[k] for row in shown]), ("mIoU", [percent(r.mious[k]) for r in shown])]
        columns += [("drop", [percent(row.drops[k]) for row in shown])] * (results.whole is not None)
        groups.append(columns)
    tables = fitted("degraded", labels, len(rows), [column for group in groups for column in group], [], width)
    if text_width(tables) > width:  # what belongs to one severity stays together
        tables = [table for group in groups for table in fitted("degraded", labels, len(rows), group, [], width)]
    lines = [] if results.undegraded is None else [f"{results.full} undegraded: {percent(results.undegraded.mean_iou)}"]
    protocol = [f"{name}: {text}" for name, text in results.protocol.items()]
    return as_text(tables, [*lines, *results.notes(), *protocol])


def degraded_csv(results: DegradedResults) -> str:
    """One row a sensor, degradation and severity, 0..1, the first one without any; absent figures are empty."""
    ious = [f"iou_{name.replace(' ', '_')}" for name in results.classes.names]
    lines: list[Sequence[Any]] = [["modality", "degradation", "severity", "oa", "mean_f1", "miou", "drop", *ious]]
    if results.undegraded is not None:
        lines.append(["", "none", "", *_numbers(results, results.undegraded)])
    for figure in results.figures:
        place = [figure.modality, figure.degradation.name, f"{figure.severity:g}"]
        lines.append([*place, *_numbers(results, figure.scores)])
    return csv_text(lines)


def _numbers(results: DegradedResults, figures: Scores) -> Iterator[str]:
    values = (figures.overall_accuracy, figures.mean_f1, figures.mean_iou, results.drop(figures.mean_iou))
    return map(decimal, (*values, *figures.iou))


def degraded_json(results: DegradedResults) -> str:
    """Everything; absent figures are null."""
    full, whole = results.undegraded, results.whole
    content = {
        "protocol": dict(results.protocol),
        "scenario": results.full,
        "classes": list(results.classes.names),
        "undegraded": None
        if full is None or whole is None
        else {**as_plain(full, results.classes), "confusion": whole.tolist()},
        "degraded": [
            {
                "modality": figure.modality,
                "degradation": figure.degradation.name,
                "severity": figure.severity,
                **as_plain(figure.scores, results.classes),
                "drop": none_if_absent(results.drop(figure.scores.mean_iou)),
                "confusion": figure.matrix.tolist(),
            }
            for figure in results.figures
        ],
        "means": {
            row.label.split()[0]: {
                "miou": list(map(none_if_absent, row.mious)),
                "drop": list(map(none_if_absent, row.drops)),
            }
            for row in results.means()
        },
    }
    # NaN is no JSON, and Python would write it: better an error here than in who reads the file
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
