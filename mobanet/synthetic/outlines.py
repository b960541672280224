"""From a mask to polygons in WKT that fill exactly the mask again under DSTL's rule."""

import cv2
import numpy as np

from mobanet.datasets.polygons import Extent

Ring = np.ndarray
"""(N, 2) whole columns and rows of the pixels along an edge."""


def trace(mask: np.ndarray) -> list[tuple[Ring, list[Ring]]]:
    """The connected parts of a mask as an outline and holes each.

    Args:
        mask: (H, W) bool.
    """
    found = []
    # 8, as findContours joins corners, too: each part has one outline
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    for number in range(1, count):
        left, top, width, height = boxes[number, :4].tolist()
        part = (parts[top : top + height, left : left + width] == number).astype(np.uint8)
        (outline,) = _edges(part)
        filled = np.zeros_like(part)
        cv2.fillPoly(filled, [outline], 1)
        # all bits of a byte are turned by ~, and the last one alone counts
        holes = _edges(filled & ~part & 1)
        corner = np.array((left, top))
        found.append((outline + corner, [hole + corner for hole in holes]))
    return found


def to_wkt(parts: list[tuple[Ring, list[Ring]]], extent: Extent, height: int, width: int) -> str:
    """Polygons in the coordinates of an image of `height` rows and `width` columns."""
    if not parts:
        return "MULTIPOLYGON EMPTY"
    scale = extent.scale(height, width)
    polygons = (", ".join(_ring(ring / scale) for ring in (outline, *holes)) for outline, holes in parts)
    return f"MULTIPOLYGON ({', '.join(f'({polygon})' for polygon in polygons)})"


def _edges(mask: np.ndarray) -> list[Ring]:
    """Outer edges of the connected parts of a mask."""
    # corners alone, as a line between them takes the same pixels
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [contour[:, 0] for contour in contours]


def _ring(points: np.ndarray) -> str:
    # a ring of WKT is closed and has four points at least, that of a single pixel too
    closed = [*points, *[points[-1]] * (3 - len(points)), points[0]]
    # ten digits, as a pixel of a scene is some millionths of a unit wide
    return f"({', '.join(f'{x:.10f} {y:.10f}' for x, y in closed)})"
