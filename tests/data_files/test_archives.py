import shutil
import zipfile

import numpy as np
import pytest
import rasterio

from mobanet.datasets.catalogue import list_files
from mobanet.errors import UserError
from mobanet.rasters.archives import local_copy
from mobanet.rasters.contents import FileRef
from mobanet.rasters.georeference import transform_of
from mobanet.store.build import build_store
from mobanet.store.stored import default_store
from tests.data_files.fake_files import (
    coloured,
    indices,
    load,
    noise,
    potsdam_tile,
    surface,
    truncate,
    vaihingen_area,
    write,
    zipped,
)


def official_potsdam(tmp_path, outer_compression):
    """Potsdam.zip with inner archives, some with a first folder and some flat."""
    plain, inner = tmp_path / "plain", tmp_path / "inner"
    for tile in ((6, 7), (2, 10)):
        potsdam_tile(plain, *tile)
    for name in ("1_DSM", "4_Ortho_RGBIR"):
        zipped(inner / f"{name}.zip", plain / name, prefix=f"{name}/")
    for name in ("5_Labels_all", "5_Labels_all_noBoundary"):
        zipped(inner / f"{name}.zip", plain / name)
    archive = zipped(tmp_path / "data/Potsdam.zip", inner, "Potsdam/", outer_compression)
    shutil.rmtree(inner)
    return plain, archive


def arrays(store):
    return {(tile.id, name): load(tile, name) for tile in store.tiles.values() for name in tile.arrays()}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_packed_and_unpacked_give_the_same_store(potsdam, tmp_path, compression):
    plain, archive = official_potsdam(tmp_path, compression)
    packed = build_store(potsdam, archive.parent, workers=1)
    unpacked = build_store(potsdam, plain, workers=1)
    assert list(packed.tiles) == list(unpacked.tiles) == ["2_10", "6_7"]
    one, other = arrays(packed), arrays(unpacked)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[key], other[key]) for key in one)
    tile = packed.tiles["6_7"]
    assert tile.modalities["rgb"].source == "Potsdam/Potsdam/4_Ortho_RGBIR/4_Ortho_RGBIR/top_potsdam_6_7_RGBIR.tif"
    # the world file came along from inside the archive; its origin is a pixel's centre
    assert tile.transform == pytest.approx((0.05, 0, 366976.5, 0, -0.05, 5809761.0))
    assert tile.crs == "EPSG:32633"
    assert sorted(path.name for path in archive.parent.iterdir()) == ["Potsdam.zip", "mobanet_store"]
    assert not (archive.parent / "mobanet_store/scratch").exists()


def test_root_is_an_archive(potsdam, tmp_path):
    potsdam_tile(tmp_path / "plain", 2, 10)
    archive = zipped(tmp_path / "some.zip", tmp_path / "plain")
    store = build_store(potsdam, archive, workers=1)
    assert store.path == tmp_path / "some_mobanet_store" == default_store(archive)
    assert set(store.tiles["2_10"].labels) == {"full", "eroded"}


def test_unchanged_archives_are_not_opened_again(potsdam, tmp_path, monkeypatch):
    _, archive = official_potsdam(tmp_path, zipfile.ZIP_DEFLATED)
    build_store(potsdam, archive.parent, workers=1)
    monkeypatch.setattr("mobanet.datasets.catalogue.open_archive", None)
    assert len(build_store(potsdam, archive.parent).tiles) == 2


def test_official_vaihingen_archives(vaihingen, tmp_path):
    plain, data = tmp_path / "plain", tmp_path / "data"
    main = "ISPRS_semantic_labeling_Vaihingen"
    vaihingen_area(plain / "images", 1)
    shutil.rmtree(plain / "images/gts_for_participants")
    write(plain / "labels/top_mosaic_09cm_area1.tif", coloured(indices("one")))
    for area in (1, 9):
        write(plain / f"eroded/top_mosaic_09cm_area{area}_noBoundary.tif", coloured(indices("one")))
    (plain / "world").mkdir()
    (plain / "world/dsm_09cm_matching_area1.tfw").write_text("0.09\n0\n0\n-0.09\n496000.045\n5419999.955\n")
    zipped(data / f"{main}.zip", plain / "images")
    zipped(data / f"{main}_ground_truth_COMPLETE.zip", plain / "labels")
    misspelt = "ISPRS_semantic_labeing_Vaihingen_ground_truth_eroded_for_participants"
    zipped(data / f"{main}_ground_truth_eroded_for_participants.zip", plain / "eroded", prefix=f"{misspelt}/")
    zipped(data / "Vaihingen_dsm_tiles_geoinfo.zip", plain / "world")
    store = build_store(vaihingen, data, workers=1)
    assert list(store.tiles) == ["1"]
    tile = store.tiles["1"]
    assert np.array_equal(load(tile, "label_full"), indices("one"))
    assert np.array_equal(load(tile, "irrg"), noise("area1", 3).transpose(1, 2, 0))
    assert set(tile.labels) == {"full", "eroded"}
    # the image has no world file of its own; that of the surface model places the tile
    assert tile.transform == pytest.approx((0.09, 0, 496000, 0, -0.09, 5420000))
    assert tile.crs == "EPSG:32632"


@pytest.mark.parametrize("name", ["../evil.tif", "/etc/evil.tif", "a/../../evil.tif", "..\\evil.tif", "C:\\evil.tif"])
@pytest.mark.parametrize("nested", [False, True])
def test_entries_that_leave_the_folder(potsdam, root, name, nested):
    potsdam_tile(root, 2, 10)
    target = root / ("inner.zip" if nested else "bad.zip")
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, "x")
    if nested:
        with zipfile.ZipFile(root / "outer.zip", "w") as archive:
            archive.write(target, "inner.zip")
        target.unlink()
    with pytest.raises(UserError, match=r"the entry .*evil\.tif' in .*\.zip.* leads out of its folder"):
        build_store(potsdam, root, workers=1)
    assert not (root / "mobanet_store").exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_archives(potsdam, tmp_path, compression):
    _, archive = official_potsdam(tmp_path, compression)
    truncate(archive, 0.9)
    with pytest.raises(UserError, match=r"Potsdam\.zip is damaged or cut short"):
        build_store(potsdam, archive.parent, workers=1)
    (tmp_path / "data/inner.zip").write_bytes(b"PK\x03\x04 not a zip")
    zipped(tmp_path / "outer/Potsdam.zip", tmp_path / "data", compression=compression)
    with pytest.raises(UserError, match=r"Potsdam\.zip!.*inner\.zip is damaged|Potsdam\.zip!Potsdam\.zip is damaged"):
        list_files(tmp_path / "outer")


def test_member_with_a_wrong_checksum_is_a_problem_of_that_tile(potsdam, tmp_path):
    potsdam_tile(tmp_path / "plain", 2, 10)
    archive = zipped(tmp_path / "data/all.zip", tmp_path / "plain", compression=zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    start = content.index(surface("2_10").tobytes()[:64])
    content[start + 100] ^= 0xFF
    archive.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"all\.zip!1_DSM/dsm_potsdam_02_10\.tif is damaged or cut short"):
        build_store(potsdam, archive.parent, workers=1)


def test_hidden_files_are_passed_over(potsdam, tmp_path):
    plain = tmp_path / "plain"
    potsdam_tile(plain, 2, 10)
    write(plain / "__MACOSX/1_DSM/._dsm_potsdam_02_10.tif", surface("x"))
    write(plain / "1_DSM/._dsm_potsdam_02_10.tif", surface("x"))
    archive = zipped(tmp_path / "data/all.zip", plain)
    assert not [entry for entry in list_files(archive.parent).entries if "._" in entry.location]


def test_links_that_lead_back_end(root):
    potsdam_tile(root, 2, 10)
    (root / "loop").symlink_to(root)
    assert len([entry for entry in list_files(root).entries if entry.suffix == ".tfw"]) == 1


def test_local_copies_disappear(tmp_path):
    potsdam_tile(tmp_path / "plain", 2, 10)
    archive = zipped(tmp_path / "all.zip", tmp_path / "plain")
    file = next(e.file for e in list_files(archive).entries if e.name == "top_potsdam_2_10_RGBIR.tif")
    with local_copy(file, tmp_path / "scratch") as path:
        assert path.exists()
        assert path.with_suffix(".tfw").exists()
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("ending", ["tfw", "tifw", "tiffw", "wld"])
def test_world_files_of_every_name_come_out_of_an_archive(tmp_path, ending):
    raster = "a.tiff" if ending == "tiffw" else "a.tif"
    write(tmp_path / "plain" / raster, noise("a", 1, (8, 9)))
    (tmp_path / f"plain/a.{ending}").write_text("0.5\n0\n0\n-0.5\n1000\n2000\n")
    archive = zipped(tmp_path / "all.zip", tmp_path / "plain")
    with local_copy(FileRef(archive, raster), tmp_path / "scratch") as path, rasterio.open(path) as found:
        packed = transform_of(found, FileRef(path))
    with rasterio.open(tmp_path / "plain" / raster) as found:
        assert packed == transform_of(found, FileRef(tmp_path / "plain" / raster)) is not None


def test_a_mask_beside_a_raster_comes_out_of_an_archive(tmp_path):
    write(tmp_path / "plain/a.tif", noise("a", 1, (8, 9)))
    mask = np.full((8, 9), 255, np.uint8)
    mask[:3] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(tmp_path / "plain/a.tif", "r+") as raster:
        raster.write_mask(mask)
    assert (tmp_path / "plain/a.tif.msk").is_file()
    archive = zipped(tmp_path / "all.zip", tmp_path / "plain")
    with local_copy(FileRef(archive, "a.tif"), tmp_path / "scratch") as path, rasterio.open(path) as found:
        assert np.array_equal(found.read_masks(1), mask)
