"""SLURM jobs that are put back into the queue: asking for it, and going on with the run when they start again."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Trainer

from mobanet.lightning_internals import cluster_environment
from mobanet.plain.command_words import take


def requeue_signal(trainer: Trainer) -> int | None:
    """The signal on which a job is to go back into the queue; None where there is no such job."""
    environment = cluster_environment(trainer)
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        return environment.requeue_signal
    return None


def requeue() -> str:
    """Put this job back into the queue, and say what came of it."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"  # the array's id alone would requeue all its tasks
    try:
        # as Lightning does it
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"job {job} could not be requeued: scontrol: {error.strerror}"
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"scontrol ended with {done.returncode}"
        return f"job {job} could not be requeued: {why}"
    return f"job {job} is back in the queue"


def going_on(words: Sequence[str]) -> list[str]:
    """The command line of a job that SLURM has started again: `--ckpt_path` its run folder's last checkpoint.

    A job keeps its command when it starts again, which would begin the run anew, or from the checkpoint that it has
    long left behind. It takes a folder given with `--run`, since the name of any other one is of the time.
    """
    folder, _ = take(words, "--run")
    again = os.environ.get("SLURM_RESTART_COUNT", "0")
    last = Path(folder or "") / "checkpoints" / "last.ckpt"
    if folder is None or again in ("", "0") or not last.is_file():
        return list(words)
    # fit refuses it beside --ckpt_path
    _, rest = take(words, "--init_from")
    _, rest = take(rest, "--ckpt_path")
    return [*rest, "--ckpt_path", str(last)]
