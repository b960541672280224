"""Hunan multimodal land cover (DKDFN, Li et al., ISPRS J. 186, 2022): 500 tiles of 256 x 256 pixels of 10 m.

Products: Sentinel-2 (13 bands), Sentinel-1 (2), topography (elevation in metres; the publisher does not name the second
band, which is taken for slope) and raw land-cover codes. Types and units of the imagery are not documented, so it is
scaled by mean and deviation of the training tiles. Sources: the publisher's README, and public loaders.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from mobanet.datasets.base import Split
from mobanet.datasets.catalogue import Catalogue, Entry
from mobanet.datasets.isprs import LOWEST
from mobanet.datasets.named_files import Recipe, RecipeLayout
from mobanet.datasets.scalings import Scaling
from mobanet.plain.wording import natural_key
from mobanet.rasters.contents import IGNORE_INDEX, Classes, DecodedLabel, Modality
from mobanet.rasters.labels import decode_values

_S2 = (
    *("coastal", "blue", "green", "red", "red edge 1", "red edge 2", "red edge 3", "nir", "narrow nir"),
    *("water vapour", "cirrus", "swir 1", "swir 2"),
)
"""B1 to B8, B8A, B9 to B12; only the place of red, green and blue is known from the loaders."""

# the publisher's ids have no zeros in front, and padded ones mean the same tiles
_NAMED = re.compile(r"(?P<product>s2|s1|topo|lc)_0*(?P<tile>\d+)", re.IGNORECASE)
_BARE = re.compile(r"0*(?P<tile>\d+)")
_FOLDERS = ("s2", "s1", "topo", "lc")

_PUBLISHED = {1: 0, 2: 1, 3: 2, 4: 1, 5: 3, 6: 4, 7: 6, 8: 6, 9: 5, 10: 6}

LABEL_MAPS = {
    # the publisher's table; it also sends 11 to an eighth class that no text explains
    "": _PUBLISHED,
    # that of MFNet and the papers after it, in which 8 and 9 have changed places and 4, 7 and 10 are ignored
    "mfnet": {1: 0, 2: 1, 3: 2, 5: 3, 6: 4, 8: 5, 9: 6},
    # the publisher's with 11 as built-up, as some do
    "merged": _PUBLISHED | {11: 6},
}
"""Class by raw code; layout `hunan_<name>` uses the map of that name. Figures under two maps are not comparable."""

_RAW = (*range(12), IGNORE_INDEX)
"""The codes there are; those that a map does not name are ignored."""

# fmt: off
_VALIDATION = (
    298, 637, 708, 1025, 1930, 2246, 2408, 3100, 3534, 5042, 5450, 6186, 6581, 6794, 7181, 7679, 9258, 11173, 11233,
    12040, 12153, 12779, 12918, 13433, 13436, 14105, 14126, 14155, 14169, 15184, 15695, 16214, 16577, 16724, 18079,
    18895, 19471, 19853, 21804, 21822, 21981, 22154, 22728, 22837, 22907, 25699, 29654, 29675, 30669, 31653,
)
_TEST = (
    639, 1239, 1290, 1303, 1625, 1908, 1923, 2106, 2256, 2265, 2442, 2603, 3280, 4017, 4166, 4886, 5215, 5233, 5410,
    7176, 11624, 11767, 11816, 12626, 12815, 13254, 13257, 13515, 13765, 14108, 14293, 15426, 16373, 16750, 16890,
    17039, 17055, 17107, 17455, 17821, 17980, 18958, 20028, 21385, 21423, 22312, 27264, 28965, 29287, 30275,
)
# fmt: on
VALIDATION, TEST = (tuple(str(number) for number in numbers) for numbers in (_VALIDATION, _TEST))
"""Ids of the publisher's folders `val` and `test`; all other tiles are for training."""


class HunanLayout(RecipeLayout):
    """Files of the published archive, packed or not, in any folders, with or without the product before the id.

    Args:
        label_map: one of `LABEL_MAPS`.
    """

    classes = Classes(
        names=("cropland", "forest", "grassland", "wetland", "water", "unused land", "built-up"),
        colours=(
            *((196, 90, 17), (51, 129, 88), (177, 205, 61), (228, 84, 96)),
            *((91, 154, 214), (225, 174, 110), (239, 159, 2)),
        ),
        averaged=("cropland", "forest", "grassland", "wetland", "water", "unused land", "built-up"),
    )
    # `evsr` tests validation and test tiles together, and validates on every tenth training tile
    splits = MappingProxyType({"official": Split((), VALIDATION, TEST), "evsr": Split((), (), (*VALIDATION, *TEST))})
    modalities = MappingProxyType(
        {
            # Sentinel-2's numbers are reflectance times 10000
            "s2": Modality("s2", _S2, maximum=10000),
            "rgb": Modality("rgb", ("red", "green", "blue"), maximum=10000),
            "s1": Modality("s1", ("VV", "VH"), "other"),
            "topo": Modality("topo", ("elevation", "slope"), "elevation", "metre"),
            "dem": Modality("dem", ("elevation",), "elevation", "metre"),
        }
    )
    # reflectances have no known range, and absolute height matters to what grows
    scalings: Mapping[str, Scaling] = MappingProxyType(
        {"s2": "standard", "rgb": "minmax", "topo": "standard", "dem": "standard"}
    )
    default_modalities = ("s2", "s1", "topo")
    coloured_labels = False
    recipes: ClassVar = {
        "s2": (Recipe("S2", tuple(range(1, 14)), 13),),
        "rgb": (Recipe("S2", (4, 3, 2), 13),),  # B4, B3, B2
        "s1": (Recipe("S1", (1, 2), 2),),
        "topo": (Recipe("TOPO", (1, 2), 2, minimum=LOWEST),),
        "dem": (Recipe("TOPO", (1,), 2, minimum=LOWEST),),
    }

    def __init__(self, label_map: str = "") -> None:
        self.values = LABEL_MAPS[label_map]
        self.name = f"hunan_{label_map}" if label_map else "hunan"

    def resolve_split(self, name: str, tiles: Iterable[str]) -> Split:
        """See `Layout.resolve_split`; every tile that is not listed is for training."""
        split = super().resolve_split(name, tiles)
        listed = {*split.validation, *split.test}
        others = sorted((tile for tile in tiles if tile not in listed), key=natural_key)
        if split.validation:
            return Split(tuple(others), split.validation, split.test)
        # in natural order, so that it is the same tenth wherever the files lie
        held = dict.fromkeys(others[::10])
        return Split(tuple(tile for tile in others if tile not in held), tuple(held), split.test)

    def products(self, catalogue: Catalogue, scratch: Path | None) -> tuple[list[tuple[Entry, str, str]], list[str]]:
        """See `RecipeLayout.products`; the ruggedness index, a target and no input, is left out."""
        found = []
        for entry in catalogue.entries:
            if entry.suffix not in (".tif", ".tiff"):
                continue
            folder = entry.folder.rsplit("/", 1)[-1].lower()
            if match := _NAMED.fullmatch(entry.stem):
                product = match["product"].lower()
            elif folder in _FOLDERS and (match := _BARE.fullmatch(entry.stem)):
                product = folder
            else:
                continue
            found.append((entry, match["tile"], "label_full" if product == "lc" else product.upper()))
        return found, []

    def expected(self, tile: str, product: str) -> str:
        """See `RecipeLayout.expected`."""
        return f"{product.lower()}/{product.lower()}_{tile}.tif"

    def decode_label(self, raster: np.ndarray) -> DecodedLabel:
        """See `Layout.decode_label`: by the label map."""
        return decode_values(raster, self.values, [code for code in _RAW if code not in self.values])

    def label_rule(self) -> str:
        """See `Layout.label_rule`."""
        return repr((self.classes, self.values, _RAW))

    def _example(self) -> str:
        return VALIDATION[0]
