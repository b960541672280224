"""Peak memory and time of a command in a process of its own; shared by the benchmarks of memory."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path


def measured(words: Sequence[str], pause: float = 0.02) -> tuple[float, float]:
    """Peak resident memory in MB and seconds of one run of a command of this Python.

    Args:
        words: behind `python`.
        pause: seconds between looks at the process; Linux keeps the peak, so that only the very end can be missed.
    """
    begin = time.perf_counter()
    peak = 0.0
    # a file, since a pipe that nobody reads from holds 64 kB, and then the command waits for ever
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(pause)
        if process.returncode:
            said.seek(0)
            sys.exit(said.read())
    return peak, time.perf_counter() - begin


def resident(pid: int) -> float:
    """The highest resident memory of a process so far, in MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
