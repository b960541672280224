"""Right-angled outlines: of drawn buildings, of what is none, and in the file of polygons."""

import numpy as np
import pytest
import shapely
from rasterio.features import rasterize
from rasterio.transform import Affine, from_origin
from scipy.ndimage import gaussian_filter
from shapely import affinity

from mobanet.prediction.polygons import Legend, matrix_of
from mobanet.prediction.right_angles import RightAngles
from mobanet.rasters.components import label_pieces
from mobanet.rasters.grid import Grid
from mobanet.rasters.outlines import find_corners, polygons_of, rings_of
from mobanet.rasters.right_angles import LEAST, right_angled
from tests.prediction.test_polygons import SCENARIOS, keys, random_map, written

PIXEL, SIDE = 0.5, 200
PLACE = from_origin(367000, 5810000, PIXEL, PIXEL)
CRS = "EPSG:25833"
NAMES = ("ground", "building")

SHAPES = {
    "rectangle": shapely.box(0, 0, 21, 13),
    "L": shapely.Polygon([(0, 0), (28, 0), (28, 11), (12, 11), (12, 24), (0, 24)]),
    "courtyard": shapely.box(0, 0, 36, 30) - shapely.box(9, 8, 25, 21),
    "T": shapely.box(0, 0, 40, 12) | shapely.box(14, 0, 27, 30),
}
CORNERS = {"rectangle": 4, "L": 6, "courtyard": 8, "T": 8}


def placed(shape, angle):
    """A shape in the middle of the grid, off the pixels' corners."""
    turned = affinity.rotate(shape, angle, origin=(0, 0))
    x, y = turned.centroid.coords[0]
    return affinity.translate(turned, 367050.13 - x, 5809950.31 - y)


def map_of(*shapes):
    """(SIDE, SIDE) with the number of the class `building` in the shapes, by the middles of pixels."""
    return rasterize([(shape, 1) for shape in shapes], (SIDE, SIDE), 0, transform=PLACE, dtype="uint8")


def outlines(classes, matrix=None):
    """All pieces of class 1 as polygons along pixels."""
    labels, value = label_pieces(np.pad(classes, ((1, 1), (0, 0)), constant_values=255))
    grid = Grid(SIDE, SIDE, tuple(PLACE)[:6], CRS)
    found = []
    for rings in rings_of(find_corners(labels.astype(np.int32), 0).sorted()):
        pieces, polygons = polygons_of(rings, matrix_of(grid) if matrix is None else matrix)
        found += polygons[value[pieces - 1] == 1].tolist()
    return found


def likeness(one, other):
    """Intersection over union."""
    return one.intersection(other).area / one.union(other).area


def assert_right_angles(polygon):
    """Every corner of every ring, within 1e-6 radians."""
    for ring in (polygon.exterior, *polygon.interiors):
        corners = np.array(ring.coords)[:-1]
        ahead, back = np.roll(corners, -1, axis=0) - corners, np.roll(corners, 1, axis=0) - corners
        cosine = (ahead * back).sum(1) / np.linalg.norm(ahead, axis=1) / np.linalg.norm(back, axis=1)
        assert np.abs(cosine).max() < 1e-6


def number(polygon):
    """Of corners."""
    return sum(len(ring.coords) - 1 for ring in (polygon.exterior, *polygon.interiors))


@pytest.mark.parametrize("angle", [0, 0.8, 7, 20, 33.3, 45, 61, 88, 89.5, 134])
@pytest.mark.parametrize("name", SHAPES)
def test_drawn_buildings_come_back(name, angle):
    shape = placed(SHAPES[name], angle)
    (outline,) = outlines(map_of(shape))
    found = right_angled(outline, 3 * PIXEL, PIXEL)
    assert_right_angles(found)
    assert found.is_valid
    assert found.exterior.is_ccw
    assert number(found) == CORNERS[name]
    assert number(found) < number(outline) or angle in (0, 89.5)  # without a step of pixels
    assert likeness(found, shape) >= 0.95
    assert found.area == pytest.approx(outline.area, rel=0.01)


@pytest.mark.parametrize("angle", [0, 17, 45, 70])
def test_rough_walls_become_straight(angle):
    generator = np.random.default_rng(angle)
    shape = placed(SHAPES["L"], angle)
    classes = map_of(shape)
    blurred = gaussian_filter(classes.astype(float), 1) + gaussian_filter(generator.normal(0, 1, classes.shape), 1.5)
    outline = max(outlines((blurred > 0.5).astype(np.uint8)), key=shapely.area)
    found = right_angled(outline, 3 * PIXEL, PIXEL)
    assert_right_angles(found)
    assert likeness(found, shape) >= 0.9
    assert number(found) <= 10 < number(outline) / 4


def test_bays_and_projections_below_the_tolerance_go():
    body = shapely.box(0, 0, 30, 20)
    shape = placed((body | shapely.box(10, 20, 11.2, 24)) - shapely.box(18, 0, 19.2, 5), 25)
    (outline,) = outlines(map_of(shape))
    small, large = right_angled(outline, 2 * PIXEL, PIXEL), right_angled(outline, 4 * PIXEL, PIXEL)
    assert (number(small), number(large)) == (12, 4)
    assert likeness(large, placed(body, 25)) > 0.95
    assert likeness(small, shape) > likeness(large, shape)


def test_holes_below_the_tolerance_go_and_larger_ones_stay():
    shape = placed(shapely.box(0, 0, 30, 20) - shapely.box(5, 5, 6, 6) - shapely.box(15, 8, 22, 14), 40)
    (outline,) = outlines(map_of(shape))
    assert len(outline.interiors) == 2
    found = right_angled(outline, 4 * PIXEL, PIXEL)
    assert [shapely.Polygon(ring).area for ring in found.interiors] == [pytest.approx(42, rel=0.05)]


def test_small_buildings_become_rectangles():
    for rows, columns in ((1, 1), (1, 2), (2, 3), (3, 3), (1, 9)):
        classes = np.zeros((SIDE, SIDE), np.uint8)
        classes[90 : 90 + rows, 80 : 80 + columns] = 1
        (outline,) = outlines(classes)
        assert likeness(right_angled(outline, 3 * PIXEL, PIXEL), outline) == pytest.approx(1)


@pytest.mark.parametrize("radius", [3, 6, 11, 25])
def test_round_ones_stay(radius):
    (outline,) = outlines(map_of(shapely.Point(367050.2, 5809950.1).buffer(radius)))
    assert right_angled(outline, 3 * PIXEL, PIXEL) is None


def test_what_has_too_many_points_stays(monkeypatch):
    (outline,) = outlines(map_of(placed(SHAPES["L"], 40)))
    monkeypatch.setattr("mobanet.rasters.right_angles.MOST", len(outline.exterior.coords))
    assert right_angled(outline, 3 * PIXEL, PIXEL) is not None
    monkeypatch.setattr("mobanet.rasters.right_angles.MOST", len(outline.exterior.coords) - 1)
    assert right_angled(outline, 3 * PIXEL, PIXEL) is None


@pytest.mark.parametrize("seed", range(4))
def test_noise_stays_and_what_comes_is_valid_and_near(seed):
    generator = np.random.default_rng(seed)
    smooth = gaussian_filter(generator.random((SIDE, SIDE)), generator.choice([0.5, 1, 2, 4]))
    found, kept = outlines((smooth > np.quantile(smooth, 0.55)).astype(np.uint8)), 0
    for outline in found:
        polygon = right_angled(outline, 3 * PIXEL, PIXEL)
        kept += polygon is None
        if polygon is not None:
            assert_right_angles(polygon)
            assert polygon.is_valid
            assert likeness(polygon, outline) > LEAST - 1e-9
    largest = max(found, key=shapely.area)
    assert right_angled(largest, 3 * PIXEL, PIXEL) is None
    assert kept


@pytest.mark.parametrize("matrix", [Affine.scale(0.5, 0.25), Affine.rotation(33) @ Affine.scale(0.5, -0.5)])
def test_right_angles_are_those_of_the_map(matrix):
    """Pixels that are no squares, and grids that are turned."""
    place = Affine.translation(367050, 5809950) @ matrix @ Affine.translation(-SIDE / 2, -SIDE / 2)
    shape = placed(SHAPES["L"], 12)
    classes = rasterize([(shape, 1)], (SIDE, SIDE), 0, transform=place, dtype="uint8")
    (outline,) = outlines(classes, np.array(place).reshape(3, 3))
    found = right_angled(outline, 1.5, 0.5)
    assert_right_angles(found)
    assert number(found) == 6
    assert found.exterior.is_ccw


LEGEND = Legend(NAMES, SCENARIOS, ("rgb", "dsm"))


def scene():
    """Two buildings, a round one, and ground between."""
    house = affinity.translate(placed(SHAPES["L"], 30), -22, 20)
    court = affinity.translate(placed(SHAPES["courtyard"], 10), 20, -20)
    return map_of(house, court, affinity.translate(placed(shapely.Point(0, 0).buffer(9), 0), -25, -25))


@pytest.mark.parametrize("metres", [None, 1.0])
def test_only_the_classes_that_are_named_change(metres, tmp_path):
    classes, grid = scene(), Grid(SIDE, SIDE, tuple(PLACE)[:6], CRS)
    given = {"grid": grid, "legend": LEGEND, "simplify": metres}
    before, same = written(tmp_path, classes, **given)
    found = {}
    for step in (7, 64, SIDE):
        squared = RightAngles(NAMES, ["building"], grid, metres)
        after, fields = written(tmp_path, classes, step, right_angles=squared, **given)
        assert squared.described() == (
            "  1 of 3 polygons of building kept their outline: no right-angled one is near enough",
        )
        found[step] = sorted(keys(after))
    assert found[7] == found[64] == found[SIDE]
    changed = ~np.isin(keys(after), keys(before))
    assert fields["class"][changed].tolist() == ["building"] * 2
    for polygon in after[changed]:
        assert_right_angles(polygon)
    assert sorted(number(polygon) for polygon in after[changed]) == [6, 8]
    # what is known of each is of its pixels
    assert sorted(fields["area_m2"]) == sorted(same["area_m2"])
    assert shapely.area(after[changed]).sum() != fields["area_m2"][changed].sum()


def test_the_tolerance_is_that_of_the_outlines_in_units_of_the_map():
    web = Grid(SIDE, SIDE, (0.5, 0, 1490000, 0, -0.5, 6890000), "EPSG:3857")  # a metre of the map is 0.61 m
    metres = RightAngles(NAMES, ["building"], web, 3)
    assert metres.tolerance == pytest.approx(3 / 0.61, rel=0.02)
    assert RightAngles(NAMES, ["building"], web).tolerance == 1.5
    assert RightAngles(NAMES, ["building"], web, 0.1).tolerance == 1
    assert RightAngles(NAMES, ["building"], Grid(4, 4)).tolerance == 3


def test_whether_to_go_on_is_asked_among_the_polygons(tmp_path):
    classes = (np.indices((60, 60)).sum(0) % 2).astype(np.uint8)
    grid = Grid(60, 60, tuple(PLACE)[:6], CRS)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, classes, grid=grid, legend=LEGEND, right_angles=RightAngles(NAMES, NAMES, grid, go_on=stop))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(3))
def test_any_map_gives_valid_polygons(seed, tmp_path):
    classes = np.kron(random_map(np.random.default_rng(seed), 20, 24), np.ones((3, 4), np.uint8)) % 2
    classes[np.random.default_rng(seed).random(classes.shape) < 0.03] = 1
    grid = Grid(*classes.shape, tuple(PLACE)[:6], CRS)
    squared = RightAngles(NAMES, ["building", "building"], grid)
    polygons, _ = written(tmp_path, classes, 9, grid, LEGEND, right_angles=squared)  # which looks at every one
    assert len(polygons) == len(label_pieces(classes)[1])
    assert len(squared.described()) == 1


def test_what_the_edge_of_the_map_cuts_keeps_its_outline(tmp_path):
    classes = np.zeros((60, 80), np.uint8)
    rows, columns = np.indices(classes.shape)
    for row, column in ((0, 40), (30, 0), (30, 50)):  # squares that stand on a corner
        classes[np.abs(rows - row) + np.abs(columns - column) < 15] = 1
    grid = Grid(*classes.shape, tuple(PLACE)[:6], CRS)
    plain, _ = written(tmp_path / "plain", classes, 60, grid, LEGEND)
    squared = RightAngles(NAMES, [NAMES[1]], grid)
    polygons, columns = written(tmp_path / "squared", classes, 60, grid, LEGEND, right_angles=squared)
    changed = ~shapely.equals(plain, polygons)
    assert np.count_nonzero(changed) == 1
    assert shapely.get_num_coordinates(polygons[changed]) == 5
    assert squared.described() == (f"  2 of 3 polygons of {NAMES[1]} kept their outline: the map's edge cuts 2",)
