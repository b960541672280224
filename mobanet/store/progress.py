"""How far a long task is: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn
from rich.text import Text

from mobanet.plain.progress import counted, duration, pace

_SECONDS = 10.0  # between plain lines


class _Pace(TextColumn):
    def __init__(self, units: str) -> None:
        super().__init__("")
        self._units = units

    def render(self, task: Task) -> Text:
        return Text(pace(task.speed, self._units, task.remaining or 0) if task.speed else "")


class TaskProgress:
    """Progress over a known number of steps, on standard error. A context manager.

    The title says what is done with which units, such as `preparing tiles`.
    """

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, total, 0
        self._units = title.split()[-1]
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._start = self._last = time.monotonic()

    def __enter__(self) -> "TaskProgress":
        # a bar of no steps would stay where it begins
        if self._console.is_terminal and self._total:
            count = TextColumn("{task.description}: {task.completed:.0f} of {task.total:.0f}")
            columns = (count, BarColumn(), _Pace(self._units))
            self._bar = Progress(*columns, console=self._console)
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line."""
        if self._bar is not None:
            # above the bar, which a plain print would tear; no markup, as names of files have brackets
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def advance(self, count: int = 1) -> None:
        """So many more steps are done."""
        if not count:
            return
        self._done += count
        if self._bar is not None:
            self._bar.advance(self._task, count)
            return
        now = time.monotonic()
        if now - self._last >= _SECONDS or self._done == self._total:
            self._last = now
            spent, left = now - self._start, self._total - self._done
            rest = pace(self._done / spent, self._units, left) if left and spent else f"done in {duration(spent)}"
            self.say(f"{counted(f'{self._title}:', self._done, self._total)}, {rest}")
