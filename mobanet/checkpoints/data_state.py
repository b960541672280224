"""Where a checkpoint keeps what its inputs are scaled by, whatever the data module's class is called."""

from typing import Any

from mobanet.data.datamodule import RasterDataModule

DATA_STATE = RasterDataModule.__qualname__
"""The key; Lightning writes the state under the name of the module's own class, which may be a subclass of it."""


def keep_data_state(checkpoint: dict[str, Any], data: Any) -> None:
    """Keep a subclass's state under the name that is looked for, too; data of others are left alone."""
    own = type(data).__qualname__
    if isinstance(data, RasterDataModule) and own in checkpoint:
        checkpoint[DATA_STATE] = checkpoint[own]


def hand_over_data_state(checkpoint: dict[str, Any], data: Any) -> None:
    """Let a data module have the state of a checkpoint that another class of ours has written.

    Without it Lightning would leave the module with what it has learnt from the tiles at hand, and say nothing.
    """
    if isinstance(data, RasterDataModule) and DATA_STATE in checkpoint:
        checkpoint.setdefault(type(data).__qualname__, checkpoint[DATA_STATE])
