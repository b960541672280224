"""Polygons of vector files as pixels: every way of drawing them gives what shapely says of pixels' centres."""

import itertools
import sqlite3
import struct

import numpy as np
import pytest
import shapely

from mobanet.datasets import VectorLabel
from mobanet.datasets.vector_files import open_layer
from mobanet.datasets.vector_labels import draw_polygons
from mobanet.errors import UserError
from mobanet.rasters.contents import FileRef
from mobanet.rasters.grid import Grid
from tests.data_files.fake_vectors import CLASSES, LEFT, PIXEL, SYSTEM, TOP, VALUES, box, write_vector

SIZE = 96
GRID = Grid(SIZE, SIZE, (PIXEL, 0, LEFT, 0, -PIXEL, TOP), SYSTEM)
DEGREES = "EPSG:4326"


def scattered(count, seed=0, radius=8):
    """Overlapping blobs with holes here and there, and a class and a height each."""
    random = np.random.default_rng(seed)
    middles = random.uniform(-5, SIZE + 5, (count, 2)) * (PIXEL, -PIXEL) + (LEFT, TOP)
    angles = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shapes = []
    for middle in middles:
        reach = random.uniform(1, radius) * PIXEL
        outer = middle + around * reach * random.uniform(0.6, 1, (9, 1))
        holes = [middle + around * reach / 3] if random.random() < 0.3 else []
        shapes.append(shapely.Polygon(outer, holes))
    return shapes, random.choice(CLASSES, count), random.permutation(count)


def label_of(path, **more):
    return VectorLabel(**{"vector": path.name, "attribute": "class", "values": dict(VALUES)} | more)


def drawing(path, grid=GRID, **more):
    label = label_of(path, **more)
    return draw_polygons(label, CLASSES, open_layer(path, FileRef(path), label), grid)


def drawn(path, grid=GRID, step=None, **more):
    return np.concatenate(list(drawing(path, grid, **more).strips(step or grid.height)))


def expected(shapes, indices, grid=GRID, background=255):
    """By the pixels' centres; later ones on top."""
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    points = np.stack([columns.ravel(), rows.ravel(), np.ones(columns.size)], axis=1) @ grid.matrix.T
    classes = np.full(columns.size, background, np.uint8)
    for shape, index in zip(shapes, indices, strict=True):
        shapely.prepare(shape)
        classes[shapely.contains_xy(shape, points[:, 0], points[:, 1])] = index
    return classes.reshape(grid.height, grid.width)


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    """The same polygons in every format, and as shapely has them."""
    shapes, names, heights = scattered(150)
    folder = tmp_path_factory.mktemp("blobs")
    columns = {"class": names.astype(object), "height": heights}
    paths = {}
    for ending in (".gpkg", ".shp", ".geojson", ".fgb"):
        more = {"SPATIAL_INDEX": "NO"} if ending == ".fgb" else {}  # which would sort them
        paths[ending] = write_vector(folder / f"cover{ending}", shapes, columns, **more)
    return paths, shapes, [CLASSES.index(name) for name in names], heights


@pytest.mark.parametrize("ending", [".gpkg", ".shp", ".geojson", ".fgb"])
def test_every_pixel_is_what_lies_on_top_at_its_centre(blobs, ending):
    paths, shapes, indices, _ = blobs
    classes = drawn(paths[ending])
    assert np.array_equal(classes, expected(shapes, indices))
    assert len(np.unique(classes)) == 4


@pytest.mark.parametrize("order", ["height", ["grass", "tree", "building"], ["tree", "building", "grass"]])
def test_what_lies_on_top_follows_the_order(blobs, order):
    paths, shapes, indices, heights = blobs
    keys = heights if order == "height" else [order.index(CLASSES[index]) for index in indices]
    chosen = np.argsort(keys, kind="stable")
    wanted = expected([shapes[n] for n in chosen], [indices[n] for n in chosen], background=2)
    assert np.array_equal(drawn(paths[".gpkg"], order=order, background="grass"), wanted)
    assert not np.array_equal(wanted, expected(shapes, indices, background=2))


@pytest.mark.parametrize("touched", [False, True, ["tree"]])
@pytest.mark.parametrize("at_once", [50_000, 20])
def test_strips_are_the_whole_at_once(blobs, touched, at_once, monkeypatch):
    path = blobs[0][".gpkg"]
    whole = drawn(path, all_touched=touched)
    monkeypatch.setattr("mobanet.datasets.vector_labels.MOST_AT_ONCE", at_once)
    monkeypatch.setattr("mobanet.datasets.vector_outlines.MANY", 5)
    for step in (1, 7, 32, 50):
        assert np.array_equal(drawn(path, step=step, all_touched=touched), whole), step


def test_edges_on_the_centres_of_pixels_do_not_depend_on_strips(tmp_path):
    random = np.random.default_rng(3)
    corners = random.integers(0, 2 * SIZE, (300, 4)) / 2  # every half pixel
    shapes = [box(min(a, b), min(c, d), max(a, b) + 0.5, max(c, d) + 0.5) for a, b, c, d in corners]
    names = random.choice(CLASSES, len(shapes)).astype(object)
    path = write_vector(tmp_path / "cover.gpkg", shapes, {"class": names})
    for touched in (False, True):
        whole = drawn(path, all_touched=touched)
        for step in (1, 5, 16):
            assert np.array_equal(drawn(path, step=step, all_touched=touched), whole)


def test_touched_pixels_are_those_that_meet_the_polygon(tmp_path):
    shape = shapely.Polygon([(LEFT + 10.3, TOP - 4.1), (LEFT + 22.4, TOP - 9.3), (LEFT + 12.2, TOP - 25.7)])
    path = write_vector(tmp_path / "cover.gpkg", [shape], {"class": ["tree"]})
    pixels = [box(column, row, column + 1, row + 1) for row, column in itertools.product(range(SIZE), repeat=2)]
    meets = shapely.intersects(pixels, shape).reshape(SIZE, SIZE)
    assert np.array_equal(drawn(path, all_touched=True) == 1, meets)
    assert (drawn(path, all_touched=["grass"]) == 1).sum() < meets.sum()


@pytest.mark.parametrize("system", [DEGREES, "EPSG:3035", "EPSG:25833"])
def test_another_system_is_brought_to_the_tile(tmp_path, system):
    from rasterio.warp import transform

    shapes, names, _ = scattered(60, 1, 20)

    def moved(points):
        return np.transpose(transform(SYSTEM, system, points[:, 0], points[:, 1]))

    path = write_vector(
        tmp_path / "cover.fgb", shapely.transform(shapes, moved), {"class": names}, system, SPATIAL_INDEX="NO"
    )
    wanted = expected(shapes, [CLASSES.index(name) for name in names])
    assert (drawn(path) != wanted).mean() < 1e-3  # edges bend, by less than a hundredth of a pixel


def test_long_edges_bend_as_the_systems_do(tmp_path):
    from rasterio.warp import transform

    large = Grid(2000, 2000, (20, 0, 400_000, 0, -20, 6_000_000), SYSTEM)  # 40 km
    corners = [(11.6, 53.95), (15.5, 53.95), (15.5, 54.9), (11.6, 54.9)]  # along a parallel
    path = write_vector(tmp_path / "cover.gpkg", [shapely.Polygon(corners)], {"class": ["tree"]}, DEGREES)
    classes = drawn(path, large, 500)
    columns, rows = np.meshgrid(np.arange(0, 2000, 3) + 0.5, np.arange(0, 2000, 3) + 0.5)
    _, latitude = transform(SYSTEM, DEGREES, 400_000 + 20 * columns.ravel(), 6_000_000 - 20 * rows.ravel())
    inside = (np.array(latitude) > 53.95).reshape(columns.shape)
    assert (~inside).any()
    assert ((classes[::3, ::3] == 1) != inside).mean() < 1e-4


def test_a_turned_grid(blobs):
    paths, shapes, indices, _ = blobs
    a = PIXEL * np.cos(0.3)
    b = PIXEL * np.sin(0.3)
    turned = Grid(SIZE, 70, (a, b, LEFT, b, -a, TOP - 5), SYSTEM)
    assert np.array_equal(drawn(paths[".gpkg"], turned, 9), expected(shapes, indices, turned))


def test_invalid_and_empty_outlines_are_mended_and_counted_once(tmp_path):
    x, y = LEFT + 10.1, TOP - 10  # no side goes through the centre of a pixel
    bow = shapely.Polygon([(x, y), (x + 20, y - 20), (x + 20, y), (x, y - 20)])
    twice = shapely.MultiPolygon([box(50, 50, 70, 70), box(60, 60, 80, 80)])
    path = write_vector(
        tmp_path / "cover.gpkg", [bow, shapely.Polygon(), None, twice], {"class": ["tree"] * 4}, kind="Unknown"
    )
    label = drawing(path)
    classes = np.concatenate(list(label.strips(8)))
    assert label.outlines == 2
    wanted = expected([shapely.make_valid(bow), shapely.union_all([box(50, 50, 70, 70), box(60, 60, 80, 80)])], [1, 1])
    assert np.array_equal(classes, wanted)
    assert label.notes == ["2 polygons of cover.gpkg with an invalid outline, which was repaired"]


def test_collections_count_with_their_polygons(tmp_path):
    mixed = shapely.GeometryCollection(
        [shapely.Point(LEFT, TOP), shapely.MultiPolygon([box(3, 3, 9, 9)]), box(20, 20, 30, 25)]
    )
    path = write_vector(tmp_path / "cover.gpkg", [mixed], {"class": ["grass"]}, kind="GeometryCollection")
    assert np.array_equal(drawn(path), expected([box(3, 3, 9, 9), box(20, 20, 30, 25)], [2, 2]))


def test_heights_of_vertices_are_dropped(tmp_path):
    path = write_vector(
        tmp_path / "cover.gpkg", [shapely.force_3d(box(3, 3, 9, 9), 7.0)], {"class": ["grass"]}, kind="Polygon Z"
    )
    assert np.array_equal(drawn(path), expected([box(3, 3, 9, 9)], [2]))


def test_curves_are_taken_as_lines(tmp_path):
    path = write_vector(tmp_path / "cover.gpkg", [box(1, 1, 5, 5)], {"class": ["tree"]}, SPATIAL_INDEX="NO")
    x, y, radius = LEFT + 20.1, TOP - 20.2, 10.0
    around = [(x - radius, y), (x, y + radius), (x + radius, y), (x, y - radius), (x - radius, y)]
    ring = struct.pack("<BII", 1, 8, 5) + b"".join(struct.pack("<dd", *point) for point in around)  # CircularString
    content = b"GP\0\x01" + struct.pack("<i", 32633) + struct.pack("<BII", 1, 10, 1) + ring  # CurvePolygon
    with sqlite3.connect(path) as database:
        database.execute("UPDATE cover SET geom = ?", (content,))
        database.execute("UPDATE gpkg_geometry_columns SET geometry_type_name = 'CURVEPOLYGON'")
    database.close()
    circle = shapely.Point(x, y).buffer(radius, quad_segs=90)
    assert (drawn(path) != expected([circle], [1])).sum() <= 2


def test_lines_and_points_are_refused_by_number(tmp_path):
    shapes = [box(1, 1, 5, 5), shapely.Point(LEFT + 5, TOP - 5), shapely.LineString([(LEFT, TOP), (LEFT + 9, TOP - 9)])]
    path = write_vector(tmp_path / "cover.gpkg", shapes, {"class": ["tree"] * 3}, kind="Unknown")
    with pytest.raises(UserError, match=r"2 features that are no polygons \(1 Point, 1 LineString; such as number 2\)"):
        drawn(path)


def test_numbers_texts_and_nulls(tmp_path):
    shapes = [box(0, 0, 10, 10), box(20, 0, 30, 10), box(40, 0, 50, 10)]
    wanted = expected(shapes, [0, 1, 255])
    values = {17: "building", "18": "tree"}
    for number, column in enumerate(
        (np.array([17.0, 18.0, np.nan]), np.array(["17", "18.0", None], object), np.array(["17", " 18", ""], object))
    ):
        path = write_vector(tmp_path / f"{number}.gpkg", shapes, {"class": column})
        assert np.array_equal(drawn(path, values=values), wanted), column
        label = drawing(path, values=values | {None: "grass"})
        assert np.array_equal(np.concatenate(list(label.strips(SIZE))), expected(shapes, [0, 1, 2]))
        assert label.notes == [f"1 polygon of {number}.gpkg without a value of class, taken for grass"]


@pytest.mark.parametrize(
    ("column", "keys"),
    [
        (np.array([0.1, 2.5, 3], np.float32), [0.1, "2.5", 3]),
        (np.array([2**60, 2**60 + 1, -4]), [2**60, str(2**60 + 1), -4]),
        (np.array([True, False, True]), ["true", False]),
        (
            np.array(["2020-01-01", "2021-06-30", "2022-01-01"], "datetime64[ms]"),
            [f"202{n}" for n in ("0-01-01", "1-06-30", "2-01-01")],
        ),
        (np.array(["010", "10", "a b "], object), ["010", 10, "a b"]),
    ],
)
def test_keys_are_values_as_people_write_them(tmp_path, column, keys):
    shapes = [box(0, 0, 10, 10), box(20, 0, 30, 10), box(40, 0, 50, 10)]
    path = write_vector(tmp_path / "cover.gpkg", shapes, {"class": column})
    wanted = [0, 1, 2] if len(keys) == 3 else [0, 1, 0]
    assert np.array_equal(drawn(path, values=dict(zip(keys, CLASSES, strict=False))), expected(shapes, wanted))


@pytest.mark.parametrize("touched", [False, True])
def test_outlines_that_reach_far_are_what_they_are_near_by(tmp_path, touched):
    near = [(LEFT + 9.3, TOP - 30.1), (LEFT + 20.2, TOP - 11.4)]
    far = shapely.Polygon(
        [*near, (LEFT + 4e7, TOP + 3e7), (LEFT + 5e7, TOP - 4e7)], [box(60.3, 60.4, 80.2, 85.6).exterior.coords]
    )
    path = write_vector(tmp_path / "cover.gpkg", [far], {"class": ["tree"]})
    classes = drawn(path, step=7, all_touched=touched)
    if not touched:
        assert np.array_equal(classes, expected([far], [1]))
    pixels = [box(column, row, column + 1, row + 1) for row, column in itertools.product(range(SIZE), repeat=2)]
    meets = shapely.intersects(pixels, far).reshape(SIZE, SIZE)
    assert not touched or np.array_equal(classes == 1, meets)


def test_outlines_that_reach_beyond_all_places_are_left_out_and_counted(tmp_path):
    absurd = shapely.Polygon([(LEFT + 5, TOP - 5), (LEFT + 20, TOP - 5), (LEFT + 9, -1e300)])
    path = write_vector(tmp_path / "cover.gpkg", [absurd, box(0, 0, 5, 5)], {"class": ["tree"] * 2})
    label = drawing(path, all_touched=True)
    assert np.array_equal(np.concatenate(list(label.strips(9))), expected([box(0, 0, 5, 5)], [1]))
    assert label.notes == [
        "1 polygon of cover.gpkg with an outline that cannot be brought to the tile's system, left out"
    ]


def test_only_what_lies_near_is_read(tmp_path, monkeypatch):
    from pyogrio import raw

    shapes, names, _ = scattered(40)
    away = [shapely.transform(shape, lambda points: points + 10_000) for shape in shapes]
    path = write_vector(tmp_path / "cover.gpkg", [*shapes, *away], {"class": [*names, *names]})
    read, seen = raw.read, []

    def counted(*words, **named):
        found = read(*words, **named)
        seen.append(len(found[1]))
        return found

    monkeypatch.setattr(raw, "read", counted)
    drawn(path, step=16)
    near = int(shapely.intersects(shapes, box(-2, -2, SIZE + 2, SIZE + 2)).sum())
    assert seen == [near, near]  # attributes, then outlines
    assert near > 30
