"""ISPRS 2D semantic labelling, Vaihingen: 33 areas of various sizes, 9 cm.

Products: true orthophotos IR, R, G (no blue), an absolute surface model in metres on the same grid, and, as a separate
release by M. Gerke, normalised ones as 8-bit pictures in decimetres. A label has the same file name as its image; they
are told apart by the folder or archive they are in, or else by their colours. Sources: as for Potsdam.
"""

import re
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal

from mobanet.datasets import isprs_splits
from mobanet.datasets.base import Tile
from mobanet.datasets.catalogue import Catalogue, Entry
from mobanet.datasets.isprs import DECIMETRE, ELEVATION, LOWEST, OPTICAL, RASTERS, IsprsLayout
from mobanet.datasets.label_or_photo import looks_like_label
from mobanet.datasets.named_files import Recipe
from mobanet.errors import UserError

_TOP = re.compile(r"top_mosaic_09cm_area0*(?P<area>\d+)(?P<eroded>_no_?boundary)?", re.IGNORECASE)
_DSM = re.compile(r"dsm_09cm_matching_area0*(?P<area>\d+)(?P<ndsm>_normalized)?", re.IGNORECASE)

_LABEL_FOLDER = re.compile(
    r"(?:^|.*[_\-\s])(?:gts?|ground[_\-\s]?truth|labels?|annotations?|anns?|masks?)(?:[_\-\s\d].*)?", re.IGNORECASE
)
_IMAGE_FOLDER = re.compile(r"(?:tops?|images?|imgs?|irrg|ortho\w*|mosaics?)(?:[_\-\s\d].*)?", re.IGNORECASE)
_NDSM_FOLDER = re.compile(r".*(?:ndsm|normali[sz]ed|normali[sz]ation).*", re.IGNORECASE)


class VaihingenLayout(IsprsLayout):
    """Files of the official archives, packed or not, in any folders."""

    name = "vaihingen"
    # the VRT that comes with the data says zone 33, but the place (9 degrees east) is in zone 32
    crs = "EPSG:32632"
    splits = isprs_splits.VAIHINGEN
    modalities = MappingProxyType(
        {
            **{name: OPTICAL[name] for name in ("irrg", "ir", "rg")},
            **{name: ELEVATION[name] for name in ("dsm", "ndsm")},
        }
    )
    default_modalities = ("irrg", "dsm")
    recipes: ClassVar = {
        "irrg": (Recipe("TOP", (1, 2, 3), 3),),
        "ir": (Recipe("TOP", (1,), 3),),
        "rg": (Recipe("TOP", (2, 3), 3),),
        "dsm": (Recipe("DSM", (1,), 1, minimum=LOWEST),),
        "ndsm": (Recipe("NDSM", (1,), None, factor=DECIMETRE),),
    }
    worlds = ("WORLD_TOP", "WORLD_DSM")

    def products(self, catalogue: Catalogue, scratch: Path | None) -> tuple[list[tuple[Entry, str, str]], list[str]]:
        """See `RecipeLayout.products`."""
        found = []
        for entry in catalogue.entries:
            match = _TOP.fullmatch(entry.stem) or _DSM.fullmatch(entry.stem)
            product = _product(entry, match, scratch) if match else None
            if match and product:
                found.append((entry, str(int(match["area"])), product))
        return found, []

    def expected(self, tile: str, product: str) -> str:
        """See `RecipeLayout.expected`."""
        if product == "TOP":
            return f"top/top_mosaic_09cm_area{tile}.tif"
        stem = f"dsm_09cm_matching_area{tile}"
        return f"dsm/{stem}.tif" if product == "DSM" else f"{stem}_normalized.jpg"

    def _bare(self, tiles: list[Tile], wanted: tuple[str, ...]) -> list[str]:
        stray = [tile for tile in tiles if tile.id == "9"]
        notes = ["area 9 left out: the eroded archive has a stray label for it, but there is no image"] if stray else []
        return notes + super()._bare([tile for tile in tiles if tile.id != "9"], wanted)


def _product(entry: Entry, match: re.Match[str], scratch: Path | None) -> str | None:
    top = match.re is _TOP
    if entry.suffix in (".tfw", ".tifw"):
        return "WORLD_TOP" if top else "WORLD_DSM"
    if entry.suffix not in RASTERS:
        return None
    if not top:
        # renamed copies of the normalised models are pictures, which the absolute model never is
        picture = entry.suffix not in (".tif", ".tiff")
        in_ndsm = any(_NDSM_FOLDER.fullmatch(folder) for folder in entry.folder.split("/"))
        return "NDSM" if match["ndsm"] or picture or in_ndsm else "DSM"
    if match["eroded"]:
        return "label_eroded"
    return "label_full" if _is_label(entry, scratch) else "TOP"


def _is_label(entry: Entry, scratch: Path | None) -> bool:
    # a name costs nothing, while to look at colours a raster has to be unpacked and read
    told = _by_folder(entry)
    if told is not None:
        return told == "label"
    if entry.size == 0:
        raise UserError(f"{entry.file} is empty: fetch it again or remove it.")
    looks = looks_like_label(entry.file, scratch)
    if looks is None:
        raise UserError(
            f"{entry.file} could be an image or a label, and neither its folder nor its colours tell which: "
            "put images into a folder named top and labels into one named gts."
        )
    return looks


def _by_folder(entry: Entry) -> Literal["image", "label"] | None:
    """What the innermost folder or archive with a telling name says."""
    for folder in reversed(entry.folder.split("/")):
        # labels first: images_gt would be a folder of images, too
        if _LABEL_FOLDER.fullmatch(folder):
            return "label"
        if _IMAGE_FOLDER.fullmatch(folder):
            return "image"
    return None
