"""TensorBoard's event files, with the tables and pictures that other loggers get."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from mobanet.errors import UserError

EVENTS = "tensorboard"
"""Folder of a run's event files."""


class TensorBoardRun(TensorBoardLogger):
    """Lightning's logger with tables as Markdown and pictures under their names.

    Args:
        folder: of the run; event files go to `tensorboard` in it.
        first_step: of a run that goes on; what earlier event files have from there on is hidden. None for a new run.
    """

    def __init__(self, folder: Path, first_step: int | None) -> None:
        # the last step that metrics.csv has, since a test has no step of its own
        self._step = max((first_step or 0) - 1, 0)
        # no hp_metric: Lightning's placeholder of -1 belongs to hyper-parameters, which are a table here
        super().__init__(str(folder), name="", version=EVENTS, default_hp_metric=False, purge_step=first_step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Write the settings as a table; as hyper-parameters they would need one metric to stand for the run."""
        given = vars(params) if isinstance(params, Namespace) else params
        self.log_table("settings", ["setting", "value"], [[name, str(value)] for name, value in given.items()], 0)

    @rank_zero_only
    def save(self) -> None:
        """Write what is new; there is no file of hyper-parameters."""
        self.experiment.flush()

    @rank_zero_only
    def log_table(self, key: str, columns: Sequence[str], data: Sequence[Sequence[Any]], step: int) -> None:
        """Write a table as Markdown text."""
        rows = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in data)]
        self.experiment.add_text(key, "\n".join(f"| {' | '.join(row)} |" for row in rows), step)

    @rank_zero_only
    def log_test(self, figures: Mapping[str, float], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write a test's figures and its table of scenarios at the step that the run has come to."""
        self.log_metrics(dict(figures), self._step)
        self.log_table("test/scenarios/table", columns, rows, self._step)

    @rank_zero_only
    def log_image(self, key: str, images: Sequence[np.ndarray], step: int, caption: Sequence[str]) -> None:
        """Write pictures, (H, W, 3) uint8 each, whose captions are part of their names."""
        for image, name in zip(images, caption, strict=True):
            self.experiment.add_image(f"{key}/{name}", image, step, dataformats="HWC")


def tensorboard_logger(folder: Path, first_step: int | None) -> TensorBoardRun:
    """The logger of a run folder; see `TensorBoardRun`.

    Raises:
        UserError: when TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except ImportError as error:
        raise UserError(
            "--logger tensorboard needs TensorBoard; install it with pip install 'mobanet[tensorboard]'."
        ) from error
    return TensorBoardRun(folder, first_step)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
