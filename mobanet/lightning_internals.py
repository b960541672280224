"""Every place where Lightning is asked for what it does not offer: a new release of it is checked against this file.

Its loops, connectors and launchers are private as a whole ("protected" in its words), so what is reached through
`trainer.fit_loop` is here too, whatever its name begins with.
"""

import signal
import subprocess
from typing import Any, cast

from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loops.progress import _ProcessedTracker
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities.rank_zero import rank_zero_only

_VALIDATION = "epoch_loop.val_loop.batch_progress"
"""In a checkpoint's `fit_loop`: how far the validation of the epoch has come."""


def is_first_process() -> bool:
    """Whether this process is that which prints and writes; Lightning sets the attribute on a function of its own."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined] # see above


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """A trainer's callbacks; Lightning's connector sets the attribute and declares it nowhere."""
    return trainer.callbacks  # type: ignore[attr-defined] # see above


def syncs_batch_norm(trainer: Trainer) -> bool:
    """Whether it was asked to normalise over the batches of all processes (`sync_batchnorm`)."""
    return trainer._accelerator_connector._layer_sync is not None


def training_batches(trainer: Trainer) -> float:
    """Batches of an epoch on this rank, with the training data set up; infinite for data without a length.

    Lightning's `estimated_stepping_batches` does that only where the run has a number of epochs.
    """
    trainer.fit_loop.setup_data()  # nothing where it has been
    return trainer.num_training_batches


def cluster_environment(trainer: Trainer) -> ClusterEnvironment | None:
    """What started the run's processes; a strategy tells it only where there are several."""
    return trainer._accelerator_connector.cluster_environment


def release_child_processes(trainer: Trainer) -> list["subprocess.Popen[Any]"]:
    """The other ranks of this node, where this process has started them, which Lightning's observer then forgets.

    The observer is a thread that looks at its list of them every 5 s. It kills this process, too, once one of them has
    ended with anything but 0, so that who ends them, or awaits their end, would lose the message and the exit code.
    """
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher):
        return []
    released = list(launcher.procs)
    launcher.procs.clear()  # the observer's own list
    return released


def end_child_processes(trainer: Trainer) -> None:
    """Kill the other ranks of this node, if this process has started them; no strategy offers it."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        for process in release_child_processes(trainer):
            process.kill()
    elif launcher is not None:
        # processes that were forked or spawned from this one, as in a notebook
        launcher.kill(signal.SIGKILL)


def forget_sigterm(trainer: Trainer) -> None:
    """Go on after a SIGTERM that Lightning's handler has noted; `received_sigterm` can only be read in public."""
    trainer._signal_connector.received_sigterm = False


def accumulates(trainer: Trainer) -> bool:
    """Whether gradients are there that no step has used yet; it depends on the strategy and on the epoch's end, too."""
    return trainer.fit_loop._should_accumulate()


def has_resumed_schedule(callback: StochasticWeightAveraging) -> bool:
    """Whether SWA has read from a checkpoint where its schedule was; it tells it to nobody."""
    return callback._scheduler_state is not None


def averaged(callback: Callback) -> LightningModule | None:
    """The module that a callback keeps an average in; None outside of a training, and where it keeps none."""
    if isinstance(callback, WeightAveraging):
        return None if callback._average_model is None else cast(LightningModule, callback._average_model.module)
    return callback._average_model if isinstance(callback, StochasticWeightAveraging) else None


def averaged_modules(trainer: Trainer) -> list[LightningModule]:
    """Those that averages of a module's weights are kept in, whether validations see these (EMA) or none does (SWA)."""
    averages = map(averaged, callbacks_of(trainer))
    return [average for average in averages if average is not None]


def added_epochs(trainer: Trainer) -> int:
    """How many epochs SWA has added to those that were asked for: one, which trains nothing, for running statistics."""
    swa = [callback for callback in callbacks_of(trainer) if isinstance(callback, StochasticWeightAveraging)]
    asked = {callback._max_epochs for callback in swa if callback._model_contains_batch_norm}
    # and not where one is left of an earlier training, before this one's has begun
    return int((trainer.max_epochs or 0) - 1 in asked)


def takes_statistics_anew(trainer: Trainer) -> bool:
    """Whether the epoch is that which SWA has added: it moves running statistics, from nothing, and no weight."""
    return added_epochs(trainer) == 1 and trainer.current_epoch == (trainer.max_epochs or 0) - 1


def logged_so_far(trainer: Trainer) -> dict[str, float]:
    """What has been logged for the whole epoch until now; in public it is to be had only when the epoch is over."""
    logged = trainer.fit_loop.epoch_loop._results.metrics(on_step=False)["log"]
    return {name: float(value) for name, value in logged.items()}


def epochs_done(trainer: Trainer) -> tuple[int, int]:
    """How many epochs were begun and how many are through; `current_epoch` lags while a run is being resumed."""
    epochs = _counts(trainer.fit_loop.epoch_progress.current)
    return epochs.started, epochs.processed


def batches_done(trainer: Trainer) -> tuple[int, bool]:
    """How many batches of the epoch are through, and whether that was all of them; no hook tells it before a batch."""
    batches = trainer.fit_loop.epoch_loop.batch_progress
    return _counts(batches.current).processed, batches.is_last_batch


def count_validation_anew(trainer: Trainer) -> None:
    """Take back the one batch too many that counts as under way where a validation was cut short and begins anew."""
    total = _counts(trainer.fit_loop.epoch_loop.val_loop.batch_progress.total)
    total.ready = total.started = total.processed = total.completed


def _counts(tracker: object) -> _ProcessedTracker:
    """By the class that epochs and batches are counted with; Lightning declares their base."""
    return cast(_ProcessedTracker, tracker)


def put_before_validation(checkpoint: dict[str, Any]) -> None:
    """Put a checkpoint's progress to where the epoch's validation is about to begin; loops save it as it stands."""
    progress = checkpoint["loops"]["fit_loop"][_VALIDATION]
    # batches of earlier validations, of which this one's are no part
    done = progress["total"]["completed"] - progress["current"]["completed"]
    progress["total"] = {"ready": done + 1, "started": done + 1, "processed": done, "completed": done}
    progress["current"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress["is_last_batch"] = False


def last_saved(callback: Checkpoint) -> str:
    """The file that a callback has written last; `best_model_path` is changed before the file is written."""
    # a callback of somebody's own need not have it
    return getattr(callback, "_last_checkpoint_saved", "")


def without_anonymous(logger: WandbLogger) -> None:
    """Have no `anonymous` handed on to wandb, which warns that it is old: Lightning does so even where it is unset."""
    logger._wandb_init.pop("anonymous", None)
