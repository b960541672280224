"""What is said of a spelling that is still taken, and is called otherwise by now: a line on standard error, once."""

import os
import sys

_SAID: set[str] = set()
# set by Lightning for processes that it starts, by torchrun, and by SLURM's srun; else there is one process
_RANKS = ("LOCAL_RANK", "RANK", "SLURM_PROCID")


def hint(text: str) -> None:
    """Say it, unless it has been said, or another process of the same run does."""
    if text not in _SAID and all(os.environ.get(name, "0") == "0" for name in _RANKS):
        print(f"hint: {text}", file=sys.stderr, flush=True)
    _SAID.add(text)
