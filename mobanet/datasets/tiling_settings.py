"""Large rasters cut into tiles, and splits in space: the settings, and what may stand in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mobanet.datasets.held_out import ROLES
from mobanet.datasets.vector_settings import IGNORED, VectorLabel, check_file, check_system
from mobanet.errors import UserError
from mobanet.plain.bounds import shown

SMALLEST = 64
"""Pixels a side of the smallest tile that a raster is cut into."""

BUFFER = 512
"""Pixels around ground that is held out, unless the user says: the crops of the recipes are no wider."""

ROLE_WORDS = {
    written: role
    for role, words in (
        ("train", ("train", "training")),
        ("validation", ("validation", "valid", "val")),
        ("test", ("test", "testing")),
    )
    for word in words
    # as keys of `values`, which are compared with their case
    for written in (word, word.capitalize(), word.upper())
}
"""Values of an attribute that say what they mean."""


@dataclass
class Tiling:
    """How rasters are cut into tiles. Patterns then need no `{tile}`: a raster without is shared by all tiles.

    Attributes:
        size: height and width of a tile in pixels of the grid, counted from the raster's top left corner; what is left
            over at the right and bottom and less than half a tile belongs to the tiles before it. Tiles are called
            `r0_c0` by row and column, behind the `{tile}` of their raster where patterns have one.
        index: path below the root of a vector file with a polygon a tile, in place of `size`; a tile is the rectangle
            around its polygon.
        attribute: of the index, that names the tiles; null to number them.
        layer: of the index; null for the only one with polygons.
        crs: coordinate reference system of an index that names none.
    """

    size: int | None = None
    index: str | None = None
    attribute: str | None = None
    layer: str | None = None
    crs: str | None = None


@dataclass
class SplitAreas:
    """Polygons that say which ground is for training, validation and test.

    A tile that several of them reach becomes a tile for each, such as `r0_c0_train` and `r0_c0_test`, whose labels
    count in their own polygons only. Where polygons overlap, test comes before validation, and validation before
    training. Ground without a polygon is not used.

    Attributes:
        vector: path below the root of a GeoPackage, shapefile, GeoJSON or FlatGeobuf.
        attribute: that says what a polygon is for.
        values: `train`, `validation`, `test` or `ignored` by the attribute's value; null where the values are these
            words, or `training`, `val` and the like.
        layer: of the file; null for the only one with polygons.
        crs: coordinate reference system of a file that names none.
    """

    vector: str
    attribute: str
    values: dict[Any, str] | None = None
    layer: str | None = None
    crs: str | None = None


@dataclass
class SplitBlocks:
    """Tiles drawn for validation and test, spread evenly over the ground (`mobanet.datasets.tile_draw.drawn_roles`).

    The part of a tile depends on its name and the seed alone: it stays where sensors, labels or mosaics are added.

    Attributes:
        validation: about this share of the tiles is held out, by which checkpoints are chosen.
        test: about this share of the tiles is for the final figures.
        seed: of the draw.
    """

    validation: float = 0.15
    test: float = 0.15
    seed: int = 0


class _AreasFile(VectorLabel):
    """Areas as settings of a vector file."""

    key: ClassVar[str] = "splits.areas"


class _IndexFile(VectorLabel):
    """An index as settings of a vector file."""

    key: ClassVar[str] = "tiling"


def areas_file(areas: SplitAreas) -> VectorLabel:
    """The areas as polygons that are drawn, with the roles for classes."""
    values = ROLE_WORDS if areas.values is None else areas.values
    # of areas that overlap, the ground that is held out lies on top
    return _AreasFile(areas.vector, areas.attribute, dict(values), areas.layer, order=list(ROLES), crs=areas.crs)


def index_file(tiling: Tiling) -> VectorLabel:
    """The index as a vector file."""
    # values are for labels: an index needs none, and is opened by the same checks
    return _IndexFile(tiling.index or "", tiling.attribute or "", {}, tiling.layer, crs=tiling.crs)


def check_tiling(tiling: Tiling) -> None:
    """Refuse settings that contradict themselves."""
    if (tiling.size is None) == (tiling.index is None):
        raise UserError("tiling has " + ("both" if tiling.size else "neither") + " size and index: give one of them.")
    if tiling.size is not None:
        if tiling.size < SMALLEST:
            raise UserError(f"tiling.size is {tiling.size}: give at least {SMALLEST} pixels.")
        if given := [key for key in ("attribute", "layer", "crs") if getattr(tiling, key) is not None]:
            raise UserError(f"tiling.{given[0]} is of an index, and tiling has a size: leave it out.")
        return
    check_file(tiling.index or "", "tiling.index")
    if tiling.crs is not None:
        check_system(tiling.crs, "tiling.crs")


def check_areas(areas: SplitAreas) -> None:
    """Refuse settings that contradict themselves."""
    check_file(areas.vector, "splits.areas.vector")
    check_roles(areas.values, "splits.areas.values")
    if areas.crs is not None:
        check_system(areas.crs, "splits.areas.crs")


def check_roles(values: Mapping[Any, str] | None, key: str) -> None:
    """Refuse values of an attribute that are given and name no part of a split."""
    if values is not None and not values:
        raise UserError(f"{key} is empty: say which value of the attribute is which part of the split.")
    for value, role in (values or {}).items():
        if role not in (*ROLES, IGNORED):
            raise UserError(
                f"{key}.{'null' if value is None else value} is {shown(str(role))}: give {', '.join(ROLES)} or "
                f"{IGNORED}."
            )


def check_blocks(blocks: SplitBlocks) -> None:
    """Refuse shares that leave nothing to train on."""
    for key in ("validation", "test"):
        if not 0 <= getattr(blocks, key) < 1:
            raise UserError(f"splits.blocks.{key} is {getattr(blocks, key)}: give a share from 0 to 1.")
    if blocks.validation + blocks.test >= 1:
        raise UserError(
            f"splits.blocks has {blocks.validation:g} of the tiles for validation and {blocks.test:g} for test, which "
            "leaves none to train on: lower them."
        )
