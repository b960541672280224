"""The planes a city is drawn on, and the small windows in which objects are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from mobanet.synthetic.materials import Surface


class Label(IntEnum):
    """The ISPRS classes, in index order."""

    IMPERVIOUS = 0
    BUILDING = 1
    LOW_VEGETATION = 2
    TREE = 3
    CAR = 4
    CLUTTER = 5


@dataclass
class Canvas:
    """Everything known of a tile while it is drawn; x runs right and y down, in metres from the upper left corner.

    Attributes:
        gsd: metres a pixel.
        terrain: (H, W) float32, ground elevation in metres.
        height: (H, W) float32, metres above the ground.
        classes: (H, W) uint8, see `Label`.
        material: (H, W) uint8, see `materials.Material`.
        colour: (H, W, 4) float32, sunlit red, green, blue, infrared in 0…1.
        grain: (H, W) float32 fields of unit variance and of fine, medium and coarse wavelength.
    """

    gsd: float
    terrain: np.ndarray
    height: np.ndarray
    classes: np.ndarray
    material: np.ndarray
    colour: np.ndarray
    grain: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height in metres."""
        rows, cols = self.classes.shape
        return cols * self.gsd, rows * self.gsd

    def window(self, x0: float, x1: float, y0: float, y1: float) -> "CanvasWindow | None":
        """The pixels of a box, or None where the box misses the tile."""
        rows, cols = self.classes.shape
        # a pixel of room on each side, since half of one counts beyond an edge (`cover`)
        top, bottom = max(0, int(y0 / self.gsd) - 1), min(rows, int(np.ceil(y1 / self.gsd)) + 1)
        left, right = max(0, int(x0 / self.gsd) - 1), min(cols, int(np.ceil(x1 / self.gsd)) + 1)
        if top >= bottom or left >= right:
            return None
        return CanvasWindow(self, slice(top, bottom), slice(left, right))

    def around(self, x: float, y: float, radius: float) -> "CanvasWindow | None":
        """The pixels of a square about a point, or None where the square misses the tile."""
        return self.window(x - radius, x + radius, y - radius, y + radius)


@dataclass(frozen=True)
class CanvasWindow:
    """A rectangle of a canvas; (h, w) below is its size in pixels."""

    canvas: Canvas
    rows: slice
    cols: slice

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Metres of the pixel centres, float32: x of shape (1, w) and y of shape (h, 1)."""
        gsd = self.canvas.gsd
        x = (np.arange(self.cols.start, self.cols.stop, dtype=np.float32) + 0.5) * gsd
        y = (np.arange(self.rows.start, self.rows.stop, dtype=np.float32) + 0.5) * gsd
        return x[None, :], y[:, None]

    def local(self, x: float, y: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Metres along and across an object that lies at (x, y) and points towards `angle` (radians), each (h, w)."""
        px, py = self.positions()
        px, py = px - np.float32(x), py - np.float32(y)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return px * cos + py * sin, py * cos - px * sin

    def view(self, plane: np.ndarray) -> np.ndarray:
        """The window's part of a plane of the canvas, writable."""
        return plane[self.rows, self.cols]

    def paint(self, mask: np.ndarray, label: Label, surface: Surface, height: np.ndarray | float = 0.0) -> None:
        """Give the pixels of `mask` (h, w) a class, a surface and a height above ground in metres."""
        canvas = self.canvas
        self.view(canvas.classes)[mask] = label
        self.view(canvas.material)[mask] = surface.material
        self.view(canvas.colour)[mask] = surface.colour
        self.view(canvas.height)[mask] = height[mask] if isinstance(height, np.ndarray) else height

    def tint(self, coverage: np.ndarray, colour: Sequence[float]) -> None:
        """Mix `colour` into the pixels by their `coverage` (h, w) in 0…1; class and height stay."""
        part = self.view(self.canvas.colour)
        part += coverage[..., None] * (np.asarray(colour, np.float32) - part)


def box(along: np.ndarray, across: np.ndarray, length: float, width: float) -> np.ndarray:
    """Mask (h, w) of the rectangle of that size about the origin of local coordinates."""
    return (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)


def cover(along: np.ndarray, across: np.ndarray, length: float, width: float, gsd: float) -> np.ndarray:
    """Share of each pixel (h, w) that the rectangle covers: thin lines stay visible at coarse resolution."""
    # a line thinner than a pixel covers no more of one than it is wide
    share = np.clip((length / 2 - np.abs(along)) / gsd + 0.5, 0, min(1.0, length / gsd))
    return share * np.clip((width / 2 - np.abs(across)) / gsd + 0.5, 0, min(1.0, width / gsd))
