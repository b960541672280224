"""Windows of the training tiles to measure a model on: always the same ones, without augmentation."""

from typing import Any

import numpy as np

from mobanet.data.crops import GridWindows, collate

_STREAM = 2**63
"""Sets these draws apart from those of training samples, whose numbers are below it."""


class ProbeWindows:
    """All windows of a grid of the training tiles in a random order that depends on the seed alone."""

    def __init__(self, dataset: GridWindows, seed: int) -> None:
        self.dataset = dataset
        self.order = np.random.Generator(np.random.Philox(key=[seed, _STREAM])).permutation(len(dataset))

    def __len__(self) -> int:
        """Number of windows there are."""
        return len(self.order)

    def read(self, first: int, last: int) -> dict[str, Any]:
        """A batch of the windows `first` to `last` (excluded) of the order, as a data loader would hand it over."""
        return collate([self.dataset[int(index)] for index in self.order[first:last]])
