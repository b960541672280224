"""Draws a street grid and hands every block to the kind of neighbourhood that fills it (see `blocks`)."""

from dataclasses import dataclass, field

import numpy as np

from mobanet.synthetic import materials
from mobanet.synthetic.buildings import Building, Roof, draw_building
from mobanet.synthetic.canvas import Canvas, CanvasWindow, Label, cover
from mobanet.synthetic.greenery import Tree, draw_hedge, draw_tree
from mobanet.synthetic.materials import Surface
from mobanet.synthetic.streets import Plot, StreetGrid
from mobanet.synthetic.things import draw_car, draw_container, draw_heap

MARKING = (0.8, 0.8, 0.78, 0.72)


@dataclass
class City:
    """A canvas, its streets, and the trees that wait until everything below them is drawn.

    The drawing methods take street coordinates; `turn` is in radians from the u axis.
    """

    canvas: Canvas
    grid: StreetGrid
    trees: list[tuple[Tree, int]] = field(default_factory=list)

    def _window(self, plot: Plot) -> tuple[CanvasWindow, np.ndarray, np.ndarray] | None:
        """The window of a plot with the street coordinates (u, v) of its pixels, or None outside the tile."""
        window = self.canvas.window(*self.grid.frame.bounds(plot))
        if window is None:
            return None
        return window, *self.grid.frame.to_streets(*window.positions())

    def near(self, plot: Plot) -> bool:
        """Whether any of the plot can lie in the tile."""
        return self.canvas.window(*self.grid.frame.bounds(plot)) is not None

    def fill(self, plot: Plot, label: Label, surface: Surface) -> None:
        """Cover a plot with one surface."""
        if found := self._window(plot):
            window, u, v = found
            window.paint(plot.holds(u, v), label, surface)

    def blotch(self, plot: Plot, share: float, label: Label, surface: Surface) -> None:
        """Cover about a `share` (0…1) of a plot with ragged patches of a surface."""
        if found := self._window(plot):
            window, u, v = found
            inside = plot.holds(u, v)
            pattern = window.view(self.canvas.grain[2]) + 0.35 * window.view(self.canvas.grain[1])
            if inside.any():
                # by a quantile of what is inside, or the share would depend on the grain that happens to be there
                window.paint(inside & (pattern > np.quantile(pattern[inside], 1 - share)), label, surface)

    def oval(self, plot: Plot, label: Label, surface: Surface) -> None:
        """Cover the ragged ellipse that fits into a plot."""
        if found := self._window(plot):
            window, u, v = found
            (cu, cv), wobble = plot.centre, 0.1 * window.view(self.canvas.grain[2])
            distance = np.hypot((u - cu) / (plot.width / 2), (v - cv) / (plot.depth / 2))
            # houses, walls and cars that stand there stay
            free = window.view(self.canvas.height) < 0.3
            window.paint((distance + wobble < 0.95) & free, label, surface)

    def stripe(self, plot: Plot, colour: tuple[float, ...] = MARKING) -> None:
        """Paint a line or a field on whatever surface is there."""
        if found := self._window(plot):
            window, u, v = found
            cu, cv = plot.centre
            window.tint(0.8 * cover(u - cu, v - cv, plot.width, plot.depth, self.canvas.gsd), colour)

    def build(
        self,
        rng: np.random.Generator,
        place: tuple[float, float, float],
        size: tuple[float, float],
        eaves: float,
        roof: Roof,
        surface: Surface,
        wing: tuple[float, float] | None = None,
    ) -> None:
        """Put up a house at (u, v, turn) of length and width `size`; pitched roofs get a usual pitch."""
        x, y, angle = self.grid.frame.place(*place)
        pitch = {"flat": 0.0, "shed": 0.15, "gable": rng.uniform(0.32, 0.48), "hip": rng.uniform(0.28, 0.42)}[roof]
        length, width = size
        house = Building(x, y, angle, length, width, eaves, roof, surface, rise=pitch * width, wing=wing)
        draw_building(self.canvas, house, rng)

    def plant(
        self, rng: np.random.Generator, u: float, v: float, radius: float, surface: Surface | None = None
    ) -> None:
        """Plant a tree whose height goes with its radius."""
        x, y = self.grid.frame.to_tile(u, v)
        conifer = rng.random() < 0.12
        height = float(np.clip((1.9 + rng.normal(0, 0.45)) * radius * (1.5 if conifer else 1.0) + 1.5, 3.5, 17))
        tree = Tree(x, y, radius * (0.75 if conifer else 1), height, surface or materials.crown(rng), conifer)
        # with a seed of its own, as trees are drawn after all else
        self.trees.append((tree, int(rng.integers(2**31))))

    def hedge(self, rng: np.random.Generator, place: tuple[float, float, float], length: float) -> None:
        """Plant a hedge at (u, v, turn)."""
        surface, height = materials.crown(rng), rng.uniform(0.9, 2.3)
        draw_hedge(self.canvas, *self.grid.frame.place(*place), length, height, surface)

    def park(self, rng: np.random.Generator, u: float, v: float, turn: float) -> None:
        """Park a car, now and then a van."""
        # nose or tail first
        x, y, angle = self.grid.frame.place(u, v, turn + rng.normal(0, 0.03) + np.pi * rng.integers(2))
        size = (5.6, 2.1, 2.3) if rng.random() < 0.08 else (rng.uniform(3.9, 4.8), rng.uniform(1.75, 1.95), 1.5)
        draw_car(self.canvas, x, y, angle, materials.car_paint(rng), size)

    def container(self, rng: np.random.Generator, u: float, v: float, turn: float) -> None:
        """Put down a container or a skip."""
        size = (6.1, 2.45, 2.6) if rng.random() < 0.7 else (3.6, 1.8, 1.4)
        draw_container(self.canvas, *self.grid.frame.place(u, v, turn), size, materials.container_paint(rng))

    def heap(self, rng: np.random.Generator, u: float, v: float, radius: float) -> None:
        """Tip a heap of rubble or earth."""
        surface = materials.rubble(rng) if rng.random() < 0.6 else materials.soil(rng)
        draw_heap(self.canvas, *self.grid.frame.to_tile(u, v), radius, radius * rng.uniform(0.3, 0.6), surface)

    def dump(self, rng: np.random.Generator, u: float, v: float) -> None:
        """Leave building material on a patch of bare earth."""
        plot = Plot.around(u, v, *rng.uniform(3, 6.5, 2))
        self.oval(plot, Label.CLUTTER, materials.soil(rng) if rng.random() < 0.5 else materials.rubble(rng))
        for _ in range(rng.integers(1, 4)):
            self.heap(rng, *plot.point(rng, 2), rng.uniform(1.2, 2.8))
        if rng.random() < 0.6:
            self.container(rng, *plot.point(rng, 3), rng.uniform(0, np.pi))

    def verge(self, rng: np.random.Generator, u: float, v: float) -> None:
        """Sow a small patch of grass."""
        self.oval(Plot.around(u, v, *rng.uniform(1.5, 4, 2)), Label.LOW_VEGETATION, materials.lawn(rng))

    def grow_trees(self) -> None:
        """Draw the trees planted so far."""
        for tree, key in self.trees:
            draw_tree(self.canvas, tree, np.random.default_rng(key))
        self.trees.clear()


def pave_streets(city: City, rng: np.random.Generator) -> None:
    """Carriageways with markings and parked cars; the crossings keep the surface the canvas came with."""
    tones = {}
    for plot, along_v, street, number in city.grid.segments():
        # each street has one surface, but is relaid in places
        if (along_v, number) not in tones or rng.random() < 0.15:
            tones[along_v, number] = materials.asphalt(rng) if rng.random() < 0.85 else materials.paving(rng)
        if not city.near(plot):
            continue
        city.fill(plot, Label.IMPERVIOUS, tones[along_v, number])
        length = plot.depth if along_v else plot.width
        for _ in range(rng.poisson(length / 60)):  # trenches filled up
            at, size = rng.uniform(0.05, 0.9), rng.uniform(0.02, 0.12)
            strip = plot.part(0.1, 0.6, at, at + size) if along_v else plot.part(at, at + size, 0.4, 0.9)
            city.stripe(strip, tones[along_v, number].shaded(rng.choice((0.75, 0.85, 1.15))).colour)
        # narrow streets mostly have no line in the middle
        if street.width > 7 or rng.random() < 0.3:
            _dash(city, plot, along_v, length)
        _zebra(city, plot, along_v, length, rng)
        _line_with_cars(city, plot, along_v, length, rng)


def _laid(plot: Plot, along_v: bool) -> tuple[float, float, float]:
    """Of a stretch of street where it begins, and across it the edge and the middle."""
    return (plot.v0, plot.u0, plot.centre[0]) if along_v else (plot.u0, plot.v0, plot.centre[1])


def _paint(city: City, along_v: bool, along: tuple[float, float], across: tuple[float, float]) -> None:
    city.stripe(Plot(*across, *along) if along_v else Plot(*along, *across))


def _dash(city: City, plot: Plot, along_v: bool, length: float) -> None:
    start, _, middle = _laid(plot, along_v)
    for at in np.arange(4, length - 4, 7.5):
        _paint(city, along_v, (start + at, start + at + 3), (middle - 0.09, middle + 0.09))


def _zebra(city: City, plot: Plot, along_v: bool, length: float, rng: np.random.Generator) -> None:
    if rng.random() > 0.3 or length < 12:
        return
    start, edge, _ = _laid(plot, along_v)
    for at in np.arange(0.5, (plot.width if along_v else plot.depth) - 0.5, 1.0):
        _paint(city, along_v, (start + 1.5, start + 4.5), (edge + at, edge + at + 0.5))


def _line_with_cars(city: City, plot: Plot, along_v: bool, length: float, rng: np.random.Generator) -> None:
    turn = np.pi / 2 if along_v else 0.0
    start, _, middle = _laid(plot, along_v)
    half = (plot.width if along_v else plot.depth) / 2

    def park(along: float, across: float) -> None:
        city.park(rng, *((across, along) if along_v else (along, across)), turn)

    for side in (-1, 1):
        occupancy = rng.beta(1.1, 2.6) if half > 3 else rng.beta(1, 6)
        for at in np.arange(7.0, length - 6, 5.7):
            if rng.random() < occupancy:
                park(start + (at + rng.normal(0, 0.25)), middle + side * (half - 1.15))
        if rng.random() < 0.25:  # a car on the move
            # at least 5: in a stretch of less than 8 m the bounds would change places
            park(start + rng.uniform(4, max(length - 4, 5)), middle + side * half * 0.35)
