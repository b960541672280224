"""A place that is none is refused wherever a raster comes in; unusual ones that place every pixel are not."""

import math

import pytest
import rasterio
from rasterio.transform import Affine

from mobanet.datasets import FolderModality, FolderSettings, get_layout
from mobanet.errors import UserError
from mobanet.rasters.categories import class_kind
from mobanet.rasters.contents import FileRef
from mobanet.rasters.geotiff import RowWriter
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import grid_of, opened
from mobanet.store.build import build_store
from mobanet.store.check import check_files
from tests.data_files.fake_files import WORLD, georeferenced, indices, noise, potsdam_tile, vaihingen_area, write
from tests.hostile.kinds import OWN, SIZE, check_store, raster_files
from tests.prediction.conftest import placed

TURNED = Affine.translation(1000, 2000) * Affine.rotation(30) * Affine.shear(10) * Affine.scale(0.5, -0.5)

NONE = {
    "NaN": "nan\n0\n0\n-1\n3\n4\n",
    "NaN as the origin": "1\n0\n0\n-1\nnan\n4\n",
    "infinity": "inf\n0\n0\n-1\n3\n4\n",
    "beyond floats": "1e400\n0\n0\n-1\n3\n4\n",
    "corners beyond floats": "1e308\n0\n0\n-1e308\n1e308\n4\n",
    "pixels without height": "1\n0\n0\n0\n3\n4\n",
    "rows on columns": "1\n1\n1\n1\n3\n4\n",
    "pixels lost beside the origin": "1\n0\n0\n-1\n1e18\n4\n",
}
"""World files that GDAL takes, or at which it gives no place at all."""

PASSED_OVER = {
    "words": "one\ntwo\nthree\nfour\nfive\nsix\n",
    "zeros": "0\n0\n0\n0\n0\n0\n",
    "five numbers": "1\n0\n0\n-1\n3\n",
    "nothing": "",
    "a picture": "\x89PNG\r\n" * 2000,
}
"""World files that GDAL passes over in silence."""


@pytest.fixture
def rasters(tmp_path):
    """Three rasters of a tile without a place."""
    files = {name: tmp_path / "data" / name / "a.tif" for name in ("rgb", "dsm", "label")}
    import random

    raster_files(random.Random(5), tmp_path / "data")
    for name, path in files.items():
        with rasterio.open(path) as raster:
            content = raster.read()
        write(path, content)
        for beside in path.parent.glob("a.tf*"):
            beside.unlink()
        assert path.exists(), name
    return files


@pytest.mark.parametrize("case", [*NONE, *PASSED_OVER])
@pytest.mark.parametrize("name", ["a.tfw", "a.TFW", "a.wld"])
def test_a_world_file_that_places_nothing(rasters, tmp_path, case, name):
    path = rasters["rgb"].with_name(name)
    path.write_text((NONE | PASSED_OVER)[case], encoding="latin-1")
    with pytest.raises(UserError, match=r"rgb/a\.\w+ (has a georeference|is no world file)") as predicting:
        placed(rgb=rasters["rgb"])
    assert "\n" not in str(predicting.value)
    with pytest.raises(UserError) as preparing:
        build_store(OWN, tmp_path / "data", tmp_path / "store", workers=1)
    assert str(predicting.value).rstrip(".") in str(preparing.value)
    assert not (tmp_path / "store/store.json").exists()
    problems = check_files(OWN, tmp_path / "data", tmp_path / "store", workers=1).problems
    assert any(str(predicting.value).rstrip(".") in problem for problem in problems)


@pytest.mark.parametrize("name", ["dsm", "label"])
def test_whichever_raster_it_is(rasters, tmp_path, name):
    rasters[name].with_suffix(".tfw").write_text(NONE["NaN"])
    with pytest.raises(UserError, match=rf"{name}/a\.tif has a georeference that is not finite"):
        build_store(OWN, tmp_path / "data", tmp_path / "store", workers=1)


@pytest.mark.parametrize(
    "bad", [(math.nan, 0, 0, 0, -1, 0), (1, 0, 0, 0, 0, 0), (1, 2, 0, 2, 4, 0), (0.05, 0, 0, 366976, -0.05, 0)]
)
def test_a_place_in_the_raster_itself(tmp_path, bad):
    path = write(tmp_path / "a.tif", noise("a", 3, SIZE), transform=Affine(*bad), crs="EPSG:32633")
    with pytest.raises(UserError, match=r"a\.tif has a georeference"):
        placed(rgb=path)


def test_the_world_file_of_another_product(tmp_path, potsdam, vaihingen):
    """Of Potsdam and Vaihingen the tile takes its place from a file that need not lie beside its raster."""
    potsdam_tile(tmp_path / "p", 2, 10)
    (tmp_path / "p/4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tfw").write_text(NONE["NaN"])
    with pytest.raises(UserError, match=r"top_potsdam_2_10_RGBIR\.t\w+ has a georeference that is not finite"):
        build_store(potsdam, tmp_path / "p", workers=1)
    vaihingen_area(tmp_path / "v", 1)
    (tmp_path / "v/dsm/dsm_09cm_matching_area1.tfw").write_text(PASSED_OVER["words"])
    with pytest.raises(UserError, match=r"dsm_09cm_matching_area1\.tfw is no world file of six numbers"):
        build_store(vaihingen, tmp_path / "v", workers=1)


def test_unusual_places_stay_what_they_are(rasters, tmp_path):
    for name, path in rasters.items():
        with rasterio.open(path) as raster:
            content = raster.read()
        write(path, content, transform=TURNED, crs="EPSG:32633")
        assert name
    build_store(OWN, tmp_path / "data", tmp_path / "store", workers=1)
    check_store(tmp_path / "store")
    scene = placed(rgb=rasters["rgb"], dsm=rasters["dsm"])
    with RowWriter(tmp_path / "map.tif", scene.grid, class_kind(OWN.classes)) as writer:
        writer.write(noise("m", 1, SIZE))
    with rasterio.open(tmp_path / "map.tif") as raster:
        assert raster.transform.almost_equals(TURNED)


def test_world_files_are_read_as_gdal_does_and_as_it_does_not(tmp_path):
    path = write(tmp_path / "a.tif", noise("a", 3, SIZE))
    expected = (0.05, 0, 366976.5, 0, -0.05, 5809761.0)
    for text in (WORLD, WORLD.replace("\n", " "), WORLD.replace(".", ",")):
        path.with_suffix(".tfw").write_text(text)
        with rasterio.open(path) as raster:
            assert grid_of(raster).transform == pytest.approx(expected)
    path.with_suffix(".tfw").write_text("1\n0\n0\n1\n0.5\n0.5\n")  # pixels themselves, as for rasters without a place
    with rasterio.open(path) as raster:
        assert grid_of(raster).transform is None


def test_more_pixels_than_the_disk_holds(rasters, tmp_path):
    """By three lines of text that GDAL takes for a raster of 12 TB."""
    band = '<VRTRasterBand dataType="Byte" band="{}"/>'
    size = 'rasterXSize="2000000" rasterYSize="2000000"'
    rasters["rgb"].write_text(f"<VRTDataset {size}>{''.join(band.format(n) for n in (1, 2, 3))}</VRTDataset>")
    with pytest.raises(UserError, match=r"rgb/a\.tif says that it has more pixels than the disk holds"):
        build_store(OWN, tmp_path / "data", tmp_path / "store", workers=1)


def test_a_small_part_of_more_pixels_than_the_disk_holds(rasters, tmp_path):
    """A surface model of 16 TB, all of which would be copied to be resampled, below a tile of 40 pixels."""
    placed = "<SRS>EPSG:32633</SRS><GeoTransform>500000, 1e-5, 0, 5800000, 0, -1e-5</GeoTransform>"
    band = '<VRTRasterBand dataType="Float32" band="1"/>'
    write(rasters["rgb"], noise("rgb", 3, SIZE), **georeferenced(500_000, 5_800_000, 0.5))
    rasters["dsm"].write_text(f'<VRTDataset rasterXSize="2000000" rasterYSize="2000000">{placed}{band}</VRTDataset>')
    with pytest.raises(UserError, match=r"dsm/a\.tif says that it has more pixels than the disk holds"):
        build_store(OWN, tmp_path / "data", tmp_path / "store", workers=1)


@pytest.mark.parametrize(
    ("across", "down", "same"), [(0.4, 0, True), (0, 0.04, True), (0, 0.4, False), (0.6, 0, False)]
)
def test_grids_are_the_same_to_a_twentieth_of_a_pixel_either_way(across, down, same):
    """Pixels of 10 m by 1 m: what is little of a row's pixel is much of a column's."""
    one = Grid(20, 30, (10.0, 0, 500.0, 0, -1.0, 900.0), "EPSG:32633")
    other = Grid(20, 30, (10.0, 0, 500.0 + across, 0, -1.0, 900.0 + down), "EPSG:32633")
    assert one.same_as(other) is same
    quarter = Grid(20, 30, (0, 10.0, 500.0, -1.0, 0, 900.0), "EPSG:32633")  # turned by a right angle
    assert quarter.same_as(quarter)
    assert not quarter.same_as(Grid(20, 30, (0, 10.0, 500.0, -1.0, 0, 900.4), "EPSG:32633"))


def test_check_takes_a_label_without_georeference_for_the_tiles_own_pixels(tmp_path):
    for tile in "abcdefgh":
        write(tmp_path / f"data/{tile}.tif", noise(tile, 3), **georeferenced(500_000, 5_800_000, 0.5))
        write(tmp_path / f"data/{tile}_label.tif", indices(tile)[None])
    settings = FolderSettings(
        {"rgb": FolderModality("{tile}.tif", band_numbers=[1, 2, 3])},
        ["x", "y"],
        "{tile}_label.tif",
        values={n: n % 2 for n in range(6)},
    )
    findings = check_files(get_layout("folder", settings), tmp_path / "data", workers=1)
    assert findings.problems == []


def test_a_raster_without_a_place_has_none_without_its_overviews_either(tmp_path):
    """GDAL says that it knows no place then, and leaves the numbers to chance."""
    path = write(tmp_path / "a.tif", noise("a", 1, (600, 600)))
    with rasterio.open(path, "r+") as raster:
        raster.build_overviews([2])
    for overviews, factors in ((True, [2]), (False, [])):
        with opened(path, FileRef(path), overviews) as raster:
            assert raster.overviews(1) == factors
            assert raster.transform.is_identity
            assert grid_of(raster).transform is None
