"""Neighbourhoods: what stands in a block between four streets.

Every kind is a function of the city, the block's plot inside its sidewalk, and a generator. Kinds are listed at the end
with how often they occur.
"""

from collections.abc import Callable

import numpy as np

from mobanet.synthetic import materials
from mobanet.synthetic.buildings import Roof
from mobanet.synthetic.canvas import Label
from mobanet.synthetic.city import City
from mobanet.synthetic.streets import Block, Plot

GREEN, PAVED, CLUTTER = Label.LOW_VEGETATION, Label.IMPERVIOUS, Label.CLUTTER
QUARTER = np.pi / 2


def _lawn(city: City, plot: Plot, rng: np.random.Generator) -> None:
    """Grass with dry, rough and worn patches."""
    city.fill(plot, GREEN, materials.lawn(rng))
    if rng.random() < 0.5:
        city.blotch(plot, rng.uniform(0.1, 0.4), GREEN, materials.dry_grass(rng))
    if rng.random() < 0.3:
        city.blotch(plot, rng.uniform(0.05, 0.3), GREEN, materials.meadow(rng))


def _trees(
    city: City, plot: Plot, rng: np.random.Generator, per_hectare: float, sizes: tuple[float, float] = (1.6, 4.6)
) -> None:
    """Scattered trees."""
    for _ in range(rng.poisson(per_hectare * plot.width * plot.depth / 1e4)):
        city.plant(rng, *plot.point(rng, 1.5), rng.uniform(*sizes))


def _clump(city: City, plot: Plot, rng: np.random.Generator, count: int) -> None:
    """Trees whose crowns touch."""
    (u, v), surface = plot.point(rng, 5), materials.crown(rng)
    for _ in range(count):
        radius, spread = rng.uniform(2, 4.6), 2.2 * np.sqrt(count)
        shade = surface.shaded(rng.uniform(0.88, 1.12))
        city.plant(rng, u + rng.normal(0, spread), v + rng.normal(0, spread), radius, shade)


def _car_park(city: City, plot: Plot, rng: np.random.Generator) -> None:
    """Marked bays in pairs of rows along u, partly taken."""
    surface, taken = materials.paving(rng), rng.beta(1.8, 2.2)
    city.fill(plot, PAVED, surface)
    # metres: 4.8 for a bay, and 3.8 for the lane to the next row
    for row in np.arange(plot.v0 + 2.8, plot.v1 - 2.4, 8.6):
        for at in np.arange(plot.u0 + 1.8, plot.u1 - 1.4, 2.6):
            city.stripe(Plot(at - 1.38, at - 1.25, row - 2.4, row + 2.4))
            if rng.random() < taken:
                city.park(rng, at, row + rng.normal(0, 0.15), QUARTER)


def detached(city: City, plot: Plot, rng: np.random.Generator) -> None:
    """Two rows of houses in gardens, back to back."""
    for north in (True, False):
        at = plot.u0
        while at < plot.u1 - 9:
            width = min(rng.uniform(12.5, 18), plot.u1 - at)
            half = plot.part(0, 1, 0, 0.5) if north else plot.part(0, 1, 0.5, 1)
            parcel = Plot(at, at + width, half.v0, half.v1)
            if city.near(parcel):
                _parcel(city, parcel, rng, north)
            at += width


def _parcel(city: City, parcel: Plot, rng: np.random.Generator, north: bool) -> None:
    """A house with garage, drive, terrace and garden; the street is on the v0 side if `north`."""
    _lawn(city, parcel, rng)
    front, inward = (parcel.v0, 1) if north else (parcel.v1, -1)
    setback, depth = rng.uniform(2, 4.5), rng.uniform(10, 14)
    length = min(rng.uniform(10, 16), parcel.width - 3)
    # no room for a house between its own front and back garden
    if length < 6 or parcel.depth < 18:
        return _trees(city, parcel, rng, 120)
    drive_u = parcel.u0 + 2.2 if rng.random() < 0.5 else parcel.u1 - 2.2
    near, far = sorted((front, front + inward * (setback + 9)))
    drive = Plot(drive_u - 1.6, drive_u + 1.6, near, far)
    paved = materials.paving(rng)
    city.fill(drive, PAVED, paved)
    if rng.random() < 0.5:
        city.park(rng, drive_u, front + inward * 2.8, QUARTER)
    middle_u = parcel.centre[0] + (1.4 if drive_u < parcel.centre[0] else -1.4)
    middle_v = front + inward * (setback + depth / 2)
    back = sorted((middle_v + inward * depth / 2, middle_v + inward * (depth / 2 + rng.uniform(2, 4.5))))
    city.fill(Plot(middle_u - 4, middle_u + rng.uniform(0, 4), *back), PAVED, materials.paving(rng))
    turn = rng.choice((0.0, QUARTER)) + rng.normal(0, 0.05)
    roof = rng.choice(("gable", "hip", "shed", "flat"), p=(0.5, 0.25, 0.08, 0.17))
    cover = materials.flat_roof(rng) if roof == "flat" else materials.roof_tiles(rng)
    # a turned house runs away from the street, and is as long as the parcel lets it be deep
    size = (max(length, depth), min(length, depth)) if turn < 0.5 or length < depth else (depth, length)
    wing = (rng.uniform(3, 5) + size[1] / 2, size[1] * 0.6) if rng.random() < 0.3 else None
    city.build(rng, (middle_u, middle_v, turn), size, rng.uniform(3.2, 6.8), roof, cover, wing)
    if rng.random() < 0.7:
        garage = (drive_u, front + inward * (setback + 8), QUARTER)
        city.build(rng, garage, (6.2, 3.4), rng.uniform(2.4, 2.9), "flat", materials.flat_roof(rng))
    garden = Plot(parcel.u0, parcel.u1, *sorted((back[1] if north else back[0], parcel.v1 if north else parcel.v0)))
    if garden.depth > 5:
        if rng.random() < 0.4:
            city.build(rng, (*garden.point(rng, 3), 0.0), (3.2, 2.4), 2.3, "gable", materials.roof_tiles(rng))
        if rng.random() < 0.22:
            city.oval(Plot.around(*garden.point(rng, 4), 3, 1.8), CLUTTER, materials.water(rng))
        if rng.random() < 0.25:
            city.fill(Plot.around(*garden.point(rng, 3), 2.5, 2), GREEN, materials.soil(rng))
        _trees(city, garden, rng, 170)
    if rng.random() < 0.55:
        city.hedge(rng, (parcel.u1 - 0.4, parcel.centre[1], QUARTER), parcel.depth * rng.uniform(0.5, 0.95))
    if rng.random() < 0.5:
        city.plant(rng, parcel.point(rng, 2)[0], front + inward * 2, rng.uniform(1.5, 2.8))


def perimeter(city: City, plot: Plot, rng: np.random.Generator) -> None:
    """Tall houses wall to wall around a courtyard."""
    yard = plot.inset(13)
    city.fill(plot, PAVED, materials.paving(rng))
    for i, j in np.ndindex(2, 2):
        court = yard.part(i / 2, (i + 1) / 2, j / 2, (j + 1) / 2)
        kind = rng.random()
        if kind < 0.65:
            _lawn(city, court, rng)
            _trees(city, court, rng, 150, (2.2, 5.2))
        elif kind < 0.77:
            _car_park(city, court, rng)
        else:
            city.fill(court, PAVED, materials.paving(rng))
            _trees(city, court, rng, 90, (1.8, 4.2))
        if rng.random() < 0.3:
            place, size = (*court.point(rng, 4), 0.0), (rng.uniform(6, 14), rng.uniform(4, 8))
            city.build(rng, place, size, 3.2, "flat", materials.flat_roof(rng))
        if rng.random() < 0.25:
            city.container(rng, *court.point(rng, 3), 0.0)
        if rng.random() < 0.14:
            city.dump(rng, *court.point(rng, 6))
    depth, storey = rng.uniform(12, 15), rng.uniform(11, 15)
    sides = (
        (plot.u0, plot.u1, plot.v0 + depth / 2, True),
        (plot.u0, plot.u1, plot.v1 - depth / 2, True),
        # without the corners, which the other two sides have
        (plot.v0 + depth, plot.v1 - depth, plot.u0 + depth / 2, False),
        (plot.v0 + depth, plot.v1 - depth, plot.u1 - depth / 2, False),
    )
    for start, end, across, along_u in sides:
        at = start
        while at < end - 5:
            length = min(rng.uniform(11, 21), end - at)
            middle = at + length / 2
            if rng.random() < 0.86:
                place = (middle, across, 0.0) if along_u else (across, middle, QUARTER)
                roof = rng.choice(("gable", "hip", "flat"), p=(0.62, 0.08, 0.3))
                cover = materials.flat_roof(rng) if roof == "flat" else materials.roof_tiles(rng)
                # a little longer than its place, so that no gap shows between neighbours
                city.build(rng, place, (length + 0.3, depth), storey + rng.normal(0, 1.2), roof, cover)
            at += length


def slabs(city: City, plot: Plot, rng: np.random.Generator) -> None:
    """Long flat-roofed houses on a common lawn, with a car park on one side."""
    _lawn(city, plot, rng)
    parking = Plot(plot.u0, plot.u1, plot.v0, plot.v0 + 6.2)
    _car_park(city, parking, rng)
    green = Plot(plot.u0, plot.u1, parking.v1, plot.v1)
    width, eaves = rng.uniform(12, 15), rng.uniform(9, 18)
    roof: Roof = "flat" if rng.random() < 0.75 else "gable"
    cover = materials.flat_roof(rng) if roof == "flat" else materials.roof_tiles(rng)
    rows = max(1, int(green.depth // 25))
    # a house each, in the middle of its part of the lawn
    for row in range(rows):
        v = green.v0 + (row + 0.5) * green.depth / rows
        city.fill(Plot(green.u0, green.u1, v + width / 2, v + width / 2 + 2.2), PAVED, materials.paving(rng))
        place = (green.centre[0], v, rng.normal(0, 0.02))
        city.build(rng, place, (green.width * rng.uniform(0.7, 0.92), width), eaves + rng.normal(0, 0.8), roof, cover)
        if rng.random() < 0.4:
            city.container(rng, green.u0 + rng.uniform(2, 6), v + width / 2 + 2, 0.0)
        strip = Plot(green.u0, green.u1, v + width / 2 + 2.2, v + green.depth / rows - width / 2)
        _trees(city, strip, rng, 175, (2.2, 5.2))


def commercial(city: City, plot: Plot, rng: np.random.Generator) -> None:
    """Low halls on a paved yard with a car park, and what is stored behind them."""
    city.fill(plot, PAVED, materials.paving(rng))
    hall = plot.part(0.08, 0.95, rng.uniform(0.3, 0.4), 0.92)
    wing = (hall.depth * 0.5 + 8, hall.width * 0.4) if rng.random() < 0.4 else None
    size, eaves = (hall.width * rng.uniform(0.85, 1), hall.depth * rng.uniform(0.8, 1)), rng.uniform(4.5, 9)
    _car_park(city, plot.part(0.05, 0.95, 0.03, 0.28), rng)
    city.build(rng, (*hall.centre, rng.choice((0.0, np.pi))), size, eaves, "flat", materials.flat_roof(rng), wing)
    edge = plot.part(0, 1, 0.92, 1)
    _lawn(city, edge, rng)
    _trees(city, edge, rng, 160, (1.6, 3.5))
    for _ in range(rng.integers(1, 6)):
        city.container(rng, plot.u0 + plot.width * rng.uniform(0.02, 0.08), plot.point(rng, 6)[1], QUARTER)
    if rng.random() < 0.5:
        city.dump(rng, plot.u0 + 6, plot.v1 - 7)
    for _ in range(rng.poisson(1.2)):
        city.heap(rng, plot.u1 - rng.uniform(2, 6), plot.point(rng, 6)[1], rng.uniform(1.5, 4))
    for at in np.arange(plot.u0 + 4, plot.u1 - 3, rng.uniform(7, 11)):
        if rng.random() < 0.6:
            city.plant(rng, at, plot.v0 + 1, rng.uniform(1.6, 3))


def park(city: City, plot: Plot, rng: np.random.Generator) -> None:
    """Meadows, clumps of trees, paths, a pond."""
    city.fill(plot, GREEN, materials.meadow(rng))
    city.blotch(plot, 0.45, GREEN, materials.lawn(rng))
    city.blotch(plot, rng.uniform(0.05, 0.25), GREEN, materials.dry_grass(rng))
    path = materials.paving(rng)
    cut = rng.uniform(0.3, 0.7)
    left, right = (plot.u0 + cut * plot.width + side for side in (-1.3, 1.3))
    city.fill(Plot(left, right, plot.v0, plot.v1), PAVED, path)
    cut = rng.uniform(0.3, 0.7)
    city.fill(Plot(plot.u0, plot.u1, *(plot.v0 + cut * plot.depth + side for side in (-1.3, 1.3))), PAVED, path)
    if rng.random() < 0.75:
        city.oval(Plot.around(*plot.point(rng, 14), *rng.uniform(7, 15, 2)), CLUTTER, materials.water(rng))
    if rng.random() < 0.4:
        city.build(rng, (*plot.point(rng, 8), rng.uniform(0, np.pi)), (9, 6), 3.4, "hip", materials.roof_tiles(rng))
    for _ in range(rng.integers(2, 6)):
        _clump(city, plot, rng, int(rng.integers(4, 12)))
    _trees(city, plot, rng, 45, (2, 5.5))


def school(city: City, plot: Plot, rng: np.random.Generator) -> None:
    """An L-shaped house, a yard, and a court of artificial grass or rubber."""
    _lawn(city, plot, rng)
    city.fill(plot.part(0.05, 0.85, 0.05, 0.5), PAVED, materials.paving(rng))
    size = (plot.width * 0.7, rng.uniform(12, 16))
    wing = (plot.depth * 0.28 + size[1] / 2, rng.uniform(11, 14))
    place = (plot.centre[0] - plot.width * 0.05, plot.v0 + plot.depth * 0.16 + 3, 0.0)
    roof: Roof = "flat" if rng.random() < 0.7 else "hip"
    cover = materials.flat_roof(rng) if roof == "flat" else materials.roof_tiles(rng)
    city.build(rng, place, size, rng.uniform(6.5, 12), roof, cover, wing)
    court = plot.part(0.12, 0.62, 0.66, 0.94)
    ground = materials.turf(rng) if rng.random() < 0.7 else materials.paving(rng)
    # first a darker rim, a metre wide
    city.fill(court.inset(-1), PAVED, ground.shaded(0.9))
    city.fill(court, PAVED, ground)
    for line in (court.part(0, 1, 0, 0.012), court.part(0, 1, 0.988, 1), court.part(0.494, 0.506, 0, 1)):
        city.stripe(line)
    for line in (court.part(0, 0.01, 0, 1), court.part(0.99, 1, 0, 1)):
        city.stripe(line)
    _trees(city, plot.part(0.7, 1, 0.62, 1), rng, 220, (2, 5))
    _trees(city, plot.part(0.05, 0.6, 0.3, 0.6), rng, 60, (1.6, 3.2))
    if rng.random() < 0.6:
        city.container(rng, plot.u1 - 4, plot.v0 + plot.depth * 0.5, QUARTER)


def site(city: City, plot: Plot, rng: np.random.Generator) -> None:
    """Half a block under construction: earth, heaps, containers, a shell; the other half is a park or houses."""
    yard, rest = plot.part(0, 1, 0, 0.5), plot.part(0, 1, 0.5, 1)
    city.fill(yard, CLUTTER, materials.soil(rng))
    city.blotch(yard, rng.uniform(0.1, 0.4), CLUTTER, materials.rubble(rng))
    city.blotch(yard, rng.uniform(0.02, 0.1), CLUTTER, materials.water(rng))
    for _ in range(rng.integers(4, 9)):
        city.heap(rng, *yard.point(rng, 4), rng.uniform(2, 5.5))
    for _ in range(rng.integers(3, 8)):
        city.container(rng, *yard.point(rng, 4), rng.choice((0.0, QUARTER)))
    if rng.random() < 0.6:
        city.build(rng, (*yard.point(rng, 12), 0.0), (18, 12), rng.uniform(3, 9), "flat", materials.paving(rng))
    (slabs if rng.random() < 0.6 else park)(city, rest, rng)


KINDS: tuple[tuple[Callable[[City, Plot, np.random.Generator], None], float], ...] = (
    (detached, 0.29),
    (perimeter, 0.24),
    (slabs, 0.14),
    (commercial, 0.11),
    (park, 0.07),
    (school, 0.07),
    (site, 0.08),
)


def fill_block(city: City, block: Block, rng: np.random.Generator) -> None:
    """Sidewalk, street trees, and a random kind of neighbourhood."""
    if not city.near(block.plot):
        return
    verge, walk = (rng.uniform(0.9, 1.6) if rng.random() < 0.6 else 0.0), rng.uniform(1.3, 2.0)
    city.fill(block.plot, GREEN, materials.lawn(rng))
    city.fill(block.plot.inset(verge), PAVED, materials.paving(rng))
    plot = block.plot.inset(verge + walk)
    kind = KINDS[rng.choice(len(KINDS), p=[share for _, share in KINDS])][0]
    kind(city, plot, rng)
    spacing = rng.uniform(8, 15)
    lines = (
        ((block.plot.u0 + 0.8, None), plot.depth),
        ((block.plot.u1 - 0.8, None), plot.depth),
        ((None, block.plot.v0 + 0.8), plot.width),
        ((None, block.plot.v1 - 0.8), plot.width),
    )
    for (u, v), length in lines:
        if rng.random() > 0.55:
            continue
        surface, radius = materials.crown(rng), rng.uniform(2.1, 3.8)
        for at in np.arange(3.0, length - 3, spacing):
            if rng.random() < 0.85:
                u_, v_ = (u if u is not None else plot.u0 + at), (v if v is not None else plot.v0 + at)
                shade = surface.shaded(rng.uniform(0.92, 1.08))
                city.plant(rng, u_, v_, radius * rng.uniform(0.8, 1.2), shade)
