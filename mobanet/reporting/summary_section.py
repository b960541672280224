"""The first lines of a report: the main figures and the protocol they were measured under."""

import math

from markupsafe import Markup

from mobanet.evaluation.read_back import Evaluated
from mobanet.reporting.markup import render
from mobanet.reporting.model import ModelFacts

NOT_TESTED = (
    "The run has not been tested: `python -m mobanet.test --ckpt_path {}` adds figures of every scenario, confusion "
    "matrices and maps."
)


def summary_section(evaluated: Evaluated | None, model: ModelFacts, checkpoint: str) -> Markup:
    """A paragraph on a test, or else a validation, and its figures once more at a glance."""
    total = model.parts[-1]
    figures = [] if evaluated is None else key_figures(evaluated)
    figures.append(("parameters trained", _millions(total.trainable)))
    if total.frozen:
        figures.append(("parameters frozen", _millions(total.frozen)))
    tested = evaluated is not None and evaluated.stage == "test"
    return render(
        "summary",
        sentence=None if evaluated is None else sentence(evaluated),
        untested=None if tested else NOT_TESTED.format(checkpoint),
        figures=figures,
    )


def sentence(evaluated: Evaluated) -> str:
    """The main figures with their protocol, in prose."""
    results = evaluated.results
    fullest = results.scores[results.fullest]
    where = "On the test tiles" if evaluated.stage == "test" else f"In the validation of epoch {evaluated.epoch + 1}"
    text = (
        f"{where} the model reaches {_percent(fullest.mean_iou)} mIoU, {_percent(fullest.mean_f1)} mean F1 and "
        f"{_percent(fullest.overall_accuracy)} overall accuracy with {results.fullest}. "
    )
    summary = results.summary()
    if len(results.scores) > 1:
        text += f"Over {len(results.scores)} scenarios its mIoU is {_percent(summary.mean.mean_iou)} on average"
        if summary.worst:
            text += f" and {_percent(summary.worst.mean_iou)} at worst, with {summary.worst_name}"
        if summary.incomplete and results.full in results.scores:
            text += f"; where a modality is missing it is {_percent(summary.incomplete.mean_iou)} on average"
        if summary.expected:
            told = " and ".join(f"{_percent(each.mean_iou)} ({failure.label})" for failure, each in summary.expected)
            text += f"; if each sensor fails by itself, {told} is to be expected"
        text += ". "
    protocol = "; ".join(f"{name}: {words}" for name, words in results.protocol.items())
    return f"{text}Protocol: {protocol}."


def key_figures(evaluated: Evaluated) -> list[tuple[str, str]]:
    """Words and numbers, the most important first."""
    results = evaluated.results
    fullest = results.scores[results.fullest]
    figures = [
        (f"mIoU, {results.fullest}", _percent(fullest.mean_iou)),
        ("mean F1", _percent(fullest.mean_f1)),
        ("overall accuracy", _percent(fullest.overall_accuracy)),
    ]
    if len(results.scores) > 1:
        summary = results.summary()
        figures.append(("mIoU, mean of scenarios", _percent(summary.mean.mean_iou)))
        if summary.worst:
            figures.append((f"mIoU, worst ({summary.worst_name})", _percent(summary.worst.mean_iou)))
    return figures


def _percent(value: float) -> str:
    return "absent" if math.isnan(value) else f"{100 * value:.1f}\N{NARROW NO-BREAK SPACE}%"


def _millions(count: int) -> str:
    if count < 10_000:
        return str(count)
    # trained parts are of a few millions, backbones of hundreds
    decimals = 2 if count < 1e8 else 0
    return f"{count / 1e6:.{decimals}f}\N{NARROW NO-BREAK SPACE}M"
