from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS

from mobanet.data.sources.rasters import Grid
from mobanet.inference.areas import FinishedMap, pixel_area
from mobanet.inference.assemble import MapCounts, MapFiles

FOOT = 1200 / 3937
"""Metres: of the US survey."""


@pytest.mark.parametrize(
    ("crs", "transform", "area"),
    [
        ("EPSG:25833", (0.5, 0, 1000, 0, -0.25, 2000), 0.125),
        ("EPSG:25833", (0.3, 0.4, 0, 0.4, -0.3, 0), 0.25),  # turned
        ("EPSG:2263", (2, 0, 0, 0, -2, 0), 4 * FOOT**2),  # New York, in feet
        (CRS.from_epsg(25833).to_wkt(), (2, 0, 0, 0, -2, 0), 4),
        ("EPSG:4326", (1e-5, 0, 13, 0, -1e-5, 52), None),
        (None, (1, 0, 0, 0, -1, 0), None),
        ("EPSG:25833", None, None),
        (None, None, None),
    ],
)
def test_area_of_a_pixel(crs, transform, area):
    found = pixel_area(Grid(10, 20, transform, crs))
    assert found == (None if area is None else pytest.approx(area, rel=1e-9))


def finished(classes, scenarios, counts, numbers, nothing=0, grid=None, name="town"):
    files = MapFiles(Path("maps/town.tif"), None, None)
    grid = grid or Grid(10, 20, (10, 0, 0, 0, -10, 0), "EPSG:25833")
    return FinishedMap.of(
        name, files, grid, MapCounts(np.array(counts), np.array(numbers), nothing), classes, scenarios
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
