"""A patchwork of any number of classes, and what any sensors would see of it: nothing in it looks like a landscape."""

from dataclasses import dataclass

import cv2
import numpy as np

from mobanet.synthetic.noise import smooth, stream, white

_STEEP = 12.0
"""Metres that the things of a class stand above the ground, at most."""


@dataclass(frozen=True)
class Patchwork:
    """One tile.

    Attributes:
        classes: (H, W) uint8.
        ground: (H, W) float32, metres.
        keys: that decided its noise.
        world: keys that decide how classes look, the same for all tiles of a data set.
    """

    classes: np.ndarray
    ground: np.ndarray
    keys: tuple[int | str, ...]
    world: tuple[int | str, ...]

    def optical(self, sensor: str, band: int) -> np.ndarray:
        """What a band of an optical sensor sees, (H, W) float32 in 0…1: a brightness for each class, and grain."""
        rng = stream(*self.keys, sensor, band)
        shade = 1 + 0.08 * smooth(rng, self.classes.shape, 12, 2)
        return np.clip(self._looks(sensor, band)[self.classes] * shade + 0.02 * self._grain(rng), 0, 1)

    def radar(self, sensor: str, band: int) -> np.ndarray:
        """What a band of a radar sees, (H, W) float32 in 0…1: as `optical`, under speckle."""
        rng = stream(*self.keys, sensor, band)
        speckle = rng.gamma(4.0, 0.25, self.classes.shape).astype(np.float32)  # of mean 1, as of four looks
        return np.clip(self._looks(sensor, band)[self.classes] * speckle, 0, 1)

    def surface(self) -> np.ndarray:
        """The ground and what stands on it, (H, W) float32 in metres."""
        heights = _STEEP * self._looks("heights", 0) ** 2
        return (
            self.ground
            + heights[self.classes].astype(np.float32)
            + np.float32(0.1) * self._grain(stream(*self.keys, "surface"))
        )

    def _looks(self, sensor: str, band: int) -> np.ndarray:
        """A number in 0.08…0.92 for each of 256 classes, far from one another for those that come first."""
        start, step = stream(*self.world, sensor, band).uniform(0, 1, 2)
        # from 0.382, the golden section, on: no step is so short that neighbours look alike
        places = (start + np.arange(256) * (0.382 + 0.2 * step)) % 1
        return (0.08 + 0.84 * places).astype(np.float32)

    def _grain(self, rng: np.random.Generator) -> np.ndarray:
        return white(rng, self.classes.shape).astype(np.float32)


def render_patchwork(
    keys: tuple[int | str, ...], world: tuple[int | str, ...], size: int, pixel: float, classes: int
) -> Patchwork:
    """Draw a tile of `size` pixels a side, `pixel` metres each, with all of so many classes; equal arguments give equal
    pixels.
    """  # noqa: D205
    rng, shape = stream(*keys), (size, size)
    # two a class at least, so that none is lost where two seeds fall on one pixel
    fields = max(2 * classes, 24)
    seeds = np.ones(shape, np.uint8)
    rows, columns = rng.integers(0, size, (2, fields))
    seeds[rows, columns] = 0
    # each pixel belongs to the nearest seed
    # by pixel, or seeds that touch would be one
    _, nearest = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    count = int(nearest.max())
    # one permutation behind another and no draws, so that every class has a field
    kinds = np.concatenate([rng.permutation(classes) for _ in range(-(-(count + 1) // classes))]).astype(np.uint8)
    slope = 0.05 * size * pixel
    ground = (120 + slope * smooth(rng, shape, size / 2, 3)).astype(np.float32)
    return Patchwork(kinds[nearest], ground, keys, world)
