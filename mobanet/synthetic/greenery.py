"""Trees and hedges."""

from dataclasses import dataclass

import numpy as np

from mobanet.synthetic.canvas import Canvas, Label, box
from mobanet.synthetic.materials import Surface


@dataclass(frozen=True)
class Tree:
    """One tree in metres: its stem, the mean radius of its crown, the height of its top, its leaves; cone or dome."""

    x: float
    y: float
    radius: float
    height: float
    surface: Surface
    conifer: bool


def draw_tree(canvas: Canvas, tree: Tree, rng: np.random.Generator) -> None:
    """Put a tree on the canvas: a lumpy dome with a ragged edge, wherever it is the highest thing."""
    # lobes and flattening take a crown beyond its mean radius
    window = canvas.around(tree.x, tree.y, tree.radius * 1.45)
    if window is None:
        return
    a, b = window.local(tree.x, tree.y, rng.uniform(0, 2 * np.pi))
    b = b * np.float32(rng.uniform(0.85, 1.2))
    bearing = np.arctan2(b, a)
    reach = np.full_like(a, tree.radius)
    # from 2 on: a wave of 1 would only move the crown
    for wave in range(2, 6):
        reach += np.float32(tree.radius * rng.normal(0, 0.16 / wave)) * np.cos(
            wave * bearing + np.float32(rng.uniform(0, 2 * np.pi))
        )
    ragged = 0.09 * window.view(canvas.grain[1]) + 0.04 * window.view(canvas.grain[0])
    radius = np.hypot(a, b) / reach + ragged  # 0 at the stem, 1 at the edge
    inside = radius < 1
    radius = np.clip(radius, 0, 1)
    dome = 1 - 0.75 * radius if tree.conifer else 0.5 + 0.5 * np.sqrt(1 - radius**2)
    lumps = 0.35 * window.view(canvas.grain[1]) + 0.12 * window.view(canvas.grain[0])
    height = (tree.height * dome + min(1.0, tree.height / 7) * lumps).astype(np.float32)
    inside &= height > window.view(canvas.height)
    window.paint(inside, Label.TREE, tree.surface, height)


def draw_hedge(
    canvas: Canvas, x: float, y: float, angle: float, length: float, height: float, surface: Surface
) -> None:
    """Put a hedge on the canvas; below two metres it counts as low vegetation."""
    window = canvas.around(x, y, length / 2 + 1)
    if window is None:
        return
    a, b = window.local(x, y, angle)
    width = 1.1 + 0.35 * window.view(canvas.grain[1])
    # on open ground alone: hedges end at houses and cars
    mask = box(a, b, length, 4.0) & (np.abs(b) < width / 2) & (window.view(canvas.height) < 1)
    top = (height + 0.15 * window.view(canvas.grain[1])).astype(np.float32)
    window.paint(mask, Label.TREE if height > 2 else Label.LOW_VEGETATION, surface, top)
