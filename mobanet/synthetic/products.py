"""Which files a tile has under each layout's own names, and where they lie in folders and in the official archives."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mobanet.datasets.base import Split
from mobanet.datasets.isprs_splits import POTSDAM, VAIHINGEN

Content = Literal["rgb", "irrg", "rgbir", "dsm", "ndsm", "ndsm_own", "labels", "labels_eroded"]


@dataclass(frozen=True)
class FileKind:
    """One kind of file.

    Attributes:
        content: what is in it, which is also its name in `--products`.
        pattern: file name, with `{tile}` as in the splits or `{padded}` for two-digit indices.
        folder: where it lies when unpacked; None for copies that exist in the archives only.
        packed: stem of the inner zip and folder in it, empty for a flat one; None for what the official archives lack.
        world: the same of the world files, which lie beside the rasters when unpacked; None without any.
        labelled_only: whether only tiles of the official training set have it.
    """

    content: Content
    pattern: str
    folder: str | None
    packed: tuple[str, str] | None
    world: tuple[str, str] | None = None
    labelled_only: bool = False

    def file_name(self, tile: str) -> str:
        """The file's name for a tile."""
        return self.pattern.format(tile=tile, padded="_".join(part.zfill(2) for part in tile.split("_")))


@dataclass(frozen=True)
class LayoutFiles:
    """The files of one layout.

    Attributes:
        archive: the outer archive; its members lie in a folder of its stem.
        stray: tiles of which the archives hold an eroded label and nothing else.
        elevation: lowest and highest ground in metres.
        uneven: relative spread of the tiles' sizes.
    """

    archive: str
    products: tuple[FileKind, ...]
    splits: dict[str, Split]
    stray: tuple[str, ...]
    elevation: tuple[float, float]
    uneven: float

    @property
    def contents(self) -> tuple[Content, ...]:
        """Names for `--products`."""
        return tuple(dict.fromkeys(product.content for product in self.products))

    def labelled(self) -> frozenset[str]:
        """Tiles of the official training set."""
        official = self.splits["official"]
        return frozenset((*official.train, *official.validation))


def _potsdam_products() -> Iterator[FileKind]:
    orthos: dict[str, Content] = {"2_Ortho_RGB": "rgb", "3_Ortho_IRRG": "irrg", "4_Ortho_RGBIR": "rgbir"}
    for folder, content in orthos.items():
        pattern = f"top_potsdam_{{tile}}_{content.upper()}.tif"
        yield FileKind(content, pattern, folder, (folder, folder), (folder, folder))
    # numbers are padded in the names of surface models, and bare in those of orthophotos
    yield FileKind("dsm", "dsm_potsdam_{padded}.tif", "1_DSM", ("1_DSM", "1_DSM"), ("1_DSM", "1_DSM"))
    ways: dict[Content, str] = {"ndsm": "lastools", "ndsm_own": "ownapproach"}
    for content, way in ways.items():
        folder = "1_DSM_normalisation"
        yield FileKind(content, f"dsm_potsdam_{{padded}}_normalized_{way}.jpg", folder, (folder, folder))
    full, eroded = "top_potsdam_{tile}_label.tif", "top_potsdam_{tile}_label_noBoundary.tif"
    # the two sets of all tiles lie flat in their zips, the sets for participants do not and spell the folder otherwise
    yield FileKind("labels", full, "5_Labels_all", ("5_Labels_all", ""))
    yield FileKind("labels_eroded", eroded, "5_Labels_all_noBoundary", ("5_Labels_all_noBoundary", ""))
    few = "5_Labels_for_participants"
    yield FileKind("labels", full, None, (few, few), labelled_only=True)
    few = f"{few}_no_Boundary"
    yield FileKind("labels_eroded", eroded, None, (few, few), labelled_only=True)


def _vaihingen_products() -> Iterator[FileKind]:
    main = "ISPRS_semantic_labeling_Vaihingen"
    dsm = "dsm_09cm_matching_area{tile}"
    # images and labels share their file names; the surface model was normalised by others and is in no archive
    full, eroded = "top_mosaic_09cm_area{tile}.tif", "top_mosaic_09cm_area{tile}_noBoundary.tif"
    yield FileKind("irrg", full, "top", (main, "top"))
    yield FileKind("dsm", f"{dsm}.tif", "dsm", (main, "dsm"), ("Vaihingen_dsm_tiles_geoinfo", ""))
    yield FileKind("ndsm", f"{dsm}_normalized.jpg", "ndsm", None)
    yield FileKind("labels", full, "gts_for_participants", (main, "gts_for_participants"), labelled_only=True)
    name = f"{main}_ground_truth_COMPLETE"
    yield FileKind("labels", full, name, (name, ""))
    name = f"{main}_ground_truth_eroded_COMPLETE"
    yield FileKind("labels_eroded", eroded, name, (name, ""))
    # the folder in this zip is misspelt
    name = f"{main}_ground_truth_eroded_for_participants"
    yield FileKind("labels_eroded", eroded, None, (name, name.replace("labeling", "labeing")), labelled_only=True)


def layout_files(layout: str) -> LayoutFiles:
    """The files of `potsdam` or `vaihingen`."""
    if layout == "potsdam":
        return LayoutFiles("Potsdam.zip", tuple(_potsdam_products()), POTSDAM, (), (35, 95), 0.0)
    return LayoutFiles("Vaihingen.zip", tuple(_vaihingen_products()), VAIHINGEN, ("9",), (250, 345), 0.1)
