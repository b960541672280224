"""Reading a checkpoint whole, as what a module of a class may be restored from."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from mobanet.checkpoints.archive import load_file
from mobanet.checkpoints.content import check_content
from mobanet.checkpoints.finite import check_finite_weights


def read_for(kind: type[LightningModule], path: str | Path, option: str, finite: bool = True) -> dict[str, Any]:
    """A checkpoint's content, whole and fit to be used, without running any code from it.

    Args:
        kind: of module that its settings and weights have to be of.
        path: of the file.
        option: what the user typed it behind, for messages.
        finite: refuse weights that are NaN or infinite; to look at what a run has left, they are as good as any.

    Raises:
        UserError: when the file is absent or damaged, or not a checkpoint that this version of the package can use,
            or its weights are no numbers.
    """
    checkpoint = check_content(load_file(path, option), f"{option} {path}", kind)
    if finite:
        check_finite_weights(checkpoint["state_dict"], f"{option} {path}")
    return checkpoint
