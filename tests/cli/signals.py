"""A callback that sends a run signals at a given place, as a scheduler or a user does at any."""

import json
import os
import signal
import subprocess
import time

from lightning.pytorch import Callback


class SignalAt(Callback):
    """Sends a signal.

    Args:
        place: name of a hook.
        call: which of the hook's calls, from 1.
        name: of the signal.
        to: `self`, this process; `group`, all processes that the run has started.
        rank: that sends it.
        again: seconds after which it sends the signal once more; null for never.
    """

    def __init__(
        self, place: str, call: int, name: str, to: str = "self", rank: int = 0, again: float | None = None
    ) -> None:
        self.call, self.signal, self.to, self.rank, self.again = call, signal.Signals[name], to, rank, again
        self.calls = 0
        setattr(self, place, self._at)

    def _at(self, trainer, *_):
        self.calls += not trainer.sanity_checking
        if self.calls == self.call and trainer.global_rank == self.rank:
            self._send()
            if self.again:
                time.sleep(self.again)
                self._send()

    def _send(self):
        if self.to == "self":
            os.kill(os.getpid(), self.signal)
        else:  # from without: what a process that reads crops is told by the one that started it, it obeys
            command = ["sh", "-c", f"kill -s {self.signal.name[3:]} -- -{os.getpgid(0)}"]
            subprocess.run(command, start_new_session=True, check=True)


def sending(place, call, name, **more):
    """The option that has a run send itself a signal; see `SignalAt`."""
    settings = {"place": place, "call": call, "name": name, **more}
    return f"--trainer.callbacks={json.dumps([{'class_path': f'{__name__}.SignalAt', 'init_args': settings}])}"
