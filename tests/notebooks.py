"""Notebooks executed as a whole, without the wait that is known of nbclient where cells have widgets."""

import asyncio

import zmq
from nbclient import NotebookClient


class Client(NotebookClient):
    """Looks for the kernel's reply every second, too.

    A message that comes while the client answers a widget on the same socket announces itself once, when nobody
    listens, and the client waits for ever (nbclient, issue 312). To ask a socket for its events hands over what is
    there.
    """

    def __init__(self, *given, **options) -> None:
        super().__init__(*given, **options)
        self.on_notebook_start = self._begin
        self.on_notebook_complete = self._end

    async def _begin(self, **_) -> None:
        self.looking = asyncio.create_task(self._look())

    async def _end(self, **_) -> None:
        self.looking.cancel()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(1)
            if self.kc is not None:
                self.kc.shell_channel.socket.get(zmq.EVENTS)
