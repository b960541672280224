"""One tile of the city, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mobanet.synthetic import materials
from mobanet.synthetic.blocks import fill_block
from mobanet.synthetic.canvas import Canvas, Label
from mobanet.synthetic.city import City, pave_streets
from mobanet.synthetic.light import draw_sun, expose, match, normalise, shadow
from mobanet.synthetic.noise import smooth, stream
from mobanet.synthetic.streets import draw_grid
from mobanet.synthetic.terrain import Relief, elevation


def default_gsd(size: int) -> float:
    """Metres a pixel that suit a tile of `size` pixels a side: 0.25, coarser below 256 pixels to keep 64 m in view.

    At the benchmarks' own 5 and 9 cm a small tile would show no more than one roof.
    """
    return max(0.25, 64 / size)


@dataclass(frozen=True)
class SyntheticTile:
    """What the sensors saw of a tile, and what is there.

    Attributes:
        rgb: (3, H, W) uint8.
        ir: (H, W) uint8, near infrared.
        dsm: (H, W) float32, absolute elevation of the surface in metres.
        ndsm: (H, W) uint8, height above a triangulated ground in decimetres, at most 25.5 m.
        ndsm_own: (H, W) uint8, the same above a ground of nearest points.
        classes: (H, W) uint8, ISPRS class indices 0…5.
    """

    rgb: np.ndarray
    ir: np.ndarray
    dsm: np.ndarray
    ndsm: np.ndarray
    ndsm_own: np.ndarray
    classes: np.ndarray


def render_tile(
    seed: int | Sequence[int | str],
    size: int | tuple[int, int],
    gsd: float | None = None,
    relief: Relief | None = None,
    origin: tuple[float, float] = (0.0, 0.0),
) -> SyntheticTile:
    """Draw one tile; equal arguments give equal pixels.

    Args:
        seed: one key or several, which decide everything but the relief.
        size: pixels a side, or (rows, columns).
        gsd: metres a pixel; see `default_gsd` for None.
        relief: the land under the city, by default one around 60 m; tiles that share it adjoin without a step.
        origin: easting and northing of the upper left corner in metres, where the relief is read.
    """
    keys = tuple(seed) if isinstance(seed, Sequence) else (seed,)
    shape = (size, size) if isinstance(size, int) else size
    gsd = default_gsd(min(shape)) if gsd is None else gsd
    terrain = elevation(
        relief or Relief(seed=int(stream(*keys, "relief").integers(2**31)), low=35, high=95), shape, gsd, origin
    )
    canvas = _draw(keys, shape, gsd, terrain)
    rng = stream(*keys, "camera")
    sun = draw_sun(rng)
    hidden = shadow(canvas.terrain + canvas.height, sun, gsd)
    picture = expose(canvas, sun, hidden, rng)
    # a stream for each step: what one draws more leaves the numbers of the others as they are
    rng = stream(*keys, "matching")
    surface = match(canvas, hidden, rng)
    lastools, own = (normalise(canvas, surface, rng, blocky) for blocky in (False, True))
    return SyntheticTile(picture[:3], picture[3], surface, lastools, own, canvas.classes)


def _draw(keys: tuple[int | str, ...], shape: tuple[int, int], gsd: float, terrain: np.ndarray) -> Canvas:
    rng = stream(*keys, "ground")
    ground = materials.asphalt(rng)
    octaves = max(2, round(float(np.log2(1 / gsd))))  # down to the pixel, however fine
    canvas = Canvas(
        gsd=gsd,
        terrain=terrain,
        height=np.zeros(shape, np.float32),
        classes=np.full(shape, Label.IMPERVIOUS, np.uint8),
        material=np.full(shape, ground.material, np.uint8),
        colour=np.empty((*shape, 4), np.float32),
        grain=(smooth(rng, shape, 1), smooth(rng, shape, 1.0 / gsd, octaves), smooth(rng, shape, 9 / gsd, 2)),
    )
    canvas.colour[:] = ground.colour
    city = City(canvas, draw_grid(stream(*keys, "streets"), canvas.extent))
    for block in city.grid.blocks():
        fill_block(city, block, stream(*keys, "block", block.column, block.row))
    pave_streets(city, stream(*keys, "traffic"))
    # when all is there that crowns may hide
    city.grow_trees()
    _complete(city, stream(*keys, "complete"))
    return canvas


def _complete(city: City, rng: np.random.Generator) -> None:
    """Add a little of every class that the draw has left out, so that no tile lacks one."""
    canvas = city.canvas
    wanted = {
        Label.BUILDING: 0.03,
        Label.CLUTTER: 0.015,
        Label.CAR: 0.004,
        Label.TREE: 0.04,
        Label.LOW_VEGETATION: 0.04,
    }
    for label, share in wanted.items():
        for _ in range(60):  # at most: in a small tile all free spots may be taken
            if (canvas.classes == label).mean() >= share:
                break
            _add(city, label, rng)


def _add(city: City, label: Label, rng: np.random.Generator) -> None:
    """Try to add one thing of a class at a free spot; a spot that turns out to be taken leaves the canvas as it is."""
    canvas = city.canvas
    rows, cols = canvas.classes.shape
    row, col = int(rng.uniform(0.1, 0.9) * rows), int(rng.uniform(0.1, 0.9) * cols)
    below = canvas.classes[row, col]
    u, v = (float(value) for value in city.grid.frame.to_streets((col + 0.5) * canvas.gsd, (row + 0.5) * canvas.gsd))
    on_street = city.grid.on_street(u, v)
    if label is Label.BUILDING and below in (Label.IMPERVIOUS, Label.LOW_VEGETATION) and not on_street:
        city.build(rng, (u, v, 0.0), (rng.uniform(8, 12), rng.uniform(6, 9)), 3.5, "gable", materials.roof_tiles(rng))
    elif label is Label.CAR and below == Label.IMPERVIOUS:
        city.park(rng, u, v, rng.choice((0.0, np.pi / 2)))
    elif label is Label.CLUTTER and below in (Label.IMPERVIOUS, Label.LOW_VEGETATION) and not on_street:
        kind = rng.random()
        if kind < 0.3:
            city.container(rng, u, v, rng.choice((0.0, np.pi / 2)))
        elif kind < 0.5:
            city.heap(rng, u, v, rng.uniform(1.5, 4))
        else:
            city.dump(rng, u, v)
    elif label is Label.TREE and below in (Label.LOW_VEGETATION, Label.IMPERVIOUS):
        city.plant(rng, u, v, rng.uniform(2, 4))
        city.grow_trees()
    elif label is Label.LOW_VEGETATION and below == Label.IMPERVIOUS:
        city.verge(rng, u, v)
