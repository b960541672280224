"""Class maps of the test tiles, as GeoTIFF."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.data.attached import data_of
from mobanet.evaluation.host import Evaluated, evaluated
from mobanet.rasters.categories import class_kind
from mobanet.rasters.geotiff import RowWriter
from mobanet.rasters.styles import style_of
from mobanet.stitching.windows import Strip
from mobanet.store.stored import StoredTile

_LONGEST = 200
"""Bytes of a map's name without its endings; file systems allow 255 for all."""


class TestMaps(Callback):
    """Writes a class map of each test tile, in the fullest scenario evaluated, where and as large as the tile is.

    Every rank writes the tiles that it evaluates. A map has its name once it is whole; maps of an earlier test are
    removed when a test starts.

    Args:
        folder: for the maps, `ID.tif` each.
    """

    __test__ = False  # by its name pytest would take it for a test

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._tiles: dict[str, StoredTile] = {}
        self._names: dict[str, str] = {}
        self._tile = ""
        self._missing = 0
        """Rows of the tile at hand that are still to come."""
        self._writer: RowWriter | None = None
        self._written = 0

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the maps of an earlier test."""
        self._tiles = {tile.id: tile for tile in data_of(trainer).tiles("test")}
        self._names = map_names(self._tiles)
        # one callback may see several tests of a trainer
        self._tile, self._writer, self._written = "", None, 0
        if trainer.is_global_zero:
            for path in self.folder.glob("*.tif"):
                style_of(path).unlink(missing_ok=True)  # and no others, such as a legend of the user's
            # GDAL and QGIS put files of their own beside a map, which would belie the next one
            for ending in ("tif", "tif.aux.xml", "tif.ovr", "tif.msk", "part", "part.aux.xml"):
                for path in self.folder.glob(f"*.{ending}"):
                    path.unlink()
        trainer.strategy.barrier("test maps")  # no rank writes before

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any) -> None:
        """Write the rows that the batch has finished."""
        strips: list[Strip] = outputs or []  # what `SegmentationModule.test_step` returns
        for strip in strips:
            if strip.tile != self._tile:
                self._begin(strip.tile, evaluated(pl_module))
            writer = self._writer
            assert writer is not None  # of a tile of which rows come there are rows missing
            rows = strip.prediction[None].cpu().numpy()
            writer.write(rows)
            self._missing -= rows.shape[1]
            if not self._missing:
                self._writer = None
                writer.finish()
                self._written += 1

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what there is, and what there is not."""
        self._abandon()
        counts = torch.tensor(self._written, device=pl_module.device)
        written = int(trainer.strategy.reduce(counts, reduce_op="sum"))
        if written == len(self._tiles):
            rank_zero_info(f"maps of the test tiles are in {self.folder}")
        else:
            rank_zero_info(
                f"only {written} of {len(self._tiles)} test tiles have a map in {self.folder}: the others were not "
                "evaluated to their last row, since the number of batches is limited (--trainer.limit_test_batches)"
            )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no part of a map behind."""
        self._abandon()

    def _begin(self, name: str, module: Evaluated) -> None:
        self._abandon()
        tile = self._tiles[name]
        tags = {"TILE": name, "SCENARIO": module.evaluation.stages["test"].scenarios[-1].name}
        self._writer = RowWriter(self.folder / self._names[name], tile.grid, class_kind(module.data.classes), tags)
        self._tile, self._missing = name, tile.height

    def _abandon(self) -> None:
        """Of a tile whose last window never came."""
        writer, self._writer = self._writer, None
        if writer is not None:
            # finished without its last rows, the map would look whole
            writer.abandon()


def map_names(tiles: Iterable[str]) -> dict[str, str]:
    """A file name for each tile: its id where any file system takes it; no two differ in nothing but case."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for tile in tiles:
        # cut by bytes, as file systems count; a letter that is cut through is dropped
        plain = re.sub(r"[^\w.+-]|^\.", "_", tile).encode()[:_LONGEST].decode(errors="ignore")
        name, number = plain, 1
        # macOS and Windows take names that differ in case for one
        while name.casefold() in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name.casefold())
        names[tile] = f"{name}.tif"
    return names
