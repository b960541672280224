"""Outlines to pixels, against pictures drawn by hand: `#` is inside."""

import csv

import numpy as np
import pytest
import shapely

from mobanet.datasets.polygons import Extent, Filled, labelled_images, read_extent, read_outlines
from mobanet.errors import UserError
from tests.hostile.children import verdicts

HEIGHT, WIDTH = 8, 10
# under the rule one unit is one pixel: W' / Xmax = 1 and H' / Ymin = -1
UNIT = Extent(WIDTH**2 / (WIDTH + 1), -(HEIGHT**2) / (HEIGHT + 1))


def drawn(wkt, extent=UNIT, height=HEIGHT, width=WIDTH):
    shape = shapely.from_wkt(wkt)
    shape = shape if shape.geom_type == "MultiPolygon" else shapely.MultiPolygon([shape])
    return Filled(shape, extent, height, width)


def picture(mask):
    return ["".join("#" if inside else "." for inside in row) for row in mask]


GOLDEN = {
    # corners are pixels, and both edges belong to the inside: 2 to 5 are four pixels
    "a square": (
        "POLYGON ((2 -1, 5 -1, 5 -4, 2 -4, 2 -1))",
        """
        ..........
        ..####....
        ..####....
        ..####....
        ..####....
        ..........
        ..........
        ..........
        """,
    ),
    # a hole's own edge pixels are emptied
    "a hole": (
        "POLYGON ((1 -1, 8 -1, 8 -6, 1 -6, 1 -1), (3 -3, 6 -3, 6 -4, 3 -4, 3 -3))",
        """
        ..........
        .########.
        .########.
        .##....##.
        .##....##.
        .########.
        .########.
        ..........
        """,
    ),
    # emptied after all are filled, the hole would erase the island in it
    "an island in a hole, listed first": (
        "MULTIPOLYGON (((4 -4, 5 -4, 5 -4, 4 -4)), ((1 -1, 8 -1, 8 -7, 1 -7, 1 -1), (3 -3, 6 -3, 6 -5, 3 -5, 3 -3)))",
        """
        ..........
        .########.
        .########.
        .##....##.
        .##.##.##.
        .##....##.
        .########.
        .########.
        """,
    ),
    "two that share an edge, and one that touches a corner": (
        "MULTIPOLYGON (((0 0, 3 0, 3 -2, 0 -2, 0 0)), ((3 0, 5 0, 5 -2, 3 -2, 3 0)), ((6 -3, 8 -3, 8 -5, 6 -5, 6 -3)))",
        """
        ######....
        ######....
        ######....
        ......###.
        ......###.
        ......###.
        ..........
        ..........
        """,
    ),
    "rounded to the nearest pixel, halves to the even one": (
        "POLYGON ((1.5 -0.5, 4.5 -0.5, 4.5 -3.4, 1.5 -3.4, 1.5 -0.5))",
        """
        ..###.....
        ..###.....
        ..###.....
        ..###.....
        ..........
        ..........
        ..........
        ..........
        """,
    ),
    "cut at the edges": (
        "MULTIPOLYGON (((-3 2, 1 2, 1 -1, -3 -1, -3 2)), ((8 -6, 20 -6, 20 -20, 8 -20, 8 -6)))",
        """
        ##........
        ##........
        ..........
        ..........
        ..........
        ..........
        ........##
        ........##
        """,
    ),
    "a single pixel and a line": (
        "MULTIPOLYGON (((2 -2, 2 -2, 2 -2, 2 -2)), ((4 -5, 8 -5, 8 -5, 4 -5)))",
        """
        ..........
        ..........
        ..#.......
        ..........
        ..........
        ....#####.
        ..........
        ..........
        """,
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_outlines_fill_the_pixels_of_the_picture(name):
    wkt, wanted = GOLDEN[name]
    assert picture(drawn(wkt).mask) == wanted.split()


def test_coordinates_are_scaled_by_the_rule_with_one_added():
    # 100 columns: W' = 100 * 100 / 101 = 99.0099; 50 rows: H' = 50 * 50 / 51 = 49.0196
    extent = Extent(0.0092, -0.0090)
    assert extent.scale(50, 100) == pytest.approx((99.00990099 / 0.0092, -49.01960784 / 0.0090))
    mask = drawn("POLYGON ((0 0, 0.0092 0, 0.0092 -0.009, 0 -0.009, 0 0))", extent, 50, 100).mask
    # the far corner is pixel (49, 99); with W / Xmax it would lie outside
    assert mask.all()
    half = drawn("POLYGON ((0 0, 0.0046 0, 0.0046 -0.0045, 0 -0.0045, 0 0))", extent, 50, 100).mask
    assert (np.flatnonzero(half.any(0))[-1], np.flatnonzero(half.any(1))[-1]) == (50, 25)  # 49.505 and 24.51, rounded


def test_outlines_beside_the_raster_are_counted():
    filled = drawn("MULTIPOLYGON (((0 0, 2 0, 2 -2, 0 -2, 0 0)), ((10 0, 14 0, 14 -4, 10 -4, 10 0)))")
    assert (filled.count, filled.outside) == (2, 1)
    assert (filled.area, filled.area_outside) == (20, 16)
    assert filled.mask.sum() == 9
    assert not drawn("MULTIPOLYGON EMPTY").mask.any()


@pytest.mark.parametrize("away", [2**31 + 1, 2**32 + 1, 1e15])
def test_an_outline_that_is_absurdly_far_away_is_not_drawn_on_the_raster(away):
    x = f"{away:.0f}"
    filled = drawn(f"POLYGON (({x} -1, {away + 3:.0f} -1, {away + 3:.0f} -4, {x} -4, {x} -1))")
    assert (filled.count, filled.outside) == (1, 1)
    assert not filled.mask.any()


def outlines_anywhere(count=40, side=90):
    """Stars of all sizes, some with a hole, some beyond the edges, as WKT."""
    random = np.random.default_rng(0)
    found = []
    for number in range(count):
        middle, reach = random.uniform(-5, side + 5, 2), random.uniform(1, side) ** 2 / (3 * side)
        angles = np.sort(random.uniform(0, 2 * np.pi, 9))
        outer = middle + reach * random.uniform(0.3, 1, 9)[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        rings = [outer, middle + (outer - middle) * 0.2] if number % 3 == 0 else [outer]
        rings = [", ".join(f"{x} {-y}" for x, y in (*ring, ring[0])) for ring in rings]
        found.append(f"(({'), ('.join(rings)}))")
    return f"MULTIPOLYGON ({', '.join(found)})"


@pytest.mark.parametrize("step", [1, 7, 64, 100])
def test_strips_are_those_of_the_whole_drawing(step):
    """A line that is cut off at a strip's edge would take other pixels there."""
    size = 90, 80
    filled = drawn(outlines_anywhere(), Extent(80.0, -90.0), *size)
    expected = np.zeros(size, bool)
    for outline in filled._inside:
        expected[outline.top : outline.bottom, outline.left : outline.right] |= outline.drawn() == 1
    assert 0.3 < expected.mean() < 1
    assert np.array_equal(filled.mask, expected)
    strips = list(filled.strips(step))
    assert [len(strip) for strip in strips[:-1]] == [step] * (len(strips) - 1)
    assert np.array_equal(np.concatenate(strips), expected)


def table(path, *rows, header=("ImageId", "ClassType", "MultipolygonWKT")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows((header, *rows))
    return path


def test_a_cell_may_be_longer_than_pythons_limit(tmp_path):
    limit = csv.field_size_limit()
    many = ", ".join(f"(({x} 0, {x}.5 0, {x}.5 -1, {x} 0))" for x in range(9000))
    path = table(tmp_path / "t.csv", ("6010_1_2", 5, f"MULTIPOLYGON ({many})"), ("6040_1_0", 5, "MULTIPOLYGON EMPTY"))
    assert path.stat().st_size > 2 * 131072
    assert labelled_images(path) == ["6010_1_2", "6040_1_0"]
    assert len(read_outlines(path, "6010_1_2")[5].geoms) == 9000
    assert read_outlines(path, "6040_1_0")[5].is_empty
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a", 6, "MULTIPOLYGON (((0 0, 1 0"), r"no readable polygons for class 6 of a \(MULTIPOLYGON \(\(\(0 0, 1 0…"),
        (("a", 6, ""), r"no readable polygons for class 6 of a \(nothing…\)"),
        (("a", 6, "POINT (1 2)"), "no readable polygons for class 6 of a"),
        (("a", 6, "POLYGON ((0 0, nan 0, 1 1, 0 0))"), "no readable polygons for class 6 of a"),
        (("a", "six", "MULTIPOLYGON EMPTY"), "names 'six' as a class of a, which is no number"),
        (("a", 6), "has 2 columns instead of 3 in row 2"),
    ],
)
def test_unreadable_outlines(tmp_path, row, message):
    path = table(tmp_path / "t.csv", row)
    with pytest.raises(UserError, match=message):
        read_outlines(path, "a")


def test_other_files_are_refused(tmp_path):
    path = table(tmp_path / "t.csv", header=("id", "x", "y"))
    with pytest.raises(UserError, match="does not begin with the line 'ImageId,ClassType,MultipolygonWKT'"):
        labelled_images(path)
    path.write_bytes(b"ImageId,ClassType,MultipolygonWKT\n\xff\xfe")
    with pytest.raises(UserError, match="is no CSV file, or damaged"):
        labelled_images(path)


def test_extents(tmp_path):
    sizes = ("", "Xmax", "Ymin")
    path = table(
        tmp_path / "g.csv", ("a", "0.00917", "-0.00904"), ("b", "0.00917", "0.00904"), ("c", "x", "1"), header=sizes
    )
    assert read_extent(path, "a") == Extent(0.00917, -0.00904)
    with pytest.raises(UserError, match="has no row for d: use the file as published"):
        read_extent(path, "d")
    for image in "bc":
        with pytest.raises(UserError, match=f"gives {image} Xmax .* where a positive and a negative number belong"):
            read_extent(path, image)


def test_collections_in_collections_never_reach_the_parser(tmp_path):
    """GEOS overflows its stack at them, which ends the process."""
    path = tmp_path / "train_wkt_v4.csv"
    path.write_text(f"ImageId,ClassType,MultipolygonWKT\nx,1,{'GEOMETRYCOLLECTION(' * 200_000}\n")
    (verdict,) = verdicts([lambda: read_outlines(path, "x")], 20)
    assert verdict.end == "sentence"
    assert verdict.text.startswith("has no readable polygons for class 1 of x (GEOMETRYCOLLECTION(")
