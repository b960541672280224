"""Polygons of a vector file as class indices on a tile's grid.

Vertices are brought to pixels of the tile and rounded to a 65536th of one, so that moving them by whole rows is exact
and a strip has the same pixels wherever it begins. A pixel is a polygon's where its centre lies inside (`all_touched`:
where they meet). Polygons are drawn as their places in the order, from the bottom to the top, so that what lies on top
does not depend on strips, either. Geometries are read for so many rows that a bounded number is held at once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mobanet.datasets.base import NOTHING_DRAWN, DrawnLabel
from mobanet.datasets.vector_files import EVERYWHERE, Bounds, Features, VectorLayer, same_system, value_words
from mobanet.datasets.vector_settings import FILE_ORDER, IGNORED, VectorLabel, as_text, class_table, index_of
from mobanet.errors import UserError
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import gdal_error
from mobanet.rasters.reference_systems import check_tied, name_of
from mobanet.wording import shorten

if TYPE_CHECKING:
    from affine import Affine

MOST_AT_ONCE = 50_000
"""Polygons whose outlines are held at once, about."""

_STEP = 1 << 16
"""Of a pixel, to which vertices are rounded: what is left of a double's 53 bits takes any number of rows."""

_FAR, _ABSURD = 1 << 16, 1 << 35
"""Pixels beyond the tile at which outlines are cut, and beyond which there is no place on Earth."""

MANY = 1000
"""Vertices from which on a ring is shortened to the rows that are drawn."""

_STRAIGHT = 256
"""Pixels after which an edge has a vertex where it is brought from one system to another, in which it bends."""

_POLYGON, _MULTIPOLYGON, _COLLECTION = 3, 6, 7
"""Types of geometries as shapely numbers them."""


@dataclass(frozen=True)
class Outlines:
    """Polygons in pixels of a tile.

    Attributes:
        rings: by polygon, the outer one first, (n, 2) columns and rows each.
        ranks: (N,) the place of each in the order, from 1 on, ascending.
        top: (N,) least row of each.
        bottom: (N,) greatest row.
    """

    rings: list[list[np.ndarray]]
    ranks: np.ndarray
    top: np.ndarray
    bottom: np.ndarray


@dataclass
class Counts:
    """Ids of the features that are said something about."""

    drawn: set[int] = field(default_factory=set)
    repaired: set[int] = field(default_factory=set)
    empty: set[int] = field(default_factory=set)
    beyond: set[int] = field(default_factory=set)


def draw_polygons(label: VectorLabel, classes: Sequence[str], layer: VectorLayer, grid: Grid) -> DrawnLabel:
    """The label of a tile, drawn strip by strip while the layer is open.

    Args:
        label: the settings.
        classes: names of the classes.
        layer: open.
        grid: of the tile.

    Raises:
        UserError: when the tile or the file cannot be placed, or an attribute or a value is not what it should be.
    """
    layer.check_columns(label.columns)
    place = Placement(layer, grid)
    features = layer.features(label.columns, place.bounds(0, grid.height))
    values, indices = classed(features.columns[label.attribute], label, classes)
    if unknown := unknown_values(values, label):
        raise UserError(unknown_words(layer, label, unknown))
    drawing = _Drawing(label, classes, layer, place, features, indices)
    drawn = DrawnLabel(lambda step: drawing.strips(step, drawn), len(features.ids))
    return drawn


def inspect_layers(
    label: VectorLabel, classes: Sequence[str], layers: Iterable[Callable[[], VectorLayer]]
) -> list[str]:
    """Look through vector files as wholes, before anything is drawn; remarks.

    Args:
        label: the settings.
        classes: names of the classes.
        layers: open one each.

    Raises:
        UserError: with everything that is wrong with any of them.
    """
    problems, met, files, notes = list[str](), set[str | None](), list[str](), list[str]()
    for opened in layers:
        try:
            layer = opened()
            values, bare = _inspected(label, classes, layer)
        except UserError as error:
            problems.append(str(error).rstrip("."))
            continue
        met |= values
        files.append(layer.file.name)
        if bare:
            what = "feature" if bare == 1 else "features"
            notes.append(f"{layer.file.name} has {bare} {what} without an outline that can be read")
    if problems:
        raise UserError(f"{'; '.join(problems)}.")
    return [*notes, *unmet_notes(met, label, shorten(files, 3))]


def _inspected(label: VectorLabel, classes: Sequence[str], layer: VectorLayer) -> tuple[set[str | None], int]:
    """Values of the attribute that a layer has, and how many of its features have no outline."""
    layer.check_columns(label.columns)
    features = layer.features(label.columns)
    if label.shared and not len(features.ids):
        raise UserError(f"{layer.file} holds no polygon: export the polygons again")
    values, _ = classed(features.columns[label.attribute], label, classes)
    if unknown := unknown_values(values, label):
        raise UserError(unknown_words(layer, label, unknown))
    if not isinstance(label.order, list) and label.order != FILE_ORDER:
        _order_keys(features.columns[label.order], layer, label)
    return set(values), len(features.ids) - len(layer.features((), EVERYWHERE).ids)


class Placement:
    """How a layer's coordinates become pixels of a tile.

    Args:
        layer: open.
        grid: of the tile.

    Raises:
        UserError: when one of them is not tied to a place.
    """

    def __init__(self, layer: VectorLayer, grid: Grid) -> None:
        self.layer, self.grid = layer, grid
        if grid.transform is None:
            raise UserError(
                f"{layer.file} cannot be placed on a raster without georeference: put world files beside the rasters, "
                "or write one into them"
            )
        if layer.crs is None and grid.crs is not None:
            raise UserError(
                f"{layer.file} names no coordinate reference system: give label.crs, such as {name_of(grid.crs)} if it "
                "lies in that of the rasters"
            )
        if grid.crs is None and layer.crs is not None:
            raise UserError(
                f"{layer.file} lies in {name_of(layer.crs)} and the raster that sets the grid names no coordinate "
                "reference system: give the key crs in the description of the data"
            )
        self._moves = layer.crs is not None and not same_system(layer.crs, grid.crs)
        if self._moves:
            try:
                check_tied(layer.crs, grid.crs)
            except UserError as error:
                raise UserError(f"{layer.file} {error}") from error

    def bounds(self, top: int, bottom: int) -> Bounds:
        """Around rows of the tile, with a little room, in the layer's system.

        Raises:
            UserError: when the tile lies where that system does not reach.
        """
        right = self.grid.width + 2
        pixels = np.array([(-2, top - 2, 1), (right, top - 2, 1), (right, bottom + 2, 1), (-2, bottom + 2, 1)])
        points = (pixels @ self.grid.matrix.T)[:, :2]
        found = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
        if self._moves:
            from rasterio.errors import RasterioError
            from rasterio.warp import transform_bounds

            try:
                found = transform_bounds(self.grid.crs, self.layer.crs, *found, densify_pts=41)
            except (RasterioError, gdal_error()):
                found = (np.inf,) * 4
            if not np.isfinite(found).all() or found[0] > found[2]:
                raise self._beyond()
            # edges bend between the points that were looked at
            wide, high = 0.01 * (found[2] - found[0]), 0.01 * (found[3] - found[1])
            found = (found[0] - wide, found[1] - high, found[2] + wide, found[3] + high)
        return found

    def _beyond(self) -> UserError:
        return UserError(
            f"{self.layer.file} cannot be placed: the tile ({self.grid.extent}) lies outside of where its system "
            "reaches: mend the system of either"
        )

    def straight(self) -> float | None:
        """The length in the layer's system after which an edge needs a vertex; None where it stays straight."""
        if not self._moves:
            return None
        left, bottom, right, top = self.bounds(0, self.grid.height)
        return _STRAIGHT * float(np.hypot(right - left, top - bottom) / np.hypot(self.grid.width, self.grid.height))

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Columns and rows, (N, 2), of points of the layer; infinite where there are none."""
        if self._moves and len(points):
            from rasterio.errors import RasterioError
            from rasterio.warp import transform

            try:
                points = np.transpose(transform(self.layer.crs, self.grid.crs, points[:, 0], points[:, 1]))
            except (RasterioError, gdal_error()) as error:
                raise self._beyond() from error
        matrix = np.linalg.inv(self.grid.matrix)
        with np.errstate(all="ignore"):
            placed = (points - self.grid.matrix[:2, 2]) @ matrix[:2, :2].T
            return np.rint(placed * _STEP) / _STEP


class _Drawing:
    """The label of one tile; arguments as for `draw_polygons`.

    Args:
        features: those around the tile.
        indices: (N,) class index of each.
    """

    def __init__(
        self,
        label: VectorLabel,
        classes: Sequence[str],
        layer: VectorLayer,
        place: Placement,
        features: Features,
        indices: np.ndarray,
    ) -> None:
        self._label, self._layer, self._place, self._ids = label, layer, place, features.ids
        self._missing = indices == _NULL
        indices = np.where(self._missing, class_table(label, classes)[None], indices)
        self._unordered = np.zeros(len(indices), bool)
        if isinstance(label.order, list):
            at = {index_of(name, classes): number for number, name in enumerate(label.order)}
            keys = np.array([at.get(index, -1) for index in indices.tolist()], np.float64)
        elif label.order == FILE_ORDER:
            keys = np.zeros(len(indices))
        else:
            keys, self._unordered = _order_keys(features.columns[label.order], layer, label)
        # features come in the file's order, which a stable sort keeps
        order = np.lexsort((np.arange(len(keys)), keys))
        self._ranks = np.empty(len(keys), np.uint32)
        self._ranks[order] = np.arange(1, len(keys) + 1)
        self._table = np.full(len(keys) + 1, index_of(label.background, classes), np.uint8)
        self._table[self._ranks] = indices
        self._touching = np.zeros(len(keys) + 1, bool)
        touched = label.all_touched
        chosen = [index_of(name, classes) for name in touched] if isinstance(touched, list) else []
        self._touching[1:] = np.isin(self._table[1:], chosen) if isinstance(touched, list) else touched

    def strips(self, step: int, drawn: DrawnLabel) -> Iterator[np.ndarray]:
        """Class indices from top to bottom, `step` rows at a time, (h, W) uint8; what is said of them at the end."""
        grid, counts = self._place.grid, Counts()
        parts = -(-len(self._ids) // MOST_AT_ONCE) or 1
        rows = -(-grid.height // (parts * step)) * step
        for begin in range(0, grid.height, rows):
            end = min(begin + rows, grid.height)
            outlines = self._outlines(begin, end, counts)
            for top in range(begin, end, step):
                bottom = min(top + step, end)
                yield self._table[self._drawn(outlines, top, bottom)]
        drawn.outlines, drawn.notes = len(counts.drawn), self._notes(counts)

    def _drawn(self, outlines: Outlines, top: int, bottom: int) -> np.ndarray:
        """(bottom - top, W) uint32, the rank of the polygon on top, 0 where there is none."""
        from affine import Affine

        inside = (outlines.top < bottom + 1) & (outlines.bottom > top - 1)
        drawn = np.zeros((bottom - top, self._place.grid.width), np.uint32)
        touching = self._touching[outlines.ranks]
        for touched in (False, True):
            chosen = np.flatnonzero(inside & (touching == touched))
            if len(chosen):
                # each by itself: which of both kinds lies on top is told by the greater rank
                layer = drawn if not drawn.any() else np.zeros_like(drawn)
                _burn(outlines, chosen, layer, Affine.translation(0, top), touched)
                np.maximum(drawn, layer, out=drawn)
        return drawn

    def _outlines(self, top: int, bottom: int, counts: Counts) -> Outlines:
        """The polygons that may lie on rows of the tile."""
        import shapely

        if not len(self._ids):
            return _in_pixels(np.empty(0, object), np.empty(0, np.uint32), self._place)[0]
        ids, shapes = self._layer.geometries(self._place.bounds(top, bottom))
        at = np.searchsorted(self._ids, ids).clip(max=len(self._ids) - 1)
        known = self._ids[at] == ids  # of a part of the tile a little beyond it more may be near
        ids, shapes, at = ids[known], shapes[known], at[known]
        polygons, index = self._polygons(ids, shapes, counts)
        length = self._place.straight()
        if length is not None and len(polygons):
            polygons = shapely.segmentize(polygons, length)
        ranks = self._ranks[at[index]]
        order = np.argsort(ranks, kind="stable")
        outlines, lost = _in_pixels(polygons[order], ranks[order], self._place)
        by_rank = np.empty(len(self._ids) + 1, np.int64)
        by_rank[self._ranks] = self._ids
        counts.beyond |= set(by_rank[lost].tolist())
        on_tile = (outlines.bottom > 0) & (outlines.top < self._place.grid.height)
        counts.drawn |= set(by_rank[np.unique(outlines.ranks[on_tile])].tolist())
        return outlines

    def _polygons(self, ids: np.ndarray, shapes: np.ndarray, counts: Counts) -> tuple[np.ndarray, np.ndarray]:
        """Valid polygons, (N,), and the number of the feature that each is of.

        Raises:
            UserError: when a feature has lines or points and no polygon.
        """
        import shapely

        points, index = shapely.get_coordinates(shapes, return_index=True)
        broken = np.zeros(len(shapes), bool)
        broken[index[~np.isfinite(points).all(axis=1)]] = True
        nothing = shapely.is_missing(shapes) | shapely.is_empty(shapes) | broken
        counts.empty |= set(ids[nothing].tolist())
        shapes = np.where(nothing, None, shapes)
        parts, index = _polygonal(shapes)
        bare = ~nothing
        bare[index] = False
        if bare.any():
            self._refuse(ids[bare], shapes[bare])
        invalid = ~nothing & ~shapely.is_valid(shapes)
        counts.repaired |= set(ids[invalid].tolist())
        # part by part: of parts that overlap, mended as a whole, what they share would be left out
        wrong = np.flatnonzero(invalid[index])
        wrong = wrong[~shapely.is_valid(parts[wrong])]
        if len(wrong):
            mended, of = _polygonal(shapely.make_valid(parts[wrong]))
            kept = np.setdiff1d(np.arange(len(parts)), wrong)
            parts = np.concatenate([parts[kept], mended])
            index = np.concatenate([index[kept], index[wrong[of]]])
        return parts, index

    def _refuse(self, ids: np.ndarray, shapes: np.ndarray) -> None:
        kinds = Counter(shape.geom_type for shape in shapes)
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        what = "a feature that is no polygon" if len(ids) == 1 else f"{len(ids)} features that are no polygons"
        raise UserError(
            f"{self._layer.file} has {what} ({told}; such as number {ids[0]}): remove them, or export polygons only"
        )

    def _notes(self, counts: Counts) -> list[str]:
        """What is to be said of the polygons on the tile."""
        file, label = self._layer.file.name, self._label
        if not counts.drawn:
            away = f"; {file} covers {words}" if (words := self._extent()) else ""
            return [f"{NOTHING_DRAWN} ({self._place.grid.extent}){away}"]
        on_tile = np.isin(self._ids, list(counts.drawn))
        nulls = IGNORED if None not in map(as_text, label.values) else self._null_class()
        found = (
            (int((self._missing & on_tile).sum()), f"without a value of {label.attribute}, {_taken(nulls)}"),
            (len(counts.repaired), "with an invalid outline, which was repaired"),
            (len(counts.empty), "without an outline, left out"),
            (len(counts.beyond), "with an outline that cannot be brought to the tile's system, left out"),
            (int((self._unordered & on_tile).sum()), f"without a value of {label.order}, beneath all others"),
        )
        return [f"{count} polygon{'s' if count > 1 else ''} of {file} {what}" for count, what in found if count]

    def _null_class(self) -> str:
        return next(name for key, name in self._label.values.items() if as_text(key) is None)

    def _extent(self) -> str:
        bounds = self._layer.extent()
        if bounds is None:
            return ""
        left, bottom, right, top = bounds
        system = f" in {name_of(self._layer.crs)}" if self._layer.crs else ""
        return f"{left:.10g} to {right:.10g}, {bottom:.10g} to {top:.10g}{system}"


def _taken(name: str) -> str:
    return IGNORED if name == IGNORED else f"taken for {name}"


_NULL = 256
"""Beside class indices: of a feature without a value."""


def classed(column: np.ndarray, label: VectorLabel, classes: Sequence[str]) -> tuple[Counter[str | None], np.ndarray]:
    """How often each value occurs, and by feature its class index, `_NULL` for no value.

    Args:
        column: (N,) values of the attribute.
        label: the settings.
        classes: names of the classes.
    """
    table = class_table(label, classes) | {None: _NULL}
    known: dict[tuple[type, object], tuple[str | None, int]] = {}
    counted: Counter[tuple[type, object]] = Counter()
    indices = np.empty(len(column), np.int64)
    for number, value in enumerate(_plain(column)):
        key = (type(value), value)
        if key not in known:
            text = as_text(value)
            known[key] = text, table.get(text, IGNORE_INDEX)
        counted[key] += 1
        indices[number] = known[key][1]
    values: Counter[str | None] = Counter()
    for key, count in counted.items():
        values[known[key][0]] += count
    return values, indices


def _plain(column: np.ndarray) -> Iterable[Any]:
    """Values of Python, as they are written: 0.1 of four bytes is not that of eight."""
    if column.dtype == np.float32:
        return [float(str(value)) for value in column]
    return column if column.dtype.kind in "mM" else column.tolist()


def unknown_values(values: Counter[str | None], label: VectorLabel) -> list[tuple[str, int]]:
    """Values that the settings do not name, and how many features have each, the most frequent first."""
    known = {None, *map(as_text, label.values)}
    return sorted(((v, n) for v, n in values.items() if v not in known), key=lambda pair: (-pair[1], pair[0]))


def unknown_words(layer: VectorLayer, label: VectorLabel, unknown: Sequence[tuple[str, int]]) -> str:
    """The sentence on values that the settings do not name."""
    polygons = (f"{value_words(value)} ({count} polygon{'s' if count > 1 else ''})" for value, count in unknown)
    what = "a value" if len(unknown) == 1 else f"{len(unknown)} values"
    return (
        f"{layer.file} has {what} of {label.attribute} that label.values does not name, {shorten(polygons, 12)}: map "
        "each to a class, or to ignored"
    )


def unmet_notes(met: Iterable[str | None], label: VectorLabel, where: str) -> list[str]:
    """A remark on keys of `values` that no polygon has.

    Args:
        met: values that there are.
        label: the settings.
        where: what was looked at.
    """
    there = set(met)
    unmet = [key for key in label.values if as_text(key) not in there]
    if not unmet:
        return []
    keys = shorten((value_words(None if key is None else str(key)) for key in unmet), 12)
    there.discard(None)
    has = f", whose values are {shorten(sorted(map(value_words, there)), 12)}" if there else ""
    return [f"label.values names {keys}, which no polygon of {where} has as {label.attribute}{has}"]


def _order_keys(values: np.ndarray, layer: VectorLayer, label: VectorLabel) -> tuple[np.ndarray, np.ndarray]:
    """Of an attribute, (N,) numbers to sort by, and which have none, bool; these come first.

    Raises:
        UserError: when it holds neither numbers nor dates.
    """
    if values.dtype.kind in "mM":
        missing = np.isnat(values)
        return np.where(missing, -np.inf, values.astype("datetime64[ms]").astype(np.float64)), missing
    keys = np.full(len(values), -np.inf)
    for number, value in enumerate(values.tolist()):
        text = as_text(value)
        if text is None:
            continue
        try:
            keys[number] = float(text) if not isinstance(value, bool) else value
        except ValueError as error:
            raise UserError(
                f"{layer.file} has {value_words(text)} as {label.order}, which label.order takes for a number or date: "
                "name an attribute of numbers, list the classes, or give file"
            ) from error
    return keys, np.isneginf(keys)


def _polygonal(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The polygons among the parts of geometries, however deep, and the number of the geometry that each is of."""
    import shapely

    parts, index = shapely.get_parts(shapes, return_index=True)
    while np.isin(shapely.get_type_id(parts), (_MULTIPOLYGON, _COLLECTION)).any():
        parts, of = shapely.get_parts(parts, return_index=True)
        index = index[of]
    chosen = (shapely.get_type_id(parts) == _POLYGON) & ~shapely.is_empty(parts)
    return parts[chosen], index[chosen]


def _in_pixels(polygons: np.ndarray, ranks: np.ndarray, place: Placement) -> tuple[Outlines, np.ndarray]:
    """Polygons on the tile's grid, and the ranks of those that cannot be brought there."""
    import shapely

    rings, of = shapely.get_rings(polygons, return_index=True)
    points, at = shapely.get_coordinates(rings, return_index=True)
    pixels = place.pixels(points)
    owner = of[at]  # (points,) number of the polygon
    with np.errstate(invalid="ignore"):
        lost = np.unique(owner[~(np.abs(pixels) < _ABSURD).all(axis=1)])  # NaN compares false
    least, greatest = np.full((len(polygons), 2), np.inf), np.full((len(polygons), 2), -np.inf)
    np.minimum.at(least, owner, pixels)
    np.maximum.at(greatest, owner, pixels)
    size = (place.grid.width, place.grid.height)
    kept = (greatest[:, 0] > 0) & (least[:, 0] < size[0])
    kept[lost] = False
    split = np.split(pixels, np.flatnonzero(np.diff(at)) + 1) if len(pixels) else []
    held: list[list[np.ndarray]] = [[] for _ in range(len(polygons))]
    for number, ring in zip(of.tolist(), split, strict=True):
        held[number].append(ring)
    far = (least < -_FAR).any(axis=1) | (greatest > np.add(size, _FAR)).any(axis=1)
    for number in np.flatnonzero(kept & far).tolist():
        held[number] = _cut(held[number], *size)
    chosen = np.flatnonzero(kept)
    rings_kept = [held[number] for number in chosen.tolist()]
    return Outlines(rings_kept, ranks[chosen], least[chosen, 1], greatest[chosen, 1]), ranks[lost]


def _cut(rings: list[np.ndarray], width: int, height: int) -> list[np.ndarray]:
    """What an outline has near the tile: GDAL follows edges that it touches pixels along to their ends.

    Several parts are rings of one outline still, in which a point is inside that an odd number of rings is around.
    """
    import shapely

    whole = shapely.make_valid(shapely.Polygon(rings[0], rings[1:]))
    near = shapely.intersection(whole, shapely.box(-_FAR, -_FAR, width + _FAR, height + _FAR))
    parts, _ = _polygonal(np.array([near], object))
    return [np.rint(shapely.get_coordinates(ring) * _STEP) / _STEP for ring in shapely.get_rings(parts)]


def _burn(outlines: Outlines, chosen: np.ndarray, out: np.ndarray, transform: "Affine", touched: bool) -> None:
    """Draw polygons, the later ones over the earlier ones."""
    from rasterio.features import rasterize

    top, bottom = transform.f, transform.f + len(out)
    shapes = [
        ({"type": "Polygon", "coordinates": [_shortened(r, top, bottom) for r in outlines.rings[number]]}, rank)
        for number, rank in zip(chosen.tolist(), outlines.ranks[chosen].tolist(), strict=True)
    ]
    rasterize(shapes, out=out, transform=transform, all_touched=touched)


def _shortened(ring: np.ndarray, top: float, bottom: float) -> list[list[float]]:
    """A ring with the same pixels between two rows: of vertices that follow one another beyond these the ends are left.

    GDAL looks at all edges for each row.
    """
    if len(ring) < MANY:
        return ring.tolist()
    side = (ring[:, 1] > bottom + 2).astype(np.int8) - (ring[:, 1] < top - 2)
    kept = np.ones(len(ring), bool)
    # what takes the place of a vertex so left out lies wholly beyond the rows, too
    kept[1:-1] = (side[1:-1] == 0) | (side[1:-1] != side[:-2]) | (side[1:-1] != side[2:])
    return ring[kept].tolist()
