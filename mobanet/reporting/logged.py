"""The rows of `metrics.csv` as curves."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from mobanet.errors import UserError
from mobanet.plain.bounds import whole_number


@dataclass(frozen=True)
class Curve:
    """The values of one metric.

    Attributes:
        steps: optimiser steps done when each value was logged, from 1.
        epochs: in which that was, from 1; 0 where the row does not say.
        values: not finite where the metric was not.
    """

    steps: tuple[int, ...]
    epochs: tuple[int, ...]
    values: tuple[float, ...]


def read_curves(path: Path) -> dict[str, Curve]:
    """Every metric that was logged, by its name; nothing without a file.

    Raises:
        UserError: for a file that is damaged, naming the line.
    """
    if not path.is_file():
        return {}
    found: dict[str, list[tuple[int, int, float]]] = {}
    line = 1
    try:
        with path.open(newline="", encoding="utf-8") as file:
            # or quotes that never end are taken for text
            reader = csv.DictReader(file, strict=True)
            if "step" not in (reader.fieldnames or ()):
                raise ValueError("there is no column step")
            for row in reader:
                line = reader.line_num
                # csv puts cells beyond the headings under None, and None under headings without a cell
                if None in row or None in row.values():
                    raise ValueError("the number of columns differs from the first line's")
                # Lightning counts both from 0
                step, epoch = whole_number(row["step"]) + 1, whole_number(row.get("epoch") or "-1") + 1
                for name, text in row.items():
                    # Lightning writes a row for each group of metrics, with nothing under the others
                    if text and name not in ("step", "epoch"):
                        found.setdefault(name, []).append((step, epoch, float(text)))
    except (ValueError, csv.Error) as error:  # UnicodeDecodeError among them
        raise UserError(
            f"{path}, line {line}: no metrics of a run ({error}); mend the line, or remove the file."
        ) from error
    return {name: Curve(*(tuple(column) for column in zip(*rows, strict=True))) for name, rows in found.items()}


def finite(curve: Curve) -> bool:
    """Whether a curve has anything to draw."""
    return any(math.isfinite(value) for value in curve.values)
