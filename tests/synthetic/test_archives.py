import io
from zipfile import ZipFile

import pytest

from mobanet.synthetic import synthesize
from tests.synthetic.rasters import files_below


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    roots = {}
    for layout in ("potsdam", "vaihingen"):
        roots[layout] = tmp_path_factory.mktemp(layout)
        synthesize(layout, roots[layout], tiles=3, size=128, archives=True)
    return roots


def inner(archive, name):
    with ZipFile(archive) as outer, ZipFile(io.BytesIO(outer.read(name))) as zipped:
        assert zipped.testzip() is None
        return {entry for entry in zipped.namelist() if not entry.endswith("/")}


def test_only_the_archive_remains(archives):
    assert files_below(archives["potsdam"]) == {"Potsdam.zip"}
    assert files_below(archives["vaihingen"]) == {"Vaihingen.zip"}
    assert not any(path.is_dir() for root in archives.values() for path in root.iterdir())


def test_potsdam_members(archives):
    archive = archives["potsdam"] / "Potsdam.zip"
    with ZipFile(archive) as outer:
        names = set(outer.namelist())
    assert names == {
        "Potsdam/1_DSM.zip",
        "Potsdam/1_DSM_normalisation.zip",
        "Potsdam/2_Ortho_RGB.zip",
        "Potsdam/3_Ortho_IRRG.zip",
        "Potsdam/4_Ortho_RGBIR.zip",
        "Potsdam/5_Labels_all.zip",
        "Potsdam/5_Labels_all_noBoundary.zip",
        "Potsdam/5_Labels_for_participants.zip",
        "Potsdam/5_Labels_for_participants_no_Boundary.zip",
    }
    assert "1_DSM/dsm_potsdam_02_10.tif" in inner(archive, "Potsdam/1_DSM.zip")
    assert "4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tfw" in inner(archive, "Potsdam/4_Ortho_RGBIR.zip")
    assert inner(archive, "Potsdam/5_Labels_all.zip") == {
        f"top_potsdam_{tile}_label.tif" for tile in ("2_10", "2_12", "2_13")
    }
    assert inner(archive, "Potsdam/5_Labels_for_participants_no_Boundary.zip") == {
        f"5_Labels_for_participants_no_Boundary/top_potsdam_{tile}_label_noBoundary.tif" for tile in ("2_10", "2_12")
    }


def test_vaihingen_members(archives):
    archive, stem = archives["vaihingen"] / "Vaihingen.zip", "Vaihingen/ISPRS_semantic_labeling_Vaihingen"
    with ZipFile(archive) as outer:
        assert set(outer.namelist()) == {
            f"{stem}.zip",
            f"{stem}_ground_truth_COMPLETE.zip",
            f"{stem}_ground_truth_eroded_COMPLETE.zip",
            f"{stem}_ground_truth_eroded_for_participants.zip",
            "Vaihingen/Vaihingen_dsm_tiles_geoinfo.zip",
        }
    tiles = ("1", "2", "7")
    images = {f"top/top_mosaic_09cm_area{tile}.tif" for tile in tiles}
    images |= {f"dsm/dsm_09cm_matching_area{tile}.tif" for tile in tiles}
    images |= {f"gts_for_participants/top_mosaic_09cm_area{tile}.tif" for tile in ("1", "7")}
    assert inner(archive, f"{stem}.zip") == images
    assert inner(archive, f"{stem}_ground_truth_COMPLETE.zip") == {f"top_mosaic_09cm_area{tile}.tif" for tile in tiles}
    # area 9 has a label and no image, as in the official archive
    assert inner(archive, f"{stem}_ground_truth_eroded_COMPLETE.zip") == {
        f"top_mosaic_09cm_area{tile}_noBoundary.tif" for tile in (*tiles, "9")
    }
    assert inner(archive, "Vaihingen/Vaihingen_dsm_tiles_geoinfo.zip") == {
        f"dsm_09cm_matching_area{tile}.tfw" for tile in tiles
    }


def test_archived_pixels_are_those_of_the_folders(archives, tmp_path):
    synthesize("potsdam", tmp_path, tiles=1, size=128)
    name = "2_Ortho_RGB/top_potsdam_2_10_RGB.tif"
    with ZipFile(archives["potsdam"] / "Potsdam.zip") as outer:
        inside = ZipFile(io.BytesIO(outer.read("Potsdam/2_Ortho_RGB.zip")))
        assert inside.read(name) == (tmp_path / name).read_bytes()
