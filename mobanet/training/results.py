"""What an evaluation leaves in the run folder: tables as CSV and JSON, confusion matrices, and a table to read."""

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mobanet.data.layout import Classes
from mobanet.training.metrics import Scores


class ResultFiles(Callback):
    """Writes the figures of each validation and of the test, with the protocol they were measured under.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the latest validation."""
        if not trainer.sanity_checking:
            self._write(trainer, pl_module, "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the test and print its table."""
        self._write(trainer, pl_module, "test")
        if trainer.is_global_zero:
            protocol = trainer.datamodule.protocol("test")
            rank_zero_info(table(pl_module.scores["test"], pl_module.data.classes, protocol))
            rank_zero_info(f"figures and confusion matrix are in {self.folder}")

    def _write(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        classes, figures = module.data.classes, module.scores[stage]
        protocol = trainer.datamodule.protocol(stage)
        _replace(self.folder / f"{stage}_confusion.csv", confusion_csv(module.matrices[stage], classes))
        _replace(self.folder / f"{stage}.csv", scores_csv(figures, classes))
        content = {"protocol": protocol, "epoch": trainer.current_epoch, **as_plain(figures, classes)}
        _replace(self.folder / f"{stage}.json", json.dumps(content, indent=2) + "\n")


def as_plain(figures: Scores, classes: Classes) -> dict:
    """For JSON; absent classes are null."""
    per_class = {
        name: {"iou": _none(figures.iou[k]), "f1": _none(figures.f1[k]), "pixels": figures.pixels[k]}
        for k, name in enumerate(classes.names)
    }
    return {
        "oa": _none(figures.overall_accuracy),
        "kappa": _none(figures.kappa),
        "mean_f1": _none(figures.mean_f1),
        "miou": _none(figures.mean_iou),
        "classes": per_class,
    }


def scores_csv(figures: Scores, classes: Classes) -> str:
    """One row a class, then the averaged figures; absent classes are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["class", "iou", "f1", "pixels", "averaged"])
    for k, name in enumerate(classes.names):
        numbers = [_text(figures.iou[k]), _text(figures.f1[k]), figures.pixels[k]]
        writer.writerow([name, *numbers, int(name in classes.averaged)])
    writer.writerow(["mean", _text(figures.mean_iou), _text(figures.mean_f1), sum(figures.pixels), ""])
    writer.writerow(["overall accuracy", _text(figures.overall_accuracy), "", "", ""])
    writer.writerow(["kappa", _text(figures.kappa), "", "", ""])
    return out.getvalue()


def confusion_csv(matrix: Tensor, classes: Classes) -> str:
    """Counts of pixels, truth in rows, prediction in columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["truth \\ prediction", *classes.names])
    for name, row in zip(classes.names, matrix.tolist(), strict=True):
        writer.writerow([name, *row])
    return out.getvalue()


def table(figures: Scores, classes: Classes, protocol: Mapping[str, str]) -> str:
    """The figures and their protocol, for people."""
    shown = Table()
    shown.add_column("class")
    for column in ("IoU %", "F1 %", "share %"):
        shown.add_column(column, justify="right")
    total = max(sum(figures.pixels), 1)
    for k, name in enumerate(classes.names):
        mark = "" if name in classes.averaged else " *"
        share = f"{100 * figures.pixels[k] / total:.1f}"
        shown.add_row(name + mark, _percent(figures.iou[k]), _percent(figures.f1[k]), share)
    shown.add_section()
    shown.add_row("mean", _percent(figures.mean_iou), _percent(figures.mean_f1), "")
    shown.add_row("overall accuracy", _percent(figures.overall_accuracy), "", "")
    shown.add_row("kappa", _percent(figures.kappa), "", "")
    out = io.StringIO()
    console = Console(file=out, width=100)
    console.print(shown)
    if len(classes.averaged) < len(classes):
        console.print("* counts as an error where it is confused, but is not averaged", highlight=False)
    for name, text in protocol.items():
        console.print(f"{name}: {text}", highlight=False)
    return "\n" + out.getvalue().rstrip()


def _percent(value: float) -> str:
    return "absent" if math.isnan(value) else f"{100 * value:.2f}"


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)
