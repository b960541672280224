import errno
import os
import shlex
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from mobanet.errors import UserError
from mobanet.rasters import geotiff
from mobanet.rasters.categories import class_kind, probability_kind, scenario_kind
from mobanet.rasters.contents import Classes
from mobanet.rasters.distinct_colours import appearance, distinct_colours
from mobanet.rasters.geotiff import RowWriter
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import grid_of
from mobanet.scenarios.scenario import scenarios_of

PLACE = (0.05, 0.0, 366_676.0, 0.0, -0.05, 5_808_596.0)
CLASSES = Classes(
    ("Straße & Weg", "building", "tree", "car"), ((255, 255, 255), (0, 0, 255), (0, 255, 0), (255, 255, 0)), ("tree",)
)
MODALITIES = ("rgb", "ir", "dsm", "sar", "nir", "swir", "slope", "s1", "s2")
ROTATED_POLE = "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=37.5 +lon_0=357.5 +R=6367470 +no_defs"


def names_of(modalities):
    return [scenario.name for scenario in scenarios_of(modalities)]


KINDS = {
    "classes": class_kind(CLASSES),
    "uint8": probability_kind(CLASSES, "uint8"),
    "float32": probability_kind(Classes(CLASSES.names[:2], CLASSES.colours[:2], CLASSES.averaged), "float32"),
    "scenarios": scenario_kind(names_of(MODALITIES[:3])),
}


def content(kind, height, width, seed=0):
    """Pixels of a kind, every tenth of them without a value."""
    generator = np.random.default_rng(seed)
    shape = (len(kind.bands), height, width)
    values = generator.random(shape, np.float32) if kind.dtype == "float32" else generator.integers(0, 4, shape)
    return np.where(generator.random(shape) < 0.1, kind.nodata, values).astype(kind.dtype)


def written(path, kind, pixels, cuts=(), transform=PLACE, crs="EPSG:32633", tags=None, height=None):
    """The path, after writing `pixels` cut before the rows `cuts`."""
    grid = Grid(height or pixels.shape[1], pixels.shape[2], transform, crs)
    with RowWriter(path, grid, kind, tags) as writer:
        for rows in np.split(pixels, cuts, axis=1):
            writer.write(rows)
    return path


def sidecar_of(path):
    return path.with_name(f"{path.name}.aux.xml")


# what is in the file


@pytest.mark.parametrize("name", KINDS)
def test_a_map_is_read_as_it_was_handed_in(tmp_path, name):
    kind = KINDS[name]
    pixels = content(kind, 600, 1100)
    path = written(tmp_path / "folder" / "map.tif", kind, pixels, tags={"MODEL": "best.ckpt", "WINDOW": "256"})
    copy = tmp_path / "map.vrt"
    rasterio.shutil.copy(path, copy, driver="VRT")
    for file in (path, copy):
        with rasterio.open(file) as raster:
            assert np.array_equal(raster.read(), pixels, equal_nan=kind.dtype == "float32")
            assert set(raster.dtypes) == {kind.dtype}
            assert np.array_equal(raster.nodatavals, [kind.nodata] * raster.count, equal_nan=True)
            assert grid_of(raster) == Grid(600, 1100, PLACE, "EPSG:32633")
            assert raster.descriptions == kind.bands
            assert raster.scales == (kind.scale,) * raster.count
            assert raster.tags()["WINDOW"] == "256"
            assert [raster.overviews(band) for band in raster.indexes] == [[2, 4]] * raster.count
            if kind.colours:
                table = raster.colormap(1)
                assert [table[k] for k in range(len(kind.colours))] == [(*colour, 255) for colour in kind.colours]
                assert table[255][3] == 0  # what is unknown is not painted
                assert raster.colorinterp == (ColorInterp.palette,)
    with rasterio.open(path) as raster:
        assert set(raster.block_shapes) == {(512, 512)}
        assert raster.profile["compress"] == "deflate"


def test_names_are_in_the_file_and_in_a_sidecar_that_gdal_understands(tmp_path):
    kind = KINDS["classes"]
    path = written(tmp_path / "map.tif", kind, content(kind, 20, 30))
    with rasterio.open(path) as raster:
        assert [raster.tags(1)[f"CLASS_{k}"] for k in range(4)] == list(CLASSES.names)
    # GDAL writes what it has understood into a copy
    rasterio.shutil.copy(path, tmp_path / "copy.vrt", driver="VRT")
    band = ElementTree.parse(tmp_path / "copy.vrt").getroot().find("VRTRasterBand")
    assert [name.text for name in band.find("CategoryNames")] == list(CLASSES.names)
    rasterio.shutil.copy(path, tmp_path / "copy.png", driver="PNG")  # in a GeoTIFF of its own GDAL 3.12 hides the table
    table = ElementTree.parse(sidecar_of(tmp_path / "copy.png")).getroot().find(".//GDALRasterAttributeTable")
    assert [column.find("Name").text for column in table.iter("FieldDefn")] == [
        "Value",
        "Class",
        "Red",
        "Green",
        "Blue",
    ]
    assert [column.find("Usage").text for column in table.iter("FieldDefn")] == ["5", "2", "6", "7", "8"]
    rows = [[cell.text for cell in row] for row in table.iter("Row")]
    assert rows[:2] == [["0", "Straße & Weg", "255", "255", "255"], ["1", "building", "0", "0", "255"]]
    assert len(rows) == 4


def test_probabilities_of_three_or_four_classes_are_not_colours_and_have_no_alpha(tmp_path):
    for count in (3, 4):
        classes = Classes(CLASSES.names[:count], CLASSES.colours[:count], CLASSES.averaged)
        kind = probability_kind(classes, "uint8")
        path = written(tmp_path / f"{count}.tif", kind, content(kind, 20, 30))
        with rasterio.open(path) as raster:
            assert not {ColorInterp.red, ColorInterp.alpha} & set(raster.colorinterp)
            assert raster.descriptions == classes.names
        assert not sidecar_of(path).exists()


def test_overviews_hold_frequent_classes_and_mean_probabilities(tmp_path):
    tile = np.array([[1, 1], [1, 3]], np.uint8)
    pixels = np.tile(tile, (150, 150))[None]
    pixels[:, :2, :2] = [[255, 255], [255, 2]]  # what is unknown outvotes nothing
    classes = written(tmp_path / "classes.tif", KINDS["classes"], pixels)
    with rasterio.open(classes, overview_level=0) as smaller:
        assert smaller.shape == (150, 150)
        found = smaller.read(1)
        assert found[0, 0] == 2
        found[0, 0] = 1
        assert (found == 1).all()
    parts = np.where(pixels == 255, np.nan, pixels / 4).astype(np.float32)
    kind = probability_kind(Classes(("a",), ((0, 0, 0),), ("a",)), "float32")
    means = written(tmp_path / "means.tif", kind, parts)
    with rasterio.open(means, overview_level=0) as smaller:
        found = smaller.read(1)
        assert found[0, 0] == 0.5
        assert (found[1:] == 0.375).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (513, 1), (512, 512), (256, 255)])
def test_sizes_beside_those_of_blocks(tmp_path, shape):
    for name in ("classes", "float32"):
        pixels = content(KINDS[name], *shape)
        with rasterio.open(written(tmp_path / f"{name}.tif", KINDS[name], pixels)) as raster:
            assert np.array_equal(raster.read(), pixels, equal_nan=name == "float32")
            assert raster.overviews(1) == ([2, 4] if shape == (512, 512) else [])


@pytest.mark.parametrize("name", ["classes", "uint8", "float32"])
def test_the_bytes_do_not_depend_on_how_rows_were_cut(tmp_path, name):
    kind = KINDS[name]
    pixels = content(kind, 1100, 530)
    whole = written(tmp_path / "whole.tif", kind, pixels)
    for number, cuts in enumerate(([512, 1024], range(7, 1100, 93), [1, 1, 600, 1099])):
        cut = written(tmp_path / f"{number}.tif", kind, pixels, cuts)
        assert cut.read_bytes() == whole.read_bytes()


def test_the_bytes_do_not_depend_on_what_else_gdal_does(tmp_path, monkeypatch):
    kind = KINDS["uint8"]
    pixels = content(kind, 1100, 700)
    whole = written(tmp_path / "whole.tif", kind, pixels)
    monkeypatch.setenv("GDAL_NUM_THREADS", "4")
    with (
        rasterio.Env(GDAL_CACHEMAX=100_000),
        rasterio.open(whole) as other,
        RowWriter(tmp_path / "busy.tif", Grid(1100, 700, PLACE, "EPSG:32633"), kind) as writer,
    ):
        for top in range(0, 1100, 100):
            assert np.array_equal(other.read(window=((top, top + 100), (0, 700))), pixels[:, top : top + 100])
            writer.write(pixels[:, top : top + 100])
    assert (tmp_path / "busy.tif").read_bytes() == whole.read_bytes()


def test_every_bit_pattern_of_nan_is_nodata(tmp_path):
    kind = probability_kind(Classes(("a",), ((0, 0, 0),), ("a",)), "float32")
    pixels = np.zeros((1, 2, 3), np.float32)
    pixels.view(np.uint32)[0, 0] = [0x7FC00000, 0xFFC00000, 0x7FC00001]
    with rasterio.open(written(tmp_path / "nan.tif", kind, pixels)) as raster:
        assert np.isnan(raster.read(1)[0]).all()
        assert raster.read_masks(1).tolist() == [[0, 0, 0], [255, 255, 255]]


# where it is


def test_a_raster_without_georeference_gets_none_and_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = written(tmp_path / "map.tif", KINDS["classes"], content(KINDS["classes"], 20, 30), transform=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as raster:
            assert raster.transform.is_identity
            assert raster.crs is None


@pytest.mark.parametrize("crs", [None, "EPSG:25833", CRS.from_epsg(31467).to_wkt(), "EPSG:25833+5783", ROTATED_POLE])
@pytest.mark.parametrize("transform", [PLACE, (0.04, 0.01, 4e5, 0.01, -0.05, 5.8e6)])
def test_any_system_is_kept(tmp_path, crs, transform):
    kind = KINDS["classes"]
    path = written(tmp_path / "map.tif", kind, content(kind, 20, 30), transform=transform, crs=crs)
    with rasterio.open(path) as raster:
        assert tuple(raster.transform[:6]) == transform
        assert raster.crs == (CRS.from_user_input(crs) if crs else None)
    # a rotated pole is none that a GeoTIFF has keys for: GDAL puts it into the same sidecar
    sidecar = ElementTree.parse(sidecar_of(path)).getroot()
    assert (sidecar.find("SRS") is not None) == (crs == ROTATED_POLE)
    assert len(sidecar.findall(".//Category")) == 4
    assert sorted(file.name for file in tmp_path.iterdir()) == ["map.qml", "map.tif", "map.tif.aux.xml"]


def test_a_system_that_is_none_is_named(tmp_path):
    with pytest.raises(UserError, match="EPSG:99 is no coordinate reference system; give one such as EPSG:32633"):
        RowWriter(tmp_path / "map.tif", Grid(20, 30, PLACE, "EPSG:99"), KINDS["classes"])
    assert not list(tmp_path.iterdir())


# kinds


def test_scenarios_have_names_and_different_colours():
    kind = scenario_kind(names_of(MODALITIES[:8]))
    assert len(kind.categories) == len(set(kind.colours)) == 255
    assert kind.categories[0] == "rgb"
    assert kind.colours[:7] == KINDS["scenarios"].colours
    assert KINDS["scenarios"].categories[-1] == "rgb+ir+dsm"


def test_a_style_has_the_classes_and_nothing_else(tmp_path):
    path = written(tmp_path / "map.v2.tif", KINDS["classes"], content(KINDS["classes"], 20, 30))
    text = (tmp_path / "map.v2.qml").read_bytes()
    assert text.startswith(b"<!DOCTYPE qgis ")
    root = ElementTree.fromstring(text)
    assert root.tag == "qgis"
    renderer = root.find("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = [dict(entry.attrib) for entry in renderer.findall("colorPalette/paletteEntry")]
    assert entries == [
        {"value": "0", "color": "#ffffff", "label": "Straße & Weg", "alpha": "255"},
        {"value": "1", "color": "#0000ff", "label": "building", "alpha": "255"},
        {"value": "2", "color": "#00ff00", "label": "tree", "alpha": "255"},
        {"value": "3", "color": "#ffff00", "label": "car", "alpha": "255"},
    ]
    written(path, KINDS["scenarios"], content(KINDS["scenarios"], 20, 30))  # replaced with the map
    entries = ElementTree.parse(tmp_path / "map.v2.qml").getroot().findall(".//paletteEntry")
    assert [entry.get("label") for entry in entries] == list(KINDS["scenarios"].categories)
    colours = [tuple(bytes.fromhex(entry.get("color")[1:])) for entry in entries]
    assert colours == list(KINDS["scenarios"].colours)


def least_difference(colours):
    """Of the two colours that are most alike, to the eyes that tell them apart least."""
    seen = appearance(np.array(colours))
    apart = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=3).min(axis=0)
    return apart[np.triu_indices(len(colours), 1)].min()


@pytest.mark.parametrize(("count", "least"), [(2, 16), (7, 16), (15, 16), (31, 13), (63, 9), (255, 4)])
def test_colours_are_told_apart_by_colour_blind_eyes(count, least):
    colours = distinct_colours(count)
    assert len(set(colours)) == count
    assert colours == distinct_colours(255)[:count]
    assert least_difference(colours) > least


def test_red_and_green_are_alike_to_some_eyes():
    assert least_difference(((255, 0, 0), (0, 255, 0))) < least_difference(((255, 0, 0), (0, 0, 255)))
    assert least_difference(((120, 120, 120), (121, 120, 120))) < 1


def test_more_scenarios_than_eight_bits_tell_apart_are_refused():
    with pytest.raises(UserError, match="at most 255 apart, and there are 511"):
        scenario_kind(names_of(MODALITIES))


# whole or not at all


def test_rows_of_another_shape_or_number_are_refused(tmp_path):
    kind = KINDS["classes"]
    pixels = content(kind, 600, 40)
    writer = RowWriter(tmp_path / "map.tif", Grid(600, 40), kind)
    for wrong in (pixels[:, :, :39], pixels[0], pixels.astype(np.int16), np.zeros((2, 600, 40), np.uint8)):
        with pytest.raises(ValueError, match=r"takes uint8 rows of shape \(1, h, 40\)"):
            writer.write(wrong)
    writer.write(pixels[:, :598])
    with pytest.raises(ValueError, match="has 600 rows; these would be more"):
        writer.write(pixels[:, :3])
    with pytest.raises(ValueError, match="600 rows, of which 598 came"):
        writer.finish()
    with pytest.raises(ValueError, match="not being written any more"):
        writer.write(pixels[:, :1])
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_older_map_and_nothing_else(tmp_path):
    kind = KINDS["classes"]
    path = written(tmp_path / "map.tif", kind, content(kind, 20, 30))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="600 rows, of which 599 came"):
        written(path, kind, content(kind, 599, 30), height=600)
    with pytest.raises(ValueError, match="takes uint8"):
        written(path, kind, content(kind, 600, 30).astype(np.uint16))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert len(before) == 3


def test_a_finished_map_is_not_abandoned(tmp_path):
    kind = KINDS["classes"]
    with RowWriter(tmp_path / "map.tif", Grid(20, 30), kind) as writer:
        writer.write(content(kind, 20, 30))
        writer.finish()
    writer.abandon()  # has nothing left to remove
    assert sorted(file.name for file in tmp_path.iterdir()) == ["map.qml", "map.tif", "map.tif.aux.xml"]


def test_what_an_older_map_left_goes(tmp_path):
    path = written(tmp_path / "map.tif", KINDS["classes"], content(KINDS["classes"], 20, 30))
    for ending in (".ovr", ".msk", ".part", ".part.aux.xml", ".aux.xml.part"):
        path.with_name(f"{path.name}{ending}").write_text("of an interrupted or older one")
    pixels = content(KINDS["float32"], 20, 30)
    written(path, KINDS["float32"], pixels)
    assert list(tmp_path.iterdir()) == [path]
    with rasterio.open(path) as raster:
        assert np.array_equal(raster.read(), pixels, equal_nan=True)


def test_places_that_cannot_be_written_to_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "map.tif").mkdir()
    with pytest.raises(IsADirectoryError) as folder:
        RowWriter(tmp_path / "map.tif", Grid(20, 30), KINDS["classes"])
    assert folder.value.filename == str(tmp_path / "map.tif")
    with pytest.raises(OSError, match="file") as below:
        RowWriter(tmp_path / "file" / "map.tif", Grid(20, 30), KINDS["classes"])
    assert below.value.errno in (errno.ENOTDIR, errno.EEXIST)
    with pytest.raises(OSError, match="name too long") as long:
        RowWriter(tmp_path / ("m" * 251 + ".tif"), Grid(20, 30), KINDS["classes"])
    assert long.value.errno == errno.ENAMETOOLONG
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "map.tif"]


@pytest.mark.parametrize("name", ["classes", "float32"])
def test_a_file_that_is_not_what_was_handed_in_gets_no_name(tmp_path, monkeypatch, name):
    kind = KINDS[name]
    real = geotiff.compare

    def damaged(path, shape, dtype, sums, factors):
        with rasterio.open(path, "r+") as raster:
            value = raster.read(1, window=((599, 600), (39, 40)))
            raster.write(np.where(value == 1, 2, 1).astype(dtype), 1, window=((599, 600), (39, 40)))
        real(path, shape, dtype, sums, factors)

    monkeypatch.setattr(geotiff, "compare", damaged)
    with pytest.raises(OSError, match="Input/output error") as error:
        written(tmp_path / "map.tif", kind, content(kind, 600, 40))
    assert error.value.errno == errno.EIO
    assert error.value.filename == str(tmp_path / "map.tif")
    assert not list(tmp_path.iterdir())


def test_overviews_whose_factor_is_no_ratio_of_sizes_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(geotiff, "SMALLEST_OVERVIEW", 10)  # as with 20000 pixels, of which 157 in 128 are 127.4
    path = written(tmp_path / "odd.tif", KINDS["classes"], content(KINDS["classes"], 81, 90))
    with rasterio.open(path) as raster:
        assert raster.overviews(1) == [2, 4, 8, 15]
    with rasterio.open(path, overview_level=3) as smaller:
        assert smaller.shape == (6, 6)


def test_an_overview_that_lacks_a_block_is_noticed(tmp_path):
    kind = KINDS["classes"]
    pixels = content(kind, 600, 600)
    path = tmp_path / "sparse.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 600, "width": 600, "dtype": "uint8", "nodata": 255}
    blocks = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    for sparse in (True, False):
        with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=128):
            with rasterio.open(path, "w", **profile, **blocks, transform=rasterio.Affine(*PLACE)) as raster:
                raster.write(pixels)
            with rasterio.Env(SPARSE_OK_OVERVIEW="ON"), rasterio.open(path, "r+") as raster:
                if sparse:  # an overview of nothing, whose blocks GDAL leaves out
                    raster.write(np.full_like(pixels, 255))
                raster.build_overviews([2], rasterio.enums.Resampling.nearest)
            with rasterio.open(path, "r+") as raster:
                raster.write(pixels)
        sums = [geotiff.zlib.crc32(np.ascontiguousarray(rows)) for rows in (pixels[:, :512], pixels[:, 512:])]
        if sparse:
            with pytest.raises(OSError, match=r"the overview of .*sparse\.tif by 2 lacks a block"):
                geotiff.compare(path, (1, 600, 600), "uint8", sums, [2])
        else:
            geotiff.compare(path, (1, 600, 600), "uint8", sums, [2])


SCRIPT = """
import os, resource, sys
from pathlib import Path
import numpy as np
from mobanet.rasters.contents import Classes
from mobanet.rasters.opening import Grid
from mobanet.cli.entry import one_sentence
from mobanet.rasters.categories import class_kind
from mobanet.rasters.geotiff import RowWriter

kind = class_kind(Classes(("a", "b"), ((255, 0, 0), (0, 0, 255)), ("a",)))
pixels = np.random.default_rng(0).integers(0, 255, (1, 530, 300), np.uint8)
path = Path(sys.argv[1])

def write(value=None):
    with RowWriter(path, Grid(530, 300), kind) as writer:
        for top in range(0, 530, 100):
            rows = pixels[:, top : top + 100]
            writer.write(rows if value is None else np.full_like(rows, value))
"""


def run(code, *words, inside=()):
    """A Python of its own; it imports no more than it needs."""
    command = [*inside, sys.executable, "-c", SCRIPT + code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_file_that_may_grow_no_further_is_an_error_wherever_it_happens(tmp_path):
    # Python ignores SIGXFSZ, so that writing beyond the limit fails as on a full disk
    code = """
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
compress, sizes, limits = RowWriter._compress, [], []

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

def watched(self):
    sizes.append(self._rows.stat().st_size)
    if limits:
        limit(limits.pop())
    compress(self)

RowWriter._compress = watched
write()
whole = path.read_bytes()
rows, size = sizes[0], len(whole)
# before rows are compressed: at the start, in the rows, in the last of them, which GDAL holds back, in the overviews
early = [0, 50, 3000, 300_000, *range(2**19 - 500, 2**19 + 3000, 500), rows - 1]
# and after: at the start, in the overviews, in the rows, at the end
late = [0, 50, 3000, 30_000, size // 2, *range(size - 3000, size, 500), size - 1, size]
for name, at in [*(("early", at) for at in early), *(("late", at) for at in late)]:
    for file in path.parent.iterdir():
        file.unlink()
    limits[:] = [at] if name == "late" else []
    limit(hard if name == "late" else at)
    try:
        write()
        told = 0
    except OSError as error:
        assert error.filename == str(path), error
        told = error.errno
    finally:
        limit(hard)
    print(name, at - size, told, *sorted(file.name for file in path.parent.iterdir()))
    assert told or path.read_bytes() == whole
"""
    done = run(code, tmp_path / "map.tif")
    assert done.returncode == 0, done.stderr
    *limited, last = done.stdout.splitlines()
    assert len(limited) == 24
    assert {line.split(maxsplit=2)[2] for line in limited} == {f"{errno.EFBIG}"}
    assert last == "late 0 0 map.qml map.tif map.tif.aux.xml"


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk")
@pytest.mark.parametrize("kilobytes", [4, 300, 516, 600, 800, 960])
def test_a_full_disk_is_called_so(tmp_path, kilobytes):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={kilobytes}k tmpfs {shlex.quote(str(disk))}"
    own = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    try:
        if subprocess.run([*own, mount], capture_output=True).returncode:
            pytest.skip("no disk may be mounted here")
    except FileNotFoundError:
        pytest.skip("no disk may be mounted here")
    code = """
try:
    with one_sentence():
        write()
finally:
    print(*os.listdir(path.parent))
"""
    done = run(code, disk / "map.tif", inside=[*own, f'{mount} && exec "$@"', "sh"])
    assert done.returncode == 2, done.stderr
    assert done.stdout == "\n"
    *_, sentence = done.stderr.splitlines()
    assert sentence.startswith(f"error: the disk is full while writing {disk / 'map.tif'}; free some space")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("moment", [0, 1, 2, 3])
def test_a_kill_leaves_a_whole_map_with_its_own_names_or_none(tmp_path, moment):
    path = tmp_path / "map.tif"
    code = """
write(0)
older = path.read_bytes()
Path(sys.argv[1] + ".aux.xml").write_text("names of the older one")
moments, replace = [], os.replace

def killed(*files):
    if len(moments) == int(sys.argv[2]):
        os._exit(9)
    moments.append(files)
    replace(*files)

os.replace = killed
write(1)
os._exit(0)
"""
    assert run(code, path, moment).returncode == (9 if moment < 3 else 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as raster:
            assert (raster.read() == (1 if moment == 3 else 0)).all()
    assert ("names of the older one" in sidecar_of(path).read_text()) == (moment == 0)
    left = {file.name for file in tmp_path.iterdir()} - {"map.qml", "map.tif", "map.tif.aux.xml"}
    beside = {"map.tif.part", "map.tif.aux.xml.part"}, {"map.tif.part", "map.qml.part"}, {"map.tif.part"}, set()
    assert left == beside[moment]
    pixels = content(KINDS["classes"], 20, 30)
    written(path, KINDS["classes"], pixels)
    assert sorted(os.listdir(tmp_path)) == ["map.qml", "map.tif", "map.tif.aux.xml"]
    assert [name.text for name in ElementTree.parse(sidecar_of(path)).iter("Category")] == list(CLASSES.names)


def test_a_name_may_have_characters_that_mean_something_elsewhere(tmp_path):
    pixels = content(KINDS["classes"], 20, 30)
    path = written(tmp_path / "map of 50 %, #2!?a=b:c.tif", KINDS["classes"], pixels)
    assert sorted(os.listdir(tmp_path)) == [path.with_suffix(".qml").name, path.name, f"{path.name}.aux.xml"]
    with rasterio.open(path) as raster:
        assert np.array_equal(raster.read(), pixels)
