"""Small things: cars, containers, heaps."""

import numpy as np

from mobanet.synthetic.canvas import Canvas, Label, box, cover
from mobanet.synthetic.materials import Surface


def draw_car(
    canvas: Canvas, x: float, y: float, angle: float, surface: Surface, size: tuple[float, float, float]
) -> None:
    """Put a car of length, width and height in metres on the canvas: rounded body, dark windscreens, lower ends."""
    length, width, height = size
    window = canvas.around(x, y, length / 2 + 0.5)
    if window is None:
        return
    gsd = canvas.gsd
    a, b = window.local(x, y, angle)
    corner = 0.55
    qa = np.maximum(np.abs(a) - length / 2 + corner, 0)
    qb = np.maximum(np.abs(b) - width / 2 + corner, 0)
    # distance from a smaller rectangle, which rounds the corners
    body = np.hypot(qa, qb) <= corner
    # not on houses, walls and containers
    body &= window.view(canvas.height) < 1
    # a little behind the car's middle, and sloping over 0.6 m at either end
    cabin = np.clip((length * 0.36 - np.abs(a + 0.3)) / 0.6, 0, 1)
    top = height * (0.62 + 0.38 * cabin)
    window.paint(body, Label.CAR, surface, top.astype(np.float32))
    glass = (0.13, 0.15, 0.17, 0.12)
    for at, pane in ((length * 0.16, 0.7), (-length * 0.33, 0.5)):
        window.tint(0.85 * body * cover(a - at, b, pane, width * 0.8, gsd), glass)


def draw_container(
    canvas: Canvas, x: float, y: float, angle: float, size: tuple[float, float, float], surface: Surface
) -> None:
    """Put a box of length, width and height in metres on the canvas, with ribs across its lid."""
    window = canvas.around(x, y, float(np.hypot(*size[:2])) / 2 + 0.5)
    if window is None:
        return
    a, b = window.local(x, y, angle)
    body = box(a, b, *size[:2]) & (window.view(canvas.height) < size[2])
    window.paint(body, Label.CLUTTER, surface, size[2])
    window.tint(0.25 * (body & (a % 1.2 < 0.4)), surface.shaded(0.7).colour)


def draw_heap(canvas: Canvas, x: float, y: float, radius: float, height: float, surface: Surface) -> None:
    """Put a ragged heap of rubble or earth on the canvas."""
    window = canvas.around(x, y, radius * 1.4)
    if window is None:
        return
    a, b = window.local(x, y, 0.0)
    distance = np.hypot(a, b) / radius + 0.07 * window.view(canvas.grain[1])
    mask = (distance < 1) & (window.view(canvas.height) < 1.8)
    top = np.maximum(height * (1 - distance) * (1.3 + 0.25 * window.view(canvas.grain[1])), 0.05)
    window.paint(mask, Label.CLUTTER, surface, top.astype(np.float32))
