"""Polygons in pixels of a tile, and how they are drawn."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobanet.datasets.vector_place import STEP, PixelPlacement

if TYPE_CHECKING:
    from affine import Affine

_FAR, _ABSURD = 1 << 16, 1 << 35
"""Pixels beyond the tile at which outlines are cut, and beyond which there is no place on Earth."""

MANY = 1000
"""Vertices from which on a ring is shortened to the rows that are drawn."""

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


def polygonal(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The polygons among the parts of geometries, however deep, and the number of the geometry that each is of."""
    import shapely

    parts, index = shapely.get_parts(shapes, return_index=True)
    # collections may hold collections; of one, `get_parts` takes one level away
    while np.isin(shapely.get_type_id(parts), (_MULTIPOLYGON, _COLLECTION)).any():
        parts, of = shapely.get_parts(parts, return_index=True)
        index = index[of]
    chosen = (shapely.get_type_id(parts) == _POLYGON) & ~shapely.is_empty(parts)
    return parts[chosen], index[chosen]


def is_finite(shapes: np.ndarray) -> np.ndarray:
    """(n,) bool, whether there is a shape, all of whose coordinates are numbers."""
    import shapely

    points, which = shapely.get_coordinates(shapes, return_index=True)
    out = ~shapely.is_missing(shapes)
    out[which[~np.isfinite(points).all(axis=1)]] = False
    return out


def in_pixels(polygons: np.ndarray, ranks: np.ndarray, place: PixelPlacement) -> tuple[Outlines, np.ndarray]:
    """Polygons on the tile's grid, and the ranks of those that cannot be brought there."""
    import shapely

    rings, of = shapely.get_rings(polygons, return_index=True)
    points, at = shapely.get_coordinates(rings, return_index=True)
    pixels = place.pixels(points)
    owner = of[at]  # (points,) number of the polygon
    with np.errstate(invalid="ignore"):
        lost = np.unique(owner[~(np.abs(pixels) < _ABSURD).all(axis=1)])  # NaN compares false
    least, greatest = np.full((len(polygons), 2), np.inf), np.full((len(polygons), 2), -np.inf)
    # unbuffered, as a polygon has many points
    np.minimum.at(least, owner, pixels)
    np.maximum.at(greatest, owner, pixels)
    size = (place.grid.width, place.grid.height)
    # by columns alone: which ones reach the rows in hand is looked up for each strip
    kept = (greatest[:, 0] > 0) & (least[:, 0] < size[0])
    kept[lost] = False
    # coordinates come ring after ring, so that a ring ends where its number changes
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
    parts, _ = polygonal(np.array([near], object))
    # vertices where an edge was cut are new, and are rounded as all others have been
    return [np.rint(shapely.get_coordinates(ring) * STEP) / STEP for ring in shapely.get_rings(parts)]


def burn(outlines: Outlines, chosen: np.ndarray, out: np.ndarray, transform: "Affine", touched: bool) -> None:
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
    # 1 below, -1 above and 0 on the rows; two rows of room, since all_touched looks beyond a pixel's centre
    side = (ring[:, 1] > bottom + 2).astype(np.int8) - (ring[:, 1] < top - 2)
    kept = np.ones(len(ring), bool)
    # what takes the place of a vertex so left out lies wholly beyond the rows, too
    kept[1:-1] = (side[1:-1] == 0) | (side[1:-1] != side[:-2]) | (side[1:-1] != side[2:])
    return ring[kept].tolist()
