"""What an evaluation has found as text: tables as CSV and JSON, confusion matrices, and a table to read."""

import json
import re
import shutil
from collections.abc import Sequence
from typing import Any, Literal

from lightning.pytorch import Trainer
from rich.table import Table
from rich.text import Text
from torch import Tensor

from mobanet.data.attached import data_of
from mobanet.evaluation.bootstrap import INTERVAL, bootstrap, labelled
from mobanet.evaluation.detail_table import ERODED, boundary_csv, objects_csv
from mobanet.evaluation.host import Evaluated
from mobanet.evaluation.metrics import Scores
from mobanet.evaluation.scenario_table import (
    ACCURACIES,
    ECE_AT_T,
    ScenarioResults,
    as_plain,
    detail_tables,
    expectation_as_plain,
    interval_text,
    rows_of,
    scenario_csv,
    scenario_json,
    soft_as_plain,
)
from mobanet.evaluation.specialists import OPTION
from mobanet.plain.text_tables import as_text, csv_text, decimal, percent
from mobanet.rasters.contents import Classes
from mobanet.scenarios.scenario import scenarios_with


def results_of(trainer: Trainer, module: Evaluated, stage: Literal["validation", "test"]) -> ScenarioResults:
    """What the latest evaluation of a stage, `validation` or `test`, found."""
    classes, full = module.data.classes, module.scenarios[-1].name
    evaluation, found = module.evaluation, module.evaluation.found[stage]
    there = labelled(found.tiles).tolist()
    remarks = list[str]()
    others = evaluation.specialists if stage == "test" else None
    unlike = others.unlike(next(iter(found.scores.values())).pixels) if others else []
    if unlike:
        remarks.append(f"no gap is told, as {', '.join(unlike)} of {OPTION} was tested on other pixels")
    if adapted := [name for name in found.scores if name in module.settings.network.scenario_statistics]:
        remarks.append(f"adapted: {', '.join(adapted)}, by batch statistics taken after training (mobanet.adapt)")
    if found.details and data_of(trainer).evaluation.labels == "eroded":
        remarks.append(ERODED)
    temperatures = module.known_temperatures if stage == "test" else {}
    if stage == "test" and not found.calibrated:
        known = f"none of {', '.join(found.scores)}" if temperatures else "none"
        remarks.append(
            f"no ECE of calibrated probabilities: of temperatures the checkpoint has {known} (mobanet.fit fits them at "
            "each validation, to --scenarios.validate)"
        )
    return ScenarioResults(
        scenarios=scenarios_with(found.scores, full.split("+")),  # the full one names every modality
        classes=classes,
        scores=found.scores,
        matrices=found.matrices,
        unmasked=found.unmasked,
        soft=found.soft,
        windows=found.windows,
        protocol=data_of(trainer).protocol(stage),
        reliability=found.reliability,
        failures=evaluation.failures,
        tiles=[name for name, counted in zip(found.tile_names, there, strict=True) if counted],
        intervals=bootstrap(found.tiles, classes, full, evaluation.failures),
        regained=others.regained(found.scores, full) if others and not unlike else None,
        remarks=remarks,
        temperatures={name: value for name, value in temperatures.items() if name in found.scores},
        calibrated=found.calibrated,
        details=found.details,
    )


def result_files(stage: str, results: ScenarioResults, epoch: int) -> dict[str, str]:
    """The texts to write, by path within the run folder.

    Figures of the fullest scenario evaluated; of several scenarios, all of them beside each other, too.
    """
    classes, fullest = results.classes, results.fullest
    plain = as_plain(results.scores[fullest], classes)
    content = {"protocol": dict(results.protocol), "epoch": epoch, "scenario": fullest, **plain}
    content |= soft_as_plain(results, fullest) | expectation_as_plain(results, fullest)
    files = {
        f"{stage}_confusion.csv": confusion_csv(results.matrices[fullest], classes),
        f"{stage}.csv": scores_csv(results.scores[fullest], classes),
        f"{stage}.json": _json(content),
    }
    if any(each.boundary for each in results.details.values()):
        files[f"{stage}_boundary.csv"] = boundary_csv(results.details, classes)
    if any(each.objects for each in results.details.values()):
        files[f"{stage}_objects.csv"] = objects_csv(results.details)
    if len(results.scores) > 1:
        files[f"{stage}_scenarios.csv"] = scenario_csv(results)
        files[f"{stage}_scenarios.json"] = _json(scenario_json(results, epoch))
        for name, matrix in results.matrices.items():
            files[f"confusion/{stage}_{name}.csv"] = confusion_csv(matrix, classes)
    return files


def scores_csv(figures: Scores, classes: Classes) -> str:
    """One row a class, then the averaged figures; absent classes are empty."""
    lines: list[Sequence[Any]] = [["class", "iou", "f1", "pixels", "averaged", "users_accuracy", "producers_accuracy"]]
    for k, name in enumerate(classes.names):
        numbers = [decimal(figures.iou[k]), decimal(figures.f1[k]), figures.pixels[k]]
        accuracies = [decimal(figures.users_accuracy[k]), decimal(figures.producers_accuracy[k])]
        lines.append([name, *numbers, int(name in classes.averaged), *accuracies])
    empty = [""] * 3
    lines.append(["mean", decimal(figures.mean_iou), decimal(figures.mean_f1), sum(figures.pixels), *empty])
    lines.append(["overall accuracy", decimal(figures.overall_accuracy), "", "", *empty])
    lines.append(["kappa", decimal(figures.kappa), "", "", *empty])
    lines.append(["frequency weighted", decimal(figures.frequency_weighted_iou), "", "", *empty])
    return csv_text(lines)


def confusion_csv(matrix: Tensor, classes: Classes) -> str:
    """Counts of pixels, truth in rows, prediction in columns."""
    lines: list[Sequence[Any]] = [["truth \\ prediction", *classes.names]]
    for name, row in zip(classes.names, matrix.tolist(), strict=True):
        lines.append([name, *row])
    return csv_text(lines)


def class_table(results: ScenarioResults) -> str:
    """The classes of the fullest scenario evaluated and the protocol, for people."""
    figures, classes = results.scores[results.fullest], results.classes
    shown = Table()
    shown.add_column("class", no_wrap=True)
    for column in ("IoU %", "F1 %", "user's %", "producer's %", "share %"):
        shown.add_column(column, justify="right")
    total = max(sum(figures.pixels), 1)
    for k, name in enumerate(classes.names):
        mark = "" if name in classes.averaged else " *"
        share = f"{100 * figures.pixels[k] / total:.1f}"
        values = (figures.iou[k], figures.f1[k], figures.users_accuracy[k], figures.producers_accuracy[k])
        shown.add_row(Text(name + mark), *map(percent, values), share)  # Text, as rich would take [roof] for markup
    shown.add_section()
    shown.add_row("mean", percent(figures.mean_iou), percent(figures.mean_f1), "", "", "")
    shown.add_row("frequency weighted", percent(figures.frequency_weighted_iou), "", "", "", "")
    shown.add_row("overall accuracy", percent(figures.overall_accuracy), "", "", "", "")
    shown.add_row("kappa", percent(figures.kappa), "", "", "", "")
    more = [ACCURACIES]
    more += [] if results.fullest == results.full else [f"scenario: {results.fullest}"]
    if results.intervals and (interval := results.intervals.scenarios.get(results.fullest)):
        more.append(f"mIoU {interval_text(interval)} ({INTERVAL} interval)")
    if results.fullest in results.reliability:
        more.append(f"ECE {percent(results.reliability[results.fullest].error)}")
    if results.fullest in results.calibrated:
        more.append(f"{ECE_AT_T} {percent(results.calibrated[results.fullest].error)}")
    width = shutil.get_terminal_size((120, 24)).columns  # 120 in a file or a pipe
    return as_text([shown, *detail_tables(results, rows_of(results)[:1], width)], [*more, *results.notes()])


def _json(content: dict[str, Any]) -> str:
    text = json.dumps(content, indent=2, allow_nan=False)
    # of a confusion matrix, and numbers of an interval or by bin: one a line
    rows = re.compile(r"\[\n(?:\s*(?:-?[\d.]+(?:e[+-]?\d+)?|null),?\n)+\s*\]")
    return rows.sub(lambda row: " ".join(row[0].split()).replace("[ ", "[").replace(" ]", "]"), text) + "\n"
