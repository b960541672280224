"""Polygons of a vector file as class indices on a tile's grid.

Vertices are brought to pixels of the tile and rounded to a 65536th of one, so that moving them by whole rows is exact
and a strip has the same pixels wherever it begins. A pixel is a polygon's where its centre lies inside (`all_touched`:
where they meet). Polygons are drawn as their places in the order, from the bottom to the top, so that what lies on top
does not depend on strips, either. Geometries are read for so many rows that a bounded number is held at once.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mobanet.datasets.base import NOTHING_DRAWN, DrawnLabel
from mobanet.datasets.vector_files import Features, VectorLayer
from mobanet.datasets.vector_outlines import Outlines, burn, in_pixels, is_finite, polygonal
from mobanet.datasets.vector_place import PixelPlacement
from mobanet.datasets.vector_settings import FILE_ORDER, IGNORED, VectorLabel, as_text, as_word, class_table, index_of
from mobanet.datasets.vector_values import NULL, classed, order_keys, unknown_values, unknown_words
from mobanet.errors import UserError
from mobanet.rasters.grid import Grid
from mobanet.rasters.reference_systems import name_of

MOST_AT_ONCE = 50_000
"""Polygons whose outlines are held at once, about."""


@dataclass
class FeatureIds:
    """Ids of the features that are said something about."""

    drawn: set[int] = field(default_factory=set)
    repaired: set[int] = field(default_factory=set)
    empty: set[int] = field(default_factory=set)
    beyond: set[int] = field(default_factory=set)


def draw_polygons(label: VectorLabel, classes: Sequence[str], layer: VectorLayer, grid: Grid) -> DrawnLabel:
    """The label of a tile on its grid, which is drawn strip by strip.

    Raises:
        UserError: when the tile or the file cannot be placed, or an attribute or a value is not what it should be.
    """
    layer.check_columns(label.columns)
    place = PixelPlacement(layer, grid)
    features = layer.features(label.columns, place.bounds(0, grid.height))
    values, indices = classed(features.columns[label.attribute], label, classes)
    if unknown := unknown_values(values, label):
        raise UserError(unknown_words(layer, label, unknown))
    drawing = _Drawing(label, classes, layer, place, features, indices)
    drawn = DrawnLabel(lambda step: drawing.strips(step, drawn), len(features.ids))
    return drawn


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
        place: PixelPlacement,
        features: Features,
        indices: np.ndarray,
    ) -> None:
        self._label, self._layer, self._place, self._ids = label, layer, place, features.ids
        # apart from those that are ignored, since they are told of in numbers
        self._missing = indices == NULL
        indices = np.where(self._missing, class_table(label, classes)[None], indices)
        self._unordered = np.zeros(len(indices), bool)
        if isinstance(label.order, list):
            # what is ignored may stand in the order, too, and takes ground away from what lies beneath it
            at = {index_of(name, classes): number for number, name in enumerate(label.order)}
            keys = np.array([at.get(index, -1) for index in indices.tolist()], np.float64)
        elif label.order == FILE_ORDER:
            keys = np.zeros(len(indices))
        else:
            keys, self._unordered = order_keys(features.columns[label.order], layer, label)
        # features come in the file's order, which a stable sort keeps
        order = np.argsort(keys, kind="stable")
        self._ranks = np.empty(len(keys), np.uint32)
        # from 1 on: 0 is ground without a polygon, of which the table below has the background
        self._ranks[order] = np.arange(1, len(keys) + 1)
        self._table = np.full(len(keys) + 1, index_of(label.background, classes), np.uint8)
        self._table[self._ranks] = indices
        self._touching = np.zeros(len(keys) + 1, bool)
        touched = label.all_touched
        chosen = [index_of(name, classes) for name in touched] if isinstance(touched, list) else []
        self._touching[1:] = np.isin(self._table[1:], chosen) if isinstance(touched, list) else touched

    def strips(self, step: int, drawn: DrawnLabel) -> Iterator[np.ndarray]:
        """Class indices from top to bottom, `step` rows at a time, (h, W) uint8; what is said of them at the end."""
        grid, counts = self._place.grid, FeatureIds()
        parts = -(-len(self._ids) // MOST_AT_ONCE) or 1
        # whole strips, so that a part ends where one does
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
        # of 32 bits: a file may have more polygons than 16 count
        drawn = np.zeros((bottom - top, self._place.grid.width), np.uint32)
        touching = self._touching[outlines.ranks]
        for touched in (False, True):
            chosen = np.flatnonzero(inside & (touching == touched))
            if len(chosen):
                # each by itself: which of both kinds lies on top is told by the greater rank
                layer = drawn if not drawn.any() else np.zeros_like(drawn)
                burn(outlines, chosen, layer, Affine.translation(0, top), touched)
                np.maximum(drawn, layer, out=drawn)
        return drawn

    def _outlines(self, top: int, bottom: int, counts: FeatureIds) -> Outlines:
        """The polygons that may lie on rows of the tile."""
        import shapely

        if not len(self._ids):
            return in_pixels(np.empty(0, object), np.empty(0, np.uint32), self._place)[0]
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
        outlines, lost = in_pixels(polygons[order], ranks[order], self._place)
        by_rank = np.empty(len(self._ids) + 1, np.int64)
        by_rank[self._ranks] = self._ids
        counts.beyond |= set(by_rank[lost].tolist())
        # those read around the rows may lie wholly above or below the tile
        on_tile = (outlines.bottom > 0) & (outlines.top < self._place.grid.height)
        counts.drawn |= set(by_rank[np.unique(outlines.ranks[on_tile])].tolist())
        return outlines

    def _polygons(self, ids: np.ndarray, shapes: np.ndarray, counts: FeatureIds) -> tuple[np.ndarray, np.ndarray]:
        """Valid polygons, (N,), and the number of the feature that each is of; one without a polygon is refused."""
        import shapely

        nothing = ~is_finite(shapes) | shapely.is_empty(shapes)
        counts.empty |= set(ids[nothing].tolist())
        shapes = np.where(nothing, np.array(None), shapes)
        parts, index = polygonal(shapes)
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
            mended, of = polygonal(shapely.make_valid(parts[wrong]))
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

    def _notes(self, counts: FeatureIds) -> list[str]:
        """What is to be said of the polygons on the tile."""
        file, label = self._layer.file.name, self._label
        if not counts.drawn:
            away = f"; {file} covers {words}" if (words := self._extent()) else ""
            return [f"{NOTHING_DRAWN} ({self._place.grid.extent}){away}"]
        on_tile = np.isin(self._ids, list(counts.drawn))
        nulls = next((name for key, name in label.values.items() if as_text(key) is None), IGNORED)
        taken = IGNORED if nulls == IGNORED else f"taken for {nulls}"
        found = (
            (int((self._missing & on_tile).sum()), f"without a value of {label.attribute}, {taken}"),
            (len(counts.repaired), "with an invalid outline, which was repaired"),
            (len(counts.empty), "without an outline, left out"),
            (len(counts.beyond), "with an outline that cannot be brought to the tile's system, left out"),
            (int((self._unordered & on_tile).sum()), f"without a value of {label.order}, beneath all others"),
        )
        return [f"{count} polygon{'s' if count > 1 else ''} of {file} {what}" for count, what in found if count]

    def _extent(self) -> str:
        bounds = self._layer.extent()
        if bounds is None:
            return ""
        left, bottom, right, top = bounds
        system = f" in {as_word(name_of(self._layer.crs))}" if self._layer.crs else ""
        return f"{left:.10g} to {right:.10g}, {bottom:.10g} to {top:.10g}{system}"
