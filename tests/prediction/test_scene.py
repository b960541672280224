import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from mobanet.errors import UserError
from mobanet.prediction.request import GivenRaster
from mobanet.rasters.contents import Modality
from tests.data_files.fake_files import georeferenced, noise, truncate, write
from tests.prediction.conftest import MODALITIES, given, placed, slope

HERE = georeferenced(1000, 2000, 1)


@pytest.fixture
def raster(tmp_path):
    """Writes a raster of noise, (bands, H, W) = (3, 90, 70) unless told otherwise."""

    def make(name, array=None, bands=3, size=(90, 70), **options):
        array = noise(name, bands, size) if array is None else array
        return write(tmp_path / f"{name}.tif", array, **options)

    return make


def refused(*parts, **options):
    with pytest.raises(UserError) as error:
        placed(**options)
    said = str(error.value)
    for part in parts:
        assert str(part) in said
    assert said.endswith(".")
    assert said.count(". ") == 0  # one sentence


def test_rasters_on_one_grid_are_taken_as_they_are(ortho, surface):
    scene = placed(rgb=ortho, dsm=surface)
    assert (scene.id, scene.reference, list(scene.rasters), scene.notes) == ("here", "rgb", ["rgb", "dsm"], ())
    assert (scene.grid.height, scene.grid.width, scene.grid.crs) == (90, 70, "EPSG:32633")
    assert scene.grid.transform == (1, 0, 1000, 0, -1, 2000)
    assert {name: r.fit for name, r in scene.rasters.items()} == {"rgb": "same", "dsm": "same"}
    assert {name: str(r.dtype) for name, r in scene.rasters.items()} == {"rgb": "uint8", "dsm": "float32"}
    assert [scene.rasters[name].reading.lowest for name in ("rgb", "dsm")] == [None, -1000]


def test_the_first_modality_of_the_model_is_the_reference_unless_another_is_named(ortho, raster):
    coarse = raster("coarse", slope(45, 35), **georeferenced(1000, 2000, 2))
    assert placed(dsm=coarse, rgb=ortho).reference == "rgb"
    assert placed(dsm=coarse).reference == "dsm"
    scene = placed(reference="dsm", rgb=ortho, dsm=coarse)
    assert (scene.reference, scene.grid.size) == ("dsm", "35 x 45")
    assert (scene.rasters["rgb"].fit, scene.rasters["dsm"].fit) == ("warp", "same")


def test_half_resolution_and_other_systems_are_resampled_and_told(ortho, raster):
    half = raster("half", slope(45, 35), **georeferenced(1000, 2000, 2))
    scene = placed(rgb=ortho, dsm=half)
    assert scene.rasters["dsm"].fit == "warp"
    assert scene.notes == ("dsm: half.tif (35 x 45 pixels) is resampled to rgb's grid",)
    far = raster("far", slope(90, 70), **georeferenced(500_000, 5_800_000, 1))
    with rasterio.open(far) as source:
        bounds = rasterio.warp.transform_bounds("EPSG:32633", "EPSG:4326", *source.bounds)
    degrees = rasterio.transform.from_bounds(*bounds, 40, 40)
    other = raster("other", size=(40, 40), crs="EPSG:4326", transform=degrees)
    scene = placed(rgb=other, dsm=far)
    assert (scene.grid.crs, scene.rasters["dsm"].fit, scene.rasters["dsm"].own.crs) == (
        "EPSG:4326",
        "warp",
        "EPSG:32633",
    )


def test_without_georeference_rasters_share_pixels_and_a_lacking_column_is_padded(raster):
    scene = placed(rgb=raster("plain"), dsm=raster("narrow", slope(90, 69)), ir=raster("tall", bands=1, size=(98, 70)))
    assert {name: r.fit for name, r in scene.rasters.items()} == {"rgb": "same", "ir": "edge", "dsm": "edge"}
    assert (scene.grid.transform, scene.grid.crs) == (None, None)
    assert [note.split(";")[0] for note in scene.notes[:2]] == [
        "ir: tall.tif has 70 x 98 pixels and not 70 x 90",
        "dsm: narrow.tif has 69 x 90 pixels and not 70 x 90",
    ]
    assert scene.notes[2].endswith("plain.tif has no georeference, and the map gets none")
    refused(
        "narrow.tif is 61 x 90 pixels and",
        "plain.tif 70 x 90",
        "without a georeference",
        "georeference them",
        rgb=raster("plain"),
        dsm=raster("narrow", slope(90, 61)),
    )


def test_a_raster_without_georeference_beside_one_with_shares_its_pixels(ortho, raster):
    scene = placed(rgb=ortho, dsm=raster("plain", slope(90, 70)))
    assert scene.rasters["dsm"].fit == "same"
    assert scene.grid.transform is not None
    assert scene.notes == ("dsm: plain.tif or rgb has no georeference; they are taken to share pixels",)
    refused("small.tif is 40 x 40 pixels and", "ortho.tif 70 x 90", rgb=ortho, dsm=raster("small", slope(40, 40)))


def test_rasters_of_different_places_are_told_with_both_extents(ortho, raster):
    away = raster("away", slope(90, 70), **georeferenced(5000, 2000, 1))
    refused(
        "away.tif and",
        "ortho.tif do not overlap",
        "5000 to 5070, 1910 to 2000 (EPSG:32633)",
        "1000 to 1070",
        "give rasters of the same place",
        rgb=ortho,
        dsm=away,
    )
    degrees = raster("degrees", slope(90, 70), **georeferenced(150, -30, 0.01, "EPSG:4326"))
    refused("150 to 150.7, -30.9 to -30 (EPSG:4326)", "1000 to 1070, 1910 to 2000 (EPSG:32633)", rgb=ortho, dsm=degrees)


def test_a_system_that_one_raster_lacks_has_to_be_given(ortho, raster):
    nameless = raster("nameless", slope(90, 70), transform=HERE["transform"])
    refused(nameless, "names no coordinate reference system", ortho, "(EPSG:32633)", "--crs", rgb=ortho, dsm=nameless)
    image = raster("image", transform=HERE["transform"])
    known = raster("known", slope(90, 70), **HERE)
    refused(f"{image} names no", f"{known} does", rgb=image, dsm=known)
    assert placed(crs="EPSG:32633", rgb=image, dsm=known).grid.crs == "EPSG:32633"
    assert placed(rgb=image, dsm=nameless).grid.crs is None
    assert placed(crs="EPSG:25833", rgb=ortho, dsm=known).grid.crs == "EPSG:32633"  # only where there is none


@pytest.mark.parametrize("names", [["rgb"], ["rgb", "dsm"]])
def test_a_system_that_does_not_exist_is_told_before_anything_is_predicted(names, ortho, raster):
    nameless = {"rgb": raster("image", transform=HERE["transform"]), "dsm": raster("known", slope(90, 70), **HERE)}
    refused("EPSG:999999", "--crs", crs="EPSG:999999", **{name: nameless[name] for name in names})


def test_a_system_may_be_written_in_other_words(ortho, raster):
    nameless = raster("nameless", slope(90, 70), transform=HERE["transform"])
    for words in ("epsg:32633", rasterio.crs.CRS.from_epsg(32633).to_wkt()):
        scene = placed(crs=words, rgb=ortho, dsm=nameless)
        assert scene.rasters["dsm"].fit == "same"  # not resampled to the same grid in other words


def test_a_reference_that_the_model_does_not_know_is_refused(ortho):
    refused("--reference dms", "rgb, ir, dsm", reference="dms", rgb=ortho)


def test_bands(raster, tmp_path):
    gray, five = raster("gray", bands=1), raster("five", bands=5)
    refused("gray.tif has 1 band where the model's rgb has 3 (red, green, blue): give another raster.", rgb=gray)
    refused("five.tif has 5 bands where the model's rgb has 3", "choose, such as rgb=five.tif[1,2,3]", rgb=five)
    refused("five.tif has 5 bands where the model's ir has 1", "choose, such as ir=five.tif[1]", ir=five)
    scene = placed(rgb=GivenRaster(five, (4, 0, 2)), ir=GivenRaster(five, (1,)))
    assert (scene.rasters["rgb"].source.bands, scene.rasters["rgb"].reading.data) == ((4, 0, 2), (0, 1, 2, 3, 4))
    refused("five.tif has 5 bands, and band 6 is asked for", "rgb=five.tif[1]", rgb=GivenRaster(five, (0, 1, 5)))
    refused("2 bands of", "are asked for where the model's rgb has 3", rgb=GivenRaster(five, (0, 1)))
    refused("1 band of", "are asked for where the model's rgb has 3", rgb=GivenRaster(five, (0,)))


def with_meaning(path, *meaning):
    with rasterio.open(path, "r+") as file:
        file.colorinterp = meaning
    return path


RED_GREEN_BLUE = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def test_an_alpha_band_is_no_data(raster):
    pixels = noise("rgba", 4, (90, 70))
    pixels[3] = np.where(pixels[3] > 100, 255, 0)
    rgba = with_meaning(raster("rgba", pixels, photometric="RGB"), *RED_GREEN_BLUE, ColorInterp.alpha)
    other = with_meaning(raster("other", bands=4, photometric="RGB"), *RED_GREEN_BLUE, ColorInterp.undefined)
    reading = placed(rgb=rgba).rasters["rgb"].reading
    assert (reading.source.bands, reading.data, reading.mask) == ((0, 1, 2), (0, 1, 2), 3)
    refused("other.tif has 4 bands where", "rgb=other.tif[1,2,3]", rgb=other)
    chosen = placed(rgb=GivenRaster(other, (0, 1, 2)), ir=GivenRaster(other, (3,))).rasters
    assert [chosen[name].reading.mask for name in ("rgb", "ir")] == [None, None]


def test_a_fourth_band_that_is_asked_for_is_nobodys_alpha(raster):
    # what GDAL takes for alpha in four bands of bytes is the infrared of many an ortho
    rgbir = with_meaning(raster("rgbir", bands=4, photometric="RGB"), *RED_GREEN_BLUE, ColorInterp.alpha)
    rasters = placed(rgb=GivenRaster(rgbir, (0, 1, 2)), ir=GivenRaster(rgbir, (3,))).rasters
    assert [rasters[name].reading.mask for name in ("rgb", "ir")] == [None, None]


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32"])
def test_another_range_than_the_models_is_refused(dtype, raster):
    values = noise("deep", 3, (90, 70)).astype(dtype)
    assert placed(rgb=raster("shallow", values)).rasters["rgb"].reading.scale == (1, 1, 1)
    deep = raster("deep", values * 40)
    refused("deep.tif has values up to", "the model knows rgb from 0 to 255", "rescale it", rgb=deep)
    assert placed(rgb=GivenRaster(deep, (), None, 1 / 40)).rasters["rgb"].dtype == np.float32


def test_a_model_of_16_bit_takes_16_bit(raster):
    deep = raster("deep", noise("deep", 3, (90, 70)).astype(np.uint16) * 40)
    modality = Modality("rgb", ("red", "green", "blue"), maximum=65535)
    assert placed(modalities={"rgb": modality}, rgb=deep).rasters["rgb"].dtype == np.uint16
    eleven = Modality("rgb", ("red", "green", "blue"), maximum=2047)
    refused("from 0 to 2047", modalities={"rgb": eleven}, rgb=deep)


def test_nodata_is_not_looked_at_for_the_range(raster):
    values = noise("deep", 3, (90, 70)).astype(np.uint16)
    values[:, 40:50] = 65535
    declared, bare = raster("declared", values, nodata=65535), raster("bare", values)
    assert placed(rgb=declared).rasters["rgb"].source.nodata is None
    assert placed(rgb=GivenRaster(bare, (), 65535.0)).rasters["rgb"].source.nodata == 65535
    refused("bare.tif has values up to 65535", rgb=bare)


def test_values_in_the_middle_of_a_large_raster_are_looked_at(raster):
    values = np.zeros((3, 700, 500), np.uint16)
    values[1, 180:240, 240:300] = 3000
    refused("values up to 3000", rgb=raster("spot", values))


def test_stored_types(raster):
    elevation = raster("whole", slope(90, 70).astype(np.int16))
    factor = GivenRaster(raster("factor", noise("f", 3, (90, 70))), (), None, 0.5)
    scene = placed(rgb=factor, dsm=elevation)
    assert [str(scene.rasters[name].dtype) for name in ("rgb", "dsm")] == ["float32", "float32"]


def test_unreadable_files_are_named(raster, tmp_path, ortho):
    (tmp_path / "text.tif").write_text("no raster")
    refused("text.tif is unreadable or cut short", rgb=tmp_path / "text.tif")
    (tmp_path / "empty.tif").touch()
    refused("empty.tif is unreadable or cut short", rgb=ortho, dsm=tmp_path / "empty.tif")
    # the range of 16 bit is looked at here; 8 bit is read later
    short = raster("short", noise("short", 3, (600, 600)).astype(np.uint16))
    truncate(short, 0.3)
    refused("short.tif is unreadable or cut short", rgb=short)


def test_only_what_the_model_knows_is_taken():
    assert list(given(rgb="a.tif", dsm="b.tif").rasters) == ["rgb", "dsm"]
    assert list(MODALITIES) == ["rgb", "ir", "dsm"]
