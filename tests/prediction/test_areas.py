from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS

from mobanet.errors import UserError
from mobanet.prediction.areas import FinishedMap
from mobanet.prediction.assemble import MapCounts, MapFiles, assemble
from mobanet.prediction.parts import MapPart
from mobanet.prediction.predictor import PartMaps
from mobanet.prediction.workspace import Workspace
from mobanet.rasters.contents import Classes
from mobanet.rasters.grid import Grid
from mobanet.rasters.pixel_size import pixel_area, pixel_side, pixel_words
from mobanet.scenarios.scenario import scenarios_of

FOOT = 1200 / 3937
"""Metres: of the US survey."""

MERCATOR = 6378137
"""Metres: the radius of its sphere."""


def cos(degrees):
    return np.cos(np.radians(degrees))


@pytest.mark.parametrize(
    ("crs", "transform", "area"),
    [
        ("EPSG:25833", (0.5, 0, 367000, 0, -0.25, 5810000), 0.125),
        ("EPSG:25833", (0.3, 0.4, 367000, 0.4, -0.3, 5810000), 0.25),  # turned
        ("EPSG:2263", (2, 0, 984250, 0, -2, 200000), 4 * FOOT**2),  # New York, in feet
        (CRS.from_epsg(25833).to_wkt(), (2, 0, 367000, 0, -2, 5810000), 4),
        ("EPSG:3035", (10, 0, 4500000, 0, -10, 3200000), 100),  # equal-area
        ("EPSG:3857", (0.5, 0, 1.45e6, 0, -0.5, 6.8e6), 0.25 * cos(52.0095) ** 2),
        ("EPSG:3857", (5, 0, 1.45e6, 0, -5, 0), 25),
        ("EPSG:4326", (1e-5, 0, 13, 0, -1e-5, 52), (1e-5 * 111_195) ** 2 * cos(52)),
        ("EPSG:4326", (1, 0, 367000, 0, -1, 5810000), None),  # degrees that there are not
        ('LOCAL_CS["yard",UNIT["metre",1]]', (1, 0, 0, 0, -1, 0), None),
        (None, (1, 0, 0, 0, -1, 0), None),
        ("EPSG:25833", None, None),
        (None, None, None),
    ],
)
def test_area_of_a_pixel(crs, transform, area):
    found = pixel_area(Grid(10, 20, transform, crs))
    # a sphere for the ellipsoid, and a map's own scale, differ by a few thousandths
    assert found == (None if area is None else pytest.approx(area, rel=7e-3))


def test_pixels_are_measured_on_the_ground():
    def words(crs, *sides):
        across, down, x, y = sides
        grid = Grid(10, 20, (across, 0, x, 0, -down, y), crs)
        return pixel_words(grid), pixel_side(grid)

    assert words("EPSG:25833", 0.25, 0.25, 367000, 5810000) == ("0.25 m", pytest.approx(0.25, rel=1e-3))
    assert words("EPSG:3857", 0.5, 0.5, 1.45e6, 6.8e6) == ("0.308 m", pytest.approx(0.308, rel=2e-3))
    assert words("EPSG:25833", 0.5, 0.25, 367000, 5810000) == ("0.5 x 0.25 m", None)
    assert words(None, 0.5, 0.25, 0, 0) == ("", None)


@pytest.mark.parametrize("others", [("tree", "road"), ("road", "tree", "car"), ("road",)])
def test_maps_of_other_classes_are_not_compared(others, tmp_path):
    """Pixels hold places in the list of classes, which of two models may mean different things."""

    def map_of(name, classes):
        counts = MapCounts(np.ones(len(classes), np.int64), np.ones(1, np.int64), 0)
        files = MapFiles(tmp_path / name, None, None)
        return FinishedMap.of("a", files, Grid(2, 2), counts, classes, ("rgb",))

    with pytest.raises(UserError, match=r"one.tif has the classes road, tree and .*two.tif .*; compare maps"):
        map_of("one.tif", ("road", "tree")).difference(map_of("two.tif", others))


def test_areas_of_a_map_are_true_from_its_north_to_its_south(tmp_path):
    """One class in the north, the other in the south of a map of 10 pixels across, from 50 to 70 degrees."""
    north, south = (MERCATOR * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2)) for latitude in (70, 50))
    pixel = (north - south) / 400
    grid = Grid(400, 10, (pixel, 0, 1.45e6, 0, -pixel, north), "EPSG:3857")
    parts = [MapPart(0, 0, number, top, top + 20, 0, 10) for number, top in enumerate(range(0, 400, 20))]
    workspace = Workspace(tmp_path / "town.tif.parts")
    workspace.folder.mkdir()
    for part in parts:
        rows = np.full((20, 10), int(part.top >= 200), np.uint8)
        workspace.save(part, PartMaps(rows, np.zeros_like(rows), None))
    classes = Classes(("north", "south"), ((0, 0, 0), (255, 255, 255)), ("north", "south"))
    files = MapFiles(tmp_path / "town.tif", None, None)
    counts = assemble(workspace, parts, files, grid, classes, scenarios_of(("rgb",)), {})
    middle = 2 * np.arctan(np.exp((north + south) / 2 / MERCATOR)) - np.pi / 2
    zones = np.sin(np.radians(70)) - np.sin(middle), np.sin(middle) - np.sin(np.radians(50))
    expected = [10 * pixel / MERCATOR * zone * 6_371_007**2 for zone in zones]  # on a sphere of the earth's area
    assert counts.class_areas == pytest.approx(expected, rel=7e-3)
    assert counts.scenario_areas == pytest.approx([sum(expected)], rel=7e-3)
    assert counts.class_areas[1] > 1.8 * counts.class_areas[0]  # of as many pixels


def finished(classes, scenarios, counts, numbers, nothing=0, grid=None, name="town"):
    files = MapFiles(Path("maps/town.tif"), None, None)
    areas = [100 * np.array(pixels) for pixels in (counts, numbers)] if grid is None else [None, None]
    grid = grid or Grid(10, 20, (10, 0, 0, 0, -10, 0), "EPSG:25833")
    return FinishedMap.of(
        name,
        files,
        grid,
        MapCounts(np.array(counts), np.array(numbers), nothing, *areas),
        classes,
        scenarios,
    )


def test_shares_are_of_the_pixels_with_a_value():
    found = finished(("paved", "tree"), ("rgb", "dsm", "rgb+dsm"), [30, 120], [50, 0, 100], nothing=50)
    assert [(each.name, each.pixels, each.share, each.area) for each in found.classes] == [
        ("paved", 30, 0.2, 3000.0),
        ("tree", 120, 0.8, 12000.0),
    ]
    assert [(each.name, each.pixels) for each in found.scenarios] == [("rgb", 50), ("rgb+dsm", 100)]
    assert found.nothing == 50


def test_it_is_told_in_lines():
    text = finished(("paved", "tree"), ("rgb", "dsm"), [30, 120], [50, 100], nothing=50).described()
    assert [" ".join(line.split()) for line in text.splitlines()] == [
        "maps/town.tif: 20 x 10 pixels, 25.0 % without a value",
        "paved 20.0 % 0.30 ha",
        "tree 80.0 % 1.20 ha",
        "in rgb 33.3 %",
        "in dsm 66.7 %",
    ]
    plain = finished(("paved", "tree"), ("rgb",), [30, 170], [200], grid=Grid(10, 20)).described()
    assert "ha" not in plain
    assert "without a value" not in plain


@pytest.mark.parametrize(("classes", "scenarios"), [(("a", "b"), ("s2",)), (("0", "1"), ("x",))])
def test_short_names(classes, scenarios):
    assert finished(classes, scenarios, [50, 150], [200]).described().splitlines()[1].split()[:2] == [
        classes[0],
        "25.0",
    ]


@pytest.mark.parametrize("scenario", ["s2", "rgb", "rgb+ir+dsm", "irrg+dsm"])
def test_figures_stand_below_one_another(scenario):
    lines = finished(("paved", "building"), (scenario,), [50, 150], [200]).described().splitlines()[1:]
    assert len({line.index("%") for line in lines}) == 1


def test_a_map_of_nothing():
    found = finished(("paved", "tree"), ("rgb",), [0, 0], [0], nothing=200)
    assert [each.share for each in found.classes] == [0, 0]
    assert found.scenarios == ()
    assert "100.0 % without a value" in found.described()
