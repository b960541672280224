"""The figures on a model card: in its text with the protocol they were measured under, and for the hub's own table."""

import math
from collections.abc import Iterator

from huggingface_hub import EvalResult

from mobanet.evaluation.scenario_table import (
    ACCURACIES,
    DEVIATION,
    ECE_AT_T,
    NOT_AVERAGED,
    ScenarioResults,
    ScenarioRow,
    rows_of,
    scenario_columns,
    scenario_rows,
)
from mobanet.exporting.markdown import table
from mobanet.exporting.run_facts import Figures
from mobanet.plain.text_tables import percent


def figure_section(figures: Figures | None) -> str:
    """The section of the card; of a run without a test there are no figures."""
    if figures is None:
        return "## Figures\n\nNone: the checkpoint came without figures of a test (`python -m mobanet.test`)."
    if figures.older:
        return (
            f"## Figures\n\nNone: `{figures.file}` of its run was written before the checkpoint, so that its figures "
            "are those of another one."
        )
    results = figures.results
    several = len(results.scores) > 1
    rows = scenario_rows(results)[: None if several else 1]
    # columns without a figure in any row are left out
    kept = [k for k in range(len(rows[0])) if any(row[k] is not None for row in rows)]
    words = [[_word(row[k]) for k in kept] for row in rows]
    notes = [*(results.explained() if several else []), *results.notes(), ACCURACIES]
    return "\n\n".join(
        (
            "## Figures",
            f"Per cent, from `{figures.file}` of its run; it does not say which checkpoint of the run was tested.",
            "\n".join(f"- {note}" for note in notes if note != NOT_AVERAGED),
            table([scenario_columns(results)[k] for k in kept], words),
            f"Classes in {results.fullest}:",
            _classes(results),
        )
    )


def eval_results(figures: Figures | None, layout: str) -> Iterator[EvalResult]:
    """The same for the hub, in per cent: each scenario, and each with calibrated probabilities, is a configuration."""
    if figures is None or figures.older:
        return
    results = figures.results
    for row in rows_of(results)[: None if len(results.scores) > 1 else 1]:
        # one is no result, the other stands there already
        if row.label == DEVIATION or row.label.startswith("worst ("):
            continue
        for kind, name, value in _measured(row, results):
            if not math.isnan(value):
                yield _result(layout, row.label, kind, name, value)
        if not math.isnan(row.calibrated):
            at = None if math.isnan(row.temperature) else {"temperature": round(row.temperature, 6)}
            yield _result(layout, f"{row.label}, calibrated", "ece", ECE_AT_T, row.calibrated, at)


def _result(
    layout: str, scenario: str, kind: str, name: str, value: float, arguments: dict[str, float] | None = None
) -> EvalResult:
    return EvalResult(
        task_type="image-segmentation",
        task_name="semantic segmentation",
        dataset_type=layout,
        dataset_name=layout,
        dataset_config=scenario,
        dataset_split="test",
        metric_type=kind,
        metric_name=name,
        # the hub shows what stands here as it is: as many digits as our tables
        metric_value=round(100 * value, 2) + 0.0,  # no -0.0
        metric_args=arguments,
    )


def _measured(row: ScenarioRow, results: ScenarioResults) -> Iterator[tuple[str, str, float]]:
    """What the hub calls a metric, its name, and 0..1 or NaN; of the fullest scenario each class, too."""
    f = row.figures
    yield "mean_iou", "mIoU", f.mean_iou
    yield "f1", "mean F1", f.mean_f1
    yield "accuracy", "overall accuracy", f.overall_accuracy
    yield "ece", "ECE", row.error
    for key, head in results.detail_heads().items():
        yield key, ("objects: " if key.startswith("objects_") else "") + head.replace("\n", " "), row.details[key]
    if row.label == results.fullest:
        for k, name in enumerate(results.classes.names):
            yield "iou", f"IoU of {name}", f.iou[k]
            yield "f1", f"F1 of {name}", f.f1[k]
            yield "precision", f"user's accuracy of {name}", f.users_accuracy[k]
            yield "recall", f"producer's accuracy of {name}", f.producers_accuracy[k]


def _classes(results: ScenarioResults) -> str:
    classes, f = results.classes, results.scores[results.fullest]
    figures = zip(f.iou, f.f1, f.users_accuracy, f.producers_accuracy, strict=True)
    rows = [
        (name, *map(percent, values), "yes" if name in classes.averaged else "no")
        for name, values in zip(classes.names, figures, strict=True)
    ]
    return table(("class", "IoU", "F1", "user's accuracy", "producer's accuracy", "averaged"), rows)


def _word(value: str | float | None) -> str:
    return value if isinstance(value, str) else "" if value is None else percent(value)
