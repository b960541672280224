"""Houses: footprints, roof shapes, and what stands on roofs."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mobanet.synthetic.canvas import Canvas, CanvasWindow, Label, box, cover
from mobanet.synthetic.materials import Material, Surface

SOLAR = (0.12, 0.14, 0.22, 0.1)

Roof = Literal["flat", "gable", "hip", "shed"]


@dataclass(frozen=True)
class Building:
    """One house about the middle of its main wing, in metres and radians.

    Attributes:
        eaves: from the ground to the eaves, or to the flat roof.
        surface: covering of the roof.
        rise: from the eaves to the ridge.
        wing: length and width of a wing at right angles from one end (an L-shaped house), or None.
    """

    x: float
    y: float
    angle: float
    length: float
    width: float
    eaves: float
    roof: Roof
    surface: Surface
    rise: float
    wing: tuple[float, float] | None


def _roof(house: Building, a: np.ndarray, b: np.ndarray, length: float, width: float) -> np.ndarray:
    """Metres above ground over the rectangle about the local origin, (h, w); meaningless outside it."""
    if house.roof == "flat":
        # a low wall runs around flat roofs
        edge = np.minimum(length / 2 - np.abs(a), width / 2 - np.abs(b))
        return house.eaves + np.float32(0.5) * (edge < 0.4)
    if house.roof == "shed":
        return house.eaves + house.rise * (b / width + 0.5)
    slope = 1 - 2 * np.abs(b) / width
    if house.roof == "hip":
        slope = np.minimum(slope, (length / 2 - np.abs(a)) / (width / 2))
    return house.eaves + house.rise * slope


def draw_building(canvas: Canvas, house: Building, rng: np.random.Generator) -> None:
    """Put a house on the canvas; its eaves are level whatever the ground does."""
    wing_length, wing_width = house.wing or (0.0, 0.0)
    window = canvas.around(house.x, house.y, 0.5 * np.hypot(house.length, house.width) + wing_length + 1)
    if window is None:
        return
    # metres along the ridge and across it
    a, b = window.local(house.x, house.y, house.angle)
    footprint = box(a, b, house.length, house.width)
    height = _roof(house, a, b, house.length, house.width)
    if house.wing:
        # the wing starts at the main ridge, so that the roofs meet
        wa, wb = b - wing_length / 2, a - (house.length - wing_width) / 2
        inside = box(wa, wb, wing_length, wing_width)
        top = _roof(house, wa, wb, wing_length, wing_width)
        # where both wings are, the higher roof is on top
        height = np.where(inside & (~footprint | (top > height)), top, height)
        footprint |= inside
    if not footprint.any():
        return
    ground = window.view(canvas.terrain)
    # where the ground rises above level eaves, a house still stands out
    height = np.maximum(height + (np.median(ground[footprint]) - ground), 2.0)
    window.paint(footprint, Label.BUILDING, house.surface, height)
    if house.roof == "flat":
        _furnish_flat(window, house, a, b, footprint, rng)
    else:
        _furnish_pitched(window, house, a, b, footprint, rng)


def _furnish_flat(
    window: CanvasWindow, house: Building, a: np.ndarray, b: np.ndarray, footprint: np.ndarray, rng: np.random.Generator
) -> None:
    """Vents, skylights and stair heads, some the size of cars; seams between strips of bitumen."""
    canvas, gsd = window.canvas, window.canvas.gsd
    if house.surface.material is Material.ASPHALT and rng.random() < 0.5:
        spacing = rng.uniform(3, 6)
        # metres to the nearest of lines that lie so far apart
        seam = np.abs((b + spacing / 2) % spacing - spacing / 2)
        window.tint(footprint * np.clip((0.15 - seam) / gsd + 0.3, 0, 0.35), (0.26, 0.26, 0.26, 0.24))
    for _ in range(rng.poisson(house.length * house.width / 70)):
        at_a, at_b = rng.uniform(-0.42, 0.42) * house.length, rng.uniform(-0.38, 0.38) * house.width
        size = rng.uniform(0.7, 2.2), rng.uniform(0.7, 4.5)
        rise, grey = rng.uniform(0.2, 1.8), rng.choice((0.2, 0.45, 0.65, 0.85))
        mask = box(a - at_a, b - at_b, *size) & footprint
        window.view(canvas.height)[mask] += np.float32(rise)
        window.tint(footprint * cover(a - at_a, b - at_b, *size, gsd), (grey, grey, grey * 1.02, grey * 0.85))
    if rng.random() < 0.12:
        pitch = 2.6
        rows = np.abs((b + pitch / 2) % pitch - pitch / 2) < 0.75
        field = rows & box(a, b, house.length * 0.7, house.width * 0.7) & footprint
        window.tint(field.astype(np.float32), SOLAR)


def _furnish_pitched(
    window: CanvasWindow, house: Building, a: np.ndarray, b: np.ndarray, footprint: np.ndarray, rng: np.random.Generator
) -> None:
    """Ridge, chimneys, dormers, roof windows, solar panels."""
    canvas, gsd = window.canvas, window.canvas.gsd
    if house.roof != "shed":
        # a hipped roof falls to all four sides, which takes half of its width from the ridge at either end
        ridge = house.length - (house.width if house.roof == "hip" else 0)
        light = tuple(min(1.0, value * 1.25) for value in house.surface.colour)
        window.tint(0.6 * footprint * cover(a, b, max(ridge, 0.5), 0.35, gsd), light)
    for _ in range(rng.integers(0, 3)):
        at_a, at_b = rng.uniform(-0.4, 0.4) * house.length, rng.uniform(-0.15, 0.15) * house.width
        mask = box(a - at_a, b - at_b, 0.9, 0.7) & footprint
        window.view(canvas.height)[mask] += 0.9
        window.tint(footprint * cover(a - at_a, b - at_b, 0.9, 0.7, gsd), (0.4, 0.3, 0.27, 0.33))
    side = rng.choice((-1, 1))
    if rng.random() < 0.35:
        for at in np.arange(-0.35, 0.36, 4.5 / max(house.length, 5)) * house.length:
            mask = box(a - at, b - side * house.width * 0.28, 1.6, 2.4) & footprint
            window.view(canvas.height)[mask] += 0.8
            window.tint(0.5 * mask, house.surface.shaded(rng.uniform(0.75, 1.2)).colour)
    elif rng.random() < 0.22:
        field = footprint & box(
            a, b - side * house.width * 0.27, house.length * rng.uniform(0.3, 0.75), house.width * 0.3
        )
        window.tint(field.astype(np.float32), SOLAR)
