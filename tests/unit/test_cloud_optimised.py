import numpy as np
import pytest
import rasterio
import rasterio.shutil

from mobanet.data.sources.rasters import Grid
from mobanet.inference import geotiff
from mobanet.inference.geotiff import RowWriter
from tests.unit.cog import assert_cloud_optimised, directories
from tests.unit.test_geotiff import KINDS, PLACE, content, written


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(30, 40), (513, 700), (1300, 2100)])
def test_a_map_is_cloud_optimised(tmp_path, name, shape):
    path = written(tmp_path / "map.tif", KINDS[name], content(KINDS[name], *shape))
    assert_cloud_optimised(path)
    assert len(directories(path.read_bytes())) == {30: 1, 513: 3, 1300: 4}[shape[0]]
    with rasterio.open(path) as raster:
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_one_with_nothing_in_most_of_it_lacks_no_tile(tmp_path):
    pixels = np.full((1, 1300, 2100), 255, np.uint8)
    pixels[0, 700:710, 40:50] = 1
    path = written(tmp_path / "map.tif", KINDS["classes"], pixels)
    assert_cloud_optimised(path)
    with rasterio.open(path) as raster:
        assert np.array_equal(raster.read(), pixels)


def test_the_check_finds_files_that_are_not(tmp_path):
    pixels = content(KINDS["classes"], 1300, 2100)
    profile = {"driver": "GTiff", "count": 1, "height": 1300, "width": 2100, "dtype": "uint8", "compress": "deflate"}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "transform": rasterio.Affine(*PLACE)}
    with rasterio.open(tmp_path / "plain.tif", "w", **profile) as raster:
        raster.write(pixels)
    with pytest.raises(AssertionError, match="no overview fits"):
        assert_cloud_optimised(tmp_path / "plain.tif")
    with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=512), rasterio.open(tmp_path / "plain.tif", "r+") as raster:
        raster.build_overviews([2, 4, 8])
    with pytest.raises(AssertionError, match="a directory stands behind pixels"):
        assert_cloud_optimised(tmp_path / "plain.tif")
    rasterio.shutil.copy(tmp_path / "plain.tif", tmp_path / "good.tif", driver="COG", blocksize=512)
    assert_cloud_optimised(tmp_path / "good.tif")


def test_the_bytes_do_not_depend_on_the_number_of_threads(tmp_path, monkeypatch):
    pixels = content(KINDS["float32"], 1300, 1100)
    files = []
    for count in (1, 2, 4):
        monkeypatch.setattr(geotiff, "_threads", lambda count=count: count)
        files.append(written(tmp_path / f"{count}.tif", KINDS["float32"], pixels).read_bytes())
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize("name", ["classes", "float32"])
def test_a_writer_that_is_told_to_give_up_leaves_nothing(tmp_path, monkeypatch, name):
    """Whatever it is at: GDAL then reads rows that are no longer there."""
    kind = KINDS[name]
    pixels = content(kind, 1100, 1100)
    path = tmp_path / "map.tif"
    for step in ("_add_overviews", "_compress"):
        real = getattr(RowWriter, step)

        def late(self, real=real):
            geotiff.give_up(self.path)
            real(self)

        with monkeypatch.context() as patched, pytest.raises(OSError, match="Input/output error"):
            patched.setattr(RowWriter, step, late)
            with RowWriter(path, Grid(1100, 1100, PLACE, "EPSG:32633"), kind) as writer:
                writer.write(pixels)
        assert not list(tmp_path.iterdir()), step
    geotiff.give_up(path)  # of no writer
    assert not list(tmp_path.iterdir())
