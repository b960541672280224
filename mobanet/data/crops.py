"""Random crops for training and grid windows for evaluation, as data sets of samples."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mobanet.data.augment import Augmentation
from mobanet.data.balance import ClassPixels
from mobanet.data.batch import StoredBatch
from mobanet.data.handover import Allocate, Handover, HandoverLoader
from mobanet.data.reading import Sample, TileReader, TileWindow, grid
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.store.marks import squares_of
from mobanet.store.stored import MARK

Sampling = Literal["tile", "area", "balanced"]
"""How a crop's tile is drawn: every tile alike (as in MoBaNet), or in proportion to its area; `balanced` draws a share
of the crops around a pixel of a class, each class alike, and the rest by area."""


_DRAWS = 100
"""Positions that are drawn before one is looked for where labels are: of a tile whose labels fill a part in so many."""


class _WindowDataset(Dataset[dict[str, Any]]):
    """What random crops and grid windows share: from a window's pixels to a sample for the batch."""

    def __init__(self, reader: TileReader, offset_scale: dict[str, np.ndarray]) -> None:
        self.reader = reader
        self.offset_scale = offset_scale

    def _pack(self, window: TileWindow, sample: Sample, counted: bool = True) -> dict[str, Any]:
        # of a modality without a measured pixel in the window, as at the rim of a scene, there is nothing to see
        available = [
            name in self.reader.tiles[window.tile].modalities
            and (name not in sample.valid or bool(sample.valid[name].any()))
            for name in self.reader.modalities
        ]
        label = sample.label
        # where nothing was measured, a label teaches nothing and measures nothing
        if label is None or not counted or not any(available):
            label = np.full((window.height, window.width), IGNORE_INDEX, np.uint8)
        return {
            "inputs": {name: torch.from_numpy(array) for name, array in sample.inputs.items()},
            "valid": {name: torch.from_numpy(array) for name, array in sample.valid.items()},
            "offset_scale": {name: torch.from_numpy(table[window.tile]) for name, table in self.offset_scale.items()},
            "label": torch.from_numpy(label),
            "available": torch.tensor(available),
            "extent": torch.tensor([self.reader.tiles[window.tile].height, self.reader.tiles[window.tile].width]),
            "tile": self.reader.tiles[window.tile].id if counted else "",
            "window": torch.tensor([window.top, window.left, window.height, window.width]),
        }


class RandomCrops(_WindowDataset):
    """Training crops; every draw is a function of the seed and the sample's index.

    Positions are multiples of the reader's step, so that crops have whole pixels of every modality.

    A crop without a labelled pixel teaches nothing: of a tile that is labelled in parts only, its position is drawn
    among those that have one.

    Args:
        reader: of the training tiles.
        offset_scale: by modality, (T, 2, C) offsets and scales (`mobanet.data.scaling`).
        size: height and width of a crop in pixels.
        sampling: how the tile is drawn; the position is uniform within it.
        seed, augmentation: of every draw, and applied to each crop.
        balanced_share: of the crops that are drawn around a pixel of a class, where `sampling` is `balanced`.
    """

    def __init__(
        self,
        reader: TileReader,
        offset_scale: dict[str, np.ndarray],
        size: int,
        sampling: Sampling,
        seed: int,
        augmentation: Augmentation,
        balanced_share: float = 0.5,
    ) -> None:
        super().__init__(reader, offset_scale)
        self.size = size
        self.balanced_share = balanced_share
        # counted for such crops only: of patches it means to read every label once
        self.classes = ClassPixels(reader) if sampling == "balanced" else None
        self.seed = seed
        self.augmentation = augmentation
        # `tile` is what MoBaNet's authors do: the tile uniform, then the position
        area = np.array([1 if sampling == "tile" else tile.height * tile.width for tile in reader.tiles], np.float64)
        self.bounds = np.cumsum(area / area.sum())

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The crop of a sample index (see `mobanet.data.sampler`)."""
        # Philox is keyed: any sample's draws are had at once, without those before it, in whichever worker
        generator = np.random.Generator(np.random.Philox(key=[self.seed, index]))
        window, sample = self._labelled(self.window(generator), generator)
        return self._pack(window, self.augmentation(sample, generator))

    def _labelled(self, window: TileWindow, generator: np.random.Generator) -> tuple[TileWindow, Sample]:
        """A window of the same tile that has a label, the one given if it has, and its pixels."""
        tile, marks = self.reader.tiles[window.tile], self.reader.marks(window.tile)
        if marks is None:
            return window, self.reader.read(window)
        for _ in range(_DRAWS):
            # squares first, without reading: they can only rule out, as a window may cut a square beside its labels
            if marks[squares_of(tile, window.top, window.left, window.height, window.width)].any():
                sample = self.reader.read(window)
                if np.any(sample.label != IGNORE_INDEX):
                    return window, sample
            window = self._within(window.tile, generator)
        window = self._around_a_label(window, marks, generator)
        return window, self.reader.read(window)

    def _around_a_label(self, window: TileWindow, marks: np.ndarray, generator: np.random.Generator) -> TileWindow:
        """A window of the same tile with a square that has a label, as far as it is large enough to hold one."""
        tile = self.reader.tiles[window.tile]
        rows, columns = squares_of(tile, 0, 0, tile.height, tile.width)
        found = np.argwhere(marks[rows, columns])
        if not len(found):
            return window
        row, column = found[int(generator.integers(len(found)))]
        corner = (int(rows.start + row) * MARK - tile.top, int(columns.start + column) * MARK - tile.left)
        return self._around(window.tile, corner, MARK, generator)

    def _around(self, place: int, corner: tuple[int, int], side: int, generator: np.random.Generator) -> TileWindow:
        """Draw a position in a tile whose window holds a square of it, as far as it is large enough."""
        tile, step, starts = self.reader.tiles[place], self.reader.step, []
        for at, length in zip(corner, (tile.height, tile.width), strict=True):
            room = max(length - self.size, 0)
            # where only a window that reaches beyond the tile, by less than a step, holds the square's end, that one
            # the first multiple of the step from which a window reaches the end of the square
            low = min(max(-(-(at + side - self.size) // step), 0), -(-room // step))
            # and the last that does not begin behind its first pixel
            high = min(max(at // step, 0), room // step)
            high = max(low, high) if side <= self.size else high
            starts.append(step * int(generator.integers(min(low, high), max(low, high) + 1)))
        top, left = starts
        return TileWindow(place, top, left, self.size, self.size)

    def window(self, generator: np.random.Generator) -> TileWindow:
        """Draw a tile, then a position uniformly inside it; or a pixel of a class, then one that has it inside."""
        # a draw of its own for each crop, which no other crop of the batch decides
        if self.classes is not None and generator.random() < self.balanced_share:
            place, row, column = self.classes.draw(generator)
            return self._around(place, (row, column), 1, generator)
        # the last bound is 1 but for rounding, and the draw may lie above it
        place = min(int(np.searchsorted(self.bounds, generator.random(), side="right")), len(self.bounds) - 1)
        return self._within(place, generator)

    def _within(self, place: int, generator: np.random.Generator) -> TileWindow:
        """Draw a position in a tile."""
        tile, step = self.reader.tiles[place], self.reader.step
        top = step * int(generator.integers(max(tile.height - self.size, 0) // step + 1))
        left = step * int(generator.integers(max(tile.width - self.size, 0) // step + 1))
        return TileWindow(place, top, left, self.size, self.size)


class GridWindows(_WindowDataset):
    """Evaluation windows of all tiles, row by row (`mobanet.data.reading.grid`); `offset_scale` as of `RandomCrops`."""

    def __init__(self, reader: TileReader, offset_scale: dict[str, np.ndarray], size: int, stride: int) -> None:
        super().__init__(reader, offset_scale)
        self.windows = [
            TileWindow(index, top, left, size, size)
            for index, tile in enumerate(reader.tiles)
            for top, left in grid(tile.height, tile.width, size, stride, reader.step)
        ]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Window `index`; of -1 the first window's pixels, without a tile and without labels, that count nowhere."""
        # pixels of a real window, so that a batch of it is like any other
        window = self.windows[max(index, 0)]
        return self._pack(window, self.reader.read(window), counted=index >= 0)

    def by_tile(self) -> list[list[int]]:
        """Indices of the windows of each tile."""
        out: list[list[int]] = [[] for _ in self.reader.tiles]
        # in the order of the grid, in which rows of windows can be added up and given out
        for index, window in enumerate(self.windows):
            out[window.tile].append(index)
        return out


def collate(samples: Sequence[dict[str, Any]], allocate: Allocate = torch.empty) -> dict[str, Any]:
    """A batch of samples in memory that `allocate` gives; inputs as (B, C, H, W) views in channels-last memory."""
    batch = _stack(samples, allocate)
    batch["inputs"] = {name: x.permute(0, 3, 1, 2) for name, x in batch["inputs"].items()}  # from (B, H, W, C)
    return batch


def _stack(values: Sequence[Any], allocate: Allocate) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {name: _stack([value[name] for value in values], allocate) for name in first}
    if isinstance(first, Tensor):
        # straight into the memory that goes to the other process, without a copy between
        return torch.stack(list(values), out=allocate((len(values), *first.shape), dtype=first.dtype))
    return list(values)


class CropLoader(HandoverLoader):
    """Hands out batches of stored values."""

    def __iter__(self) -> Iterator[StoredBatch]:  # type: ignore[override] # as that of `HandoverLoader`
        """The batches of an epoch, from the moment the first is asked for."""
        yield from map(StoredBatch, super().__iter__())


def crop_loader(
    dataset: Dataset[dict[str, Any]],
    batch_size: int,
    sampler: Sampler[int],
    num_workers: int,
    pin_memory: bool = False,
    persistent: bool = False,
) -> CropLoader:
    """Batches of random crops or grid windows; `persistent` workers outlive an epoch."""
    return CropLoader(
        dataset,
        batch_size=batch_size,  # by name, as Lightning makes a loader anew to predict, and gives it another one
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=Handover(collate, pin_memory=pin_memory),
        persistent_workers=persistent and num_workers > 0,
    )
