"""The best epoch's checkpoint."""

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class BestCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` for which an epoch without a figure is not the best.

    Lightning's own takes the first epoch for the best so far whatever its figure is, and a figure that is absent (NaN),
    as of a validation without labelled pixels, for one that is worse than all others.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether an epoch's figure, on all ranks, is there and among the best."""
        # Lightning makes of NaN the worst figure there is (its issue 2636), and the first figure is the best
        known = current is not None and not bool(torch.isnan(torch.as_tensor(current)))
        # the same on all ranks: some alone would wait for the others within Lightning's own, which asks them, too
        return trainer.strategy.reduce_boolean_decision(known) and super().check_monitor_top_k(trainer, current)

    @property
    def state_key(self) -> str:
        """That of Lightning's own, as checkpoints have it."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)
