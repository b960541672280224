"""Overlapping windows put together to class maps, a strip at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.stitching.blending import RollingBand, confidence_of, weighted_mean
from mobanet.stitching.winners import winners


@dataclass(frozen=True)
class Strip:
    """Finished rows of a tile.

    Attributes:
        tile: its id.
        top: first row, in pixels.
        prediction: (h, W) uint8 class indices.
        label: (h, W) as given with the windows.
        confidence: (h, W) float32, the highest of the probabilities that a map would have.
        calibrated: the same at the stitcher's temperature; None without one.
        sample: of the pixels that the stitcher samples, (K, h', W') float32 mean logits and (h', W') labels; None
            where it samples none.
    """

    tile: str
    top: int
    prediction: Tensor
    label: Tensor
    confidence: Tensor
    calibrated: Tensor | None = None
    sample: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class _Tile:
    """The tile at hand: its id, its height and width, and the rows that windows may still touch."""

    id: str
    extent: tuple[int, int]
    band: RollingBand


class Stitcher:
    """Sums the logits of overlapping windows and gives out rows as soon as no window can touch them any more.

    Windows of a tile come row by row, one tile after the other; memory is one window height of logits at full width,
    whatever the tile's height.

    Args:
        num_classes: K.
        sampled: step in rows and in columns of the pixels whose logits are given out, from the tile's first on,
            wherever strips begin; None gives out none.

    Attributes:
        temperature: that probabilities are calibrated by; None for none.
    """

    def __init__(self, num_classes: int, sampled: int | None = None) -> None:
        self.num_classes, self.sampled = num_classes, sampled
        self.temperature: float | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the tile at hand."""
        self._at: _Tile | None = None

    def add(
        self,
        tile: str,
        extent: tuple[int, int],
        window: tuple[int, int, int, int],
        logits: Tensor,
        label: Tensor,
    ) -> list[Strip]:
        """Take one window; what rows it finishes come back.

        Args:
            tile: its id.
            extent: height and width of the tile in pixels.
            window: top, left, height, width in pixels; it may reach beyond the tile.
            logits: (K, h, w).
            label: (h, w).
        """
        top, left, height, width = window
        done = []
        if self._at is None or tile != self._at.id:
            done += self.finish()
            # a window may be wider than its tile
            columns = max(extent[1], width)
            band = RollingBand(
                # whatever the network computes in: half precisions are too coarse to add many windows up in
                logits=(logits.new_zeros(self.num_classes, height, columns, dtype=torch.float32), 0),
                total=(logits.new_zeros(height, columns, dtype=torch.float32), 0),
                label=(label.new_full((height, columns), IGNORE_INDEX), IGNORE_INDEX),
            )
            self._at = _Tile(tile, extent, band)
        band = self._at.band
        if rows := band.finished(top):
            done += self._cut(self._at, rows)
        band.move(top)
        right = min(left + width, band["label"].shape[1])  # the last window may reach beyond the tile
        band["logits"][:, :, left:right] += logits[:, :, : right - left]
        band["total"][:, left:right] += 1
        # not added: windows bring the same label wherever they overlap
        band["label"][:, left:right] = label[:, : right - left]
        # the tile's last window: what is left need not wait for another tile
        if top + height >= extent[0] and left + width >= extent[1]:
            done += self.finish()
        return done

    def finish(self) -> list[Strip]:
        """What is left of a tile whose last window never came, as when the number of batches is limited."""
        strips = [] if self._at is None else self._cut(self._at, self._at.band["label"].shape[0])
        self.reset()
        return strips

    def _cut(self, tile: _Tile, rows: int) -> list[Strip]:
        (height, width), band = tile.extent, tile.band
        # the last window may reach below the tile
        rows = min(rows, height - band.top)
        logits, total = band["logits"][:, :rows, :width], band["total"][:rows, :width]
        prediction = winners(logits).to(torch.uint8)
        # a clone, since the band moves on in the same memory
        label = band["label"][:rows, :width].clone()
        confidence, calibrated = confidence_of(logits, total), None
        if self.temperature is not None:
            calibrated = confidence_of(logits, total, 1 / self.temperature)
        sample = None if self.sampled is None else _sample(logits, total, label, band.top, self.sampled)
        return [Strip(tile.id, band.top, prediction, label, confidence, calibrated, sample)]


def _sample(logits: Tensor, total: Tensor, label: Tensor, top: int, step: int) -> tuple[Tensor, Tensor]:
    """Mean logits and labels of every so manieth row and column of the tile; copies, as the mean is one."""
    # from the first row at or below `top` that is a multiple of the step in the tile
    rows, columns = slice(-top % step, None, step), slice(None, None, step)
    return weighted_mean(logits[:, rows, columns], total[rows, columns]), label[rows, columns]
