"""What things look like in red, green, blue and near infrared.

Two rules make the optical bands insufficient. Flat roofs, many pitched roofs and the ground draw their surface from the
same `paving`, texture included, so that only height tells a roof from a yard. Artificial turf and painted metal are
green but dark in the infrared, dry grass is brown but bright in it, so that infrared is worth having.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Material(IntEnum):
    """Kinds of surface, by texture."""

    ASPHALT = 0
    CONCRETE = 1
    GRAVEL = 2
    BRICK = 3
    SOIL = 4
    LAWN = 5
    MEADOW = 6
    CROWN = 7
    TURF = 8
    WATER = 9
    RUBBLE = 10
    PAINT = 11


@dataclass(frozen=True)
class Surface:
    """A material in one object's own colour: sunlit red, green, blue, infrared in 0…1."""

    material: Material
    colour: tuple[float, ...]

    def shaded(self, factor: float) -> "Surface":
        """The same material, lighter or darker."""
        return Surface(self.material, tuple(float(value * factor) for value in self.colour))


def texture_table() -> np.ndarray:
    """How strongly grain changes each band, (materials, 3 wavelengths fine to coarse, 4 bands) float32."""
    table = np.zeros((len(Material), 3, 4), np.float32)
    even = {  # relative contrast at pixel, metre and ten-metre scale
        Material.ASPHALT: (0.035, 0.03, 0.06),
        Material.CONCRETE: (0.03, 0.035, 0.05),
        Material.GRAVEL: (0.05, 0.04, 0.05),
        Material.BRICK: (0.045, 0.04, 0.05),
        Material.SOIL: (0.05, 0.06, 0.07),
        Material.LAWN: (0.04, 0.05, 0.03),
        Material.MEADOW: (0.06, 0.09, 0.04),
        Material.CROWN: (0.09, 0.12, 0.03),
        Material.TURF: (0.03, 0.03, 0.03),
        Material.WATER: (0.02, 0.03, 0.04),
        Material.RUBBLE: (0.12, 0.16, 0.08),
        Material.PAINT: (0.01, 0.0, 0.0),
    }
    for material, contrasts in even.items():
        table[material] = np.asarray(contrasts, np.float32)[:, None]
    # grass dries in patches: more red, less infrared
    table[Material.LAWN, 2] += (0.14, 0.05, 0.07, -0.05)
    table[Material.MEADOW, 2] += (0.24, 0.09, 0.12, -0.08)
    table[Material.CROWN, 1] += (0.02, 0.0, 0.0, 0.03)
    return table


def _varied(
    rng: np.random.Generator, material: Material, colour: Sequence[float], common: float, each: float
) -> Surface:
    """A surface of about a colour, which differs from object to object: lighter or darker as a whole, and by band."""
    # factors and not sums, so that dark surfaces and bright ones vary alike
    factor = np.exp(rng.normal(0, common)) * np.exp(rng.normal(0, each, 4))
    return Surface(material, tuple(np.clip(np.asarray(colour) * factor, 0.02, 0.98).tolist()))


def _about(
    material: Material, colour: Sequence[float], common: float, each: float
) -> Callable[[np.random.Generator], Surface]:
    return lambda rng: _varied(rng, material, colour, common, each)


turf = _about(Material.TURF, (0.31, 0.43, 0.27, 0.27), 0.1, 0.04)
"""Artificial grass or green paint: looks like a lawn, but is dark in the infrared."""

meadow = _about(Material.MEADOW, (0.4, 0.45, 0.3, 0.7), 0.08, 0.05)

dry_grass = _about(Material.SOIL, (0.53, 0.46, 0.36, 0.68), 0.09, 0.03)
"""Grass as brown as `soil` and of its texture, yet brighter in the infrared."""

soil = _about(Material.SOIL, (0.53, 0.46, 0.36, 0.46), 0.09, 0.03)

water = _about(Material.WATER, (0.2, 0.26, 0.25, 0.09), 0.15, 0.06)
"""A pond: dark, darkest in the infrared."""

rubble = _about(Material.RUBBLE, (0.55, 0.5, 0.45, 0.47), 0.12, 0.025)
"""Broken stone, boards, waste."""


def asphalt(rng: np.random.Generator) -> Surface:
    """Bitumen from fresh to worn, on roads and on roofs alike."""
    grey = rng.uniform(0.3, 0.5)
    return _varied(rng, Material.ASPHALT, (grey * 1.01, grey, grey * 0.97, grey * 0.92), 0.02, 0.025)


def paving(rng: np.random.Generator) -> Surface:
    """Any mineral surface one walks on, or roofs a building with."""
    kind = rng.choice(5, p=(0.36, 0.22, 0.16, 0.18, 0.08))
    if kind == 0:
        return asphalt(rng)
    if kind == 1:
        grey = rng.uniform(0.46, 0.7)
        return _varied(rng, Material.CONCRETE, (grey, grey * 0.98, grey * 0.93, grey * 0.9), 0.04, 0.02)
    if kind == 2:
        return _varied(rng, Material.GRAVEL, (0.56, 0.53, 0.48, 0.5), 0.1, 0.02)
    if kind == 3:
        return _varied(rng, Material.BRICK, (0.52, 0.4, 0.34, 0.46), 0.12, 0.05)
    return _varied(rng, Material.SOIL, (0.53, 0.46, 0.37, 0.47), 0.09, 0.03)


def roof_tiles(rng: np.random.Generator) -> Surface:
    """Covering of a pitched roof: red-brown, dark or grey."""
    kind = rng.choice(4, p=(0.4, 0.2, 0.3, 0.1))
    if kind == 0:
        return _varied(rng, Material.BRICK, (0.56, 0.38, 0.3, 0.48), 0.12, 0.05)
    if kind == 1:
        return _varied(rng, Material.ASPHALT, (0.27, 0.265, 0.27, 0.24), 0.12, 0.03)
    return paving(rng) if kind == 2 else _varied(rng, Material.BRICK, (0.42, 0.33, 0.28, 0.36), 0.12, 0.04)


def flat_roof(rng: np.random.Generator) -> Surface:
    """Covering of a flat roof: mostly paving, some planted with sedum, some painted green."""
    kind = rng.choice(4, p=(0.76, 0.11, 0.08, 0.05))
    if kind == 0:
        return paving(rng)
    if kind == 1:
        return meadow(rng) if rng.random() < 0.5 else lawn(rng)
    return turf(rng) if kind == 2 else _varied(rng, Material.CONCRETE, (0.72, 0.72, 0.71, 0.62), 0.08, 0.02)


def lawn(rng: np.random.Generator) -> Surface:
    """Mown grass, watered or not."""
    dry = rng.beta(1.5, 3.5)
    fresh, faded = np.array((0.33, 0.45, 0.27, 0.76)), np.array((0.5, 0.49, 0.35, 0.7))
    return _varied(rng, Material.LAWN, tuple(fresh + dry * (faded - fresh)), 0.06, 0.03)


def crown(rng: np.random.Generator) -> Surface:
    """A tree's leaves: green, some yellowish, a few copper."""
    kind = rng.choice(4, p=(0.66, 0.2, 0.06, 0.08))
    base = ((0.25, 0.36, 0.2, 0.68), (0.35, 0.41, 0.22, 0.74), (0.36, 0.27, 0.22, 0.62), (0.2, 0.29, 0.2, 0.52))[kind]
    return _varied(rng, Material.CROWN, base, 0.1, 0.05)


def car_paint(rng: np.random.Generator) -> Surface:
    """A car's colour: mostly white, silver, grey or black."""
    shades = [(0.85, 0.85, 0.86), (0.62, 0.63, 0.65), (0.38, 0.39, 0.41), (0.14, 0.14, 0.16), (0.6, 0.15, 0.13)]
    shades += [(0.17, 0.26, 0.5), (0.18, 0.36, 0.28), (0.75, 0.65, 0.2)]
    red, green, blue = shades[rng.choice(8, p=(0.22, 0.2, 0.16, 0.18, 0.09, 0.09, 0.03, 0.03))]
    infrared = 0.8 * max(red, green, blue) * rng.uniform(0.7, 1.1)
    return _varied(rng, Material.PAINT, (red, green, blue, infrared), 0.06, 0.02)


def container_paint(rng: np.random.Generator) -> Surface:
    """A container's colour: strong blue, red, green, orange or grey."""
    shades = ((0.2, 0.33, 0.55), (0.58, 0.22, 0.17), (0.24, 0.42, 0.3), (0.72, 0.46, 0.2), (0.55, 0.56, 0.57))
    red, green, blue = shades[rng.integers(5)]
    return _varied(rng, Material.PAINT, (red, green, blue, 0.7 * max(red, green, blue)), 0.08, 0.03)
