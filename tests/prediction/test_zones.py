"""What a map holds within polygons, held against masks of the whole map."""

import csv
import json
import warnings

import numpy as np
import pyogrio.raw
import pytest
import shapely
from rasterio.features import geometry_mask
from rasterio.transform import Affine
from rasterio.warp import transform
from shapely.geometry import mapping

from mobanet.errors import UserError
from mobanet.prediction.polygons import Legend
from mobanet.prediction.zones import check_zones, place_zones, read_zones, write_zones
from mobanet.rasters.grid import Grid
from mobanet.scenarios.scenario import scenarios_of
from tests.prediction.test_polygons import random_map, strips_of

CRS = "EPSG:25833"
TURNED = (0.4, 0.3, 367000.0, 0.3, -0.4, 5810000.0)
LEGEND = Legend(("paved", "tree", "Straße", "car"), scenarios_of(("rgb", "dsm")), ("rgb", "dsm"))


def saved(path, shapes, columns=None, crs=CRS, kind="Unknown"):
    columns = columns or {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without a reference system
        pyogrio.raw.write(
            str(path),
            shapely.to_wkb(np.array(shapes, object)),
            [np.array(values) for values in columns.values()],
            np.array(list(columns), object),
            geometry_type=kind,
            crs=crs,
        )
    return path


def places(points, grid):
    """Columns and rows as coordinates."""
    return np.array(points) @ grid.matrix[:2, :2].T + grid.matrix[:2, 2]


def written(folder, zones, grid, strips):
    table, copy = folder / "map_zones.csv", folder / "map_zones.gpkg"
    said = write_zones(table, copy, strips, zones, place_zones(zones, grid), LEGEND)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return rows, said


@pytest.fixture
def scene():
    generator = np.random.default_rng(4)
    classes = random_map(generator, 40, 30)
    classes[classes > 3] = 0
    scenarios = np.where(classes == 255, 255, generator.integers(0, 3, classes.shape)).astype(np.uint8)
    confidence = generator.random(classes.shape).astype(np.float32)
    return classes, scenarios, confidence, Grid(40, 30, TURNED, CRS)


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("step", [3, 40])
def test_zones_hold_what_the_whole_map_has_there(crs, step, scene, tmp_path):
    classes, scenarios, confidence, grid = scene
    shapes = [
        shapely.Polygon(places([(2.2, 3.1), (20.3, 8.4), (9.7, 30.2)], grid)),
        shapely.Polygon(
            places([(0, 0), (30, 0), (30, 40), (0, 40)], grid), [places([(5.1, 5.3), (9.2, 5.7), (9, 9)], grid)]
        ),
        shapely.Polygon(places([(15.2, 12.1), (28, 13), (26, 35), (14, 33)], grid)),
        shapely.MultiPolygon([shapely.box(*places([(3, 3)], grid)[0], *places([(6, 3)], grid)[0] + 1)]),
    ]
    moved = [shapely.transform(s, lambda p: np.transpose(transform(CRS, crs, *p.T)[:2])) for s in shapes]
    zones = read_zones(str(saved(tmp_path / "z.gpkg", moved, {"ID": ["a", "b", "c", "d"]}, crs)), "ID")
    check_zones(zones, [grid])
    rows, said = written(tmp_path, zones, grid, strips_of(classes, step, scenarios, confidence, 2.0))
    assert [row["ID"] for row in rows] == ["a", "b", "c", "d"]
    for row, shape in zip(rows, shapes, strict=True):
        own = geometry_mask([shape], classes.shape, Affine(*TURNED), invert=True)
        valued = own & (classes != 255)
        assert int(row["pixels"]) == valued.sum() > 0
        assert int(row["without_value"]) == own.sum() - valued.sum()
        assert float(row["area_m2"]) == pytest.approx(2 * valued.sum())
        assert float(row["confidence"]) == pytest.approx(confidence[valued].mean(), abs=1e-5)
        for k, name in enumerate(LEGEND.classes):
            assert float(row[f"share_{name}"]) == pytest.approx((classes[valued] == k).mean(), abs=1e-6)
        for k, scenario in enumerate(LEGEND.scenarios):
            assert float(row[f"in_{scenario.name}"]) == pytest.approx((scenarios[valued] == k).mean(), abs=1e-6)
    assert said.endswith("map_zones.csv: 4 zones; 1 partly outside the map, of which what is inside counts")


def test_what_lies_outside_is_told(scene, tmp_path):
    classes, scenarios, _, grid = scene
    far = shapely.box(*places([(900, 900)], grid)[0], *places([(900, 900)], grid)[0] + 5)
    half = shapely.Polygon(places([(-10, 10), (10, 10), (10, 20), (-10, 20)], grid))
    bow = shapely.Polygon(places([(4, 4), (12, 12), (12, 4), (4, 12)], grid))  # crosses itself
    tiny = shapely.Polygon(places([(4.1, 4.1), (4.2, 4.1), (4.2, 4.2)], grid))  # no pixel's middle
    path = saved(tmp_path / "z.gpkg", [far, half, bow, tiny, None])
    rows, said = written(tmp_path, read_zones(str(path), None), grid, strips_of(classes, 7, scenarios, None, None))
    assert [row["zone"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["inside"] for row in rows] == ["0.0", "0.5", "1.0", "1.0", ""]
    assert [int(row["pixels"]) > 0 for row in rows] == [False, True, True, False, False]
    assert rows[0]["share_paved"] == rows[3]["share_paved"] == rows[1]["confidence"] == rows[1]["area_m2"] == ""
    assert said.partition(": ")[2] == (
        "5 zones; 1 partly outside the map, of which what is inside counts; 1 wholly outside the map; 1 with a bad "
        "outline, which was repaired; 1 without a polygon"
    )
    assert shapely.is_valid(shapely.from_wkb(pyogrio.raw.read(tmp_path / "map_zones.gpkg")[2][:4])).all()


@pytest.mark.parametrize("name", ["z.gpkg", "z.shp", "z.geojson", "z.fgb"])
def test_all_formats_are_copied_with_their_attributes(name, scene, tmp_path):
    classes, scenarios, _, grid = scene
    crs = "EPSG:4326" if name.endswith("json") else CRS
    shape = shapely.Polygon(places([(2, 2), (9, 2), (9, 9)], grid))
    shape = shapely.transform(shape, lambda p: np.transpose(transform(CRS, crs, *p.T)[:2]))
    own = {"Pixels": [7, 8], "name": np.array(["Bäcker", None], object)}
    if name != "z.gpkg":  # which cannot have them
        own |= {"fid": [4, 5], "geom": [1.5, np.nan]}
    path = saved(tmp_path / name, [shape, shape], own, crs, "Polygon")
    rows, _ = written(tmp_path, read_zones(str(path), "name"), grid, strips_of(classes, 7, scenarios))
    assert [row["name"] for row in rows] == ["Bäcker", ""]
    meta, _, geometries, values = pyogrio.raw.read(tmp_path / "map_zones.gpkg")
    fields = dict(zip(meta["fields"].tolist(), values, strict=True))
    assert fields["Pixels"].tolist() == [7, 8]
    assert fields["name"].tolist() == ["Bäcker", None]
    assert fields["pixels_2"].tolist() == [int(row["pixels"]) for row in rows]  # names know no case in a GeoPackage
    assert {"fid", "geom"} <= fields.keys() or name == "z.gpkg"
    assert shapely.area(shapely.from_wkb(geometries)) == pytest.approx(shapely.area([shape, shape]))


@pytest.mark.parametrize("others", [[], [None], [1 << 63]])
def test_ids_of_many_digits_stay_apart(others, scene, tmp_path):
    classes, scenarios, _, grid = scene
    ids = [(1 << 53) + 1, 1 << 53, *others]
    shape = shapely.transform(shapely.box(2, 2, 9, 9), lambda p: places(p, grid))
    shape = shapely.transform(shape, lambda p: np.transpose(transform(CRS, "EPSG:4326", *p.T)[:2]))
    features = [{"type": "Feature", "properties": {"id": k}, "geometry": mapping(shape)} for k in ids]
    path = tmp_path / "z.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    rows, _ = written(tmp_path, read_zones(str(path), "id"), grid, strips_of(classes, 7, scenarios))
    assert [row["id"] for row in rows] == ["" if number is None else str(number) for number in ids]


@pytest.mark.parametrize("ending", [".gpkg", ".shp", ".geojson", ".fgb"])
def test_damaged_files_are_read_or_refused(ending, scene, tmp_path):
    generator = np.random.default_rng(3)
    shapes = [shapely.box(*places([(k, k)], scene[3])[0], *places([(k, k)], scene[3])[0] + 3) for k in range(4)]
    saved(tmp_path / f"z{ending}", shapes, {"ID": [1, 2, 3, 4]}, kind="Polygon")
    whole = {path: path.read_bytes() for path in tmp_path.iterdir()}
    refused = 0
    for _ in range(25):
        for path, content in whole.items():
            path.write_bytes(content)
        path = list(whole)[generator.integers(len(whole))]
        content = bytearray(whole[path])
        at = int(generator.integers(len(content)))
        content[at : at + 6] = b"" if generator.random() < 0.2 else generator.bytes(6)
        path.write_bytes(content)
        try:
            place_zones(read_zones(str(tmp_path / f"z{ending}"), None), scene[3])
        except UserError:
            refused += 1
    assert 0 < refused < 25
    (tmp_path / f"z{ending}").write_bytes(whole[tmp_path / f"z{ending}"])
    if ending == ".shp":
        (tmp_path / "z.prj").write_bytes(b"\xff\xfe")
        with pytest.raises(
            UserError, match=r"z\.shp .*(cut short|remove it|again)|names no coordinate reference system"
        ):
            read_zones(str(tmp_path / "z.shp"), None)


def test_zones_of_a_local_plane_need_its_name(scene, tmp_path):
    local = 'LOCAL_CS["yard",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    zones = read_zones(str(saved(tmp_path / "z.gpkg", [shapely.box(0, 0, 5, 5)], crs=local)), None)
    with pytest.raises(UserError, match=r"--zones .*z.gpkg cannot be placed: there is no way from yard to the map's"):
        check_zones(zones, [scene[3]])


def test_points_that_have_no_place_in_the_maps_system_are_outside(scene, tmp_path):
    pole = shapely.box(-180, 80, 180, 90)
    shape = shapely.transform(
        shapely.Polygon(places([(2, 2), (9, 2), (9, 9)], scene[3])),
        lambda p: np.transpose(transform(CRS, "EPSG:4326", *p.T)[:2]),
    )
    zones = read_zones(str(saved(tmp_path / "z.gpkg", [pole, shape], crs="EPSG:4326")), None)
    assert place_zones(zones, scene[3]).inside.tolist() == [0, 1]
