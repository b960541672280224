"""A landscape of 10 m pixels: land cover that follows the relief, and what two satellites would see of it."""

from dataclasses import dataclass

import cv2
import numpy as np

from mobanet.synthetic.noise import smooth, stream, white

CROPLAND, FOREST, GRASSLAND, WETLAND, WATER, UNUSED, BUILT_UP = range(7)

_S2 = np.array(
    [  # reflectance times 10000 in B1 to B8, B8A, B9 to B12
        (1150, 1000, 1050, 950, 1400, 2300, 2700, 2800, 3000, 900, 20, 2300, 1400),
        (1050, 800, 780, 500, 850, 2100, 2700, 2750, 2950, 850, 15, 1500, 700),
        (1150, 980, 1050, 880, 1350, 2450, 2850, 2900, 3100, 920, 20, 2100, 1250),
        (1150, 980, 1030, 870, 1300, 2300, 2650, 2700, 2850, 880, 20, 1900, 1100),
        (1250, 1050, 900, 600, 550, 500, 500, 450, 400, 250, 10, 200, 120),
        (1400, 1400, 1550, 1750, 1950, 2150, 2300, 2350, 2500, 800, 30, 2800, 2300),
        (1450, 1420, 1530, 1700, 1880, 2100, 2250, 2350, 2450, 800, 30, 2650, 2250),
    ],
    np.float32,
)
"""Grass, wetland and crops look alike, and so do bare and built-up ground: radar and relief tell them apart."""

_S1 = np.array([(-11, -18), (-8, -13), (-12, -20), (-7, -17), (-20, -27), (-13, -22), (-3, -9)], np.float32)
"""Backscatter in dB, VV and VH."""


@dataclass(frozen=True)
class Landscape:
    """One tile.

    Attributes:
        classes: (H, W) uint8, the publisher's classes 0…6.
        s2: (13, H, W) uint16.
        s1: (2, H, W) float32, dB.
        topo: (2, H, W) float32, elevation in metres and slope in degrees.
        ruggedness: (1, H, W) float32, metres.
    """

    classes: np.ndarray
    s2: np.ndarray
    s1: np.ndarray
    topo: np.ndarray
    ruggedness: np.ndarray


def render_landscape(keys: tuple[int | str, ...], size: int, pixel: float) -> Landscape:
    """Draw a tile of `size` pixels a side, `pixel` metres each; equal arguments give equal pixels."""
    rng, shape = stream(*keys), (size, size)
    height = smooth(rng, shape, size / 2.5, 5)
    # from 0 to 1 in every tile, so that each has its waters and its heights
    height = (height - height.min()) / max(float(np.ptp(height)), 1e-6)
    # as between the plains and the mountains of the province
    elevation = (rng.uniform(20, 250) + rng.uniform(150, 900) * height**1.6).astype(np.float32)
    down, right = np.gradient(cv2.GaussianBlur(elevation, (0, 0), 1.5), pixel)
    slope = np.degrees(np.arctan(np.hypot(down, right))).astype(np.float32)
    classes = _cover(rng, height)
    speckle = np.stack([white(rng, shape) for _ in range(2)])
    # in dB, in which speckle, a factor, is added
    s1 = _S1[classes].transpose(2, 0, 1) + 1.4 * speckle + 0.04 * (slope - slope.mean())
    roughness = cv2.GaussianBlur(np.abs(elevation - cv2.blur(elevation, (3, 3))), (0, 0), 1)
    return Landscape(
        classes,
        _reflectance(rng, classes, right - down),
        s1.astype(np.float32),
        np.stack((elevation, slope)),
        roughness[None].astype(np.float32),
    )


def _cover(rng: np.random.Generator, height: np.ndarray) -> np.ndarray:
    """(H, W) uint8 classes for heights in 0…1: water below, forest above, fields and towns between."""
    shape, size = height.shape, min(height.shape)
    moist, town, wood = (smooth(rng, shape, size / part, 3) for part in (5, 6, 4))
    # what comes later below lies on top: water over towns, towns over forest
    classes = np.full(shape, CROPLAND, np.uint8)
    classes[(moist > 0.7) & (height > 0.3)] = GRASSLAND
    classes[0.6 * wood + 4 * height > 2.2] = FOREST
    low = np.quantile(height, (0.08, 0.14))
    classes[(height < low[1]) & (moist > -0.3)] = WETLAND
    classes[(town > 1.1) & (height < 0.6)] = BUILT_UP
    classes[(town < -1.35) & (height < 0.7)] = UNUSED
    classes[height < low[0]] = WATER
    return classes


def _reflectance(rng: np.random.Generator, classes: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """(13, H, W) uint16: spectra with patches, grain and sunlight on slopes."""
    light = np.clip(1 + 0.5 * tilt, 0.6, 1.4) * (1 + 0.06 * smooth(rng, classes.shape, 6, 2))
    bands = _S2[classes].transpose(2, 0, 1) * light
    grain = np.stack([white(rng, classes.shape) for _ in bands])
    return np.clip(bands * (1 + 0.03 * grain), 1, 10000).astype(np.uint16)
