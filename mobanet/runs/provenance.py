"""What a run was made with: command, code, versions of the libraries that decide its numbers, and hardware."""

import os
import platform
import shlex
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from lightning.pytorch import Trainer

import mobanet

PROVENANCE_FILE = "provenance.jsonl"
"""In a run folder: one line a start of the run."""


@dataclass(frozen=True)
class Provenance:
    """Of one start of a run, with the versions of what it ran on.

    Attributes:
        started: date and time, UTC.
        command: as it was given.
        folder: the working folder.
        commit: of the source tree that it was run from; None for an installed package.
        changed: whether files of that tree differed from the commit; None without one.
        platform: operating system and processor architecture.
        device: of each process.
        processes: their number.
        threads: of each process on the CPU.
        precision: of the arithmetic, as it was computed in, not as it was asked for.
    """

    started: str
    command: str
    folder: str
    mobanet: str
    commit: str | None
    changed: bool | None
    python: str
    torch: str
    lightning: str
    timm: str
    platform: str
    device: str
    processes: int
    threads: int
    precision: str
    float32_matmul_precision: str


def provenance(trainer: Trainer, words: list[str]) -> Provenance:
    """Collect it; `words` are the command line behind `mobanet.fit`."""
    commit, changed = _source()
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Provenance(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["python", "-m", "mobanet.fit", *words]),
        folder=os.getcwd(),
        mobanet=mobanet.__version__,
        commit=commit,
        changed=changed,
        python=platform.python_version(),
        torch=str(torch.__version__),
        lightning=version("lightning"),
        timm=version("timm"),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        device=name,
        processes=trainer.world_size,
        threads=torch.get_num_threads(),
        precision=str(trainer.precision),
        float32_matmul_precision=torch.get_float32_matmul_precision(),
    )


def _source() -> tuple[str | None, bool | None]:
    """Commit of the tree that this package lies in, and whether tracked files differ from it."""
    package = Path(mobanet.__file__).parent
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:  # installed, perhaps within another tree
        return None, None
    # untracked files left out: runs and data often lie in the tree
    commit, status = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", "--untracked-files=no")
    return commit, None if status is None else bool(status)


def _git(folder: Path, *words: str) -> str | None:
    try:
        # by its program, which knows worktrees and packed references; no library is needed for two words
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):  # no git, or a file system that hangs: the run matters more
        return None
    return done.stdout.strip() if done.returncode == 0 else None
