"""Confusion matrices of each tile: what all figures, and their scatter over tiles, come from."""

from collections.abc import Mapping

import torch
from torch import Tensor, distributed

from mobanet.evaluation.metrics import confusion_matrix
from mobanet.plain.wording import natural_key


class TileMatrices:
    """Counts pixels of K classes by tile and by S scenarios, on the device that they are on."""

    def __init__(self, scenarios: int, num_classes: int) -> None:
        self.shape = (scenarios, num_classes, num_classes)
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self._tiles: dict[str, Tensor] = {}

    def add(self, tile: str, scenario: int, prediction: Tensor, label: Tensor) -> None:
        """Count pixels of a tile; see `confusion_matrix`."""
        counts = confusion_matrix(prediction, label, self.shape[-1])
        # room for every scenario at once: their strips of a tile come one after the other
        if tile not in self._tiles:
            self._tiles[tile] = counts.new_zeros(self.shape)
        self._tiles[tile][scenario] += counts

    def gathered(self) -> dict[str, Tensor]:
        """The matrices of the tiles of all ranks, (S, K, K) int64 on the CPU, in natural order of their names."""
        own = {tile: matrices.cpu() for tile, matrices in self._tiles.items()}
        shares: list[Mapping[str, Tensor]] = [own]
        if distributed.is_available() and distributed.is_initialized():
            shares = [{}] * distributed.get_world_size()
            # as objects: ranks have other numbers of tiles, with names
            distributed.all_gather_object(shares, own)
        found: dict[str, Tensor] = {}
        for share in shares:
            for tile, matrices in share.items():  # ours deal out whole tiles; a loader of one's own may not
                found[tile] = found[tile] + matrices if tile in found else matrices
        return {tile: found[tile] for tile in sorted(found, key=natural_key)}


def stacked(tiles: Mapping[str, Tensor], shape: tuple[int, int, int]) -> Tensor:
    """Of T tiles, (T, S, K, K); of none, an empty one."""
    return torch.stack(list(tiles.values())) if tiles else torch.zeros(0, *shape, dtype=torch.int64)
