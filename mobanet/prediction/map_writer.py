"""Finished parts are saved, and whole maps written, in threads of their own, while the network goes on."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from mobanet.errors import Stopped, UserError
from mobanet.prediction.areas import FinishedMap
from mobanet.prediction.parts import MapPart
from mobanet.prediction.plan import ScenePlan
from mobanet.prediction.predictor import PartMaps
from mobanet.rasters.geotiff import give_up

_WAITING = 1
"""Parts that may wait while another is being saved: memory holds these two and the one being predicted."""

_LOOK = 0.2
"""Seconds between looks at what other processes have finished, and at whether a thread has ended."""

GoOn = Callable[[], None]
"""Raises where a map is not wanted any more."""


class MapWriter:
    """Saves parts in the order in which they come, and writes each map once its last part is there.

    A context manager: where its block ends early, parts that were handed over are still saved, and a map that is being
    written is given up, with nothing left of it. What goes wrong in a thread is raised by the next call.

    Args:
        plans: of all scenes, in order.
        finish: writes the map of a scene whose parts are all there; it asks from time to time whether to go on. None
            in all processes but the first.
    """

    def __init__(self, plans: Sequence[ScenePlan], finish: Callable[[ScenePlan, GoOn], FinishedMap] | None) -> None:
        self._plans, self._finish_map = plans, finish
        self._left = [] if finish is None else list(plans)
        """Scenes that lack parts, or their last one came from another process."""
        self._parts: queue.Queue[tuple[MapPart, PartMaps] | None] = queue.Queue(_WAITING)
        self._whole: queue.SimpleQueue[ScenePlan | None] = queue.SimpleQueue()
        self._at: ScenePlan | None = None
        """Whose map is being written."""
        self._finished: list[FinishedMap] = []
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._works = {self._save_parts: threading.Event(), self._write_maps: threading.Event()}
        """With what is set once the thread of each has ended."""

    def __enter__(self) -> "MapWriter":
        for work in self._works:
            # daemons: one that hangs, as on a server of files, does not keep an interrupted process from ending
            threading.Thread(target=self._guarded, args=(work,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._join()
        if error is None:
            self._check()

    def save(self, part: MapPart, maps: PartMaps) -> None:
        """Hand a part over; waits while another one is waiting.

        Raises:
            UserError, OSError: for what went wrong with earlier ones, or in writing a map.
        """
        self._put((part, maps))

    def finish(self) -> list[FinishedMap]:
        """Wait until all maps are written, also those that others have a share in; the first process gets them.

        Raises:
            UserError, OSError: for what went wrong, here or in another process.
        """
        self._put(None)
        self._join()
        self._check()
        return self._finished

    def _put(self, item: tuple[MapPart, PartMaps] | None) -> None:
        while True:
            self._check()
            try:
                # not for ever: the thread that would take it may have ended
                return self._parts.put(item, timeout=_LOOK)
            except queue.Full:
                continue

    def _join(self) -> None:
        """Wait for the threads; not by `Thread.join`, which, interrupted, takes a thread that goes on for ended."""
        for ended in self._works.values():
            while not ended.wait(_LOOK):
                plan = self._at  # looked at once: its thread may be done with it meanwhile
                if self._stop.is_set() and plan is not None:
                    for path in plan.files.all:
                        give_up(path)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    # in the threads

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            # the first, of which later ones may be consequences
            self._error = self._error or error
            self._stop.set()
        finally:
            self._works[work].set()

    def _save_parts(self) -> None:
        try:
            while (item := self._next()) is not None:
                part, maps = item
                self._plans[part.scene].workspace.save(part, maps)
                # the last one here may not be the last of all: for those of other processes `_write_maps` looks
                if self._left and self._left[0].parts[-1] == part and _complete(self._left[0]):
                    self._whole.put(self._left.pop(0))
        finally:
            # also where saving failed, since the other thread would wait for ever
            self._whole.put(None)

    def _next(self) -> tuple[MapPart, PartMaps] | None:
        """The next part to save; None where no more come."""
        while True:
            try:
                return self._parts.get(timeout=_LOOK)
            except queue.Empty:
                if self._stop.is_set():
                    return None

    def _write_maps(self) -> None:
        while (plan := self._whole.get()) is not None:
            self._write(plan)
        while self._left and not self._stop.is_set():
            if trouble := self._left[0].workspace.trouble():
                raise UserError(trouble)
            if _complete(self._left[0]):
                self._write(self._left.pop(0))
            else:
                time.sleep(_LOOK)

    def _write(self, plan: ScenePlan) -> None:
        assert self._finish_map is not None  # without it no scene is left to write
        self._at = plan
        self._go_on()
        self._finished.append(self._finish_map(plan, self._go_on))
        self._at = None

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Stopped("stopped")


def _complete(plan: ScenePlan) -> bool:
    return len(plan.workspace.done(plan.parts)) == len(plan.parts)
