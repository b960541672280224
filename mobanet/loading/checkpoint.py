"""Reading a checkpoint of this package: the way of every command."""

from pathlib import Path
from typing import Any

from mobanet.checkpoints.reading import read_for
from mobanet.training.module import SegmentationModule


def read_checkpoint(path: str | Path, option: str = "--ckpt_path", finite: bool = True) -> dict[str, Any]:
    """A checkpoint's content, whole and fit to be used, without running any code from it.

    Args:
        path: of the file.
        option: what the user typed it behind, for messages.
        finite: refuse weights that are NaN or infinite; to look at what a run has left, they are as good as any.

    Raises:
        UserError: as `read_for`.
    """
    return read_for(SegmentationModule, path, option, finite)
