"""The same function on many jobs, in several processes."""

import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, TypeVar

from mobanet.errors import UserError
from mobanet.plain.processes import end_with_parent

Job = TypeVar("Job")
Result = TypeVar("Result")

_MOST = 8  # processes at most where no number is given: each holds a few hundred MB, and disks are slower than cores
_ALONE = 2.0  # seconds that this process works alone, about what others take to start; small data sets are done by then


class _Worker(SpawnProcess):
    """A spawned process that does not import the program that started it.

    Python has a spawned process import the caller's script first. One that does not keep its work behind
    `if __name__ == "__main__":` would do all of it once more there, and wait for the lock that its parent holds; a
    program from standard input or a notebook has no file to import. What runs here is found without it.
    """

    def start(self) -> None:
        main = sys.modules["__main__"]
        # what it is to import is settled here: as of a program that was typed in, nothing
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            super().start()
        finally:
            sys.modules["__main__"] = main


class _Context(SpawnContext):
    Process = _Worker


def _found_elsewhere(*needed: Any) -> bool:
    """Whether another process can do without this program's own classes and functions."""
    try:
        # pickle writes a class as the name of its module and its own; that of the running program is `__main__`
        return b"__main__" not in pickle.dumps(needed)
    except (pickle.PicklingError, AttributeError, TypeError):  # functions and classes within functions
        return False


def in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int = 0, alone: float = _ALONE
) -> Iterator[Result]:
    """Results as they come, in any order.

    A function or jobs that only the running program knows (a layout written in a script, say) stay in this process.

    Args:
        function: of a module, so that another process can find it.
        jobs: its arguments.
        workers: processes; 0 for one a core but no more than 8, 1 for none but this.
        alone: seconds after which what is left goes to other processes, where there are to be any.

    Raises:
        UserError: when a process is killed from outside.
    """
    if workers < 0:
        raise UserError(f"workers is {workers}: give 0 for one process a core, or a number of processes.")
    # those that this process may use, such as of a job's share of a machine; `cpu_count` knows all there are
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(workers or min(_MOST, cores), len(jobs))
    begun, done = time.monotonic(), 0
    while done < len(jobs) and (workers <= 1 or time.monotonic() - begun < alone):
        yield function(jobs[done])
        done += 1
    jobs = jobs[done:]
    if not jobs:
        return
    # the first job stands for all: they come from one layout
    if not _found_elsewhere(function, jobs[0]):
        print("preparing in this process alone: others would not find what this script defines", file=sys.stderr)
        yield from map(function, jobs)
        return
    # spawned, since a fork would copy locks that threads of torch and GDAL may hold
    with ProcessPoolExecutor(workers, _Context(), end_with_parent) as pool:
        futures = [pool.submit(function, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker that was reading tiles was killed, most likely for lack of memory: run again with fewer "
                "workers; finished tiles are kept."
            ) from error
        finally:
            for future in futures:
                future.cancel()  # or, with an error, all that is not begun would be done before it is raised
