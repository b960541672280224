"""A first process with a child that Lightning watches; `python -m tests.unit.observed HOW` ends the child."""

import os
import subprocess
import sys
import time

from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch import Trainer

from mobanet import lightning_internals as internals


def main(how: str) -> None:
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    trainer.strategy._configure_launcher()
    launcher = trainer.strategy.launcher
    child = [sys.executable, "-c", "input(); raise SystemExit(3)"]
    launcher.procs = [subprocess.Popen(child, stdin=subprocess.PIPE)]
    observer = _ChildProcessObserver(os.getpid(), launcher.procs, sleep_period=0.05)
    observer.start()
    time.sleep(0.2)
    if how == "ended":
        internals.end_child_processes(trainer)
    elif how == "released":
        (released,) = internals.release_child_processes(trainer)
        released.communicate(b"go on")
        released.wait()
    else:
        launcher.procs[0].communicate(b"go on")
    observer.join(timeout=60)
    raise SystemExit(2)


if __name__ == "__main__":
    main(sys.argv[1])
