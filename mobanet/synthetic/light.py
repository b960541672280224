"""From a drawn city to pixels: sun and shadow, texture, the camera, and the surface model a matcher would see."""

from dataclasses import dataclass

import cv2
import numpy as np

from mobanet.synthetic.canvas import Canvas
from mobanet.synthetic.materials import Material, texture_table
from mobanet.synthetic.noise import smooth, white

# what the sky alone gives, as a share of full daylight, in red, green, blue, infrared: shadows are blue
SKY = (0.36, 0.40, 0.47, 0.27)

_REACH = 45.0
"""Metres from which a shadow may fall: houses of 20 m throw 28 m at the lowest sun, and stand on slopes."""


@dataclass(frozen=True)
class Sun:
    """Where the sun stands, in radians: bearing from x (right) to y (down) in the picture, and above the horizon."""

    bearing: float
    elevation: float


def draw_sun(rng: np.random.Generator) -> Sun:
    """A sun somewhere in the south."""
    # y runs down the picture, so that south lies at pi / 2
    return Sun(float(rng.uniform(0.15, 0.85) * np.pi), float(np.deg2rad(rng.uniform(36, 58))))


def _ahead(plane: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """The plane seen (dx, dy) pixels further on; beyond the edge the outermost value repeats."""
    rows = np.clip(np.arange(plane.shape[0]) + dy, 0, plane.shape[0] - 1)
    cols = np.clip(np.arange(plane.shape[1]) + dx, 0, plane.shape[1] - 1)
    return plane[rows][:, cols]


def shadow(surface: np.ndarray, sun: Sun, gsd: float) -> np.ndarray:
    """How much of the sun is hidden, (H, W) float32 in 0…1.

    The ray towards the sun is searched in doubling strides: the highest obstacle within 2n steps is the higher of that
    within n steps and that within n steps of the point n steps on, so `_REACH` metres cost their logarithm.
    """
    dx, dy = np.cos(sun.bearing), np.sin(sun.bearing)
    scale = 1 / max(abs(dx), abs(dy))  # one step is one pixel along the longer axis
    fall = np.float32(scale * gsd * np.tan(sun.elevation))
    obstacle = _ahead(surface, round(dx * scale), round(dy * scale)) - fall
    steps = 1
    while steps * scale * gsd < _REACH:
        further = _ahead(obstacle, round(dx * scale * steps), round(dy * scale * steps)) - fall * steps
        np.maximum(obstacle, further, out=obstacle)
        steps *= 2
    hidden = np.clip((obstacle - surface) / np.float32(0.6), 0, 1)
    return cv2.GaussianBlur(hidden, (0, 0), max(0.4, 0.12 / gsd))


def shading(surface: np.ndarray, sun: Sun, gsd: float) -> np.ndarray:
    """Direct light on slopes relative to level ground, (H, W) float32; walls, which a map does not see, are capped."""
    # 8 is what the kernel gives for a slope of one a pixel
    down = cv2.Sobel(surface, cv2.CV_32F, 0, 1, ksize=3, scale=1 / (8 * gsd))
    right = cv2.Sobel(surface, cv2.CV_32F, 1, 0, ksize=3, scale=1 / (8 * gsd))
    slope = np.hypot(right, down)
    limit = np.minimum(1, np.float32(1.1) / np.maximum(slope, 1e-6))
    right, down, slope = right * limit, down * limit, slope * limit
    towards = right * np.float32(np.cos(sun.bearing)) + down * np.float32(np.sin(sun.bearing))
    # a surface that rises towards the sun turns its face away from it
    light = (np.tan(sun.elevation) - towards) / (np.tan(sun.elevation) * np.sqrt(1 + slope**2))
    return np.clip(light, 0.1, 1.45).astype(np.float32)


def expose(canvas: Canvas, sun: Sun, hidden: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The orthophoto, (4, H, W) uint8 red, green, blue, infrared."""
    surface = canvas.terrain + canvas.height
    direct = shading(surface, sun, canvas.gsd) * (1 - hidden)
    table = texture_table()
    haze, exposure, contrast = rng.uniform(0.01, 0.05), np.exp(rng.normal(0, 0.1)), rng.uniform(0.9, 1.1)
    blur, noise = max(0.45, 0.04 / canvas.gsd), rng.uniform(0.006, 0.013)
    picture = np.empty((4, *canvas.classes.shape), np.uint8)
    for band in range(4):
        texture = sum(table[:, scale, band][canvas.material] * canvas.grain[scale] for scale in range(3))
        light = SKY[band] + (1 - SKY[band]) * direct
        value = canvas.colour[..., band] * np.clip(1 + texture, 0.3, 1.8) * light
        # a camera's balance of colours differs a little from picture to picture
        gain = exposure * np.exp(rng.normal(0, 0.05))
        # haze scatters blue most, and infrared least
        value = gain * np.power(np.maximum(value, 0), np.float32(contrast)) + haze * (1.0, 1.2, 1.6, 0.5)[band]
        value = cv2.GaussianBlur(value.astype(np.float32), (0, 0), blur)
        value += np.float32(noise) * white(rng, value.shape)
        picture[band] = np.clip(value * 255 + 0.5, 0, 255)  # half of a step more, as bytes cut off what is behind
    return picture


def match(canvas: Canvas, hidden: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The surface model as image matching gives it, (H, W) float32 metres: soft, frayed, noisy, with blunders."""
    gsd, shape = canvas.gsd, canvas.classes.shape
    surface = canvas.terrain + canvas.height
    x, y = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
    x += smooth(rng, shape, 1.6 / gsd) * np.float32(0.22 / gsd)
    y += smooth(rng, shape, 1.6 / gsd) * np.float32(0.22 / gsd)
    surface = cv2.remap(surface, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # two planes as large as the tile, let go before the next ones are made
    del x, y
    surface = cv2.GaussianBlur(surface, (0, 0), max(0.6, 0.42 / gsd))
    # metres: matching is least sure on water, which has no texture, then in crowns and in shadow
    unsure = (
        0.07 + 0.10 * hidden + 0.16 * (canvas.material == Material.CROWN) + 0.3 * (canvas.material == Material.WATER)
    )
    surface += cv2.GaussianBlur(unsure.astype(np.float32), (0, 0), 0.5 / gsd) * smooth(rng, shape, 1.1 / gsd, 2)
    surface = surface + np.float32(0.12) * smooth(rng, shape, 14 / gsd)
    hectares = shape[0] * shape[1] * gsd**2 / 1e4
    for _ in range(rng.poisson(9 * hectares)):
        radius, offset = rng.uniform(0.5, 1.6), np.clip(rng.normal(0, 1.6), -4, 4)
        x0, y0 = rng.uniform(0, canvas.extent[0]), rng.uniform(0, canvas.extent[1])
        if window := canvas.around(x0, y0, 2.2 * radius):
            a, b = window.local(x0, y0, 0.0)
            window.view(surface)[...] += np.float32(offset) * np.exp(-(a**2 + b**2) / np.float32(radius**2))
    return surface


def normalise(canvas: Canvas, surface: np.ndarray, rng: np.random.Generator, blocky: bool) -> np.ndarray:
    """Height of a surface model above an estimated ground in decimetres, (H, W) uint8, 25.5 m and more as 255.

    `blocky`: each pixel takes the nearest ground point instead of a triangulated surface.
    """
    shape, gsd = surface.shape, canvas.gsd
    if blocky:
        knots = smooth(rng, tuple(max(2, round(side * gsd / 9)) for side in shape), 1)
        error = 0.22 * cv2.resize(knots, shape[::-1], interpolation=cv2.INTER_NEAREST)
    else:
        error = 0.15 * smooth(rng, shape, 22 / gsd)
    return np.clip((surface - canvas.terrain - error) * 10 + 0.5, 0, 255).astype(np.uint8)
