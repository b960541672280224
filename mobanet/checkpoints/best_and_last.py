"""The two checkpoints of a run: that of the best epoch, and the last one."""

from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class RunCheckpoint(ModelCheckpoint):
    """Keeps one file up to date; an epoch without a figure is not the best.

    Lightning's own takes the first epoch for the best so far whatever its figure is, and a figure that is absent (NaN),
    as of a validation without labelled pixels, for one that is worse than all others.

    Its state in a checkpoint goes by its file and what it watches, so that `--trainer.callbacks` may have any number of
    Lightning's own, which go by what they watch.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether an epoch's figure, on all ranks, is there and among the best."""
        # Lightning makes of NaN the worst figure there is (its issue 2636), and the first figure is the best
        known = current is not None and not bool(torch.isnan(torch.as_tensor(current)))
        # the same on all ranks: some alone would wait for the others within Lightning's own, which asks them, too
        return trainer.strategy.reduce_boolean_decision(known) and super().check_monitor_top_k(trainer, current)

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
