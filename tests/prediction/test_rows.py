import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from mobanet.datasets import FolderModality, FolderSettings, get_layout
from mobanet.errors import UserError
from mobanet.prediction.request import GivenRaster
from mobanet.prediction.rows import CHUNK, RasterRows
from mobanet.rasters.alignment import overlap_window
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import opened
from mobanet.store.build import build_store
from tests.data_files.fake_files import georeferenced, load, noise, truncate, write
from tests.data_files.whole_rasters import aligned
from tests.prediction.conftest import placed, slope

HEIGHT, WIDTH = 2 * CHUNK + 37, 130
HERE = georeferenced(500_000, 5_800_000, 0.5)


def whole(raster, grid):
    """(H, W, C) values and (H, W) bool of a raster, read and brought to the grid at once, as preparation does."""
    with opened(raster.source.file.path, raster.source.file) as file:
        values, valid = raster.reading.read(file)
    values, valid = aligned(values, valid, raster.own, grid, raster.fit)
    return values.transpose(1, 2, 0), np.ones(values.shape[1:], bool) if valid is None else valid


def in_chunks(raster, grid, left=0, right=None):
    with RasterRows(raster, left, right) as rows:
        parts = [(values, np.ones(values.shape[:2], bool) if v is None else v) for values, v in rows.chunks()]
    return tuple(np.concatenate(each) for each in zip(*parts, strict=True))


def assert_windows_are_cut(raster, grid, left=0, right=None, size=100, step=61):
    """Windows from top to bottom, beyond the edges too, are those of the whole raster."""
    values, valid = whole(raster, grid)
    right = grid.width if right is None else right
    padded = np.zeros((grid.height + size, grid.width + size, values.shape[2]), values.dtype)
    known = np.zeros(padded.shape[:2], bool)
    padded[: grid.height, : grid.width], known[: grid.height, : grid.width] = values, valid
    padded[:, right:], known[:, right:] = 0, False  # a reader knows nothing right of its columns
    with RasterRows(raster, left, right) as rows:
        for top in range(0, grid.height, step):
            for column in range(left, right, step):
                window = slice(top, top + size), slice(column, column + size)
                pixels, there = rows.cut(top, column, size, size)
                assert pixels.dtype == raster.dtype
                assert pixels.shape == (size, size, len(raster.source.bands))
                there = np.ones((size, size), bool) if there is None else there
                assert np.array_equal(there, known[window])
                assert np.array_equal(pixels[there], padded[window][there])


@pytest.fixture
def ortho(tmp_path):
    return write(tmp_path / "ortho.tif", noise("ortho", 3, (HEIGHT, WIDTH)), **HERE)


@pytest.fixture
def surface(tmp_path):
    """Writes a surface model of noise, without anything that is missing unless told."""

    def make(values, name="surface", **options):
        return write(tmp_path / f"{name}.tif", values.astype(np.float32), **{**HERE, **options})

    return make


def metres(height=HEIGHT, width=WIDTH):
    return (30 + noise("metres", 1, (height, width)) / 10).astype(np.float32)


def test_windows_across_chunks_are_those_of_the_whole_raster(ortho):
    scene = placed(rgb=ortho)
    assert_windows_are_cut(scene.rasters["rgb"], scene.grid)
    assert_windows_are_cut(scene.rasters["rgb"], scene.grid, size=2 * CHUNK + 5, step=200)  # three chunks at once
    with RasterRows(scene.rasters["rgb"]) as rows:
        values, valid = rows.cut(3, 5, 20, 30)
    assert valid is None
    assert values.shape == (20, 30, 3)


def test_a_panel_of_a_wide_raster(ortho):
    scene = placed(rgb=ortho)
    assert_windows_are_cut(scene.rasters["rgb"], scene.grid, left=37, right=101, size=40, step=23)


def test_each_chunk_is_read_once_and_forgotten_behind(ortho, monkeypatch):
    scene, tops = placed(rgb=ortho), []
    original = RasterRows._source

    def counted(self, window):
        tops.append(window.row_off)
        return original(self, window)

    monkeypatch.setattr(RasterRows, "_source", counted)
    with RasterRows(scene.rasters["rgb"]) as rows:
        for top in range(0, HEIGHT, 10):
            for column in range(0, WIDTH, 10):
                rows.cut(top, column, 40, 40)
                assert len(rows._chunks) <= 2
    assert tops == [0, CHUNK, 2 * CHUNK]


def test_a_smaller_raster_without_georeference_is_padded_and_a_larger_cut(tmp_path):
    plain = write(tmp_path / "plain.tif", noise("plain", 3, (HEIGHT, WIDTH)))
    for height, width in ((HEIGHT, WIDTH - 1), (HEIGHT - 8, WIDTH), (HEIGHT - 3, WIDTH + 8), (HEIGHT + 5, WIDTH + 5)):
        dsm = write(tmp_path / "dsm.tif", metres(height, width))
        scene = placed(rgb=plain, dsm=dsm)
        assert scene.rasters["dsm"].fit == "edge"
        assert_windows_are_cut(scene.rasters["dsm"], scene.grid)
        assert_windows_are_cut(scene.rasters["dsm"], scene.grid, left=WIDTH - 30)
        _, valid = in_chunks(scene.rasters["dsm"], scene.grid)
        assert valid.sum() == min(height, HEIGHT) * min(width, WIDTH)


def test_a_lacking_column_with_a_georeference_leaves_the_others_as_they_are(ortho, surface):
    values = metres()
    scene = placed(rgb=ortho, dsm=surface(values[:, :, :-1]))
    read_back, valid = in_chunks(scene.rasters["dsm"], scene.grid)
    assert np.array_equal(read_back[:, :-1, 0], values[0, :, :-1])
    assert valid[:, :-1].all()
    assert not valid[:, -1].any()


@pytest.mark.parametrize("factor", [None, 0.1])
def test_heights_below_the_minimum_that_was_given_are_missing(surface, factor):
    """As raster values, before any factor; those that exporters write for nothing are heights above it."""
    values = metres()
    values[0, 10:20, 30:40] = -60
    values[0, 30:35, 5:15] = -50
    dsm = surface(values)
    for minimum, missing in ((None, values > np.inf), (-50, values < -50), (-70, values > np.inf), (35, values < 35)):
        scene = placed(dsm=GivenRaster(dsm, minimum=minimum, factor=factor))
        _, valid = in_chunks(scene.rasters["dsm"], scene.grid)
        assert np.array_equal(np.broadcast_to(valid, missing[0].shape), ~missing[0])


def broken_surface():
    """(1, H, W) metres with all that may be missing."""
    values = metres()
    values[0, 40:60, 20:50] = -9999
    values[0, 250:262, 60:90] = np.nan
    values[0, 300:310] = -5000  # below what a surface can have
    values[0, 400:, :10] = 3.4e38
    values[0, 500:520, 100:] = 777  # declared
    return values


def test_what_is_missing_is_what_preparation_calls_missing(tmp_path):
    """A tile store of the same files holds the same pixels."""
    rgba = noise("rgba", 4, (HEIGHT, WIDTH))
    rgba[3] = np.where(rgba[3] < 60, 0, 255)
    write(tmp_path / "rgb/a.tif", rgba, photometric="RGB", **HERE)
    with rasterio.open(tmp_path / "rgb/a.tif", "r+") as file:
        file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    infrared = noise("ir", 1, (HEIGHT, WIDTH))
    infrared[0, 200:300, 30:40] = 0
    write(tmp_path / "ir/a.tif", infrared, nodata=0, **HERE)
    write(tmp_path / "dsm/a.tif", broken_surface(), nodata=777, **HERE)
    modalities = {
        "rgb": FolderModality("rgb/{tile}.tif", band_numbers=[1, 2, 3]),
        "ir": FolderModality("ir/{tile}.tif"),
        "dsm": FolderModality("dsm/{tile}.tif", kind="elevation", nodata=-9999, minimum=-1000),
    }
    settings = FolderSettings(modalities, classes=["a", "b"])
    tile = build_store(get_layout("folder", settings), tmp_path, tmp_path / "store", workers=1).tiles["a"]
    dsm = GivenRaster(tmp_path / "dsm/a.tif", (), -9999.0)
    scene = placed(rgb=tmp_path / "rgb/a.tif", ir=tmp_path / "ir/a.tif", dsm=dsm)
    for name, raster in scene.rasters.items():
        values, valid = in_chunks(raster, scene.grid)
        stored = load(tile, f"{name}.valid") == 1
        assert 0 < stored.mean() < 1
        assert np.array_equal(valid, stored)
        assert np.array_equal(values[valid], load(tile, name)[stored])
        assert_windows_are_cut(raster, scene.grid)


def test_a_mask_of_the_data_set_counts(tmp_path):
    path = write(tmp_path / "masked.tif", noise("masked", 3, (HEIGHT, WIDTH)), **HERE)
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[240:280, 10:40] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(mask)
    scene = placed(rgb=path)
    _, valid = in_chunks(scene.rasters["rgb"], scene.grid)
    assert np.array_equal(valid, mask > 0)


def test_values_are_multiplied_as_in_a_store(tmp_path):
    path = write(tmp_path / "ndsm.tif", noise("ndsm", 1, (HEIGHT, WIDTH)), **HERE)
    scene = placed(dsm=GivenRaster(path, (), None, 0.1))
    values, _ = in_chunks(scene.rasters["dsm"], scene.grid)
    assert values.dtype == np.float32
    assert np.array_equal(values[:, :, 0], noise("ndsm", 1, (HEIGHT, WIDTH))[0].astype(np.float32) * np.float32(0.1))


TALL, WIDE = CHUNK + 40, 2150  # more than a chunk of rows, more than a piece of columns

GRIDS = {
    "half": (slope(TALL // 2 + 1, 1160), georeferenced(500_000, 5_800_000, 1)),
    "shifted": (slope(TALL, WIDE), georeferenced(500_003.2, 5_799_999.7, 0.5)),
    "finer": (noise("finer", 1, (480, 800)).astype(np.float32), georeferenced(500_960, 5_799_950, 0.125)),
    "other system": (slope(1300, 1300), georeferenced(908_400, 5_817_150, 1, "EPSG:32632")),
}


@pytest.fixture(params=GRIDS)
def resampled(request, tmp_path):
    """A scene wider than a piece of resampling, with a surface model on another grid."""
    wide = write(tmp_path / "wide.tif", noise("wide", 3, (TALL, WIDE)), **HERE)
    values, place = GRIDS[request.param]
    values = values.copy()
    row, column = values.shape[1] // 6, values.shape[2] // 2
    values[0, row : row + 3, column : column + 60] = np.nan
    scene = placed(rgb=wide, dsm=write(tmp_path / "dsm.tif", values, **place))
    assert scene.rasters["dsm"].fit == "warp"
    return request.param, scene


def test_resampled_rows_are_those_of_the_whole_raster(resampled):
    """Within one system they are the same to the last digit.

    Between systems GDAL interpolates between transformed points, which it lets be off by an eighth of a source pixel;
    twice that, down and across the plane's slope, is how far two ways to cut it may differ.
    """
    name, scene = resampled
    raster = scene.rasters["dsm"]
    values, valid = in_chunks(raster, scene.grid)
    expected, known = whole(raster, scene.grid)
    assert 0.01 < valid.mean() < 1
    if name == "other system":
        assert (valid != known).sum() <= 200  # along the hole's rim
        both = valid & known
        assert np.abs(values - expected)[both].max() <= 0.25 * (0.03 + 0.05)
    else:
        assert np.array_equal(valid, known)
        assert np.array_equal(values[valid], expected[valid])


def test_resampled_rows_do_not_depend_on_where_a_reader_began(resampled):
    _, scene = resampled
    raster, size = scene.rasters["dsm"], 90
    values, valid = in_chunks(raster, scene.grid)
    for left, right in ((0, 90), (1990, WIDE), (2048, 2140)):
        some, known = in_chunks(raster, scene.grid, left, right)
        assert np.array_equal(known, valid[:, left:right])
        assert np.array_equal(some[known], values[:, left:right][known])
        for first in (0, TALL - size):  # a reader whose first window is further down
            with RasterRows(raster, left, right) as rows:
                window, there = rows.cut(first, left, size, size)
            there = np.ones((size, size), bool) if there is None else there
            expected = slice(first, first + size), slice(left, left + size)
            assert np.array_equal(there, valid[expected])
            assert np.array_equal(window[there], values[expected][there])


def test_the_last_rows_are_resampled_as_sharply_as_the_others(tmp_path):
    """A thin strip across a turned grid is no downsampling, which would blur it."""
    wide = write(tmp_path / "wide.tif", noise("wide", 3, (CHUNK + 8, WIDE)), **HERE)
    rough = noise("rough", 1, (1300, 1300)).astype(np.float32)
    place = georeferenced(908_400, 5_817_150, 1, "EPSG:32632")
    scene = placed(rgb=wide, dsm=write(tmp_path / "dsm.tif", rough, **place))
    values, valid = in_chunks(scene.rasters["dsm"], scene.grid)
    assert valid.all()
    assert values[CHUNK:].std() == pytest.approx(values[:CHUNK].std(), rel=0.05)


@pytest.mark.parametrize("height", [CHUNK, 37, 8, 1])
def test_a_thin_strip_needs_little_of_a_fine_raster(height):
    """Whose piece of 2048 columns must fit into memory, whatever the last chunk's height."""
    own = Grid(60_000, 60_000, (0.25, 0, 0, 0, -0.25, 15_000), "EPSG:25833")
    window = overlap_window(own, Grid(height, 2048, (1, 0, 2000, 0, -1, 7000), "EPSG:25833"))
    assert window.width * window.height <= 4 * (CHUNK + 64) * 4 * (2048 + 64)


def test_a_coarse_map_of_a_fine_raster_is_read_in_pieces_that_fit_into_memory(tmp_path, monkeypatch):
    large = {"height": 100_000, "width": 30_000, "count": 1, "dtype": "uint8", "tiled": True}
    place = georeferenced(1000, 2000, 0.1)
    with rasterio.open(tmp_path / "fine.tif", "w", driver="GTiff", SPARSE_OK=True, BIGTIFF="YES", **large, **place):
        pass  # without a block: a small file
    coarse = write(tmp_path / "coarse.tif", noise("coarse", 3, (1000, 300)), **georeferenced(1000, 2000, 10))
    scene = placed(rgb=coarse, ir=tmp_path / "fine.tif")

    class Enough(Exception):
        pass

    def looked_at(self, window):
        raise Enough(window.width * window.height)

    monkeypatch.setattr(RasterRows, "_source", looked_at)
    with pytest.raises(Enough) as pixels, RasterRows(scene.rasters["ir"]) as rows:
        rows.cut(0, 0, 100, 100)
    assert pixels.value.args[0] <= 50_000_000


@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 64, "blockysize": 64}])
def test_a_raster_that_ends_too_early_is_named(layout, tmp_path):
    path = write(tmp_path / "short.tif", noise("short", 3, (900, 200)), **layout, **HERE)
    truncate(path, 0.6)
    scene = placed(rgb=path)
    with RasterRows(scene.rasters["rgb"]) as rows:
        values, valid = rows.cut(0, 0, 200, 200)
        assert valid is None
        assert values.any()
        with pytest.raises(UserError) as error:
            list(rows.chunks())
    said = str(error.value)
    assert said.startswith(f"{path} cannot be read from row {2 * CHUNK} on; it is damaged or cut short: fetch it again")
    assert said.endswith(".")


def test_files_are_closed(ortho):
    scene = placed(rgb=ortho)
    with RasterRows(scene.rasters["rgb"]) as rows:
        file = rows._open
        assert not file.closed
    assert file.closed
    assert not rasterio.env.hasenv()


def test_nothing_stays_open_where_a_file_has_gone(ortho):
    scene = placed(rgb=ortho)
    ortho.unlink()
    with pytest.raises(UserError, match=r"ortho\.tif is unreadable"):
        RasterRows(scene.rasters["rgb"]).__enter__()
    assert not rasterio.env.hasenv()
