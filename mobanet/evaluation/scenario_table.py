"""The figures of all scenarios beside each other: what is lost when a sensor is missing, as table, CSV and JSON."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from rich.table import Table
from torch import Tensor

from mobanet.evaluation.bootstrap import FEW, INTERVAL, LEVEL, RESAMPLES, Interval, Intervals
from mobanet.evaluation.calibration import BINS, Reliability
from mobanet.evaluation.detail_table import detail_heads, detail_notes, details_as_plain
from mobanet.evaluation.details import DetailScores
from mobanet.evaluation.jaccard import SoftScores
from mobanet.evaluation.metrics import Scores, mean_of
from mobanet.evaluation.scenario_summary import (
    ScenarioSummary,
    covers,
    deviation_of,
    expected_of,
    summarise,
)
from mobanet.evaluation.specialists import Regained
from mobanet.evaluation.temperature import temperature_words
from mobanet.plain.text_tables import as_text, csv_text, decimal, fitted, none_if_absent, percent, stacked
from mobanet.rasters.contents import Classes
from mobanet.scenarios.failure import Failure
from mobanet.scenarios.scenario import Scenario, scenarios_of

SOFT = (
    "soft J: Jaccard of probabilities, mean over windows, of the background where a window has no target (as in "
    "arXiv 2605.20372; not comparable with IoU)"
)
ECE = f"ECE: expected calibration error of the probabilities that a map has, {BINS} bins, over the same pixels"
GAP = (
    "gap: share that is regained of the gap between a model trained with all sensors there and one trained for that "
    "scenario alone; absent where the latter is no better"
)
ECE_AT_T = "ECE at T"
"""Heading of the calibration error of calibrated probabilities."""
FWIOU = "FW IoU"
"""Heading of the frequency weighted IoU."""
ACCURACIES = (
    "user's accuracy: of the pixels that the map gives a class, the share that is right; producer's accuracy: of the "
    "class's pixels in the truth, the share that the map has right; frequency weighted: IoU, mean over all classes by "
    "their share of the truth"
)
NOT_AVERAGED = "* counts as an error where it is confused, but is not averaged"


@dataclass(frozen=True)
class ScenarioResults:
    """What one evaluation found.

    Attributes:
        scenarios: of the data, the last the full one.
        classes: of the confusion matrices.
        scores: by name of the evaluated scenarios, at least one, in the usual order.
        matrices: likewise, (K, K) counts, truth in rows.
        unmasked: likewise, number of windows that have nothing of the scenario and were evaluated with what they have.
        windows: number of windows of the evaluation.
        protocol: how the figures came about, in words.
        soft: of binary targets, the scenario paper's figures by name of the scenario; empty otherwise.
        reliability: how far probabilities are right, by name of the scenario; empty where that is not known.
        failures: of sensors, at which figures are expected.
        tiles: names of those that have a pixel that counts; None where they are not known.
        intervals: of mIoU over these tiles; None of fewer than two.
        regained: of the gap to specialists; None where none were given.
        remarks: what else is to be said of the figures.
        temperatures: of the checkpoint, by name of the evaluated scenarios that have one.
        calibrated: how far probabilities at these are right, alike.
        details: boundaries and objects, by name of the scenario; empty where they were not measured.
    """

    scenarios: Sequence[Scenario]
    classes: Classes
    scores: Mapping[str, Scores]
    matrices: Mapping[str, Tensor]
    unmasked: Mapping[str, int]
    windows: int
    protocol: Mapping[str, str]
    soft: Mapping[str, SoftScores] = field(default_factory=dict)
    reliability: Mapping[str, Reliability] = field(default_factory=dict)
    failures: Sequence[Failure] = ()
    tiles: Sequence[str] | None = None
    intervals: Intervals | None = None
    regained: Regained | None = None
    remarks: Sequence[str] = ()
    temperatures: Mapping[str, float] = field(default_factory=dict)
    calibrated: Mapping[str, Reliability] = field(default_factory=dict)
    details: Mapping[str, DetailScores] = field(default_factory=dict)

    @property
    def full(self) -> str:
        """Name of the full scenario, evaluated or not."""
        return self.scenarios[-1].name

    def detail_heads(self) -> dict[str, str]:
        """Headings, on several lines, of the figures of boundaries and objects, by their names."""
        return detail_heads(self.details[self.fullest]) if self.details else {}

    @property
    def fullest(self) -> str:
        """Name of the last of the evaluated scenarios."""
        return list(self.scores)[-1]

    def drop(self, figures: Scores) -> float:
        """What is missing to the full scenario's mIoU, 0..1; NaN where that was not evaluated."""
        return self.scores[self.full].mean_iou - figures.mean_iou if self.full in self.scores else math.nan

    def summary(self) -> ScenarioSummary:
        """What the scenarios come to."""
        return summarise(self.scores, self.full, self.failures)

    def explained(self) -> list[str]:
        """What the rows and columns are that several scenarios add."""
        lines = ["worst: the scenario with the lowest mIoU; incomplete: every scenario that lacks a modality"]
        there = len(scenarios_of(self.full.split("+")))
        if len(self.scores) > 1 and self.failures and covers(self.scores, self.full):
            lines.append("expected: over all scenarios, if each sensor fails with probability p whatever the others do")
        elif len(self.scores) > 1 and self.failures:
            lines.append(
                f"nothing is expected of sensors that fail, as {there - len(self.scores)} of {there} scenarios were "
                "not evaluated (--scenarios.evaluate all)"
            )
        return lines

    def interval_words(self) -> str | None:
        """Which tiles the intervals are over, or why there are none; None where nothing is known of that."""
        if self.tiles is None:
            return None
        count = len(self.tiles)
        if self.intervals is None:
            there = "one" if count else "none"
            return f"no {INTERVAL} interval of mIoU, which takes two tiles with labels, and there is {there}"
        hint = f"; of fewer than {FEW} it is hardly more than a hint" if count < FEW else ""
        return f"{INTERVAL}: interval of mIoU by bootstrap over {count} tiles, {RESAMPLES} draws{hint}"

    def calibration_words(self) -> list[str]:
        """What the column of calibrated probabilities is, and which scenarios have nothing in it."""
        if not self.calibrated:
            return []
        told = temperature_words({name: self.temperatures[name] for name in self.calibrated})
        lines = [f"{ECE_AT_T}: the same of softmax(logits / T), T by the validation of each scenario: {told}"]
        without = [name for name in self.scores if name not in self.calibrated]
        if without:
            lines.append(
                f"no T is known of {', '.join(without[:3])}{', …' if len(without) > 3 else ''}: fitted is what is "
                "validated in training (--scenarios.validate)"
            )
        return lines

    def notes(self) -> list[str]:
        """What has to stand below every table: classes left out, protocol, windows that have nothing of a scenario."""
        lines = [NOT_AVERAGED] if len(self.classes.averaged) < len(self.classes) else []
        lines += [SOFT] if self.soft else []
        lines += [ECE] if self.reliability else []
        lines += self.calibration_words()
        lines += [words for words in [self.interval_words()] if words]
        lines += [GAP] if self.regained else []
        lines += detail_notes(self.details)
        lines += self.remarks
        lines += [f"{name}: {text}" for name, text in self.protocol.items()]
        for name in self.scores:
            count, of = self.unmasked[name], f"of {self.windows} windows"
            if count == 1:
                lines.append(f"{name}: 1 {of} has nothing of it and was evaluated with what it has")
            elif count:
                lines.append(f"{name}: {count} {of} have nothing of it and were evaluated with what they have")
        return lines


def scenario_table(results: ScenarioResults, width: int = 120) -> str:
    """One row a scenario, then the summary, and the protocol, for people.

    Classes that do not fit into `width` characters go into further tables below.
    """
    rows = rows_of(results)
    shown = [(column.head, column.words) for column in figure_columns(results, rows)]
    told = results.full in results.scores
    drop = f"drop: points of mIoU below {results.full}" if told else f"no drop, as {results.full} was not evaluated"
    heads = [stacked(name) + ("" if name in results.classes.averaged else " *") for name in results.classes.names]
    ious = [(head, column.words) for head, column in zip(heads, class_columns(results, rows), strict=True)]
    labels = [row.label for row in rows]
    tables = fitted("scenario", labels, len(results.scores), shown, ious, width, split="IoU %")
    tables += detail_tables(results, rows, width)
    explained = [f"per cent; under a class's name its IoU; {drop}", *results.explained()]
    return as_text(tables, [*explained, *results.notes()])


@dataclass(frozen=True)
class FigureColumn:
    """A column of a table for people.

    Attributes:
        head: on several lines.
        words: one a row.
        values: likewise, the highest the best; NaN where none is to be marked, or there is none.
    """

    head: str
    words: Sequence[str]
    values: Sequence[float]


def figure_columns(results: ScenarioResults, rows: Sequence["ScenarioRow"]) -> list[FigureColumn]:
    """Those that there are of one evaluation but for classes, in the order of tables."""
    unmarked = [math.nan] * len(rows)
    columns = [
        _shares("OA", [row.figures.overall_accuracy for row in rows]),
        _shares("mean\nF1", [row.figures.mean_f1 for row in rows]),
        _shares("mIoU", [row.figures.mean_iou for row in rows]),
    ]
    if results.intervals:
        columns.append(FigureColumn(INTERVAL, [interval_text(row.interval) for row in rows], unmarked))
    if results.soft:
        columns.append(_shares("soft J", [row.soft for row in rows]))
    if results.full in results.scores:
        # not marked, as it says nothing that mIoU does not
        columns.append(FigureColumn("drop", ["" if r.drop is None else percent(r.drop) for r in rows], unmarked))
    if results.reliability:
        # of errors the lowest is the best
        columns.append(FigureColumn("ECE", [percent(row.error) for row in rows], [-row.error for row in rows]))
    if results.calibrated:
        words = ["" if math.isnan(row.calibrated) else percent(row.calibrated) for row in rows]
        columns.append(FigureColumn("ECE\nat T", words, [-row.calibrated for row in rows]))
    if results.regained:
        words = ["" if row.regained is None else percent(row.regained) for row in rows]
        columns.append(FigureColumn("gap", words, unmarked))
    return columns


def class_columns(results: ScenarioResults, rows: Sequence["ScenarioRow"]) -> list[FigureColumn]:
    """The IoU of each class."""
    return [_shares(name, [row.figures.iou[k] for row in rows]) for k, name in enumerate(results.classes.names)]


def _shares(head: str, values: Sequence[float]) -> FigureColumn:
    return FigureColumn(head, [*map(percent, values)], values)


def detail_tables(results: ScenarioResults, rows: Sequence["ScenarioRow"], width: int) -> list[Table]:
    """Boundaries and objects in tables of their own, as `scenario_table`; none where they were not measured."""
    columns = [(head, [percent(row.details[key]) for row in rows]) for key, head in results.detail_heads().items()]
    labels = [row.label for row in rows]
    return fitted("scenario", labels, min(len(results.scores), len(rows)), [], columns, width) if columns else []


def interval_text(interval: Interval | None) -> str:
    """`61.20 - 70.45`, in per cent; empty for none."""
    return "" if interval is None else " - ".join(map(percent, interval))


def scenario_csv(results: ScenarioResults) -> str:
    """One row a scenario, then the summary, 0..1; absent figures are empty."""
    names = [name.replace(" ", "_") for name in results.classes.names]
    ious = [f"iou_{name}" for name in names]
    accuracies = [f"{kind}_accuracy_{name}" for kind in ("users", "producers") for name in names]
    soft = ["soft_jaccard"] if results.soft else []
    gap = ["gap_regained"] if results.regained else []
    at = ["ece_calibrated", "temperature"] if results.calibrated else []
    details = [*results.detail_heads()]
    added = ["miou_low", "miou_high", "ece", *at, "fwiou", *accuracies, *details, *gap]
    lines: list[Sequence[Any]] = [
        ["scenario", "oa", "kappa", "mean_f1", "miou", "drop", *ious, *soft, "kept_windows", *added]
    ]
    for row in rows_of(results):
        f = row.figures
        drop = math.nan if row.drop is None else row.drop
        numbers = (f.overall_accuracy, f.kappa, f.mean_f1, f.mean_iou, drop, *f.iou, *[row.soft] * len(soft))
        unmasked = "" if row.unmasked is None else row.unmasked
        low, high = row.interval or (math.nan, math.nan)
        own = (row.calibrated, row.temperature) if results.calibrated else ()
        of_classes = (f.frequency_weighted_iou, *f.users_accuracy, *f.producers_accuracy)
        regained = [math.nan if row.regained is None else row.regained] * len(gap)
        ends = (low, high, row.error, *own, *of_classes, *(row.details[key] for key in details), *regained)
        lines.append([row.label, *map(decimal, numbers), unmasked, *map(decimal, ends)])
    return csv_text(lines)


def scenario_columns(results: ScenarioResults) -> list[str]:
    """Headings of `scenario_rows`."""
    at = [ECE_AT_T] if results.calibrated else []
    at += [head.replace("\n", " ") for head in results.detail_heads().values()]
    return ["scenario", "OA", "mean F1", "mIoU", "drop", "mIoU low", "mIoU high", FWIOU, "ECE", *at]


def scenario_rows(results: ScenarioResults) -> list[list[str | float | None]]:
    """One row a scenario, then the summary, in the order of `scenario_columns`; 0..1, None where absent."""
    table = []
    for row in rows_of(results):
        f, (low, high) = row.figures, row.interval or (math.nan, math.nan)
        drop = math.nan if row.drop is None else row.drop
        at = [row.calibrated] if results.calibrated else []
        at += [row.details[key] for key in results.detail_heads()]
        numbers = (f.overall_accuracy, f.mean_f1, f.mean_iou, drop, low, high, f.frequency_weighted_iou, row.error, *at)
        table.append([row.label, *map(none_if_absent, numbers)])
    return table


def intervals_to_log(results: ScenarioResults) -> dict[str, float]:
    """Ends of the intervals of mIoU and their names among metrics, as `figures_to_log` calls what they are of."""
    found = results.intervals
    if found is None:
        return {}
    named = {"miou": found.scenarios.get(results.fullest)}
    if len(results.scores) > 1:
        named |= {f"scenarios/{name}/miou": each for name, each in found.scenarios.items()}
        named["scenarios/mean_miou"] = found.mean
        expected = zip(results.summary().expected, found.expected, strict=True)
        named |= {f"scenarios/{failure.metric}": interval for (failure, _), interval in expected}
    ends = {name: each for name, each in named.items() if each is not None}
    return {f"{name}_{end}": x for name, each in ends.items() for end, x in zip(("low", "high"), each, strict=True)}


def scenario_json(results: ScenarioResults, epoch: int) -> dict[str, Any]:
    """Everything, for JSON, and the epoch in which it was made; absent figures are null."""
    rows = rows_of(results)
    summed = {row.label: row for row in rows[len(results.scores) :]}

    def plain(row: ScenarioRow) -> dict[str, Any]:
        content = as_plain(row.figures, results.classes)
        content["drop"] = None if row.drop is None else none_if_absent(row.drop)
        content["ece"] = none_if_absent(row.error)
        if results.calibrated:
            content["ece_calibrated"] = none_if_absent(row.calibrated)
        content["miou_interval"] = list(row.interval) if row.interval else None
        if row.details:
            content["details"] = {name: none_if_absent(value) for name, value in row.details.items()}
        if results.regained and row.regained is not None:
            content["gap_regained"] = none_if_absent(row.regained)
        return content

    summary = results.summary()
    worst = f"worst ({summary.worst_name})"
    return {
        "protocol": dict(results.protocol),
        "epoch": epoch,
        "modalities": [scenario.name for scenario in results.scenarios if sum(scenario.available) == 1],
        "windows": results.windows,
        "tiles": None if results.tiles is None else list(results.tiles),
        "bootstrap": {"level": LEVEL, "resamples": RESAMPLES} if results.intervals else None,
        "failures": [dict(failure.rates) for failure in results.failures],
        "remarks": list(results.remarks),
        "scenarios": {
            name: {
                **plain(row),
                **soft_as_plain(results, name),
                "kept_windows": results.unmasked[name],
                **measured_as_plain(results, name),
                "confusion": results.matrices[name].tolist(),
            }
            for name, row in zip(results.scores, rows, strict=False)
        },
        "summary": {
            "mean": plain(summed[MEAN]),
            "worst": {"scenario": summary.worst_name, **plain(summed[worst])} if summary.worst else None,
            "incomplete": plain(summed[INCOMPLETE]) if summary.incomplete else None,
            "expected": [
                {"failure": dict(failure.rates), **plain(summed[expected_label(failure)])}
                for failure, _ in summary.expected
            ],
            "deviation": plain(summed[DEVIATION]) if summary.deviation else None,
        },
    }


def expectation_as_plain(results: ScenarioResults, scenario: str) -> dict[str, Any]:
    """What the file of a single scenario says of tiles, interval and calibration, for JSON."""
    found = results.intervals.scenarios.get(scenario) if results.intervals else None
    return {
        "tiles": None if results.tiles is None else list(results.tiles),
        "bootstrap": {"level": LEVEL, "resamples": RESAMPLES} if results.intervals else None,
        "miou_interval": list(found) if found else None,
        "ece": none_if_absent(results.reliability[scenario].error) if scenario in results.reliability else None,
        **measured_as_plain(results, scenario),
    }


def measured_as_plain(results: ScenarioResults, scenario: str) -> dict[str, Any]:
    """One scenario's calibration, what its temperature makes of that, and details, for JSON."""
    content: dict[str, Any] = {"calibration": reliability_as_plain(results.reliability.get(scenario))}
    if found := results.calibrated.get(scenario):
        content["temperature"] = results.temperatures[scenario]
        content["ece_calibrated"] = none_if_absent(found.error)
        content["calibrated"] = reliability_as_plain(found)
    return content | details_as_plain(results.details.get(scenario, DetailScores()), results.classes)


def reliability_as_plain(found: Reliability | None) -> dict[str, Any] | None:
    """A calibration for JSON; None where it is not known."""
    if found is None:
        return None
    return {
        "pixels": list(found.pixels),
        "confidence": [*map(none_if_absent, found.confidence)],
        "accuracy": [*map(none_if_absent, found.accuracy)],
    }


def as_plain(figures: Scores, classes: Classes) -> dict[str, Any]:
    """One scenario's figures for JSON; absent classes are null."""
    per_class = {
        name: {
            "iou": none_if_absent(figures.iou[k]),
            "f1": none_if_absent(figures.f1[k]),
            "pixels": figures.pixels[k],
            "users_accuracy": none_if_absent(figures.users_accuracy[k]),
            "producers_accuracy": none_if_absent(figures.producers_accuracy[k]),
        }
        for k, name in enumerate(classes.names)
    }
    return {
        "oa": none_if_absent(figures.overall_accuracy),
        "kappa": none_if_absent(figures.kappa),
        "mean_f1": none_if_absent(figures.mean_f1),
        "miou": none_if_absent(figures.mean_iou),
        "fwiou": none_if_absent(figures.frequency_weighted_iou),
        "classes": per_class,
    }


def soft_as_plain(results: ScenarioResults, scenario: str) -> dict[str, Any]:
    """The soft figures of one scenario for JSON; nothing where the target is not binary."""
    if not results.soft:
        return {}
    return {"soft_per_image": {name: none_if_absent(value) for name, value in asdict(results.soft[scenario]).items()}}


MEAN, INCOMPLETE, DEVIATION = "mean", "mean of incomplete", "standard deviation"
"""Rows behind the scenarios."""


def expected_label(failure: Failure) -> str:
    """Of a row behind the scenarios."""
    return f"expected, {failure.label}"


@dataclass(frozen=True)
class ScenarioRow:
    """Figures of a scenario, or of several.

    Attributes:
        label: what it is of.
        figures: 0..1; NaN where absent.
        drop: points of mIoU below the full scenario, 0..1, NaN where that was not evaluated; None of a spread.
        unmasked: number of windows that have nothing of the scenario; None of several.
        soft: of binary targets; else NaN.
        error: expected calibration error; NaN where it is not known.
        interval: of mIoU; None without one.
        regained: of the gap to a specialist; NaN where there is no gap, None without a specialist.
        calibrated: expected calibration error at the scenario's temperature; NaN where it has none, and of several
            scenarios unless all that were evaluated have one.
        temperature: of a scenario; NaN where it has none.
        details: figures of boundaries and objects by name, NaN where absent; empty where they were not measured.
    """

    label: str
    figures: Scores
    drop: float | None
    unmasked: int | None = None
    soft: float = math.nan
    error: float = math.nan
    interval: Interval | None = None
    regained: float | None = None
    calibrated: float = math.nan
    temperature: float = math.nan
    details: Mapping[str, float] = field(default_factory=dict)


def rows_of(results: ScenarioResults) -> list[ScenarioRow]:
    """One a scenario, then the summary's."""
    soft = {name: figures.jaccard for name, figures in results.soft.items()}
    errors = {name: each.error for name, each in results.reliability.items()}
    at = {name: each.error for name, each in results.calibrated.items()}
    # a mean over fewer scenarios than that of the column beside it would be compared with it
    at_all = at if at.keys() == results.scores.keys() else {}
    intervals = results.intervals or Intervals({}, None, None, ())
    shares = results.regained.shares if results.regained else {}
    measured = {name: each.figures() for name, each in results.details.items()}
    details = {key: {name: own[key] for name, own in measured.items()} for key in results.detail_heads()}

    def single(label: str, name: str) -> ScenarioRow:
        figures = results.scores[name]
        of = soft.get(name, math.nan), errors.get(name, math.nan), intervals.scenarios.get(name), shares.get(name)
        calibration = at.get(name, math.nan), results.temperatures.get(name, math.nan)
        drop, unmasked = results.drop(figures), results.unmasked[name]
        return ScenarioRow(label, figures, drop, unmasked, *of, *calibration, measured.get(name, {}))

    def several(
        label: str, figures: Scores, over: Callable[[Mapping[str, float]], float], interval: Interval | None = None
    ) -> ScenarioRow:
        drop = results.drop(figures)
        own = {key: over(values) for key, values in details.items()}
        return ScenarioRow(
            label, figures, drop, None, over(soft), over(errors), interval, calibrated=over(at_all), details=own
        )

    summary = results.summary()
    rows = [single(name, name) for name in results.scores]
    rows.append(several(MEAN, summary.mean, lambda x: mean_of(x.values()), intervals.mean))
    if summary.worst and summary.worst_name:
        rows.append(single(f"worst ({summary.worst_name})", summary.worst_name))
    if summary.incomplete:

        def over(values: Mapping[str, float]) -> float:
            return mean_of(value for name, value in values.items() if name != results.full)

        # `summarise` leaves out the full one likewise
        row = several(INCOMPLETE, summary.incomplete, over, intervals.incomplete)
        together = results.regained.incomplete if results.regained else math.nan
        rows.append(row if math.isnan(together) else replace(row, regained=together))
    for k, (failure, figures) in enumerate(summary.expected):
        interval = intervals.expected[k] if intervals.expected else None
        rows.append(several(expected_label(failure), figures, partial(expected_of, failure.weights()), interval))
    if summary.deviation:
        row = several(DEVIATION, summary.deviation, lambda x: deviation_of(x.values()))
        rows.append(replace(row, drop=None))  # that of a spread would be a drop from another kind of figure
    return rows


def rows_to_show(results: ScenarioResults) -> list[ScenarioRow]:
    """Those of `rows_of`; of a single scenario its own, as there is nothing to sum up."""
    return rows_of(results)[: None if len(results.scores) > 1 else 1]
