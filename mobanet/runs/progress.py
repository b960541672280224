"""Progress of training: a bar on a terminal, plain lines now and then elsewhere, in the same words."""

import math
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.plain.progress import counted, duration, pace
from mobanet.scenarios.callback import epochs_of


def epoch_words(trainer: Trainer) -> str:
    """`epoch 3 of 50`, from 1; as many epochs as the run has in all, resumed or not, whatever ends it."""
    return counted("epoch", trainer.current_epoch + 1, epochs_of(trainer))


class PlainProgress(ProgressBar):
    """A line every so many seconds and one at each epoch's end.

    Args:
        seconds: between lines within an epoch.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        super().__init__()
        self.seconds = seconds
        self._enabled = True
        self._last = self._start = 0.0
        self._first: int | None = None
        self._validated = False

    def disable(self) -> None:
        """Say nothing."""
        self._enabled = False

    def enable(self) -> None:
        """Speak again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock: an epoch that a run is resumed in the middle of has no start of its own."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        self._start = self._last = time.monotonic()
        self._first = None  # not 0 where a run is resumed in the middle of an epoch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say where training stands, if the last line is long enough ago."""
        now = time.monotonic()
        if self._first is None:
            self._first = batch_idx
        # a log file of a line a step would be of no use to anybody
        if now - self._last < self.seconds:
            return
        self._last = now
        done, total = batch_idx + 1, int(self.total_train_batches)
        # of this process alone: steps before a resumption took none of its time
        rate = (done - self._first) / (now - self._start)
        self._say(
            f"{epoch_words(trainer)}: {counted('step', done, total)}, {pace(rate, 'steps', total - done)}, "
            f"loss {_value(trainer, 'train/loss')}"
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Know that the epoch has figures of its own; those of an earlier one are not its."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how the epoch went."""
        names = ("train/loss", "val/loss", "val/miou") if self._validated else ("train/loss",)
        self._validated = False
        elapsed = time.monotonic() - self._start
        epochs = epochs_of(trainer)  # None of a run that ends by its time, or when it is told to
        left = [] if epochs is None else [f"{duration(elapsed * (epochs - trainer.current_epoch - 1))} left"]
        figures = [f"{name.removeprefix('train/')} {_value(trainer, name)}" for name in names]
        self._say(f"{epoch_words(trainer)}: done in {duration(elapsed)}, {', '.join([*left, *figures])}")

    def _say(self, line: str) -> None:
        if self._enabled:
            rank_zero_info(line)


_SECONDS = 1.0
"""Between two looks at the loss for the bar."""


class BarProgress(TQDMProgressBar):
    """Lightning's bar in our words, with epochs from 1 and a whole count of steps in an epoch that was resumed.

    Within an epoch it asks for the loss once a second: each time, the process waits until the device has computed it.
    """

    BAR_FORMAT = "{desc} {n_fmt} of {total_fmt} |{bar}| {rate_noinv_fmt}, {remaining} left{postfix}"

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._steps, self._asked = False, -math.inf
        self._shown: dict[str, Any] = {}

    def on_train_batch_end(self, *given: Any, **more: Any) -> None:
        """Move the bar on."""
        self._steps = True
        super().on_train_batch_end(*given, **more)
        self._steps = False

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands behind the bar; of steps that follow in the same second, as it was at the first of them."""
        now = time.monotonic()
        # at an epoch's end in any case, whose figures are there to stay
        if not self._steps or now - self._asked >= _SECONDS:
            self._asked, self._shown = now, super().get_metrics(trainer, pl_module)
        return dict(self._shown)

    def init_sanity_tqdm(self) -> Tqdm:
        """See Lightning."""
        return _worded(super().init_sanity_tqdm(), "sanity check: step")

    def init_train_tqdm(self) -> Tqdm:
        """See Lightning."""
        return _worded(super().init_train_tqdm(), "training: step")

    def init_validation_tqdm(self) -> Tqdm:
        """See Lightning."""
        return _worded(super().init_validation_tqdm(), "validation: step")

    def init_test_tqdm(self) -> Tqdm:
        """See Lightning."""
        return _worded(super().init_test_tqdm(), "test: step")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Know the epoch: one that a run is resumed in the middle of has no start of its own."""
        super().on_train_start(trainer, pl_module)
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say which epoch it is."""
        super().on_train_epoch_start(trainer, pl_module)
        self.train_progress_bar.set_description_str(f"{epoch_words(trainer)}: step")

    def on_validation_batch_start(self, *given: Any, **more: Any) -> None:
        """Leave out the number of the data loader, of which there is one."""
        bar = self.val_progress_bar
        words = bar.desc
        super().on_validation_batch_start(*given, **more)
        bar.set_description_str(words)

    def on_test_batch_start(self, *given: Any, **more: Any) -> None:
        """Leave out the number of the data loader, of which there is one."""
        bar = self.test_progress_bar
        words = bar.desc
        super().on_test_batch_start(*given, **more)
        bar.set_description_str(words)


def _worded(bar: Tqdm, words: str) -> Tqdm:
    bar.unit = " steps"
    bar.set_description_str(words)
    return bar


def _value(trainer: Trainer, name: str) -> str:
    value = trainer.callback_metrics.get(name)
    return "-" if value is None else f"{float(value):.4f}"
