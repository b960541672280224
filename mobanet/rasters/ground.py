"""The ground around each pixel of an elevation raster, which its heights are taken above.

Absolute heights mean nothing to a model of roofs and trees, and one number for a whole raster (its median, say) fails
on relief: it depends on how the raster is cut, and a slope of 10 % rises further across a scene than houses do. Here a
plane is fitted to the surface within a radius of each node of a coarse lattice, and the ground at a pixel is
interpolated between nodes. Adding any plane to a raster adds it to the ground, so that heights above it stay the same
on a slope, at another datum and, further than the radius from its edge, in any cut of the raster.

The plane is that of a low quantile (Koenker and Bassett 1978): a tenth of the surface lies below it. Roofs and trees
thereby count no more than that they lie above, as in the one-sided weights by which laser scans are filtered (Kraus
and Pfeifer 1998), but without a threshold in metres, which data in feet or decimetres would defeat; and a few pits, of
which matched surfaces have some, do not pull it down.

The fit does not see pixels but blocks of them (`mobanet.rasters.blocks`), which a raster is read for once. Nodes lie at
multiples of their spacing in absolute coordinates, wherever the raster begins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobanet.rasters.blocks import BLOCK

STEP = 256
"""Pixels; a radius is a multiple of it, so that radius, nodes and blocks share one lattice."""

MOST = 64 * STEP
"""Pixels of the largest radius."""

METRES = 64.0  # radius where pixels have a known size: further than from the middle of most roofs to the next street
_ACROSS = 16  # blocks in a radius, where fine blocks are put together so that there are no more
_NODES = 2  # in a radius
_QUANTILE = 0.1  # of the surface that lies below the plane; fewer pixels than that may be pits
_LEAST = 0.05  # distance from a plane, as a share of the mean one, below which a point does not count for more
_NOTHING = 1e-6  # no difference of elevations, in any unit
_ITERATIONS = 10  # of least squares
_TOGETHER = 64  # nodes fitted at once, so that their blocks stay in a processor's cache
_RIDGE = 3e-4  # against slopes of planes through a handful of blocks, as a share of a radius squared


def radius_of(gsd: float | None) -> int:
    """The radius in pixels that suits pixels of `gsd` metres; None where that is not known, or is not one in metres.

    It is the multiple of `STEP` that is nearest to `METRES`, at least `STEP`: where pixels are so large that 64 m are a
    handful of them (a DEM of 10 m), what a model can see at a time is the better measure.
    """
    return STEP if gsd is None else min(max(STEP, round(METRES / gsd / STEP) * STEP), MOST)


@dataclass(frozen=True)
class Ground:
    """The ground of one raster.

    Attributes:
        nodes: (n, m, C) float64, its elevation at the nodes, in stored units.
        first: row and column of the first node in pixels of the raster; not inside it.
        spacing: from node to node in pixels.
    """

    nodes: np.ndarray
    first: tuple[int, int]
    spacing: int

    @classmethod
    def fitted(cls, blocks: np.ndarray, size: tuple[int, int], origin: tuple[int, int], radius: int) -> "Ground":
        """Fit it to blocks and origin of a raster, as `summarise` has them, of (rows, columns) pixels.

        The radius is in pixels, a multiple of `STEP`.
        """
        pixels = radius // _ACROSS  # of a block as the fit has it
        middles, firsts = [], []
        for start, length in zip(origin, size, strict=True):
            spacing = radius // _NODES
            # rounded down, also where coordinates are negative: node n lies at n spacings from the origin
            begin = start // spacing
            middles.append(np.arange(begin, -(-(start + length) // spacing) + 1) * (_ACROSS // _NODES))
            firsts.append(begin * spacing - start)
        coarse, corner = _coarser(blocks, origin, pixels // BLOCK)
        nodes = _fit(coarse, corner, *middles)
        return cls(nodes, (firsts[0], firsts[1]), radius // _NODES)

    def window(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """The ground at pixels of a window, (height, width, C) float64; beyond the raster it goes on as at its edge."""
        rows, down = self._between(np.arange(top, top + height) + 0.5, 0)
        columns, across = self._between(np.arange(left, left + width) + 0.5, 1)
        first, last = int(columns[0]), int(columns[-1])
        # the last span has a node behind it, too
        nodes = self.nodes[:, first : last + 2]
        lines = nodes[rows] * (1 - down)[:, None, None] + nodes[rows + 1] * down[:, None, None]
        steps = np.diff(lines, axis=1)
        ground = np.empty((height, width, nodes.shape[2]))
        # few spans, each many columns wide: faster than to look the nodes of every pixel up
        for number in range(first, last + 1):
            begin, end = np.searchsorted(columns, (number, number + 1))
            part, node = ground[:, begin:end], number - first
            np.multiply(steps[:, node, None], across[begin:end, None], out=part)
            part += lines[:, node, None]
        return ground

    def heights(self, values: np.ndarray, valid: np.ndarray | None, top: int, left: int) -> np.ndarray:
        """Heights above the ground, (H, W, C) float32, of a window of the raster; 0 where nothing was measured.

        `valid` is (H, W), not 0 where a pixel was measured; None where all were.
        """
        heights = np.empty(values.shape, np.float32)
        np.subtract(values, self.window(top, left, *values.shape[:2]), out=heights, casting="same_kind")  # in float64
        if valid is not None:
            heights[valid == 0] = 0
        return heights

    def to_plain(self) -> dict[str, Any]:
        """Lists and numbers, which `from_plain` makes the same ground of."""
        return {"nodes": self.nodes.tolist(), "first": list(self.first), "spacing": self.spacing}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Ground":
        """The inverse of `to_plain`.

        Raises:
            KeyError, TypeError, ValueError: where that is none.
        """
        nodes, (row, column) = np.array(plain["nodes"], np.float64), map(int, plain["first"])
        if nodes.ndim != 3 or min(nodes.shape[:2]) < 2 or not np.isfinite(nodes).all() or int(plain["spacing"]) < 1:
            raise ValueError(f"nodes of {nodes.shape}")
        return cls(nodes, (row, column), int(plain["spacing"]))

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The ground at single places, (n, C) float64.

        Rows and columns, (n,), are in pixels of the raster from its upper left corner; the middle of the first pixel is
        0.5.
        """
        row, down = self._between(rows, 0)
        column, across = self._between(columns, 1)
        upper, lower = (
            self.nodes[line, column] * (1 - across)[:, None] + self.nodes[line, column + 1] * across[:, None]
            for line in (row, row + 1)
        )
        return upper * (1 - down)[:, None] + lower * down[:, None]

    def _between(self, places: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """The number of the node before each place, and how far behind it, in spacings, that is."""
        steps = (places - self.first[axis]) / self.spacing
        # cut off towards 0, which is downwards: no place lies before the first node
        before = np.clip(steps.astype(np.int64), 0, self.nodes.shape[axis] - 2)
        return before, np.clip(steps - before, 0.0, 1.0)


def block_heights(blocks: np.ndarray, origin: tuple[int, int], ground: Ground) -> np.ndarray:
    """Heights of the blocks that have valid pixels above the ground at their middles, (n, C) float64."""
    there = np.argwhere(blocks[:, :, 0] > 0)
    found = blocks[there[:, 0], there[:, 1]].astype(np.float64)  # (n, 3 + C)
    places = there * BLOCK - np.array([start % BLOCK for start in origin]) + found[:, 1:3]
    return found[:, 3:] - ground.at(places[:, 0], places[:, 1])


def _coarser(blocks: np.ndarray, origin: tuple[int, int], times: int) -> tuple[np.ndarray, list[int]]:
    """Blocks put together, so many by so many, and the number of the first of them in absolute coordinates.

    Returns:
        (h, w, 3 + C) float64: as the blocks themselves, but their middles as a share of a coarse block's side and their
        count as one of its pixels.
    """
    begins = [start // BLOCK for start in origin]
    corner = [begin // times for begin in begins]
    sums = blocks.astype(np.float64)
    for axis, (begin, first) in enumerate(zip(begins, corner, strict=True)):
        inside = (np.arange(blocks.shape[axis]) + begin - first * times) % times * BLOCK  # of the coarse block
        sums[:, :, 1 + axis] += inside[:, None] if axis == 0 else inside
    # means to sums, and back below: blocks at edges and holes have fewer pixels and must count for less
    sums[:, :, 1:] *= sums[:, :, :1]
    for axis, (begin, first) in enumerate(zip(begins, corner, strict=True)):
        cuts = np.maximum(np.arange(first, -(-(begin + blocks.shape[axis]) // times)) * times - begin, 0)
        sums = np.add.reduceat(sums, cuts, axis=axis)
    np.divide(sums[:, :, 1:], sums[:, :, :1], out=sums[:, :, 1:], where=sums[:, :, :1] > 0)
    side = BLOCK * times
    return sums / np.array([side**2, side, side, *[1] * (sums.shape[2] - 3)]), corner


def _fit(blocks: np.ndarray, corner: list[int], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Elevations of the ground at nodes, (n, m, C), whose rows and columns are in blocks in absolute coordinates."""
    bands = blocks.shape[2] - 3
    around, starts = [], (rows[0] - _ACROSS, columns[0] - _ACROSS)
    for axis, places in enumerate((rows, columns)):
        before = corner[axis] - starts[axis]
        around.append((before, places[-1] + _ACROSS - starts[axis] - before - blocks.shape[axis]))
    # with blocks of no pixel, which weigh nothing
    padded = np.pad(blocks, (*around, (0, 0)))
    # a view; only what some nodes at a time look at is copied
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * _ACROSS, 2 * _ACROSS), axis=(0, 1))
    offsets = np.arange(-_ACROSS, _ACROSS)
    nodes = np.zeros((len(rows), len(columns), bands))
    step = _ACROSS // _NODES
    together = max(1, _TOGETHER // len(columns))  # of a small raster all rows, which would take as many calls each
    for first in range(0, len(rows), together):
        found = windows[first * step : (first + together - 1) * step + 1 : step, ::step]
        found = found.reshape(-1, *found.shape[2:])  # (nodes, 3 + C, 2 x _ACROSS, 2 x _ACROSS)
        y = ((offsets[:, None] + found[:, 1]) / _ACROSS).reshape(len(found), -1)  # (nodes, blocks), in radii
        x = ((offsets + found[:, 2]) / _ACROSS).reshape(len(found), -1)
        share = found[:, 0].reshape(len(found), -1)
        weights = share * np.maximum(1 - y**2 - x**2, 0) ** 2  # the biweight kernel, which has no edge
        z = [found[:, 3 + band].reshape(len(found), -1) for band in range(bands)]
        counting = weights.any(axis=0)
        if not counting.all():  # a patch has a few of the thousand blocks around it
            y, x, weights, *z = (of[:, counting] for of in (y, x, weights, *z))
        for band in range(bands):
            fitted = _lower_plane(y, x, z[band], weights)
            nodes[first : first + together, :, band] = fitted.reshape(-1, len(columns))
    return nodes


def _lower_plane(y: np.ndarray, x: np.ndarray, z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Where planes under most of some points pass over the origin, (m,); 0 without points.

    The plane of a quantile: of all planes the one with the least sum of distances, of which those to points below count
    `1 - _QUANTILE` and those to points above `_QUANTILE`; by least squares that are weighted anew in turn. Of m sets of
    n points, y, x, their elevations z and their weights are (m, n).
    """
    tiny = np.finfo(np.float64).tiny
    w, whole = weights, np.maximum(weights.sum(1, keepdims=True), tiny)

    def mean(of: np.ndarray) -> np.ndarray:
        return (w * of).sum(1, keepdims=True) / total

    # weights of the inverse distance make squares of distances into distances, which a quantile minimises
    for last in [*[False] * _ITERATIONS, True]:
        total = np.maximum(w.sum(1, keepdims=True), tiny)
        middle = [mean(of) for of in (y, x, z)]
        dy, dx, dz = (of - at for of, at in zip((y, x, z), middle, strict=True))
        yy, xx, xy = mean(dy * dy) + _RIDGE, mean(dx * dx) + _RIDGE, mean(dy * dx)
        yz, xz = mean(dy * dz), mean(dx * dz)
        # of the two normal equations, by Cramer's rule: above 0, as the ridge is on their diagonal
        determinant = yy * xx - xy**2
        down, across = (yz * xx - xz * xy) / determinant, (xz * yy - yz * xy) / determinant
        if last:
            break
        above = dz - down * dy - across * dx
        distance = np.abs(above)
        least = _LEAST * (weights * distance).sum(1, keepdims=True) / whole + _NOTHING
        w = weights * np.where(above > 0, _QUANTILE, 1 - _QUANTILE) / (distance + least)
    return (middle[2] - down * middle[0] - across * middle[1])[:, 0]
