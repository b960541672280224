"""From files to a plan: what the rasters and labels are, where they lie, how they are split, and a recipe for them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobanet.datasets.vector_settings import is_system
from mobanet.errors import UserError
from mobanet.own_data.files import Found, find_files, is_vector
from mobanet.own_data.given import Given
from mobanet.own_data.label_polygons import (
    areas_attribute,
    areas_values,
    chosen_attribute,
    look_at_polygons,
    open_layers,
    values_near,
)
from mobanet.own_data.label_rasters import look_at_raster_labels
from mobanet.own_data.looks import (
    HEADERS,
    ModalityLook,
    Raster,
    check_overlap,
    check_pairs,
    header,
    look_at,
    pairs,
    share_of_ground,
    spread,
)
from mobanet.own_data.recipe import Chosen, Machine, choose_recipe, drawn_split, tile_size
from mobanet.own_data.written import ExperimentPlan
from mobanet.plain.bounds import shown
from mobanet.plain.wording import shorten

_ORDER = {"optical": 0, "other": 1, "elevation": 2}
_FEWEST = 3
"""Tiles of which lists can be drawn: one each for training, validation and test."""

_BLOCKS = {"validation": 0.15, "test": 0.15}
_TRAINED = 0.7
"""Share of the ground that is left to train on, about."""

_WHOLE = 0.98
"""Share of the ground from which on a raster counts as covering all of it."""


@dataclass(frozen=True)
class Wishes:
    """What the user says beside the files.

    Attributes:
        attribute: of polygons, that tells the classes; None to find out.
        layer: of a vector file with several.
        areas: file of polygons that say which ground is for what; None for none.
        areas_attribute: that says it; None to find out.
        crs: coordinate reference system of files that name none.
        seed: of the split.
    """

    output: Path
    attribute: str | None
    layer: str | None
    areas: str | None
    areas_attribute: str | None
    crs: str | None
    seed: int
    machine: Machine


def make_plan(modalities: Sequence[Given], labels: Given, wishes: Wishes) -> ExperimentPlan:
    """Look at everything, and choose.

    Raises:
        UserError: for files that do not go together, or are not what they are given for.
    """
    _check_wishes(wishes)
    # all together, since what a tile is called is found by what their names have in common
    *found, label = find_files([*modalities, labels])
    polygons = is_vector(label)
    _check_kinds(found, label, polygons)
    # the first sets the grid, for which heights are the last choice; of a kind the order is the user's
    looks = sorted((look_at(each, wishes.crs) for each in found), key=lambda look: _ORDER[look.kind])
    check_overlap(looks)
    looks[0] = _with_labelled(looks[0], label, wishes.crs)
    rasters = looks[0].rasters
    if polygons:
        layers = open_layers(label, wishes.layer, wishes.crs)
        attribute, said = chosen_attribute(layers, wishes.attribute)
        look = look_at_polygons(layers, attribute, rasters)
        look.notes = [*([said] if said else []), *look.notes]
    else:
        paths = {tile: path for tile, path in label.files.items() if tile in ("", *rasters) or "" in rasters}
        check_pairs(pairs({tile: header(path, wishes.crs) for tile, path in paths.items()}, rasters))
        look = look_at_raster_labels(label)
    root = _root([*found, label], wishes)
    tiles = _tiles(looks[0].found, label)
    whole = all(each.tiled for each in (*found, *([] if polygons else [label])))
    drawn = whole and wishes.areas is None and len(tiles) >= _FEWEST
    return ExperimentPlan(
        output=wishes.output,
        root=_as_typed(root, [each.given.text for each in found]),
        # prepared tiles lie below the root, unless nothing can be written there
        store=None if os.access(root, os.W_OK) else f"{wishes.output.with_suffix('')}_store",
        looks=looks,
        patterns={each.name: _below(each.found.pattern, root) for each in looks},
        label=_below(label.pattern, root),
        labels=look,
        crs=wishes.crs if any(each.first.grid.crs == wishes.crs for each in looks) else None,
        **(_drawn(looks, tiles, wishes) if drawn else _cut(looks, tiles, wishes, root)),
    )


def _with_labelled(look: ModalityLook, label: Found, crs: str | None) -> ModalityLook:
    """A look with rasters of tiles that have labels: of very many tiles, those that were opened may all have none."""
    labelled = {tile: path for tile, path in look.found.files.items() if tile in label.files}
    if not labelled or labelled.keys() & look.rasters.keys():
        return look
    opened = {tile: header(path, crs) for tile, path in spread([*labelled.items()], HEADERS)}
    return replace(look, rasters={**look.rasters, **opened})


def _tiles(files: Found, label: Found) -> list[str]:
    """Tiles of the modality that sets the grid that have labels; of a mosaic one without a name; none are refused."""
    tiles = [tile for tile in files.files if "" in (tile, *label.files) or tile in label.files]
    if not tiles:
        raise UserError(
            f"{label.given.option} and {files.given.option} have no tile in common: {shorten(label.files, 3)} and "
            f"{shorten(files.files, 3)}; rename them so that a tile is called alike everywhere, or give patterns with "
            "{tile}."
        )
    return tiles


def _drawn(looks: Sequence[ModalityLook], tiles: Sequence[str], wishes: Wishes) -> dict[str, Any]:
    """Settings of a plan for rasters that are tiles, of which lists are drawn."""
    grids = [raster.grid for raster in looks[0].rasters.values()]
    smallest = min(min(grid.height, grid.width) for grid in grids)
    splits = drawn_split(tiles, wishes.seed)
    # of the rasters that were opened, which of very many are a part
    mean = sum(grid.height * grid.width for grid in grids) / len(grids)
    recipe = choose_recipe(looks, smallest, int(mean * len(splits["train"])), wishes.machine)
    return {"splits": splits, "recipe": recipe, "lacking": _lacking(looks, tiles)}


def _lacking(looks: Sequence[ModalityLook], tiles: Sequence[str]) -> str:
    """Which modalities some tiles lack, in words; empty for none."""
    counts = {look.name: sum(tile not in look.found.files for tile in tiles) for look in looks if look.found.tiled}
    told = [f"{count} of {len(tiles)} tiles lack {name}" for name, count in counts.items() if count]
    return "; ".join(told)


def _cut(looks: Sequence[ModalityLook], tiles: Sequence[str], wishes: Wishes, root: Path) -> dict[str, Any]:
    """Settings of a plan for rasters that are cut into tiles: a mosaic, or few and large ones."""
    rasters = [raster for tile, raster in looks[0].rasters.items() if tile in tiles]
    shapes = [(raster.grid.height, raster.grid.width) for raster in rasters]
    try:
        size = tile_size(shapes)
    except UserError as error:
        raise UserError(f"{looks[0].found.given.option} {error}") from error
    # of very many tiles some were opened, and stand for all
    ground = sum(height * width for height, width in shapes) * len(tiles) // len(rasters)
    recipe = choose_recipe(looks, size, int(_TRAINED * ground), wishes.machine)
    if wishes.areas is not None:
        held = {"areas": _areas(looks[0].rasters, wishes, root)}
    else:
        held = {"blocks": {**_BLOCKS, "seed": wishes.seed}}
    return held | {
        "splits": {},
        "tiling": {"size": size},
        "buffer": _buffer(size, recipe.data["crop"].value),
        "recipe": recipe,
        "lacking": "; ".join(filter(None, (_lacking(looks, tiles), *_partly(looks)))),
    }


def _buffer(size: int, crop: int) -> Chosen:
    """Pixels around held-out ground whose labels do not train: a crop's, unless that leaves too little ground."""
    # a band an eighth of a tile wide takes about half a tile's ground from the tiles around it
    if size >= 8 * crop:
        return Chosen(crop, "pixels around held-out ground whose labels do not train: no crop shows such ground")
    return Chosen(
        size // 8,
        f"pixels around held-out ground whose labels do not train; a crop's {crop} would leave little ground",
    )


def _partly(looks: Sequence[ModalityLook]) -> list[str]:
    """In words, mosaics that reach a part of the ground alone."""
    mosaics = [look for look in looks if not look.found.tiled and not looks[0].found.tiled]
    shares = {look.name: share_of_ground(look.first.grid, looks[0].first.grid) for look in mosaics}
    return [
        f"{name} reaches about {100 * share:.0f} % of the ground" for name, share in shares.items() if share < _WHOLE
    ]


def _areas(rasters: dict[str, Raster], wishes: Wishes, root: Path) -> dict[str, Any]:
    (found,) = find_files([Given("areas", str(wishes.areas), f"--areas {wishes.areas}")])
    if not is_vector(found):
        raise UserError(
            f"{found.given.option} is no vector file; give polygons as GeoPackage, shapefile, GeoJSON or FlatGeobuf."
        )
    layers = open_layers(found, None, wishes.crs)
    attribute = areas_attribute(layers, wishes.areas_attribute)
    values = areas_values(layers, attribute)
    # for its refusal alone, of areas that lie on none of the rasters
    values_near(layers, attribute, rasters)
    settings = {"vector": _below(found.pattern, root), "attribute": attribute, "values": values}
    return settings | ({"crs": layers.label.crs} if layers.label.crs else {})


def _check_wishes(wishes: Wishes) -> None:
    """Refuse a seed and a reference system that are none."""
    if not 0 <= wishes.seed < 2**32:
        raise UserError(f"--seed is {wishes.seed}; give a number from 0 to {2**32 - 1}.")
    if wishes.crs is not None and not is_system(wishes.crs):
        raise UserError(f"--crs is {shown(wishes.crs)}; give the code of a system, such as EPSG:25833.")


def _check_kinds(found: Sequence[Found], label: Found, polygons: bool) -> None:
    """Refuse polygons in place of rasters, and a file of polygons a tile where rasters are one."""
    if vector := next((each for each in found if each.vector), None):
        raise UserError(
            f"{vector.given.option} is a vector file, where {vector.given.name} needs a raster; give it as --labels if "
            "it holds the labels."
        )
    if polygons and label.tiled and not all(each.tiled for each in found):
        single = next(each for each in found if not each.tiled)
        raise UserError(
            f"{label.given.option} is of several files and {single.given.option} is one raster; give one file with all "
            "polygons, as from ogrmerge.py -single -o all.gpkg FILES."
        )


def _root(found: Sequence[Found], wishes: Wishes) -> Path:
    """The folder that holds all files, which have to have one in common."""
    patterns = [each.pattern for each in found]
    if wishes.areas is not None:
        patterns.append(str(Path(wishes.areas).expanduser().absolute()))
    folders = [_fixed(pattern) for pattern in patterns]
    root = Path(os.path.commonpath(folders))
    if root == Path(root.anchor):
        raise UserError(
            f"the files lie in {shorten(dict.fromkeys(map(str, folders)), 3)}, which have no folder in common; put "
            "them, or links to them, below one."
        )
    return root


def _fixed(pattern: str) -> Path:
    """The folder of a pattern that no part stands for more of."""
    parts = Path(pattern).parent.parts
    special = next((number for number, part in enumerate(parts) if "{tile}" in part or "*" in part), len(parts))
    # and no links followed: links below one folder are how files from several disks come together
    return Path(os.path.normpath(Path(*parts[:special])))


def _below(pattern: str, root: Path) -> str:
    """A pattern as the description has it."""
    return Path(os.path.relpath(os.path.normpath(pattern), root)).as_posix()


def _as_typed(root: Path, typed: Sequence[str]) -> str:
    """A folder from the current one on where paths were typed so, absolute otherwise."""
    if any(Path(text).expanduser().is_absolute() for text in typed):
        return str(root)
    return os.path.relpath(root)
