"""`--zones` of `mobanet.predict`: what the map has within the user's own polygons, and what can be wrong with them."""

import csv
import json
import sqlite3

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely

from tests.cli.conftest import leftovers
from tests.cli.test_polygons import attempt, features
from tests.cli.test_predict import TILE, files_of, half_covered, model, read
from tests.prediction.test_zones import saved

__all__ = ["attempt", "half_covered", "model"]  # fixtures

CRS = "EPSG:32633"
PLACED = "--crs", CRS


@pytest.fixture(scope="module")
def extent(city):
    """Left, bottom, right and top of the scene."""
    with rasterio.open(files_of(city)["rgb"]) as raster:
        return tuple(raster.bounds)


@pytest.fixture
def parcels(extent, tmp_path):
    """The west of the scene and all around it, and the east, which overlaps with it."""
    left, bottom, right, top = extent
    middle = (left + right) / 2
    west, east = shapely.box(left - 100, bottom - 100, middle + 10, top + 100), shapely.box(middle, bottom, right, top)
    (tmp_path / "in").mkdir()
    return saved(tmp_path / "in/parcels.gpkg", [west, east], {"parcel": ["W", "E"], "in": [1, 2]}, CRS)


def test_zones_are_counted_and_copied(attempt, parcels, tmp_path):
    ended = attempt("--zones", parcels, "--zones_attribute", "parcel", "--scenarios", *PLACED)
    assert ended.code == 0, ended.err
    assert "map_zones.csv: 2 zones; 1 partly outside the map, of which what is inside counts" in ended.out
    with (tmp_path / "map_zones.csv").open(newline="", encoding="utf-8") as file:
        west, east = csv.DictReader(file)
    classes, scenarios = read(tmp_path / "map.tif"), read(tmp_path / "map_scenarios.tif")
    assert (west["parcel"], east["parcel"]) == ("W", "E")
    assert int(east["pixels"]) == np.count_nonzero(classes[:, 80:] != 255)
    assert float(east["share_building"]) == pytest.approx((classes[:, 80:] == 1).mean(), abs=1e-6)
    assert float(east["in_rgb+ir"]) == pytest.approx((scenarios[:, 80:] == 3).mean(), abs=1e-6)
    assert int(west["without_value"]) == 30 * 40
    assert float(east["inside"]) == 1
    assert 0 < float(west["inside"]) < 1
    assert west["confidence"] == ""
    polygons, fields = features(tmp_path / "map_zones.gpkg")
    assert fields["in"].tolist() == [1, 2]
    assert fields["pixels"].tolist() == [int(west["pixels"]), int(east["pixels"])]
    assert polygons[1].equals(shapely.from_wkb(pyogrio.raw.read(parcels)[2][1]))
    again = attempt("--zones", parcels, "--scenarios", "--resume", *PLACED)
    assert "is finished; left as it is" in again.err
    (tmp_path / "map_zones.csv").unlink()
    refused = attempt("--zones", parcels, "--scenarios", *PLACED)
    assert "map_zones.gpkg is there already" in refused.err
    assert leftovers(tmp_path) == []


def test_every_scene_has_its_own_files(attempt, prepared, parcels, tmp_path):
    files = {"rgb": prepared / "2_Ortho_RGB"}
    ended = attempt("--polygons", "--zones", parcels, *PLACED, output="maps/", files=files)
    assert ended.code == 0, ended.err
    names = {path.stem for path in (prepared / "2_Ortho_RGB").glob("*.tif")}
    assert {path.name for path in (tmp_path / "maps").glob("*.gpkg")} == {
        f"{name}_{kind}.gpkg" for name in names for kind in ("polygons", "zones")
    }
    assert {path.name for path in (tmp_path / "maps").glob("*.csv")} == {f"{name}_zones.csv" for name in names}
    with (tmp_path / f"maps/top_potsdam_{TILE}_RGB_zones.csv").open() as file:
        assert [int(row["pixels"]) > 0 for row in csv.DictReader(file)] == [True, True]


WRONG = {
    "no file": ("gone.gpkg", "--zones gone.gpkg does not exist; check the path"),
    "another ending": ("zones.vrt", "--zones zones.vrt must end with one of .gpkg, .shp"),
    "an address": ("/vsicurl/http://x/z.gpkg", "--zones /vsicurl/http:/x/z.gpkg does not exist"),
    "no GeoPackage": ("text.gpkg", "--zones text.gpkg is no GeoPackage, or cut short: fetch it again"),
    "cut short": ("short.gpkg", "--zones short.gpkg is cut short"),
    "no shapefile": ("text.shp", "--zones text.shp lacks text.shx"),
    "broken GeoJSON": ("broken.geojson", "--zones broken.geojson is no GeoJSON, or cut short"),
    "a virtual file in disguise": ("virtual.gpkg", "--zones virtual.gpkg is no GeoPackage, or cut short"),
    "a plain database": ("plain.gpkg", "--zones plain.gpkg is no GeoPackage, or damaged"),
    "a link to elsewhere": ("link.geojson", "--zones link.geojson", "link"),
    "no system": ("nowhere.gpkg", "--zones nowhere.gpkg names no coordinate reference system", "ogr2ogr -a_srs"),
    "points": (
        "points.gpkg",
        "--zones points.gpkg has features of the type Point",
        "where zones need polygons: export the polygons.",
    ),
    "nothing": ("empty.gpkg", "--zones empty.gpkg has no polygon in it"),
    "empty ones": ("hollow.gpkg", "--zones hollow.gpkg has no polygon in it"),
    "several layers": ("two.gpkg", "--zones two.gpkg has 2 layers with polygons, one, other: leave one in it"),
    "elsewhere": ("far.gpkg", "--zones far.gpkg lies wholly outside the map: it covers 0 to 1, 0 to 1", "same place"),
}


def wrong_files(folder):
    box = shapely.box(0, 0, 1, 1)
    saved(folder / "far.gpkg", [box], crs=CRS)
    saved(folder / "nowhere.gpkg", [box], crs=None)
    saved(folder / "points.gpkg", [shapely.Point(0, 0)], crs=CRS, kind="Point")
    saved(folder / "empty.gpkg", [], crs=CRS, kind="Polygon")
    saved(folder / "hollow.gpkg", [shapely.Polygon(), None], crs=CRS, kind="Polygon")
    for layer in ("one", "other"):
        given = {"driver": "GPKG", "geometry_type": "Polygon", "crs": CRS, "layer": layer}
        pyogrio.raw.write(str(folder / "two.gpkg"), shapely.to_wkb(np.array([box])), [], [], append=True, **given)
    (folder / "short.gpkg").write_bytes((folder / "far.gpkg").read_bytes()[:3000])
    for name in ("text.gpkg", "text.shp"):
        (folder / name).write_text("no polygons")
    (folder / "broken.geojson").write_text('{"type": "FeatureCollection", "features": [')
    link = {"type": "link", "properties": {"href": "http://127.0.0.1:9/crs", "type": "proj4"}}
    (folder / "link.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": link, "features": []}))
    virtual = "<OGRVRTDataSource><OGRVRTLayer name='x'><SrcDataSource>far.gpkg</SrcDataSource></OGRVRTLayer>"
    for name in ("zones.vrt", "virtual.gpkg"):
        (folder / name).write_text(f"{virtual}</OGRVRTDataSource>")
    with sqlite3.connect(folder / "plain.gpkg") as database:
        database.execute("CREATE TABLE x (y INTEGER)")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "zones"
    folder.mkdir()
    monkeypatch.chdir(folder)
    wrong_files(folder)
    return folder


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_one_sentence(case, attempt, folder, tmp_path):
    name, *said = WRONG[case]
    ended = attempt("--zones", name, *PLACED)
    assert ended.code == 2
    last = ended.err.splitlines()[-1]
    assert all(part in last for part in ("error: ", *said)), ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.glob("map*"))


def test_other_mistakes(attempt, folder, parcels, tmp_path):
    assert "--zones_attribute id is no attribute of" in attempt("--zones", parcels, "--zones_attribute", "id").err
    assert "; it has parcel, in." in attempt("--zones", parcels, "--zones_attribute", "id").err
    assert "which are not given: give --zones FILE, too" in attempt("--zones_attribute", "parcel").sentence()
    assert "a map without a coordinate reference system: give --crs" in attempt("--zones", parcels).err
    both = attempt("--zones", parcels, *PLACED, "--polygons", tmp_path / "map_zones.gpkg")
    assert "map_zones.gpkg is where zones are written to: name another file" in both.err
    own = parcels.rename(tmp_path / "map_zones.gpkg")
    assert "is the file of --zones, which would be replaced" in attempt("--zones", own, *PLACED, "--overwrite").err
    assert own.is_file()
