"""Labels that are polygons: which attribute tells the classes, what these are, and how much ground each covers."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mobanet.datasets.vector_files import Bounds, VectorLayer, open_layer
from mobanet.datasets.vector_labels import draw_polygons
from mobanet.datasets.vector_place import PixelPlacement
from mobanet.datasets.vector_settings import IGNORED, VectorLabel, as_text, as_word
from mobanet.datasets.vector_values import classed, value_words
from mobanet.errors import UserError
from mobanet.own_data.classes import MOST, FoundClass, LabelLook, class_name, colours_for
from mobanet.own_data.files import Found
from mobanet.own_data.looks import Raster
from mobanet.plain.wording import natural_key, shorten
from mobanet.rasters.contents import IGNORE_INDEX, FileRef
from mobanet.rasters.grid import Grid

OTHER = "other"
"""The class under no polygon, where polygons are of one class alone."""

_COARSE = 1024
"""Pixels along the longer side, of all tiles together, on which shares of the ground are measured."""

_TILES = 16
"""On which they are measured."""

_BOXES = 64
"""Tiles around each of which polygons are looked for; of more, around all of them."""

_FEW = 40
"""Values of an attribute that may well be classes."""

_HINTS = {"class", "klasse", "classe", "cls", "type", "typ", "art", "use", "kind", "label", "category", "kategorie"}
_HINTS_WITHIN = ("landcover", "landuse", "cover", "nutzung", "class")
"""Words of attributes that tell classes, in lower case, and parts of words."""

_KEYS = {
    *("fid", "id", "gid", "objectid", "ogc_fid", "uuid", "gml_id"),
    *("shape_area", "shape_leng", "shape_length", "area"),
}
"""Attributes that tell no classes."""


_ROLES = {
    "train": ("train", "training", "trn", "fit"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "tst"),
}
"""Values of areas, in lower case."""


@dataclass(frozen=True)
class Layers:
    """Vector files opened, by tile, or under the empty name where there is but one, and what was used to open them."""

    layers: dict[str, VectorLayer]
    label: VectorLabel

    @property
    def first(self) -> VectorLayer:
        """Of the first file."""
        return next(iter(self.layers.values()))


def open_layers(found: Found, layer: str | None, crs: str | None) -> Layers:
    """Open vector files: of each the layer, None for the only one with polygons; `crs` is of those that name none."""
    label, layers = VectorLabel(found.pattern, "", {}, layer), {}
    for tile, path in found.files.items():
        with _in_options():
            layers[tile] = open_layer(path, FileRef(path), label)
            if layers[tile].crs is None and crs is not None:
                # opened again with it, since a file that names a system of its own refuses another
                label = VectorLabel(found.pattern, "", {}, layer, crs=crs)
                layers[tile] = open_layer(path, FileRef(path), label)
    return Layers(layers, label)


def chosen_attribute(layers: Layers, given: str | None) -> tuple[str, str]:
    """The attribute that tells the classes, and what is to be said of it; refused where none is the likeliest."""
    layer = layers.first
    if given is not None:
        with _in_options():
            layer.check_columns([given])
        return given, ""
    # by the first file's fields; that the others have them is checked where their values are read
    found = {name: _values(layers, name) for name in layer.fields if name.lower() not in _KEYS}
    candidates = {name: values for name, values in found.items() if 1 <= len(values.keys() - {None}) <= _FEW}
    if not candidates:
        there = f"; it has {shorten(map(as_word, layer.fields), 12)}" if layer.fields else ", since it has none"
        raise UserError(f"{layer.file} has no attribute that tells classes{there}; name one with --attribute.")
    # words tell classes sooner than numbers, which may be years, storeys or sizes
    texts = {name: values for name, values in candidates.items() if len(values) > 1 and any(map(_is_text, values))}
    likely = texts or candidates
    # the only one that is called so, or the only one that there is; among several the user chooses
    for chosen in ([name for name in likely if _hints(name)], list(likely)):
        if len(chosen) == 1:
            return chosen[0], f"{as_word(chosen[0])} is the attribute that most likely tells the classes"
    told = (
        f"{as_word(name)} ({shorten(map(value_words, sorted(filter(None, values), key=natural_key)), 3)})"
        for name, values in likely.items()
    )
    raise UserError(
        f"{layer.file} has several attributes that may tell the classes, {shorten(told, 8)}; name one with --attribute."
    )


def _hints(name: str) -> bool:
    """Whether an attribute is called as if it told classes."""
    words = re.findall(r"[^\W\d_]+", name.lower())
    return any(word in _HINTS or any(part in word for part in _HINTS_WITHIN) for word in words)


def look_at_polygons(layers: Layers, attribute: str, rasters: dict[str, Raster]) -> LabelLook:
    """What polygons say by an attribute, on rasters of the modality that sets the grid, by tile."""
    values, near = _values(layers, attribute), values_near(layers, attribute, rasters)
    remedy = f"name another attribute with --attribute, of {shorten(map(as_word, layers.first.fields), 12)}"
    known = [value for value in values if value is not None]
    if len(known) > MOST:
        raise UserError(
            f"{layers.first.file}, attribute {as_word(attribute)}, has {len(known)} values, and labels tell at most "
            f"{MOST} classes apart; {remedy}."
        )
    listed: list[FoundClass] = []
    for value in sorted(known, key=natural_key):
        count = near.get(value, 0)
        # a class that no raster shows can be neither learnt nor tested
        name = class_name(value, [each.name for each in listed]) if count else IGNORED
        note = "" if count else "none of them on the rasters"
        listed.append(FoundClass(name, value, count or values[value], note=note))
    if values.get(None):
        listed.append(FoundClass(IGNORED, None, values[None], note="without a value"))
    classes = list(dict.fromkeys(each.name for each in listed if not each.ignored))
    if not classes:
        raise UserError(
            f"{layers.first.file} has no value of {as_word(attribute)} on the rasters that tells a class; {remedy}."
        )
    # a single class needs another that it is told from
    background = None if len(classes) > 1 else OTHER if classes != [OTHER] else "rest"
    names = [*classes, *([background] if background else [])]
    look = LabelLook(
        "polygons", listed, colours_for(len(names)), "polygons", attribute, layers.label.layer, layers.label.crs
    )
    look.background = background
    _measure(look, layers, rasters)
    return look


def _values(layers: Layers, attribute: str) -> Counter[str | None]:
    """How often each value occurs in all files."""
    total: Counter[str | None] = Counter()
    for layer in layers.layers.values():
        with _in_options():
            layer.check_columns([attribute])
            column = layer.features([attribute], None).columns[attribute]
            total += classed(column, VectorLabel("", attribute, {}), [])[0]
    return total


def values_near(layers: Layers, attribute: str, rasters: dict[str, Raster]) -> Counter[str | None]:
    """How often each value of an attribute occurs on or near the rasters, which are by tile; none is refused."""
    total: Counter[str | None] = Counter()
    for tile, layer in layers.layers.items():
        grids = [raster.grid for name, raster in rasters.items() if tile in ("", name)]
        seen: set[int] = set()
        for bounds in _boxes(layer, grids):
            with _in_options():
                features = layer.features([attribute], bounds)
            # a polygon on the seam of two tiles is in both of their boxes
            fresh = np.array([number not in seen for number in features.ids.tolist()], bool)
            seen.update(features.ids.tolist())
            total += classed(features.columns[attribute][fresh], VectorLabel("", attribute, {}), [])[0]
    if not total:
        layer, raster = layers.first, next(iter(rasters.values()))
        extent = layer.extent()
        covers = ""
        if extent is not None:
            covers = f", which covers {extent[0]:.10g} to {extent[2]:.10g}, {extent[1]:.10g} to {extent[3]:.10g},"
        raise UserError(
            f"no polygon of {layer.file}{covers} lies on the rasters, such as {raster.path} ({raster.grid.extent}); "
            "look whether the reference systems of both are right."
        )
    return total


def _boxes(layer: VectorLayer, grids: Sequence[Grid]) -> list[Bounds]:
    with _in_options():
        boxes = [PixelPlacement(layer, grid).bounds(0, grid.height) for grid in grids]
    if len(boxes) <= _BOXES:
        return boxes
    sides = np.array(boxes)
    return [(*sides[:, :2].min(axis=0).tolist(), *sides[:, 2:].max(axis=0).tolist())]


def _measure(look: LabelLook, layers: Layers, rasters: dict[str, Raster]) -> None:
    """Shares of the ground, on some tiles in coarse pixels, drawn as labels will be."""
    values = {each.value: each.name for each in look.found}
    label = VectorLabel(
        layers.label.vector, look.attribute, values, look.layer, background=look.background or IGNORED, crs=look.crs
    )
    chosen = [(tile, raster) for tile, raster in rasters.items() if "" in layers.layers or tile in layers.layers]
    # spread over the list, since tiles that are neighbours in it mostly lie side by side
    chosen = [chosen[len(chosen) * n // min(len(chosen), _TILES)] for n in range(min(len(chosen), _TILES))]
    # of many tiles, all together have about as many pixels as one alone would
    # but no fewer than 64 pixels a side, in which a class of few polygons is still met
    side = max(64, _COARSE // max(1, round(len(chosen) ** 0.5)))
    # by place in the list, since several values may be of one class
    counts = np.zeros(256, np.int64)
    for tile, raster in chosen:
        layer = layers.layers[""] if "" in layers.layers else layers.layers[tile]
        with _in_options():
            drawn = draw_polygons(label, look.names, layer, _coarse(raster.grid, side))
            for strip in drawn.strips(256):
                counts += np.bincount(strip.ravel(), minlength=256)
        # the others are of each tile's drawing, and are said when it is prepared
        look.notes += [note for note in drawn.notes if "invalid" in note or "no polygon" in note]
    labelled = counts[: len(look.names)]
    share = labelled / max(1, labelled.sum())
    # a class of several values has its share told once
    first: set[str] = set()
    for each in look.found:
        if not each.ignored and each.name not in first:
            each.share = float(share[look.names.index(each.name)])
            first.add(each.name)
    without = counts[look.names.index(look.background)] if look.background else counts[IGNORE_INDEX]
    look.unlabelled = float(without / max(1, counts.sum()))
    look.notes = list(dict.fromkeys(look.notes))


def _coarse(grid: Grid, side: int) -> Grid:
    thinner = max(1.0, max(grid.height, grid.width) / side)
    height, width = max(1, round(grid.height / thinner)), max(1, round(grid.width / thinner))
    return grid.in_pixels(grid.width / width, grid.height / height)


def _is_text(value: str | None) -> bool:
    """Whether a value is neither a number nor none."""
    if value is None:
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


@contextmanager
def _in_options() -> Iterator[None]:
    """Within, sentences on a vector file name options in place of the keys of a description."""
    try:
        yield
    except UserError as error:
        text = str(error).rstrip(".")
        # plain text is replaced, since these sentences are built where descriptions are read
        for key, option in (
            ("label.layer", "--layer"),
            ("label.crs", "--crs"),
            ("label.attribute", "--attribute"),
            ("the key crs in the description of the data", "--crs"),
            ("take crs out from under label", "leave --crs out"),
        ):
            text = text.replace(key, option)
        raise UserError(f"{text}.") from error


def areas_values(layers: Layers, attribute: str) -> dict[str | None, str]:
    """Which values of areas are for what, `ignored` for those that say nothing; some must train, others validate."""
    values = _values(layers, attribute)
    found = {value: _role(value) for value in values}
    lacking = [role for role in ("train", "validation") if role not in found.values()]
    if lacking:
        told = shorten(map(value_words, sorted((value for value in values if value is not None), key=natural_key)), 8)
        raise UserError(
            f"{layers.first.file} has no area for {' and '.join(lacking)} in {as_word(attribute)}, whose values are "
            f"{told or 'none'}; write train, validation and test into it, or name another attribute with "
            "--areas_attribute."
        )
    return found


def areas_attribute(layers: Layers, given: str | None) -> str:
    """The attribute of areas that says what they are for: train is among its values."""
    if given is not None:
        with _in_options():
            layers.first.check_columns([given])
        return given
    fitting = [name for name in layers.first.fields if "train" in map(_role, _values(layers, name))]
    if len(fitting) == 1:
        return fitting[0]
    there = shorten(map(as_word, fitting or layers.first.fields), 12) or "none"
    what = "several attributes" if fitting else "no attribute"
    raise UserError(
        f"{layers.first.file} has {what} with train among the values, where areas say what they are for (there are "
        f"{there}); name one with --areas_attribute."
    )


def _role(value: str | None) -> str:
    text = (as_text(value) or "").lower()
    return next((role for role, words in _ROLES.items() if text in words), IGNORED)
