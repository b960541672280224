"""Batches of stored values, which nobody converts before they are scaled."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor


class StoredBatch:
    """A batch as its files have it: heights, counts, and the offsets and scales they are scaled by.

    Lightning's true half precisions convert every float of a batch as soon as it comes from its loader. Of a height
    of 350.37 m bfloat16 leaves 350, so that a surface model would lose all that is less than two metres. What is no
    mapping they leave alone; it moves to a device as a tensor does, and is scaled there in float32.

    Args:
        contents: of `mobanet.data.crops.collate`.
        known: (B, M) bool, `available` as it came from the loader, which stays on the CPU wherever the batch goes: what
            is drawn and decided there need not wait for a device. None where `contents` are as they came.
    """

    def __init__(self, contents: Mapping[str, Any], known: Tensor | None = None) -> None:
        self.contents = contents
        self.known: Tensor = contents["available"] if known is None else known

    def __getitem__(self, name: str) -> Any:
        """A part of the batch."""
        return self.contents[name]

    def __iter__(self) -> Iterator[str]:
        """The names of its parts."""
        return iter(self.contents)

    def to(self, device: torch.device | str) -> "StoredBatch":
        """The batch on a device."""
        return StoredBatch(move_data_to_device(self.contents, device), self.known.clone())
