"""One command after the other as processes of their own, with signals handed on and the last sentence kept."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import IO, Any

from mobanet.cli.option_names import as_typed
from mobanet.runs.folder import RUN_VARIABLE, TEST_VARIABLE

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""What `mobanet.fit` ends at with a checkpoint."""

_BETWEEN_LOOKS = 2.0
"""Seconds from one look at whether a command is hopeless to the next; a validation takes longer."""

_ERROR = "error: "
# inherited, they would make a trial the rank of another run, or have it write into that one's folder or record
_OF_ONE_RUN = (
    RUN_VARIABLE,
    TEST_VARIABLE,
    "RANK",
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "ROLE_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "WANDB_RUN_ID",
    "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH",
)
"""Variables that tell a process which run, or which part of one, it is."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code; 128 and the signal's number where one ended it.
        asked: first signal that this process was sent, if it was; 0 for none.
        error: the sentence behind the last `error:`, which has not been shown; None where there was none.
        seconds: that it took.
        early: whether it was ended here, as it was hopeless.
    """

    code: int
    asked: int
    error: str | None
    seconds: float
    early: bool = False

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it before it was done."""
        return self.code != 0 and (self.asked != 0 or (self.code - 128 in _SIGNALS and not self.early))

    @property
    def told(self) -> str:
        """What went wrong, in words, without a full stop."""
        if self.error:
            return self.error.rstrip(".")
        if self.code > 128:
            return f"it was ended by {_signal_name(self.code - 128)}"
        return f"it ended with exit code {self.code}, for which see above"


class Commands:
    """Runs `python -m MODULE …`, one at a time; while it is entered, signals go to the command that runs.

    Each command is a process group of its own: a terminal's Ctrl-C reaches this process alone, which hands it on once.
    A second one is handed on as well, and ends `mobanet.fit` at once.

    Attributes:
        stop: exit code to end with, once a signal has come or a command was ended by one; 0 until then.
    """

    def __init__(self) -> None:
        self.stop = 0
        self._former: dict[int, Any] = {}
        self._child: subprocess.Popen[str] | None = None
        self._received: list[int] = []
        self._waiting: deque[int] = deque()

    def __enter__(self) -> "Commands":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._former[number] = signal.signal(number, self._hand_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former.clear()

    def run(
        self,
        module: str,
        words: Sequence[str],
        variables: Mapping[str, str] | None = None,
        hopeless: Callable[[], bool] | None = None,
    ) -> Ended:
        """Run a module to its end, unless it is hopeless. Its output appears as it comes, but for a closing `error: …`.

        Args:
            module: such as `mobanet.fit`.
            words: its command line.
            variables: further ones for its environment.
            hopeless: whether to end it by SIGTERM, asked now and then.
        """
        begun = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", module, *(as_typed(word, "fit") for word in words)],
            env={**environment(), **(variables or {})},
            stdin=subprocess.DEVNULL,  # or a library that asks something would wait for an answer
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            # a library's odd byte is no reason to lose the lines behind it
            errors="replace",
            process_group=0,
        )
        # before what has come is sent on: from here on the handler sends by itself
        self._child = child
        self._send()  # what came while it was being started
        kept: list[str] = []
        # a pipe that nobody reads fills up, and the command would wait for it
        reader = threading.Thread(target=_pass_on, args=(child.stderr, kept), daemon=True)
        reader.start()
        early = _ended_early(child, hopeless) if hopeless else False
        code = child.wait()
        self._child = None
        reader.join(timeout=10)  # a process that it left behind may hold the pipe open
        if not reader.is_alive() and child.stderr is not None:
            child.stderr.close()
        ended = Ended(
            code if code >= 0 else 128 - code,  # Popen has minus the signal's number, shells 128 and the number
            self._received[0] if self._received else 0,
            kept[-1] if kept else None,
            time.monotonic() - begun,
            # either way of it: killed by the signal, or ended by itself with the shell's number
            early and code in (-signal.SIGTERM, 128 + signal.SIGTERM),
        )
        if ended.asked or ended.interrupted:
            self.stop = ended.code if ended.code - 128 in _SIGNALS else 128 + ended.asked
        return ended

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)
        self._waiting.append(number)
        self._send()
        if self._child is None:
            self.stop = 128 + number

    def _send(self) -> None:
        with suppress(IndexError):  # the handler may have come in between
            while self._child is not None and self._waiting:
                # taken off first, so that a handler that comes in between sends it no second time
                self._child.send_signal(self._waiting.popleft())


def environment() -> dict[str, str]:
    """This process's environment less what belongs to one run, or to one process of several."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _OF_ONE_RUN and not name.startswith("TORCHELASTIC_")
    }


def _ended_early(child: "subprocess.Popen[str]", hopeless: Callable[[], bool]) -> bool:
    """Wait for a command to end, or for the time to end it."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(_BETWEEN_LOOKS)
            return False
        # SIGTERM, at which `mobanet.fit` writes a checkpoint first
        if hopeless():
            child.terminate()
            return True


def _pass_on(stream: IO[str], kept: list[str]) -> None:
    """Show lines as they come; one that begins with `error: ` waits, and is kept where nothing follows."""
    held = ""
    for line in stream:
        if held:
            sys.stderr.write(held)
        held = line if line.startswith(_ERROR) else ""
        if not held:
            sys.stderr.write(line)
            sys.stderr.flush()
    if held:
        kept.append(held.removeprefix(_ERROR).strip())


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
