"""`--polygons` of `mobanet.predict`, from a checkpoint and rasters to the file, and what can be wrong with it."""

import os
import signal
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import rasterio
import rasterio.features
import shapely

from mobanet.predict import main
from mobanet.rasters.geopackage import PolygonWriter
from tests.cli.conftest import leftovers
from tests.cli.test_predict import TILE, copy_with, half_covered, model, read, words_of

__all__ = ["half_covered", "model"]  # fixtures


@pytest.fixture
def attempt(command, model, half_covered, tmp_path):
    """Runs `mobanet.predict` on the scene that a surface model covers by half, in windows that do not overlap."""

    def run(*words, output="map.tif", files=None):
        given = words_of(model, files or half_covered, f"{tmp_path}/{output}", "--stride", "64")
        return command(main, [*given, *map(str, words)])

    return run


def features(path):
    """Polygons, and fields by name."""
    meta, _, geometries, values = pyogrio.raw.read(path)
    return shapely.from_wkb(geometries), dict(zip(meta["fields"].tolist(), values, strict=True))


def drawn(polygons, numbers, path):
    """Polygons as pixels on the grid of a map."""
    with rasterio.open(path) as raster:
        pairs = zip(polygons, numbers.tolist(), strict=True)
        return rasterio.features.rasterize(pairs, raster.shape, 255, transform=raster.transform, dtype="uint8")


def test_polygons_are_those_of_the_map(attempt, tmp_path):
    ended = attempt("--polygons", "--scenarios", "--probabilities", "uint8")
    assert ended.code == 0, ended.err
    polygons, fields = features(tmp_path / "map_polygons.gpkg")
    assert shapely.is_valid(polygons).all()
    classes = read(tmp_path / "map.tif")
    assert np.array_equal(drawn(polygons, fields["class_index"], tmp_path / "map.tif"), classes)
    with rasterio.open(tmp_path / "map.tif") as raster:
        pixel = raster.transform.a**2
    assert shapely.area(polygons).sum() == pytest.approx(pixel * np.count_nonzero(classes != 255))
    assert f"map_polygons.gpkg: {len(polygons):,} polygon" in ended.out
    pixels = shapely.area(polygons) / pixel
    missing = np.count_nonzero(read(tmp_path / "map_scenarios.tif") == 3)  # rgb+ir
    assert (fields["without_dsm"] * pixels).sum() == pytest.approx(missing)
    assert set(fields["scenario"]) == {"rgb+ir", "rgb+ir+dsm"}
    with rasterio.open(tmp_path / "map_probabilities.tif") as raster:
        highest = raster.read().max(0) / 254
    assert (fields["confidence"] * pixels).sum() == pytest.approx(highest[classes != 255].sum(), rel=1e-4)
    again = attempt("--polygons", "--scenarios", "--probabilities", "uint8", "--resume")
    assert "is finished; left as it is" in again.err
    assert leftovers(tmp_path) == []


def test_confidence_alone_tells_polygons_theirs(attempt, tmp_path):
    for name, words in (("one", ("--probabilities", "uint8")), ("other", ("--confidence", "uint8"))):
        assert attempt("--polygons", *words, output=f"{name}.tif").code == 0
    (_, one), (_, other) = (features(tmp_path / f"{name}_polygons.gpkg") for name in ("one", "other"))
    assert np.array_equal(one["confidence"], other["confidence"])
    assert np.isfinite(one["confidence"]).all()
    refused = attempt("--polygons", "--confidence", "float32", output="other.tif")
    assert "other_polygons.gpkg is there already" in refused.sentence()


def test_without_probabilities_there_is_no_confidence(attempt, tmp_path):
    ended = attempt("--polygons", tmp_path / "pieces.gpkg")
    assert ended.code == 0, ended.err
    _, fields = features(tmp_path / "pieces.gpkg")
    assert np.isnan(fields["confidence"]).all()
    refused = attempt("--polygons", tmp_path / "pieces.gpkg", output="other.tif")
    assert "pieces.gpkg is there already: name another" in refused.sentence()
    replaced = attempt("--polygons", tmp_path / "pieces.gpkg", "--overwrite", output="other.tif")
    assert replaced.code == 0, replaced.err


WRONG = {
    "another ending": ("--polygons x.shp", "--polygons x.shp must end with .gpkg", "ogr2ogr"),
    "no folder": ("--polygons gone/x.gpkg", "--polygons gone/x.gpkg cannot be written: there is no folder", "make it"),
    "no area": ("--polygons --minimum_area 0", "--minimum_area is 0; give square metres above 0"),
    "negative area": ("--polygons --minimum_area -3", "--minimum_area is -3; give square metres above 0"),
    "negative holes": ("--polygons --fill_holes=-3", "--fill_holes is -3; give square metres above 0"),
    "no tolerance": ("--polygons --simplify 0", "--simplify is 0; give metres above 0"),
    "area without polygons": ("--minimum_area 5", "--minimum_area is about polygons", "give --polygons, too"),
    "holes without polygons": ("--fill_holes 5", "--fill_holes is about polygons", "give --polygons, too"),
    "simpler without polygons": ("--simplify 5", "--simplify is about polygons", "give --polygons, too"),
    "angles without polygons": ("--right_angles building", "--right_angles is about polygons", "give --polygons, too"),
    "angles of nothing": ("--polygons --right_angles []", "--right_angles names no class: give one or more"),
    "angles of no class": (
        "--polygons --right_angles car Bulding",
        "--right_angles names 'Bulding', which is no class of the model (did you mean 'building'?); there are ",
        "'building', ",
    ),
    "a folder": ("--polygons dir.gpkg", "--polygons dir.gpkg cannot be written", "is a folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_one_sentence(case, attempt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dir.gpkg").mkdir()
    text, *said = WRONG[case]
    ended = attempt(*text.split())
    assert all(part in ended.sentence() for part in said), ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["dir.gpkg"]


@pytest.mark.parametrize("moment", ["write", "finish"])
def test_what_is_interrupted_among_polygons_goes_on(attempt, tmp_path, monkeypatch, moment):
    assert attempt("--polygons", output="whole.tif").code == 0
    with monkeypatch.context() as patched:
        real = getattr(PolygonWriter, moment)

        def interrupted(self, *given):
            if moment == "finish" or given[0].size:
                signal.raise_signal(signal.SIGINT)
                raise KeyboardInterrupt
            real(self, *given)

        patched.setattr(PolygonWriter, moment, interrupted)
        ended = attempt("--polygons")
    assert ended.code == 130
    assert "; go on with: python -m mobanet.predict " in ended.err
    assert sorted(path.name for path in tmp_path.glob("map*")) == ["map.tif.parts"]
    resumed = attempt("--polygons", "--resume")
    assert resumed.code == 0, resumed.err
    assert "going on with 1 of 1 parts there" in resumed.err
    one, other = (features(tmp_path / f"{name}_polygons.gpkg") for name in ("whole", "map"))
    assert shapely.equals(one[0], other[0]).all()
    assert all(np.array_equal(one[1][name], other[1][name], equal_nan=name != "class") for name in ("class", "area_m2"))


def test_what_a_killed_run_left_goes(attempt, tmp_path):
    for name in ("map_polygons.part.gpkg", "map_polygons.part.gpkg-journal"):
        (tmp_path / name).write_text("half of it")
    assert attempt("--polygons").code == 0
    assert sorted(path.name for path in tmp_path.glob("map_*")) == ["map_polygons.gpkg", "map_polygons.qml"]


def test_polygons_have_the_colours_of_the_map(attempt, tmp_path):
    assert attempt("--polygons").code == 0
    style = ElementTree.fromstring((tmp_path / "map_polygons.qml").read_bytes())
    renderer = style.find("renderer-v2")
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class")
    names = [category.get("value") for category in renderer.iter("category")]
    assert set(features(tmp_path / "map_polygons.gpkg")[1]["class"]) <= set(names)
    colours = [prop.get("v") for prop in renderer.iter("prop") if prop.get("k") == "color"]
    with rasterio.open(tmp_path / "map.tif") as raster:
        table = raster.colormap(1)
    assert colours == [",".join(map(str, table[number][:4])) for number in range(len(names))]
    # beside a map of the same name, whose style it would be, there is none
    assert attempt("--polygons", tmp_path / "map.gpkg", "--overwrite").code == 0
    assert b"paletted" in (tmp_path / "map.qml").read_bytes()


def test_other_options_of_polygons_may_go_on_with_the_parts(attempt, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("mobanet.prediction.polygons._BYTES", 1e15)
        refused = attempt("--polygons", "--simplify", 1, "--crs", "EPSG:32633")
    assert "--simplify 1 takes all outlines at once" in refused.err
    assert sorted(path.name for path in tmp_path.glob("map*")) == ["map.tif.parts"]
    assert attempt("--polygons", "--minimum_area", 3, "--crs", "EPSG:32633", "--resume").code == 0
    assert features(tmp_path / "map_polygons.gpkg")[1]["area_m2"].min() >= 3


def test_metres_need_a_place_on_the_earth(attempt, prepared, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    with rasterio.open(prepared / f"2_Ortho_RGB/top_potsdam_{TILE}_RGB.tif") as raster:
        values = raster.read()
    given = {"driver": "GTiff", "height": 160, "width": 160, "count": 3, "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(plain / "rgb.tif", "w", **given) as raster:
            raster.write(values)
    ended = attempt("--polygons", "--minimum_area", 5, files={"rgb": plain / "rgb.tif"})
    assert ended.err.splitlines()[-1].startswith("error: --minimum_area is in metres, and the map of rgb has no place")
    ended = attempt("--polygons", files={"rgb": plain / "rgb.tif"})
    assert ended.code == 0, ended.err
    _, fields = features(tmp_path / "map_polygons.gpkg")
    assert np.isnan(fields["area_m2"]).all()
    assert pyogrio.read_info(tmp_path / "map_polygons.gpkg")["crs"] is None


def test_small_pieces_go_to_their_neighbours(attempt, tmp_path):
    placed = "--crs", "EPSG:32633"
    assert attempt("--polygons", *placed).code == 0
    before, fields = features(tmp_path / "map_polygons.gpkg")
    area = float(np.median(fields["area_m2"]))
    given = "--minimum_area", area, "--fill_holes", 4 * area, "--simplify", 1, "--overwrite"
    ended = attempt("--polygons", *placed, *given)
    assert ended.code == 0, ended.err
    after, fewer = features(tmp_path / "map_polygons.gpkg")
    assert 1 < len(after) < len(before)
    assert fewer["area_m2"].min() >= area
    assert fewer["area_m2"].sum() == pytest.approx(fields["area_m2"].sum())
    assert shapely.is_valid(after).all()
    assert shapely.coverage_is_valid(after)
    assert shapely.get_num_coordinates(after).sum() < shapely.get_num_coordinates(before).sum() / 3


def test_right_angles_of_the_classes_that_are_named(attempt, tmp_path):
    placed = "--crs", "EPSG:32633"
    assert attempt("--polygons", *placed).code == 0
    before, fields = features(tmp_path / "map_polygons.gpkg")
    for more in ((), ("--simplify", 0.3), ("--minimum_area", 1)):
        ended = attempt("--polygons", "--right_angles", "building", "car", "--overwrite", *more, *placed)
        assert ended.code == 0, ended.err
        after, others = features(tmp_path / "map_polygons.gpkg")
        assert shapely.is_valid(after).all()
        for name in ("building", "car"):
            (line,) = [line for line in ended.out.splitlines() if f"of {name} kept their outline: " in line]
            kept, number = (int(word.replace(",", "")) for word in line.split()[:3:2])
            assert 0 < kept < number == np.count_nonzero(others["class"] == name)
        if not more:
            same = shapely.equals(before, after)
            assert same[~np.isin(fields["class"], ["building", "car"])].all()
            assert not same.all()
            assert np.array_equal(fields["area_m2"], others["area_m2"])
    refused = attempt("--polygons", "--right_angles", "building", *placed)
    assert "map_polygons.gpkg is there already" in refused.sentence()


def test_right_angles_are_none_in_degrees(attempt, prepared, tmp_path):
    degrees = tmp_path / "degrees.tif"
    place = {"crs": "EPSG:4326", "transform": rasterio.transform.from_origin(13, 52, 1e-6, 1e-6)}
    copy_with(prepared / f"2_Ortho_RGB/top_potsdam_{TILE}_RGB.tif", degrees, **place)
    ended = attempt("--polygons", "--right_angles", "building", files={"rgb": degrees})
    assert ended.err.splitlines()[-1].startswith("error: --right_angles: the map of degrees is in degrees (EPSG:4326)")
    assert "name a --reference in a projected system, or leave --right_angles out" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["degrees.tif"]


def test_a_folder_that_may_not_be_written_to(attempt, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *given: False)  # as the superuser may write everywhere
    assert f"{tmp_path} is not a folder that you may write to" in attempt("--polygons", tmp_path / "x.gpkg").sentence()


def test_one_file_for_several_scenes_is_refused(attempt, prepared, tmp_path):
    files = {"rgb": prepared / "2_Ortho_RGB"}
    ended = attempt("--polygons", tmp_path / "x.gpkg", output="maps/", files=files)
    assert "names one file for 6 scenes; give --polygons without a name" in ended.err.splitlines()[-1]
    assert not Path(tmp_path / "maps").exists()
