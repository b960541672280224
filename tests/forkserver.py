"""A Python that has imported everything: commands start without the seconds that torch and Lightning take.

A server imports once, and forks for every command that is started with `ForkServer.python` instead of Python. That
program hands its arguments, folder, environment and standard streams over, passes on the signals it gets, and ends
as the forked process ends. To a forked command the same program is `sys.executable`: launchers of several processes,
sweeps and job scripts run as they are, with all that they start. What it cannot show is how a command is imported, and
how Python takes modules apart behind a command's last word; tests of that use a real Python.
"""

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORTED = (
    "albumentations",
    "lightning.pytorch",
    "matplotlib.pyplot",
    "mobanet.check",
    "mobanet.cli.commands",
    "mobanet.predict",
    "mobanet.report",
    "mobanet.sweep",
    "mobanet.synthesize",
    "torch._dynamo",  # imported by the first optimiser
    "torch.distributed.run",
)
"""What a command finds imported: nothing that starts threads, which a fork would lose, or makes temporary folders, as
wandb does, which the first command to end would remove."""

PROGRAM = """#!{python} -IS
import array, json, os, signal, socket, sys

words = sys.argv[1:]
while words[:1] == ["-u"]:
    del words[0]
if words[:1] != ["-m"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({path!r})
request = json.dumps([words[1], words[2:], os.getcwd(), dict(os.environ)]).encode()
server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(request) + 4096)
server.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
pid = int(server.recv(64))


def pass_on(number, frame):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGQUIT"):
    signal.signal(getattr(signal, name), pass_on)
code = os.waitstatus_to_exitcode(int(server.recv(64)))
if code >= 0:
    os._exit(code)
signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
os.kill(os.getpid(), -code)
signal.pause()
"""


class ForkServer:
    """Starts a server, which ends with this process.

    Attributes:
        python: the program to start commands with.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="forkserver-"))
        self.python = self.folder / "python"
        self.python.write_text(PROGRAM.format(python=sys.executable, path=str(self.folder / "socket")))
        self.python.chmod(0o755)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-m", "tests.forkserver", str(self.folder)]
        self.process = subprocess.Popen(words, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"listening\n"

    def sessions(self) -> set[int]:
        """Ids of the sessions of all commands so far; each is led by the forked process."""
        file = self.folder / "sessions"
        return {int(line) for line in file.read_text().split()} if file.exists() else set()


class _Server:
    """The server's side.

    Args:
        folder: of the socket, the program and the list of sessions.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(folder / "socket"))
        self.listener.listen(64)
        self.ended, self.woken = os.pipe()
        for end in (self.ended, self.woken):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self.woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.running: dict[int, socket.socket] = {}
        self.selector = selectors.DefaultSelector()
        for source in (self.listener, self.ended, 0):
            self.selector.register(source, selectors.EVENT_READ)

    def serve(self) -> tuple[str, list[str], str, dict[str, str]]:
        """Fork for each request until standard input is closed; returns in forked processes only."""
        print("listening", flush=True)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == 0:  # closed: the tests are over
                    shutil.rmtree(self.folder)
                    os._exit(0)
                elif key.fileobj is self.listener:
                    request = self._fork()
                    if request is not None:
                        return request
                elif key.fileobj == self.ended:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.ended, 4096)
                else:  # the program was killed, and what it stands for with all of its group
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(key.data, signal.SIGKILL)
                    self.selector.unregister(key.fileobj)
            self._report()

    def _fork(self) -> tuple | None:
        connection, _ = self.listener.accept()
        text, ancillary, _, _ = connection.recvmsg(2**22, socket.CMSG_LEN(3 * array.array("i").itemsize))
        streams = array.array("i")
        streams.frombytes(ancillary[0][2])
        pid = os.fork()
        if pid == 0:
            self._leave(connection)
            for target, source in enumerate(streams):
                os.dup2(source, target)
                os.close(source)
            return tuple(json.loads(text))
        for source in streams:
            os.close(source)
        self.running[pid] = connection
        self.selector.register(connection, selectors.EVENT_READ, pid)
        with (self.folder / "sessions").open("a") as file:
            file.write(f"{pid}\n")
        connection.send(str(pid).encode())
        return None

    def _leave(self, connection: socket.socket) -> None:
        """In a forked process, let go of all that is the server's."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # ignored where a shell runs the suite in its background
        self.selector.close()
        for inherited in (connection, self.listener, *self.running.values()):
            inherited.close()
        for end in (self.ended, self.woken):
            os.close(end)

    def _report(self) -> None:
        """Tell programs how their processes have ended."""
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self.running.pop(pid) as connection:
                if connection.fileno() in self.selector.get_map():
                    self.selector.unregister(connection)
                with contextlib.suppress(OSError):  # the program may have been killed
                    connection.send(str(status).encode())


def _become(python: Path, module: str, words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Run a module as `python -m MODULE WORDS` does, in that folder and environment."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0], sys.executable, sys.argv = folder, str(python), [module, *words]
    sys.path_importer_cache.clear()
    sys.modules.pop(module, None)  # runpy warns of what is imported already
    if sys.version_info >= (3, 12):
        # of what is still frozen when Python ends, triton prints that it leaked; before, it is not asked any more
        atexit.register(gc.unfreeze)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        ENDED.append(0)
    except SystemExit as end:
        ENDED.append(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise
    except Exception:
        ENDED.append(1)
        raise


ENDED: list[int] = []
"""With what code a forked process ends; empty where it does not come to an end of its own."""


def _leave() -> None:
    """End at once, when threads are joined and all else is done that Python does before it takes modules apart.

    Two million objects, in pages that the server shares with everyone, take it 0.4 s.
    """
    if not ENDED:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # which Python has its own way to tell
        return
    os._exit(ENDED[-1] & 0xFF)


if __name__ == "__main__":
    atexit.register(_leave)  # before anybody else, to be called behind all others
    for _name in IMPORTED:
        importlib.import_module(_name)
    assert len(os.listdir("/proc/self/task")) == 1
    assert "wandb" not in sys.modules
    os.fsync = lambda handle: None  # as in the tests' own process
    gc.collect()
    gc.freeze()  # pages that the collector does not touch stay shared
    _folder = Path(sys.argv[1])
    _become(_folder / "python", *_Server(_folder).serve())
