"""Where a run writes, and how the processes of a distributed run come to know of it."""

import os
import time
from pathlib import Path

CONFIG_FILE = "config.yaml"
RUN_VARIABLE = "MOBANET_RUN_FOLDER"
"""Tells the processes that a distributed run starts which folder the first one chose."""
TEST_VARIABLE = "MOBANET_TEST_FOLLOWS"
"""Tells a run that its best checkpoint is to be tested when it has ended."""


def run_folder_of(checkpoint: str) -> Path | None:
    """The run folder that a checkpoint lies in, or None where it lies elsewhere."""
    # RUN/checkpoints/FILE; resolved, as a link to a checkpoint belongs to the run it points into
    folder = Path(checkpoint).resolve().parent.parent
    return folder if (folder / CONFIG_FILE).is_file() else None


def choose_run_folder(given: str | None, experiment: str, checkpoint: str | None) -> Path:
    """Where a run writes: as given, or its checkpoint's run, or a new folder named by the time.

    Under distributed training the first process decides and its children follow.
    """
    # a name by the clock would be another one in each process
    if os.environ.get("LOCAL_RANK", "0") != "0" and RUN_VARIABLE in os.environ:
        return Path(os.environ[RUN_VARIABLE])
    resumed = run_folder_of(checkpoint) if checkpoint else None
    if given:
        folder = Path(given)
    elif resumed is not None:
        folder = resumed
    else:
        folder = _unused(Path("runs") / experiment / time.strftime("%Y%m%d-%H%M%S"))
    os.environ[RUN_VARIABLE] = str(folder)  # which processes that Lightning starts from now on inherit
    return folder


def _unused(folder: Path) -> Path:
    candidate, number = folder, 2
    # two runs may begin within a second
    while candidate.exists():
        candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return candidate
