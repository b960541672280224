"""Peak memory and time of a command in a process of its own; shared by the benchmarks of memory."""

import subprocess
import sys
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
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(pause)
    if process.returncode:
        sys.exit(process.stderr.read())
    return peak, time.perf_counter() - begin


def resident(pid: int) -> float:
    """The highest resident memory of a process so far, in MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
