"""metrics.csv: one row a logged step, kept across resumes."""

import csv
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class MetricsCSV(Logger):
    """Writes metrics to `folder/metrics.csv`; a resumed run goes on behind the rows of its past.

    Lightning's own CSV logger deletes an earlier file of the same folder.

    Args:
        folder: of the run.
        first_step: rows of an earlier file from this step on are dropped, since they will be written again; None to
            start an empty file.
    """

    def __init__(self, folder: str | Path, first_step: int | None = None) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._rows: list[dict[str, Any]] = []
        self._columns: list[str] = ["step", "epoch"]
        if first_step is not None and self.path.is_file():
            with self.path.open(newline="") as file:
                for row in csv.DictReader(file):
                    if int(row["step"]) < first_step:
                        self._add({key: value for key, value in row.items() if value != ""})

    @property
    def name(self) -> str:
        """No sub-folder."""
        return ""

    @property
    def version(self) -> str:
        """No sub-folder."""
        return ""

    @property
    def log_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The resolved configuration lies beside; nothing to do."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of a step."""
        values = {key: float(value) for key, value in metrics.items() if key != "epoch"}
        row = {"step": -1 if step is None else step, **values}
        if "epoch" in metrics:
            row["epoch"] = int(metrics["epoch"])
        self._add(row)

    @rank_zero_only
    def save(self) -> None:
        """Write what is new; a new column rewrites the file."""
        if not self._rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".csv.part")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self._rows)
        os.replace(temporary, self.path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the rest."""
        self.save()

    def _add(self, row: dict[str, Any]) -> None:
        if (
            self._rows
            and int(self._rows[-1]["step"]) == int(row["step"])
            and not self._rows[-1].keys() & row.keys() - {"step", "epoch"}
        ):
            self._rows[-1].update(row)
        else:
            self._rows.append(row)
        self._columns += [key for key in row if key not in self._columns]
