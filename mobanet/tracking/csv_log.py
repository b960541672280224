"""metrics.csv: one row a logged step, kept across resumes."""

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from mobanet.errors import UserError
from mobanet.files import write_text
from mobanet.plain.bounds import whole_number

METRICS_FILE = "metrics.csv"


def read_rows(path: Path, before: int | None = None) -> list[dict[str, Any]]:
    """The rows of a `metrics.csv` before a step, without what is empty in them; none without a file.

    Raises:
        UserError: when the file is damaged.
    """
    if not path.is_file():
        return []
    rows = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file, strict=True):  # or an open quote would take the rest for one field
                # a row has nothing under the metrics of other rows
                given = {key: value for key, value in row.items() if value}
                numbers: dict[str, Any] = {key: float(value) for key, value in given.items()}
                numbers |= {key: whole_number(given[key]) for key in ("step", "epoch") if key in given}
                if before is None or numbers["step"] < before:
                    rows.append(numbers)
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise UserError(
            f"{path} is damaged and cannot be gone on with; mend it, or move it away and go on without it."
        ) from error
    return rows


class MetricsCSV(Logger):
    """Writes metrics to `folder/metrics.csv`; a resumed run goes on behind the rows of its past.

    Lightning's own CSV logger deletes an earlier file of the same folder.

    Args:
        folder: of the run.
        first_step: rows of an earlier file from this step on are dropped, since they will be written again; None to
            start an empty file.

    Raises:
        UserError: when an earlier file to go on with is damaged.
    """

    def __init__(self, folder: str | Path, first_step: int | None = None) -> None:
        super().__init__()
        self.path = Path(folder) / METRICS_FILE
        self._rows: list[dict[str, Any]] = []
        self._columns: list[str] = ["step", "epoch"]
        for row in read_rows(self.path, first_step) if first_step is not None else ():
            self._add(row)

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

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What has been logged so far, by `step` and the metrics' names."""
        return [dict(row) for row in self._rows]

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The resolved configuration lies beside; nothing to do."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of a step."""
        values = {key: float(value) for key, value in metrics.items() if key != "epoch"}
        # a column of whole numbers all the same
        row = {"step": -1 if step is None else step, **values}
        if "epoch" in metrics:
            row["epoch"] = int(metrics["epoch"])
        self._add(row)

    @rank_zero_only
    def save(self) -> None:
        """Write what is new; a new column rewrites the file."""
        if not self._rows:
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(self._rows)
        # whole each time: a kill leaves the old file or the new one, and new columns need all rows anyway
        write_text(self.path, text.getvalue())

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
            self._rows[-1].update(row)  # Lightning logs one step in several calls
        else:
            self._rows.append(row)
        # in the order in which they come: old columns keep their places
        self._columns += [key for key in row if key not in self._columns]
