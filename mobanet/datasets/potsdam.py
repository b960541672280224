"""ISPRS 2D semantic labelling, Potsdam: 38 tiles of 6000 x 6000 pixels of 5 cm.

Products: true orthophotos as RGB, IRRG (IR, R, G) and RGBIR (R, G, B, IR), an absolute surface model in metres, and
two normalised ones, 8-bit JPEG in decimetres, that saturate at 25.5 m. `ownapproach` is incomplete, and `lastools`
fills in. The surface model of 3_13 has one column too few. Sources: isprs.org benchmark pages and public loaders of the
files.
"""

import re
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from mobanet.datasets import isprs_splits
from mobanet.datasets.catalogue import Catalogue, Entry
from mobanet.datasets.isprs import DECIMETRE, ELEVATION, LOWEST, OPTICAL, RASTERS, IsprsLayout
from mobanet.datasets.named_files import Recipe

_ID = r"potsdam_0*(?P<row>\d+)_0*(?P<column>\d+)"
_TOP = re.compile(rf"top_{_ID}_(?P<product>rgbir|irrg|rgb)", re.IGNORECASE)
_LABEL = re.compile(rf"top_{_ID}_label(?P<eroded>_no_?boundary)?", re.IGNORECASE)
_DSM = re.compile(rf"dsm_{_ID}(?P<ndsm>_normalized_(?:lastools|ownapproach))?", re.IGNORECASE)

_NDSM = {
    "ndsm_lastools": Recipe("NDSM_LASTOOLS", (1,), None, factor=DECIMETRE),
    "ndsm_ownapproach": Recipe("NDSM_OWNAPPROACH", (1,), None, factor=DECIMETRE),
}


class PotsdamLayout(IsprsLayout):
    """Files of the official archives, packed or not, with padded or unpadded tile numbers, in any folders."""

    name = "potsdam"
    crs = "EPSG:32633"
    splits = isprs_splits.POTSDAM
    modalities = MappingProxyType(
        {
            **{name: OPTICAL[name] for name in ("rgb", "ir", "irrg")},
            **{name: ELEVATION[name] for name in ("dsm", "ndsm", "ndsm_lastools", "ndsm_ownapproach")},
        }
    )
    default_modalities = ("rgb", "ir", "dsm")
    recipes: ClassVar = {
        # first the product of four bands, so that rgb and ir come from one file
        "rgb": (Recipe("RGBIR", (1, 2, 3), 4), Recipe("RGB", (1, 2, 3), 3)),
        "ir": (Recipe("RGBIR", (4,), 4), Recipe("IRRG", (1,), 3)),
        "irrg": (Recipe("IRRG", (1, 2, 3), 3), Recipe("RGBIR", (4, 1, 2), 4)),
        "dsm": (Recipe("DSM", (1,), 1, minimum=LOWEST),),
        "ndsm": (_NDSM["ndsm_ownapproach"], _NDSM["ndsm_lastools"]),
        "ndsm_lastools": (_NDSM["ndsm_lastools"],),
        "ndsm_ownapproach": (_NDSM["ndsm_ownapproach"],),
    }
    worlds = ("WORLD_TOP", "WORLD_DSM")

    def products(self, catalogue: Catalogue, scratch: Path | None) -> tuple[list[tuple[Entry, str, str]], list[str]]:
        """See `RecipeLayout.products`; names alone tell what a file is."""
        found = []
        for entry in catalogue.entries:
            for pattern in (_TOP, _LABEL, _DSM):
                match = pattern.fullmatch(entry.stem)
                product = _product(entry, match) if match else None
                # no two of the patterns match one name, so that the order of the three decides nothing
                if match and product:
                    found.append((entry, f"{match['row']}_{match['column']}", product))
        return found, []

    def expected(self, tile: str, product: str) -> str:
        """See `RecipeLayout.expected`."""
        if product in ("RGB", "IRRG", "RGBIR"):
            return f"top_potsdam_{tile}_{product}.tif"
        row, column = (int(number) for number in tile.split("_"))
        # two digits in the names of surface models, and none in front in those of orthophotos
        stem = f"dsm_potsdam_{row:02d}_{column:02d}"
        return f"{stem}.tif" if product == "DSM" else f"{stem}_normalized_{product.removeprefix('NDSM_').lower()}.jpg"


def _product(entry: Entry, match: re.Match[str]) -> str | None:
    if entry.suffix in (".tfw", ".tifw"):
        # those of labels are not looked at: a label has the pixels of its orthophoto
        return {_TOP: "WORLD_TOP", _DSM: "WORLD_DSM"}.get(match.re)
    if entry.suffix not in RASTERS:
        return None
    if match.re is _TOP:
        return match["product"].upper()
    if match.re is _LABEL:
        return "label_eroded" if match["eroded"] else "label_full"
    return f"NDSM_{match['ndsm'].rsplit('_', 1)[-1].upper()}" if match["ndsm"] else "DSM"
