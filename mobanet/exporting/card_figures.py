"""The figures on a model card, with the protocol they were measured under."""

from collections.abc import Mapping, Sequence
from typing import Any

from mobanet.exporting.markdown import table
from mobanet.exporting.run_facts import Figures
from mobanet.training.module import SegmentationModule


def figure_section(module: SegmentationModule, figures: Figures | None) -> str:
    """The section of the card.

    Args:
        module: of the model.
        figures: of its run's test; None where there was none.
    """
    if figures is None:
        return "## Figures\n\nNone: the checkpoint came without figures of a test (`python -m mobanet.test`)."
    if figures.older:
        return (
            f"## Figures\n\nNone: `{figures.file}` of its run was written before the checkpoint, so that its figures "
            "are those of another one."
        )
    protocol = "\n".join(f"- {name}: {text}" for name, text in figures.protocol.items())
    names = list(figures.scenarios)
    rows = [_row(name, figures.scenarios[name]) for name in names]
    for key, label in (("mean", "mean"), ("worst", "worst"), ("incomplete", "mean of incomplete")):
        summary = figures.summary.get(key)
        if summary:
            rows.append(_row(f"{label} ({summary['scenario']})" if "scenario" in summary else label, summary))
    classes = module.data.classes
    fullest = figures.scenarios[names[-1]]["classes"]
    per_class = [
        (
            name,
            _percent(fullest[name]["iou"]),
            _percent(fullest[name]["f1"]),
            "yes" if name in classes.averaged else "no",
        )
        for name in classes.names
        if name in fullest
    ]
    return "\n\n".join(
        (
            "## Figures",
            f"Per cent, from `{figures.file}` of its run; it does not say which checkpoint of the run was tested.",
            protocol,
            table(("scenario", "mIoU", "mean F1", "OA"), rows),
            f"Classes in {names[-1]}:",
            table(("class", "IoU", "F1", "averaged"), per_class),
        )
    )


def _row(label: str, figures: Mapping[str, Any]) -> Sequence[str]:
    return (label, *(_percent(figures[key]) for key in ("miou", "mean_f1", "oa")))


def _percent(value: float | None) -> str:
    return "absent" if value is None else f"{100 * value:.1f}"
