"""The figures of an evaluation, read back from the files that `mobanet.evaluation.results` writes."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mobanet.data.description import DataDescription
from mobanet.errors import UserError
from mobanet.evaluation.bootstrap import Interval, Intervals
from mobanet.evaluation.calibration import BINS, Reliability
from mobanet.evaluation.detail_table import details_from_plain
from mobanet.evaluation.details import DetailScores
from mobanet.evaluation.jaccard import SoftScores
from mobanet.evaluation.metrics import Scores, nan_if_none, scores
from mobanet.evaluation.scenario_table import ScenarioResults
from mobanet.evaluation.specialists import Regained
from mobanet.plain.bounds import whole_number
from mobanet.plain.json_files import read_json
from mobanet.rasters.contents import Classes
from mobanet.scenarios.failure import Failure
from mobanet.scenarios.scenario import scenarios_with

Stage = Literal["test", "validation"]

_FOLDER: dict[Stage, str] = {"test": "test", "validation": "."}


@dataclass(frozen=True)
class Evaluated:
    """An evaluation and when it was.

    Attributes:
        stage: `test` or `validation`.
        results: of every scenario that was evaluated.
        epoch: of the validation, from 0; of a test without meaning.
    """

    stage: Stage
    results: ScenarioResults
    epoch: int


def read_evaluation(run: Path, stage: Stage, data: DataDescription) -> Evaluated | None:
    """The latest evaluation of a stage, of all its scenarios; None where there was none.

    Raises:
        UserError: for a file that is damaged, or of other classes than the run.
    """
    folder = run / _FOLDER[stage]
    several, single = folder / f"{stage}_scenarios.json", folder / f"{stage}.json"
    path = several if several.is_file() else single
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        # its confusion matrix is in a file beside it, not in the JSON
        if path == single:
            content = _as_several(content, folder / f"{stage}_confusion.csv")
        return Evaluated(stage, _results(content, data), int(content["epoch"]))
    # a file of any content: what is not as it is written shows as any of these
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        remedy = "run mobanet.test again" if stage == "test" else "remove it"
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); {remedy}.") from error


def _as_several(content: Mapping[str, Any], confusion: Path) -> dict[str, Any]:
    """The file of a single scenario in the form of that of several."""
    with confusion.open(newline="", encoding="utf-8") as file:
        matrix = [[whole_number(count) for count in row[1:]] for row in list(csv.reader(file))[1:]]
    # a single scenario's file does not say how many windows lack it
    return {**content, "windows": 0, "scenarios": {content["scenario"]: {**content, "confusion": matrix}}}


def _soft(each: Mapping[str, Any]) -> SoftScores:
    given: dict[str, Any] = {key: nan_if_none(x) for key, x in each.items()}
    return SoftScores(**given)


def _results(content: Mapping[str, Any], data: DataDescription) -> ScenarioResults:
    found = content["scenarios"]
    # all scenarios, or the usual ones: which there were is told by the names in the file
    scenarios = scenarios_with(found, [m.name for m in data.modalities])
    known = [scenario.name for scenario in scenarios]
    foreign = [name for name in found if name not in known]
    if foreign or not found:
        raise ValueError(f"scenarios {', '.join(foreign) or 'none'} are not the run's")
    ordered = {name: found[name] for name in known if name in found}
    soft = {name: each["soft_per_image"] for name, each in ordered.items() if "soft_per_image" in each}
    matrices = {name: _matrix(each["confusion"], len(data.classes)) for name, each in ordered.items()}
    return ScenarioResults(
        scenarios=scenarios,
        classes=data.classes,
        scores={name: _scores(each, data.classes, matrices[name]) for name, each in ordered.items()},
        matrices=matrices,
        unmasked={name: int(each.get("kept_windows", 0)) for name, each in ordered.items()},  # called so in files
        windows=int(content["windows"]),
        protocol={str(name): str(text) for name, text in content["protocol"].items()},
        soft={name: _soft(each) for name, each in soft.items()},
        reliability={
            name: _reliability(each["calibration"]) for name, each in ordered.items() if each.get("calibration")
        },
        failures=_failures(content, [m.name for m in data.modalities]),
        tiles=None if content.get("tiles") is None else [str(name) for name in content["tiles"]],
        intervals=_intervals(content, ordered) if content.get("bootstrap") else None,
        regained=_regained(content, ordered),
        remarks=[str(line) for line in content.get("remarks", ())],
        temperatures={name: float(each["temperature"]) for name, each in ordered.items() if each.get("calibrated")},
        calibrated={name: _reliability(each["calibrated"]) for name, each in ordered.items() if each.get("calibrated")},
        details=_details(ordered, data.classes),
    )


# what earlier versions did not write is left out


def _reliability(content: Mapping[str, Any]) -> Reliability:
    found = Reliability(
        pixels=tuple(map(int, content["pixels"])),
        confidence=tuple(map(nan_if_none, content["confidence"])),
        accuracy=tuple(map(nan_if_none, content["accuracy"])),
    )
    if {len(found.pixels), len(found.confidence), len(found.accuracy)} != {BINS}:
        raise ValueError(f"a calibration is not of {BINS} bins")
    return found


def _failures(content: Mapping[str, Any], modalities: Sequence[str]) -> tuple[Failure, ...]:
    told = content.get("failures") or ()
    return tuple(Failure({name: float(rates[name]) for name in modalities}) for rates in told)


def _intervals(content: Mapping[str, Any], scenarios: Mapping[str, Any]) -> Intervals:
    summary = content.get("summary", {})
    found = {name: _interval(each) for name, each in scenarios.items()}
    return Intervals(
        scenarios={name: interval for name, interval in found.items() if interval},
        mean=_interval(summary.get("mean")),
        incomplete=_interval(summary.get("incomplete")),
        expected=tuple(_interval(each) for each in summary.get("expected", ())),
    )


def _regained(content: Mapping[str, Any], scenarios: Mapping[str, Any]) -> Regained | None:
    shares = {name: nan_if_none(each["gap_regained"]) for name, each in scenarios.items() if "gap_regained" in each}
    incomplete = content.get("summary", {}).get("incomplete") or {}
    return Regained(shares, nan_if_none(incomplete.get("gap_regained"))) if shares else None


def _interval(content: Mapping[str, Any] | None) -> Interval | None:
    if content is None or content["miou_interval"] is None:
        return None
    low, high = map(float, content["miou_interval"])
    return low, high


def _scores(content: Mapping[str, Any], classes: Classes, matrix: Tensor) -> Scores:
    if list(content["classes"]) != list(classes.names):
        raise ValueError("its classes are not the run's")
    each = [content["classes"][name] for name in classes.names]
    # what earlier versions did not write is in the matrix
    return replace(
        scores(matrix, classes),
        overall_accuracy=nan_if_none(content["oa"]),
        kappa=nan_if_none(content["kappa"]),
        mean_f1=nan_if_none(content["mean_f1"]),
        mean_iou=nan_if_none(content["miou"]),
        iou=tuple(nan_if_none(figures["iou"]) for figures in each),
        f1=tuple(nan_if_none(figures["f1"]) for figures in each),
        pixels=tuple(int(figures["pixels"]) for figures in each),
    )


def _details(scenarios: Mapping[str, Any], classes: Classes) -> dict[str, DetailScores]:
    """Boundaries and objects by scenario; empty where the test measured none."""
    found = {name: details_from_plain(each, classes) for name, each in scenarios.items()}
    if not any(found.values()):
        return {}
    if len({tuple(scores.figures()) for scores in found.values()}) > 1:
        raise ValueError("its scenarios were not measured alike")
    return found


def _matrix(rows: list[list[int]], count: int) -> Tensor:
    matrix = torch.tensor(rows, dtype=torch.int64)
    if matrix.shape != (count, count):
        raise ValueError(f"a confusion matrix is of shape {tuple(matrix.shape)}, not {(count, count)}")
    if (matrix < 0).any():
        raise ValueError("a confusion matrix has negative counts")
    return matrix
