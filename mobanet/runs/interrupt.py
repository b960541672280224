"""Runs that survive an interruption: a signal ends them at the next step's end, with a checkpoint to go on from."""

import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader

from mobanet.checkpoints.averaging import leave_averages
from mobanet.lightning_internals import (
    accumulates,
    batches_done,
    cluster_environment,
    count_validation_anew,
    end_child_processes,
    forget_sigterm,
    logged_so_far,
    put_before_validation,
)
from mobanet.runs.agreement import Agreement
from mobanet.runs.requeue import requeue, requeue_signal

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C; what schedulers and container engines send; what SLURM is usually asked to send before a job's time is up."""

_ECHO = 0.3
"""Seconds within which a second Ctrl-C is the first one, which a launcher such as torchrun has passed on."""


class Interrupted(SystemExit):
    """A signal has ended a run; the exit code is 128 and the signal's number, as shells have it.

    Args:
        sentence: what has happened, and how to go on.
        code: for the process.
    """

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(code)
        self.sentence = sentence


class Interrupts(Callback):
    """Ends a run on a signal where it can be resumed bit for bit, and writes the checkpoint to do so.

    In training that is the end of the optimiser's step. A validation is cut short: its checkpoint is one of the step
    before, from which the resumed run validates anew. A second Ctrl-C ends the process at once.

    A signal may reach all ranks or one of them. They ask each other as a step begins and read the answer at its end, so
    that none waits, and all of them stop at the same one: where there are several, the step after the one in which a
    signal has come. Between epochs and before a validation they wait for each other.
    Lightning's own handlers are put aside: on SIGTERM they stop without a checkpoint, and on SLURM's signal they write
    one from within a step.

    Args:
        path: of the checkpoint to write; None writes none.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        # workers are forked with this handler in them
        self._process = os.getpid()
        self._former: dict[int, Any] = {}
        self._caught, self._at = 0, 0.0
        self._agreed = 0  # the signal that all ranks stop for
        self._agreement: Agreement | None = None  # of several ranks
        self._begun = 0
        self._saved = self._saving = self._validating = False
        self._logged: dict[str, float] = {}
        self._end_children: Any = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Take note of signals as long as this lasts."""
        try:
            # Python lets no other thread set handlers
            if threading.current_thread() is threading.main_thread():
                for number in _SIGNALS:
                    self._catch(number)
            yield
        finally:
            for number, handler in self._former.items():
                signal.signal(number, handler)
            self._former.clear()

    def _catch(self, number: int) -> None:
        former = signal.signal(number, self._note)
        self._former.setdefault(number, former)  # SLURM's signal may be one that is caught already

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a process that reads crops, which goes on until its parent ends it
            return
        if not self._caught:
            self._caught, self._at = number, time.monotonic()
            if number == signal.SIGINT and os.environ.get("LOCAL_RANK", "0") == "0":
                # not print(): the signal may have come within one, whose buffer cannot be entered twice
                os.write(2, b"\nstopping after this step; Ctrl-C again ends at once, without saving\n")
        elif number == signal.SIGINT and time.monotonic() - self._at > _ECHO:
            if self._end_children is not None:
                self._end_children()
            os._exit(128 + number)  # sys.exit() would wait for threads, and for ranks that do not come

    # Lightning's hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Know whom to end at once, and SLURM's own signal."""
        self._end_children = partial(end_child_processes, trainer)
        if trainer.world_size > 1:
            self._agreement = Agreement(trainer.strategy.root_device)
        number = requeue_signal(trainer)
        if number is not None and self._former:
            self._catch(number)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put Lightning's handlers aside, which it has just registered."""
        self._take_over(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put Lightning's handlers aside, and let the processes that read crops outlive a signal to all processes."""
        self._take_over(trainer)
        self._begun = trainer.global_step
        _keep_workers(trainer.train_dataloader)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop between epochs, with the checkpoint that each epoch ends with."""
        if self._agree():
            # before its first step there is nothing that the checkpoint it began from does not have
            moved = trainer.global_step > self._begun
            self._leave(trainer, self.path if moved else trainer.ckpt_path)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop behind the step that was saved, whose metrics have been logged by now."""
        if self._saved:
            self._leave(trainer, self.path)
        self._ask()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where a signal has come; what is left of an epoch after its last step comes before that."""
        if accumulates(trainer) or not self._read():  # gradients are in no checkpoint
            return
        _, last = batches_done(trainer)
        if not last:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what the epoch's first part has logged for the whole of it, before it was interrupted."""
        if self._logged:
            pl_module.log_dict(self._logged, batch_size=1)
            self._logged = {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before a validation."""
        _keep_workers(trainer.val_dataloaders)
        if trainer.sanity_checking:
            return
        count_validation_anew(trainer)
        # gradients half summed up are in no checkpoint
        if self._agree() and not accumulates(trainer):
            self._leave_validation(trainer)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Ask the other ranks."""
        self._ask()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Stop within a validation."""
        if not self._read():
            return
        if trainer.sanity_checking:
            self._leave(trainer, None)
        if not accumulates(trainer):
            # within a validation the module holds the averaged weights: those that train on are to be saved
            leave_averages(trainer)
            self._leave_validation(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave no question open: an epoch that was cut short may end within a step."""
        if self._agreement is not None:
            self._agreement.read()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put a checkpoint's progress to where the validation is about to begin."""
        if self._validating:
            put_before_validation(checkpoint)

    def state_dict(self) -> dict[str, Any]:
        """What has been logged for the whole epoch, in the checkpoint of an interruption."""
        return {"logged": self._logged} if self._saving else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up what was logged."""
        self._logged = dict(state_dict["logged"])

    # parts

    def _take_over(self, trainer: Trainer) -> None:
        for number in self._former:
            signal.signal(number, self._note)
        forget_sigterm(trainer)  # noted here as well, had one come in between

    def _ask(self) -> None:
        if self._agreement is not None and not self._agreed:
            self._agreement.ask(self._caught)

    def _read(self) -> int:
        """The signal to stop for, the same on all ranks, as it was asked for last; 0 for none."""
        if not self._agreed:
            self._agreed = self._caught if self._agreement is None else self._agreement.read()
        return self._agreed

    def _agree(self) -> int:
        """The signal to stop for, the same on all ranks, as it is now; 0 for none."""
        if not self._agreed and self._agreement is not None:
            self._agreed = self._agreement.now(self._caught)
        return self._read()

    def _save(self, trainer: Trainer) -> None:
        self._saved = True
        if self.path is None:
            return
        self._logged = {**self._logged, **logged_so_far(trainer)}
        self._saving = True
        # between two steps: gradients are used up, and the optimiser and all counts agree
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saving = False

    def _leave_validation(self, trainer: Trainer) -> None:
        self._validating = True
        self._save(trainer)
        self._validating = False
        self._leave(trainer, self.path)

    def _leave(self, trainer: Trainer, path: str | Path | None) -> None:
        """End the run.

        Raises:
            Interrupted: always.
        """
        name, step = signal.Signals(self._agreed).name, trainer.global_step
        if path is not None:
            command = f"python -m mobanet.fit --ckpt_path {shlex.quote(str(path))}"
            sentence = f"{name} has stopped the run after step {step}; go on with: {command}"
        elif step:
            sentence = f"{name} has stopped the run after step {step}; no checkpoint was asked for"
        else:
            sentence = f"{name} has stopped the run before its first step"
        if path is not None and self._agreed == requeue_signal(trainer):
            if trainer.is_global_zero:
                sentence += f" ({requeue()})"
            trainer.strategy.barrier()  # where the first process that ends has SLURM end the others
        # a process that failed would have Lightning kill the one that started it and is not done yet
        child = isinstance(cluster_environment(trainer), LightningEnvironment) and trainer.local_rank > 0
        raise Interrupted(sentence, 0 if child else 128 + self._agreed)


def _keep_workers(loaders: Any) -> None:
    for part in CombinedLoader(loaders).flattened if loaders is not None else ():
        part.worker_init_fn = _ignore_signals


def _ignore_signals(worker: int) -> None:
    """A scheduler's signal reaches all processes; those that read crops are told when to end by their parent."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
