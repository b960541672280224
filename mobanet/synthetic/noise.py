"""Random numbers by key, and smooth random fields."""

import zlib

import cv2
import numpy as np


def stream(*keys: int | str) -> np.random.Generator:
    """A generator that depends on `keys` alone, so that no drawing order or worker count can change a picture."""
    # crc32, since hash() of a text is another number in each process
    return np.random.default_rng([zlib.crc32(key.encode()) if isinstance(key, str) else int(key) for key in keys])


def white(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Independent standard normal values, (H, W) float32."""
    return rng.standard_normal(shape, dtype=np.float32)


def smooth(rng: np.random.Generator, shape: tuple[int, int], wavelength: float, octaves: int = 1) -> np.ndarray:
    """A smooth random field of roughly unit variance, (H, W) float32.

    Args:
        rng: where the values come from.
        shape: (H, W).
        wavelength: distance between independent values, in pixels; fields finer than a pixel are white.
        octaves: how many fields are added, each half as coarse and half as strong as the one before.
    """
    field = np.zeros(shape, np.float32)
    power = 0.0
    for octave in range(octaves):
        step, strength = wavelength / 2**octave, 0.5**octave
        if step <= 1:
            layer = white(rng, shape)
        else:
            # two spare knots on every side, so that the border is as rough as the middle
            knots = int(np.ceil(shape[0] / step)) + 4, int(np.ceil(shape[1] / step)) + 4
            zoomed = (round(knots[1] * step), round(knots[0] * step))
            layer = cv2.resize(white(rng, knots), zoomed, interpolation=cv2.INTER_CUBIC)
            margin = round(2 * step)
            # gives back what interpolation takes away, and a little more: the variance is about 1.3
            layer = layer[margin : margin + shape[0], margin : margin + shape[1]] * 1.35
        field += strength * layer
        power += strength**2
    # variances add up, so that the sum varies as a single field does
    return field / np.float32(np.sqrt(power))
