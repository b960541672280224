"""Maps and rasters as notebooks look at them: `SavedModel.inputs`, `SavedModel.write_map` and what a map shows."""

import numpy as np
import pytest
import rasterio
import shapely

import mobanet
from mobanet.errors import UserError
from mobanet.predict import predict
from tests.cli.test_predict import copy_with, files_of, model, read

__all__ = ["model"]  # a fixture


@pytest.fixture(scope="module")
def loaded(model):
    return mobanet.load(model)


@pytest.fixture(scope="module")
def written(loaded, prepared, tmp_path_factory):
    """The map of half a surface model, with all that can be written."""
    folder = tmp_path_factory.mktemp("written")
    files = files_of(prepared)

    def half(values):
        values[:, :, 80:] = -9999
        return values

    files["dsm"] = str(copy_with(files["dsm"], folder / "half.tif", half, nodata=-9999))
    more = {"probabilities": "float32", "confidence": "uint8", "scenarios": True}
    return loaded.write_map(folder / "map.tif", files, crs="EPSG:32633", **more)


def test_the_file_is_that_of_the_command(loaded, model, prepared, tmp_path):
    files = files_of(prepared)
    found = loaded.write_map(tmp_path / "a.tif", rgb=files["rgb"], dsm=files["dsm"], confidence="uint8", turns=True)
    (other,) = predict(
        str(model),
        {"rgb": files["rgb"], "dsm": files["dsm"]},
        str(tmp_path / "b.tif"),
        confidence="uint8",
        turns=True,
    )
    assert found.files.classes.read_bytes() == other.files.classes.read_bytes()
    assert found.files.confidence.read_bytes() == other.files.confidence.read_bytes()
    assert found.classes == other.classes
    assert found.scenarios[0].name == "rgb+dsm"


def test_a_map_that_is_there_is_replaced_when_asked_for(loaded, prepared, tmp_path):
    files, path = files_of(prepared), tmp_path / "map.tif"
    loaded.write_map(path, files)
    first = path.read_bytes()
    with pytest.raises(UserError, match=r"map.tif is there already"):
        loaded.write_map(path, rgb=files["rgb"])
    assert path.read_bytes() == first
    loaded.write_map(path, rgb=files["rgb"], overwrite=True)
    assert path.read_bytes() != first


def test_arrays_are_for_predict(loaded, prepared, tmp_path):
    for call in (loaded.inputs, lambda rasters: loaded.write_map(tmp_path / "map.tif", rasters)):
        with pytest.raises(UserError, match="rgb is ndarray and no path; give a file, or arrays to predict"):
            call({"rgb": np.zeros((3, 160, 160), np.uint8)})
        with pytest.raises(UserError, match="radar: the model takes rgb, ir, dsm"):
            call({"radar": files_of(prepared)["rgb"]})
    with pytest.raises(UserError, match="rgb is given twice"):
        loaded.inputs({"rgb": "a.tif"}, rgb="b.tif")
    assert not list(tmp_path.iterdir())


def test_inputs_are_the_rasters_as_the_model_takes_them(loaded, prepared, tmp_path):
    files = files_of(prepared)

    def gap(values):
        values[:, :40, :20] = 0
        return values

    files["rgb"] = str(copy_with(files["rgb"], tmp_path / "gap.tif", lambda v: gap(v.clip(1)), nodata=0))
    found = loaded.inputs({"dsm": files["dsm"]}, rgb=files["rgb"])
    assert list(found) == ["rgb", "dsm"]  # the model's order
    rgb, dsm = found.values()
    assert (rgb.name, rgb.modality.kind, dsm.modality.kind) == ("gap.tif", "optical", "elevation")
    assert rgb.missing() == 800 / 160**2
    assert dsm.missing() == 0
    pixels, valid = rgb.read()
    with rasterio.open(files["rgb"]) as raster:
        assert np.array_equal(pixels, np.moveaxis(raster.read(), 0, -1))
    assert not valid[:40, :20].any()
    assert valid.sum() == 160**2 - 800
    strips = list(rgb.strips(rows=100))
    assert [strip.height for strip in strips] == [100, 60]
    assert np.array_equal(np.concatenate([rgb.read(strip)[0] for strip in strips]), pixels)
    assert rgb.read(side=50)[0].shape == (40, 40, 3)  # every fourth
    for raster in (rgb, dsm):
        picture = raster.picture()
        assert picture.shape == (160, 160, 3)
        assert 0 <= picture.min() < picture.max() <= 1
    assert (rgb.picture()[:40, :20] == 0).all()
    assert "rgb: gap.tif, 160 x 160 pixels" in repr(rgb)


def test_a_raster_without_a_pixel_is_black(loaded, prepared, tmp_path):
    files = files_of(prepared)
    empty = copy_with(files["dsm"], tmp_path / "empty.tif", lambda v: v * 0 - 9999, nodata=-9999)
    (dsm,) = loaded.inputs(dsm=str(empty)).values()
    assert dsm.missing() == 1
    assert (dsm.picture() == 0).all()


def test_pixel_sizes_have_their_units(loaded, prepared, tmp_path):
    rgb = files_of(prepared)["rgb"]
    sizes = {}
    for name, place in {
        "utm": {"crs": "EPSG:32633"},
        "feet": {"crs": "EPSG:2263"},
        "degrees": {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-6, 0, 13, 0, -1e-6, 52)},
        "nowhere": {"crs": None, "transform": rasterio.Affine.identity()},
    }.items():
        path = copy_with(
            rgb, tmp_path / f"{name}.tif", **{"transform": rasterio.Affine(0.5, 0, 9, 0, -0.5, 9), **place}
        )
        sizes[name] = loaded.inputs(rgb=str(path))["rgb"].pixel_size
    assert sizes == {"utm": "0.5 metre", "feet": "0.5 US survey foot", "degrees": "1e-06 degree", "nowhere": "unknown"}


def test_pictures_have_the_colours_of_the_classes(loaded, written):
    pixels, legend = written.picture()
    values = read(written.files.classes)
    assert list(legend) == list(loaded.classes.names)
    assert np.array_equal(np.round(pixels * 255), np.array(loaded.classes.colours)[values])
    small = written.picture(side=30)
    assert small.pixels.shape == (27, 27, 3)
    pixels, legend = written.picture("scenarios")
    assert set(legend) == {"rgb+ir", "rgb+ir+dsm"}  # and none that does not occur
    assert (pixels[:, :80] == legend["rgb+ir+dsm"]).all()
    assert (pixels[:, 80:] == legend["rgb+ir"]).all()


def test_confidence_is_the_highest_probability(loaded, written, prepared, tmp_path):
    with rasterio.open(written.files.probabilities) as raster:
        expected = raster.read().max(axis=0)
    np.testing.assert_allclose(written.confidence(), expected, atol=0.5 / 250)  # in 8 bit, in its own file
    files = files_of(prepared)
    for kind in ("uint8", "float32"):
        found = loaded.write_map(tmp_path / f"{kind}.tif", files, probabilities=kind).confidence()
        np.testing.assert_allclose(found, loaded.predict(files).confidence, atol=0.5 / 250)
    rgb = copy_with(files["rgb"], tmp_path / "gap.tif", lambda v: v.clip(1) * (np.arange(160) > 9), nodata=0)
    gap = loaded.write_map(tmp_path / "gaps.tif", rgb=str(rgb), confidence="uint8")
    assert np.isnan(gap.confidence()[:, :10]).all()
    assert np.isfinite(gap.confidence()[:, 10:]).all()
    pixels, legend = gap.picture()
    assert (pixels[:, :10] == legend["no value"]).all()


def test_what_was_not_written_is_said(loaded, prepared, tmp_path):
    bare = loaded.write_map(tmp_path / "bare.tif", rgb=files_of(prepared)["rgb"])
    with pytest.raises(UserError, match=r"bare.tif was written without confidence and probabilities"):
        bare.confidence()
    with pytest.raises(UserError, match=r"bare.tif was written without its scenarios"):
        bare.picture("scenarios")
    bare.files.classes.unlink()
    with pytest.raises(UserError, match=r"bare.tif"):
        bare.picture()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "fine"}, "preset is 'fine'; give smooth, test, authors"),
        ({"gaps": "none"}, "gaps is 'none'; give nodata, predict"),
        ({"coverage": "all"}, "coverage is 'all'; give pixel, window"),
        ({"probabilities": "uint16"}, "probabilities is 'uint16'; give none, uint8, float32"),
        ({"confidence": True}, "confidence is True; give none, uint8, float32"),
    ],
)
def test_words_that_options_do_not_take_are_said(loaded, prepared, tmp_path, options, words):
    rgb = files_of(prepared)["rgb"]
    with pytest.raises(UserError, match=words):
        loaded.write_map(tmp_path / "map.tif", rgb=rgb, **options)
    assert not list(tmp_path.iterdir())
    if options.keys() <= {"preset", "gaps", "coverage"}:
        with pytest.raises(UserError, match=words):
            loaded.predict(rgb=rgb, **options)


@pytest.mark.parametrize(
    ("area", "words"),
    [
        (shapely.Polygon(), "the area is of type Polygon or empty"),
        (shapely.LineString([(0, 0), (1, 1)]), "of type LineString or empty; give a shapely polygon"),
        ("POLYGON((0 0, 1 1, 1 0, 0 0))", "of type str or empty"),
        (None, "of type NoneType or empty"),
    ],
)
def test_places_that_are_none_are_said(written, area, words):
    with pytest.raises(UserError, match=words):
        written.within(area)


def test_sizes_and_kinds_of_pictures_that_there_are_not(loaded, written, prepared):
    (rgb,) = loaded.inputs(rgb=files_of(prepared)["rgb"]).values()
    for call in (rgb.picture, written.picture, written.confidence):
        with pytest.raises(UserError, match="side is 0; give"):
            call(side=0)
    with pytest.raises(UserError, match="rows is -1; give at least 1"):
        list(rgb.strips(-1))
    with pytest.raises(UserError, match="no picture of confidence; ask for that of classes or scenarios"):
        written.picture("confidence")
    with pytest.raises(UserError, match="rasters is a list; give them by modality"):
        loaded.predict([str(rgb.name)])


def test_maps_are_compared_pixel_by_pixel(loaded, written, prepared, tmp_path):
    files = files_of(prepared)
    rgb = copy_with(files["rgb"], tmp_path / "gap.tif", lambda v: v.clip(1) * (np.arange(160) > 9), nodata=0)
    other = loaded.write_map(tmp_path / "other.tif", rgb=str(rgb), crs="EPSG:32633")
    changed, known = written.difference(other)
    assert known == 160 * 150
    assert changed == (read(written.files.classes) != read(other.files.classes))[:, 10:].sum() > 0
    assert other.difference(written) == (changed, known)
    assert written.difference(written).changed == 0
    cut = copy_with(files["rgb"], tmp_path / "cut.tif", lambda v: v[:, :100])
    with pytest.raises(UserError, match="lie on different grids"):
        written.difference(loaded.write_map(tmp_path / "short.tif", rgb=str(cut)))


def test_classes_within_a_place(loaded, written, prepared, tmp_path):
    with rasterio.open(written.files.classes) as raster:
        left, bottom, right, top = raster.bounds
        values, side = raster.read(1), raster.transform.a
    whole = written.within(shapely.box(left, bottom, right, top))
    assert [(each.name, each.pixels) for each in whole] == [(each.name, each.pixels) for each in written.classes]
    assert [each.area for each in whole] == pytest.approx([each.area for each in written.classes], rel=1e-3)
    corner = written.within(shapely.box(left - 99, top - 10 * side, left + 20 * side, top + 99))  # hangs over
    assert [each.pixels for each in corner] == np.bincount(values[:10, :20].ravel(), minlength=6).tolist()
    assert sum(each.share for each in corner) == pytest.approx(1)
    parts = shapely.MultiPolygon(
        [shapely.box(left, top - side, left + side, top), shapely.box(right - side, bottom, right, bottom + side)]
    )
    assert sum(each.pixels for each in written.within(parts)) == 2
    (place,) = loaded.inputs(rgb=files_of(prepared)["rgb"]).values()
    assert place.grid.crs is None
    nowhere = loaded.write_map(tmp_path / "nowhere.tif", rgb=files_of(prepared)["rgb"])
    assert {each.area for each in nowhere.within(shapely.box(left, bottom, right, top))} == {None}
    with pytest.raises(UserError, match=r"the area lies outside the map map.tif, which covers .* \(EPSG:32633\)"):
        written.within(shapely.box(right + 5, top, right + 9, top + 5))
