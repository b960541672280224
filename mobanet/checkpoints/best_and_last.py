"""The two checkpoints of a run: that of the best epoch, and the last one."""

from pathlib import Path
from typing import Any, Literal

from mobanet.checkpoints.best import BestCheckpoint


class RunCheckpoint(BestCheckpoint):
    """Keeps one file up to date.

    Its state in a checkpoint goes by its file and what it watches, so that `--trainer.callbacks` may have any number of
    Lightning's own, which go by what they watch.
    """

    @property
    def state_key(self) -> str:
        """Where its state is in a checkpoint."""
        return f"{type(self).__qualname__}({self.filename}, {self.monitor}, {self.mode})"


def run_checkpoints(folder: Path, monitor: str | None, mode: Literal["min", "max"]) -> list[RunCheckpoint]:
    """Those of a run.

    Args:
        folder: for `best.ckpt` and `last.ckpt`.
        monitor: metric by which the best epoch is kept; None keeps the last one alone.
        mode: which way is better.
    """
    # without the counter: a resumed run would write best-v1.ckpt beside best.ckpt
    keep: dict[str, Any] = {"dirpath": str(folder), "auto_insert_metric_name": False, "enable_version_counter": False}
    best = [RunCheckpoint(filename="best", monitor=monitor, mode=mode, **keep)] if monitor else []
    return [*best, RunCheckpoint(filename="last", save_on_train_epoch_end=True, **keep)]  # validated or not
