"""What a run says: kept for its log file, rid of what libraries say about themselves, told by one process."""

import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from mobanet.errors import UserError
from mobanet.runs.folder import RUN_VARIABLE

_PATIENCE = 60.0
"""Seconds that a process leaves the first one to tell a mistake, before it does so itself."""


@contextmanager
def collected() -> Iterator[MemoryHandler]:
    """Collect what is said on the terminal, for the log file of a run folder that is there only later."""
    handler = MemoryHandler(10_000, flushLevel=logging.CRITICAL + 1)
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "mobanet")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield handler
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        target = handler.target
        handler.close()
        if target is not None:
            target.close()


def write_log(said: MemoryHandler, folder: Path) -> None:
    """Write what has been collected to `log.txt` of a run, and what follows line by line."""
    handler = logging.FileHandler(folder / "log.txt")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    said.setTarget(handler)
    said.flush()
    said.capacity = 1  # flushed at each line


@contextmanager
def told_once() -> Iterator[None]:
    """Leave a mistake to the first process where a launcher such as torchrun starts all of them at once.

    The launcher ends the others when the first has told it. Where that does not come, the mistake is a process's own.
    """
    # as Lightning's `rank_zero_only` looks for it: there is no trainer yet to ask
    found = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    rank = int(next(filter(None, found), 0))
    waits = rank != 0 and RUN_VARIABLE not in os.environ  # Lightning's own start later, and inherit the variable
    try:
        yield
    except UserError:
        if waits:
            time.sleep(_PATIENCE)
        raise


def leave_to_first(rank: int) -> None:
    """Leave a mistake that all processes of a run have found to the first one, which ends the others or has them ended.

    The first, of rank 0, returns at once.
    """
    if rank:
        time.sleep(_PATIENCE)


def trainer_error(error: Exception, config: Mapping[str, Any]) -> UserError:
    """Lightning's complaint about an option, which it names in the words of Python, if at all."""
    text = " ".join(str(error).split()).rstrip(".")
    if re.search(r"No supported gpu backend|GPUs requested|No GPUs available", text):
        return UserError(
            f"--trainer.accelerator {config.get('accelerator')}: there is no GPU that torch can use; set "
            "--trainer.accelerator cpu, or auto."
        )
    given = {key: value for key, value in config.items() if value is not None}
    # by the option's name, or else by the value that it complains of
    named = [key for key in given if re.search(rf"\b{key}\b", text)]
    named = named or [key for key, value in given.items() if f"'{value}'" in text]
    options = " or ".join(f"--trainer.{key}" for key in named[:2])
    return UserError(f"the trainer refuses {options or 'its options'}: {text}.")


def quieten() -> None:
    """Leave out what the libraries say about themselves and what is by design here."""
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*is smaller than the logging interval.*",
        ".*overridden `on_after_batch_transfer` in `LightningModule`.*",
        ".*isinstance.treespec.*",
        ".*treespec, LeafSpec.*",
        ".*module\\(s\\) in eval mode at the start of training.*",
        ".*when logging on epoch level in distributed setting.*",  # of figures that are the same on every rank
        ".*dataloader is not resumable.*",  # ours is: it goes on from the trainer's own count
        ".*Grad strides do not match bucket view strides.*",  # of 1 x 1 kernels, whose strides mean the same
        ".*callbacks used to create the checkpoint need to be provided.*",
        ".*method of metric .* was called before the ``update`` method.*",  # by a process that no tile fell to
    ):
        warnings.filterwarnings("ignore", message)
    noise = ["Tip:", "TPU available", "HPU available", "Loading `train_dataloader` to estimate", "Seed set to"]
    noise += ["Detected KeyboardInterrupt", "SLURM auto-requeueing"]  # we say so ourselves
    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.trainer.connectors.signal_connector",
        "lightning.fabric.utilities.seed",
    ):
        logging.getLogger(name).addFilter(lambda record: not any(word in record.getMessage() for word in noise))
