"""A run that validates every few epochs validates at its end, too."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info


class LastValidation(Callback):
    """Has the last weights validated, wherever a run ends by its own settings.

    With `--trainer.check_val_every_n_epoch 5` Lightning would not look at what it trained after the last multiple of 5,
    and a run of 3 epochs would have no best.ckpt. The same goes for `max_steps` and `max_time` within an epoch.

    It has to stand behind callbacks that may end a run at a step.
    """

    def __init__(self) -> None:
        self._every: int | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say when there are validations, if not after each epoch."""
        self._every = trainer.check_val_every_n_epoch
        if self._every not in (None, 1) and trainer.enable_validation:
            rank_zero_info(f"validation  every {self._every} epochs (--trainer.check_val_every_n_epoch) and at the end")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the epoch that a run is resumed in, which has no start of its own."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have the last epoch validated."""
        # None is Lightning's for validations by steps, which are left alone
        last = self._every is not None and trainer.current_epoch + 1 == trainer.max_epochs
        trainer.check_val_every_n_epoch = 1 if last else self._every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Have the last step validated, which Lightning does within an epoch where a run is told to stop."""
        epoch, step = trainer.current_epoch, trainer.global_step
        # Lightning's own rule: told to stop, it goes on until both are reached
        may_stop = epoch >= (trainer.min_epochs or 0) and step >= (trainer.min_steps or 0)
        if step == trainer.max_steps or (trainer.should_stop and may_stop):
            trainer.should_stop = True
            # None stays None
            trainer.check_val_every_n_epoch = self._every and 1

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the trainer as it was."""
        trainer.check_val_every_n_epoch = self._every
