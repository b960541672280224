"""Evaluation windows with their surroundings, for what moves or mixes neighbouring pixels before they are predicted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobanet.data.crops import GridWindows
from mobanet.data.reading import Sample, TileReader, TileWindow
from mobanet.rasters.ground import Ground, block_heights
from mobanet.store.elevation import read_blocks
from mobanet.store.stored import StoredTile

ALL_INCOMPLETE = 2**31
"""Size of window for which a `TileReader` takes every tile for too small, and says of every pixel if it was measured:
what lies around a window lies beyond the tile's edge as often as not."""


class WideWindows(GridWindows):
    """Grid windows whose inputs and validity reach further on all sides than what is predicted and counted.

    A sample is that of `GridWindows`, but for `inputs` (H + 2m, W + 2m, C) and `valid` (H + 2m, W + 2m), there for
    every modality, H and W in pixels of its own; beyond the tile they are zero and not measured. `marks` has what
    `marks_of` finds, by modality.

    Args:
        reader: of the tiles to evaluate, opened for windows of `ALL_INCOMPLETE` pixels.
        offset_scale, size, stride: as of `GridWindows`: of windows without their surroundings.
        margin: m, pixels of each modality's own on each side.
        marks: by modality, (T, 3, C).
    """

    def __init__(
        self,
        reader: TileReader,
        offset_scale: dict[str, np.ndarray],
        size: int,
        stride: int,
        margin: int,
        marks: Mapping[str, np.ndarray],
    ) -> None:
        super().__init__(reader, offset_scale, size, stride)
        self.margin = margin
        self.marks = dict(marks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Window `index`; of -1 the first one's pixels, without a tile, that count nowhere."""
        window = self.windows[max(index, 0)]
        wide = self._read(window)
        inner = np.s_[self.margin : -self.margin or None, self.margin : -self.margin or None]  # -0 would cut all off
        own = Sample(
            {name: array[inner] for name, array in wide.inputs.items()},
            {name: array[inner] for name, array in wide.valid.items()},
            wide.label,
        )
        packed = self._pack(window, own, counted=index >= 0)
        # put in afterwards, as what is available is told by the window itself, not by what lies around
        packed["inputs"] = {name: torch.from_numpy(array) for name, array in wide.inputs.items()}
        packed["valid"] = {name: torch.from_numpy(array) for name, array in wide.valid.items()}
        packed["marks"] = {name: torch.from_numpy(table[window.tile]) for name, table in self.marks.items()}
        return packed

    def _read(self, window: TileWindow) -> Sample:
        """A window's label, and its inputs with their surroundings."""
        found = {name: self._wide(name, window.coarser(ratio)) for name, ratio in self.reader.ratios.items()}
        inputs = {name: values for name, (values, _) in found.items()}
        valid = {name: known for name, (_, known) in found.items() if known is not None}
        return Sample(inputs, valid, self.reader.read_label(window))

    def _wide(self, name: str, part: TileWindow) -> tuple[np.ndarray, np.ndarray | None]:
        """A modality around a window of its pixels; what lies above and left of the tile, a reader cannot reach."""
        top, left = part.top - self.margin, part.left - self.margin
        above, before = max(-top, 0), max(-left, 0)
        height, width = (side + 2 * self.margin for side in (part.height, part.width))
        # from the edge on; what lies beyond the other two edges the reader fills by itself
        inside = TileWindow(part.tile, top + above, left + before, height=height - above, width=width - before)
        values, valid = self.reader.read_one(name, inside)
        if not above and not before:
            return values, valid

        def grown(array: np.ndarray) -> np.ndarray:
            return np.pad(array, ((above, 0), (before, 0), *[(0, 0)] * (array.ndim - 2)))

        return grown(values), None if valid is None else grown(valid)


def marks_of(name: str, bands: int, tiles: Sequence[StoredTile], grounds: Sequence[Ground | None] | None) -> np.ndarray:
    """Values of a modality that tell how far its values reach, tile by tile, as they are read.

    Of each tile `grounds` has what heights are read above; None where values are read as stored.

    Returns:
        (T, 3, C) float32: the lowest and the highest value of the tile (of heights above the ground, those of blocks of
        pixels, which one outlier does not decide), and a bright one, the same for all tiles: the median over them of
        what two per cent of a tile's pixels lie above. Zeros for a tile that lacks the modality.
    """
    records = [tile.modalities.get(name) for tile in tiles]
    bright = [[band.p98 for band in record.statistics] for record in records if record]
    out = np.zeros((len(tiles), 3, bands), np.float32)
    found: dict[Path, np.ndarray] = {}  # patches of a tile share its values
    for number, (tile, record) in enumerate(zip(tiles, records, strict=True)):
        if record is None:
            continue
        path = tile.path(name)
        if path not in found:
            ground = grounds[number] if grounds is not None else None
            if ground is None:
                found[path] = np.array([[band.minimum, band.maximum] for band in record.statistics]).T
            else:
                heights = block_heights(read_blocks(tile, name), tile.origin_of(name), ground)
                found[path] = np.stack([heights.min(0), heights.max(0)])
        out[number, :2], out[number, 2] = found[path], np.median(bright, axis=0)
    return out
