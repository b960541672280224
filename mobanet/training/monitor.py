"""Whether the metric by which the best epoch is kept exists, said before training and not after the first epoch."""

import difflib

from lightning.pytorch import Callback, LightningModule, Trainer

from mobanet.errors import UserError


class MonitorCheck(Callback):
    """Looks for the metric among those of the trial validation before the first step.

    Args:
        monitor: name of the metric; only those of a validation can be known by then.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare.

        Raises:
            UserError: when the metric is not logged.
        """
        known = [name for name in trainer.callback_metrics if name.startswith("val/")]
        if self.monitor in known or self.monitor.startswith("train/") or not known:
            return
        near = difflib.get_close_matches(self.monitor, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"--monitor {self.monitor} is not logged{hint}: choose from {', '.join(known)}.")
