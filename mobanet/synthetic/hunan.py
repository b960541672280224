"""Landscapes as the Hunan data set delivers them: folders of parts and products, raw land-cover codes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mobanet.datasets.hunan import TEST, VALIDATION
from mobanet.synthetic.delivery import CityPlan, Delivery, share_out
from mobanet.synthetic.files import write_tiff
from mobanet.synthetic.landscape import FOREST, render_landscape
from mobanet.synthetic.noise import smooth, stream

_FOLDER = "Hunan_Dataset"
_PRODUCTS = {"s2": "s2", "s1": "s1", "topo": "topo", "tri": "tri", "labels": "lc"}
"""Folder and file prefix of each content."""

_RAW = np.array([1, 2, 3, 5, 6, 9, 8], np.uint8)
"""The raw code that the publisher's table turns into each class."""
_SHRUB, _UNKNOWN = 4, 255

# 400, as published, spread evenly over the range of the published ids
_TRAIN = tuple(str(number) for number in range(301, 31701, 78) if str(number) not in {*VALIDATION, *TEST})[:400]


class HunanDelivery(Delivery):
    """Tiles of the split `official`."""

    layout = "hunan"
    contents = tuple(_PRODUCTS)
    pixels = (5.0, 60.0)

    def names(self, count: int) -> list[str]:
        """See `Delivery.names`."""
        return share_out(self.layout, (_TRAIN, VALIDATION, TEST), count)

    def default_gsd(self, size: int) -> float:
        """10 m, as published."""
        return 10.0

    def paths(self, plan: CityPlan, tile: str) -> list[str]:
        """See `Delivery.paths`."""
        return [name for _, name in _files(plan, tile)]

    def draw(self, plan: CityPlan, folder: Path, tile: str) -> None:
        """See `Delivery.draw`."""
        keys = (plan.seed, plan.layout, tile)
        land = render_landscape(keys, plan.size, plan.gsd)
        rng = stream(*keys, "codes")
        raw = _RAW[land.classes]
        raw[(land.classes == FOREST) & (smooth(rng, raw.shape, plan.size / 8) > 1)] = _SHRUB
        # a few specks, so that what no map names occurs
        raw[smooth(rng, raw.shape, plan.size / 10) > 2.6] = _UNKNOWN
        bands = {"s2": land.s2, "s1": land.s1, "topo": land.topo, "tri": land.ruggedness, "labels": raw[None]}
        for content, name in _files(plan, tile):
            write_tiff(folder / name, bands[content], compress="deflate")

    def archives(self) -> tuple[str, ...]:
        """See `Delivery.archives`."""
        return (f"{_FOLDER}.zip",)


def _files(plan: CityPlan, tile: str) -> Iterator[tuple[str, str]]:
    """Content and place of a tile's files; the ruggedness index is published for training tiles only."""
    part = "val" if tile in VALIDATION else "test" if tile in TEST else "train"
    for content, word in _PRODUCTS.items():
        if content in plan.products and (content != "tri" or part == "train"):
            yield content, f"{_FOLDER}/{part}/{word}/{word}_{tile}.tif"
