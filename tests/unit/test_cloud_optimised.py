import os
import signal
import threading
import time

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from mobanet.rasters import geotiff
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


def test_a_fork_of_a_process_that_has_written_writes_the_same(tmp_path, monkeypatch):
    """Threads that GDAL keeps for compressing would not be there in it, and be waited for without an end."""
    monkeypatch.setenv("GDAL_NUM_THREADS", "ALL_CPUS")
    pixels = content(KINDS["float32"], 700, 700)
    path = written(tmp_path / "here.tif", KINDS["float32"], pixels)
    if not (child := os.fork()):
        code = 1
        try:
            written(tmp_path / "there.tif", KINDS["float32"], pixels)
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + 60
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.05)
    if not ended[0]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)
    assert (tmp_path / "there.tif").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["classes", "uint8", "float32"])
def test_a_writer_that_is_told_to_give_up_leaves_nothing_or_a_whole_map(tmp_path, name):
    """Whenever it is told so: GDAL then reads rows that are no longer there."""
    kind = KINDS[name]
    pixels = content(kind, 700, 700)
    path = tmp_path / "map.tif"
    begin = time.monotonic()
    written(path, kind, pixels)
    whole, taken = path.read_bytes(), time.monotonic() - begin
    ends = []
    for moment in np.linspace(0, taken, 9):
        for file in tmp_path.iterdir():
            file.unlink()
        timer = threading.Timer(moment, told_until, (path, moment + 3 * taken))
        timer.start()
        try:
            written(path, kind, pixels)
            assert path.read_bytes() == whole
            ends.append("whole")
        except OSError as error:
            ends.append(error.filename)
            left = list(tmp_path.iterdir())
            assert not left
        timer.join()
    assert set(ends) in ({str(path)}, {str(path), "whole"})


def told_until(path, seconds):
    """Again and again, as by one who waits for the writer's thread."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and path.with_name("map.tif.rows.part").exists():
        geotiff.give_up(path)
        time.sleep(0.005)


def test_of_no_writer_nothing_is_given_up(tmp_path):
    geotiff.give_up(tmp_path / "map.tif")
    assert not list(tmp_path.iterdir())
