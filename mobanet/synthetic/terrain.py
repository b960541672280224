"""The land under the city: smooth hills that continue from tile to tile."""

from dataclasses import dataclass

import cv2
import numpy as np

from mobanet.synthetic.noise import stream


@dataclass(frozen=True)
class Relief:
    """Which landscape, and between which elevations in metres."""

    seed: int
    low: float
    high: float


def elevation(relief: Relief, shape: tuple[int, int], gsd: float, origin: tuple[float, float]) -> np.ndarray:
    """Elevation in metres, (H, W) float32, of a raster with its upper left corner at `origin` (easting, northing)."""
    rng = stream(relief.seed, "relief")
    step = 8.0  # the shortest wave is fifteen times longer: between the knots a cubic is exact to the centimetre
    # one before the first pixel and two behind the last, as a cubic takes two on either side
    knots = tuple(int(np.ceil(side * gsd / step)) + 3 for side in shape)
    # on the ground and not in the tile, so that waves go on from tile to tile
    east = origin[0] + (np.arange(knots[1]) - 1) * step
    north = origin[1] - (np.arange(knots[0]) - 1) * step
    hills = np.zeros(knots)
    for _ in range(9):
        wavelength = np.exp(rng.uniform(np.log(120), np.log(1500)))
        bearing, phase = rng.uniform(0, 2 * np.pi, 2)
        travel = east[None, :] * np.cos(bearing) + north[:, None] * np.sin(bearing)
        # as high as they are long, so that all waves are alike in steepness
        hills += 0.006 * wavelength * np.sin(2 * np.pi * travel / wavelength + phase)
    span = (relief.high - relief.low) / 2
    hills = (relief.low + span + span * np.tanh(hills / span)).astype(np.float32)  # a cut would make plateaus
    x = ((np.arange(shape[1], dtype=np.float32) + 0.5) * gsd / step + 1)[None, :].repeat(shape[0], 0)
    y = ((np.arange(shape[0], dtype=np.float32) + 0.5) * gsd / step + 1)[:, None].repeat(shape[1], 1)
    return cv2.remap(hills, x, y, cv2.INTER_CUBIC)
