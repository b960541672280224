"""DSTL Satellite Imagery Feature Detection (Kaggle, 2017): WorldView-3 scenes of 1 km, 25 of them with polygons.

Products of a scene: `three_band` (RGB, pansharpened, 0.31 m), panchromatic P, eight bands M from coastal blue to near
infrared (1.24 m), eight short-wave infrared bands A (7.5 m); 11 bit, A 14 bit, without georeference. Their sizes vary
from scene to scene and are no multiples of one another; all show the same square, so each is resampled to the grid of
the RGB image, outer edge on outer edge. Shifts between the products, which were taken seconds apart, are left as they
are. Sources: competition page, public solutions, and arXiv 2604.15856 and 2605.20372 with their published scripts for
the modalities rgb, nir (red edge, NIR1, NIR2), swir (SWIR1-3), patches and folds.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from mobanet.datasets import dstl_folds
from mobanet.datasets.base import DrawnLabel, LabelKind, Split, Tile
from mobanet.datasets.catalogue import Catalogue, Entry
from mobanet.datasets.named_files import Recipe, RecipeLayout
from mobanet.datasets.polygons import Filled, labelled_images, read_extent, read_outlines
from mobanet.errors import UserError
from mobanet.plain.wording import natural_key, shorten
from mobanet.rasters.archives import disk_copy
from mobanet.rasters.contents import Classes, DecodedLabel, FileRef, Modality
from mobanet.rasters.grid import Grid

_RASTER = re.compile(r"(?P<scene>\d{4}_\d_\d)(?:_(?P<product>[amp]))?", re.IGNORECASE)
_OUTLINES = re.compile(r"train_wkt(?:_v\d+)?", re.IGNORECASE)
_EXTENTS = "grid_sizes"

_CLASSES = (
    ("buildings", "buildings", (230, 60, 50)),
    ("structures", "misc. structures", (150, 90, 160)),
    ("road", "road", (150, 150, 150)),
    ("track", "track", (200, 160, 110)),
    ("trees", "trees", (30, 120, 50)),
    ("crops", "crops", (190, 220, 70)),
    ("waterway", "waterway", (60, 120, 220)),
    ("standing_water", "standing water", (110, 190, 240)),
    ("vehicle_large", "vehicle large", (255, 150, 0)),
    ("vehicle_small", "vehicle small", (255, 220, 0)),
)
"""Word in a layout's name, name and colour of the classes 1 to 10 of the polygon file."""

_BACKGROUND = ("background", (60, 60, 60))

_ORDER = (6, 7, 8, 5, 4, 3, 2, 1, 9, 10)
"""Polygons of several classes overlap. Where they do, the class that comes later here counts: small things on large."""

_REFERENCES = (("rgb", "RGB"), ("pan", "P"), ("ms", "M"), ("swir8", "A"))
"""What sets a scene's grid, the finest product first: labels and figures do not depend on the modalities in use."""

_M = ("coastal", "blue", "green", "yellow", "red", "red edge", "nir1", "nir2")
_A = tuple(f"swir{number}" for number in range(1, 9))

TARGETS = tuple(word for word, _, _ in _CLASSES)
"""Layout `dstl_<target>` has this class and the rest."""

_OUTSIDE = 0.5
"""Polygons of which more than this share by area lies beside the image are not the image's."""


class DstlLayout(RecipeLayout):
    """Files of the Kaggle archives, packed or not, in any folders.

    Args:
        target: a class to tell from everything else, one of `TARGETS`; None for all ten, and background.
    """

    placing = "extent"
    splits = dstl_folds.splits()
    modalities = MappingProxyType(
        {
            "rgb": Modality("rgb", ("red", "green", "blue"), maximum=2047),
            "nir": Modality("nir", _M[5:], maximum=2047),
            "swir": Modality("swir", _A[:3], maximum=16383),
            "pan": Modality("pan", ("panchromatic",), maximum=2047),
            "ms": Modality("ms", _M, maximum=2047),
            "swir8": Modality("swir8", _A, maximum=16383),
        }
    )
    default_modalities = ("rgb", "nir", "swir")
    recipes: ClassVar = {
        "rgb": (Recipe("RGB", (1, 2, 3), 3),),
        "nir": (Recipe("M", (6, 7, 8), 8),),
        "swir": (Recipe("A", (1, 2, 3), 8),),
        "pan": (Recipe("P", (1,), 1),),
        "ms": (Recipe("M", tuple(range(1, 9)), 8),),
        "swir8": (Recipe("A", tuple(range(1, 9)), 8),),
    }

    def __init__(self, target: str | None = None) -> None:
        self.target = None if target is None else TARGETS.index(target) + 1
        chosen = _CLASSES if self.target is None else _CLASSES[self.target - 1 : self.target]
        names = tuple(name for _, name, _ in chosen)
        colours = tuple(colour for _, _, colour in chosen)
        self.name = "dstl" if target is None else f"dstl_{target}"
        self.classes = Classes((_BACKGROUND[0], *names), (_BACKGROUND[1], *colours), names)

    def resolve_split(self, name: str, tiles: Iterable[str]) -> Split:
        """See `Layout.resolve_split`; folds of patches are made of the patches there are."""
        split = super().resolve_split(name, tiles)
        if split.patch is None:
            return split
        return dstl_folds.patch_fold(int(name.removeprefix("fold").removesuffix("_patches")), tiles)

    def products(self, catalogue: Catalogue, scratch: Path | None) -> tuple[list[tuple[Entry, str, str]], list[str]]:
        """See `RecipeLayout.products`; scenes without polygons, 425 of the 450, are left out."""
        rasters = []
        for entry in catalogue.entries:
            match = _RASTER.fullmatch(entry.stem) if entry.suffix in (".tif", ".tiff") else None
            if match:
                # in three_band a file has the bare name of its scene
                rasters.append((entry, match["scene"], (match["product"] or "RGB").upper()))
        if not rasters:
            return [], []
        outlines, extents = self._table(catalogue, "train_wkt_v4"), self._table(catalogue, _EXTENTS)
        with (
            tempfile.TemporaryDirectory(prefix="mobanet-") as temporary,
            _about(outlines.file),
            disk_copy(outlines.file, scratch or Path(temporary)) as path,
        ):
            labelled = set(labelled_images(path))
        scenes = {scene for _, scene, _ in rasters}
        bare = sorted(scenes - labelled, key=natural_key)
        if not scenes & labelled:
            raise UserError(
                f"{outlines.file} has polygons for none of the scenes below {catalogue.root} ({shorten(bare)}): add "
                f"scenes such as {shorten(sorted(labelled), 3) or self._example()}."
            )
        found = [row for row in rasters if row[1] in labelled]
        for scene in sorted(scenes & labelled):
            # the same two files for all scenes, so that each is prepared anew when one of them changes
            found += [(outlines, scene, "label_full"), (extents, scene, "EXTENTS")]
        return found, [f"left out, since they have no polygons: {shorten(bare)}"] if bare else []

    def expected(self, tile: str, product: str) -> str:
        """See `RecipeLayout.expected`."""
        return f"three_band/{tile}.tif" if product == "RGB" else f"sixteen_band/{tile}_{product}.tif"

    def decode_label(self, raster: np.ndarray) -> DecodedLabel:
        """Labels are polygons (see `draw_label`), so that nothing calls this."""
        raise NotImplementedError("DSTL has no label rasters")

    def draw_label(self, tile: Tile, kind: LabelKind, grid: Grid, local: Callable[[FileRef], Path]) -> DrawnLabel:
        """See `Layout.draw_label`."""
        file, (sizes,) = tile.labels[kind], tile.extras
        with _about(sizes):
            extent = read_extent(local(sizes), tile.id)
        with _about(file):
            outlines = read_outlines(local(file), tile.id)
        order = [number for number in (_ORDER if self.target is None else (self.target,)) if number in outlines]
        filled = [Filled(outlines[number], extent, grid.height, grid.width) for number in order]
        count, outside = sum(part.count for part in filled), sum(part.outside for part in filled)
        # by area, so that a few small outlines beyond the edge are only noted
        if sum(part.area_outside for part in filled) > _OUTSIDE * sum(part.area for part in filled):
            raise UserError(
                f"{outside} of the {count} polygons of {tile.id} in {file} lie outside its grid (x from 0 to "
                f"{extent.x_max:g}, y from {extent.y_min:g} to 0 by {sizes}): use both files as published"
            )
        notes = [f"{outside} of {count} polygons lie outside the grid and are left out"] if outside else []
        # of one target there are two classes, and 1 is the target whatever its number in the file
        layers = [(number if self.target is None else 1, part) for number, part in zip(order, filled, strict=True)]
        return DrawnLabel(lambda step: _layered(layers, grid, step, notes), count, notes)

    def label_rule(self) -> str:
        """See `Layout.label_rule`."""
        return repr((self.target, _ORDER))

    def _tile(self, tile: str, products: dict[str, list[Entry]], wanted: tuple[str, ...]) -> Tile:
        made = super()._tile(tile, products, wanted)
        found = ((name, entry.file) for name, of in _REFERENCES for entry in products.get(of, ()) if entry.size)
        extras = tuple(entry.file for entry in products["EXTENTS"])
        return replace(made, reference=next(found, None), extras=extras)

    def _example(self) -> str:
        return dstl_folds.SCENES[0][0]

    def _table(self, catalogue: Catalogue, name: str) -> Entry:
        """The CSV file of polygons or extents: of several versions the newest, unpacked rather than packed."""
        fits = (lambda stem: stem.lower() == _EXTENTS) if name == _EXTENTS else _OUTLINES.fullmatch
        found = [entry for entry in catalogue.entries if entry.suffix == ".csv" and entry.size and fits(entry.stem)]
        if not found:
            use = "says where its polygons lie" if name == _EXTENTS else "holds its polygons"
            raise UserError(
                f"{catalogue.root} has scenes of layout {self.name} but no {name}.csv, which {use}: "
                f"add {name}.csv or {name}.csv.zip of the competition."
            )
        # the polygons were published more than once, at last as train_wkt_v4
        newest = max(natural_key(entry.stem.lower()) for entry in found)
        same = [entry for entry in found if natural_key(entry.stem.lower()) == newest]
        return min(same, key=lambda entry: (entry.file.member is not None, entry.location))


def _layered(layers: list[tuple[int, Filled]], grid: Grid, step: int, notes: list[str]) -> Iterator[np.ndarray]:
    """Classes laid over one another, so many rows at a time, (h, W) uint8; a remark at the end."""
    several = 0
    masks = [(number, part.strips(step)) for number, part in layers]
    for top in range(0, grid.height, step):
        # 0 is the background, which has no polygons
        classes = np.zeros((min(step, grid.height - top), grid.width), np.uint8)
        for number, strips in masks:
            mask = next(strips)
            several += int((classes[mask] > 0).sum())
            classes[mask] = number
        yield classes
    if several:
        share = 100 * several / (grid.height * grid.width)
        notes.append(f"classes overlap on {share:.2g} % of the pixels, where the smaller thing counts")


@contextmanager
def _about(file: FileRef) -> Iterator[None]:
    """Within, a sentence that lacks its subject is completed; one that names the file already is left as it is."""
    try:
        yield
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(file)) else f"{file} {text}") from error
