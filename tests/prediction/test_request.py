import numpy as np
import pytest

from mobanet.errors import UserError
from mobanet.prediction.request import GivenRaster, find_scenes
from tests.prediction.conftest import MODALITIES

NAMES = list(MODALITIES)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def files(folder, *names):
    """Empty files: nothing is opened here."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def scenes(*words, **options):
    """By id, the file name of each modality."""
    found = find_scenes(words, NAMES, **options)
    return {scene.id: {name: str(raster.path) for name, raster in scene.rasters.items()} for scene in found}


def test_one_file_a_modality_is_one_scene_in_the_models_order(tmp_path):
    files(tmp_path, "a.tif", "b.tif")
    (scene,) = find_scenes(["dsm=b.tif", "rgb=a.tif"], NAMES)
    assert (scene.id, list(scene.rasters)) == ("a", ["rgb", "dsm"])
    assert scene.rasters["dsm"] == GivenRaster((tmp_path / "b.tif").relative_to(tmp_path))
    assert scenes("dsm=b.tif") == {"b": {"dsm": "b.tif"}}
    assert find_scenes({"dsm": "b.tif", "rgb": "a.tif"}, NAMES) == [scene]


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    files(tmp_path, "home/tiles/t_1.tif", "home/tiles/t_2.tif")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for word in ("rgb=~/tiles", "rgb=~/tiles/*.tif"):
        assert list(scenes(word)) == ["t_1", "t_2"]


def test_a_folder_gives_its_rasters_in_natural_order(tmp_path):
    files(tmp_path, *(f"tiles/t_{number}.TIF" for number in (1, 2, 10, 9)), "tiles/t_3.jp2")
    files(tmp_path, "tiles/t_1.tfw", "tiles/t_1.TIF.aux.xml", "tiles/.hidden.tif", "tiles/t_4.tif.part")
    (tmp_path / "tiles/t_5.tif").mkdir()
    (tmp_path / "tiles/t_5.tif").rmdir()
    assert list(scenes("rgb=tiles")) == ["t_1", "t_2", "t_3", "t_9", "t_10"]
    assert list(scenes("rgb=tiles/")) == list(scenes("rgb=tiles"))


def test_patterns(tmp_path):
    files(tmp_path, "all/a/rgb_1.tif", "all/a/dsm_1.tif", "all/b/c/rgb_2.tif", "all/b/dsm_2.tif", "all/rgb_3.tif")
    assert scenes("rgb=all/a/rgb*.tif") == {"rgb_1": {"rgb": "all/a/rgb_1.tif"}}
    assert scenes("rgb=all/?/rgb_?.tif") == {"rgb_1": {"rgb": "all/a/rgb_1.tif"}}
    assert list(scenes("rgb=all/**/rgb_*.tif")) == ["rgb_1", "rgb_2", "rgb_3"]
    assert scenes("rgb=all/**/rgb_[12].tif", "dsm=all/**/dsm*") == {
        "rgb_1": {"rgb": "all/a/rgb_1.tif", "dsm": "all/a/dsm_1.tif"},
        "rgb_2": {"rgb": "all/b/c/rgb_2.tif", "dsm": "all/b/dsm_2.tif"},
    }


def test_bands_stand_in_brackets_and_count_from_one(tmp_path):
    files(tmp_path, "rgbir.tif", "own[2].tif", "odd.tif[3]", "tiles/a_1.tif", "tiles/a_2.tif")
    (scene,) = find_scenes(["rgb=rgbir.tif[3, 2,1]", "ir=rgbir.tif[4]"], NAMES)
    assert [scene.rasters[name].bands for name in ("rgb", "ir")] == [(2, 1, 0), (3,)]
    assert {str(raster.path) for raster in scene.rasters.values()} == {"rgbir.tif"}
    assert [s.rasters["ir"].bands for s in find_scenes(["ir=tiles/*.tif[4]"], NAMES)] == [(3,), (3,)]
    assert [s.rasters["ir"].bands for s in find_scenes(["ir=tiles[2]"], NAMES)] == [(1,), (1,)]
    for name, bands in {"own[2].tif": (), "own[2].tif[1]": (0,), "odd.tif[3]": (), "odd.tif[3][2]": (1,)}.items():
        (scene,) = find_scenes([f"ir={name}"], NAMES)
        assert scene.rasters["ir"].bands == bands
        assert scene.rasters["ir"].path.is_file()


def test_one_file_serves_all_scenes(tmp_path):
    files(tmp_path, "town.tif", *(f"tiles/ortho_{n}.tif" for n in (1, 2, 10)))
    found = scenes("dsm=town.tif", "rgb=tiles")
    assert list(found) == ["ortho_1", "ortho_2", "ortho_10"]
    assert {rasters["dsm"] for rasters in found.values()} == {"town.tif"}


def test_names_are_matched_by_what_differs(tmp_path):
    numbers = ("2_12", "2_13", "3_12", "10_2")
    files(tmp_path, *(f"ortho/top_potsdam_{number}_RGB.tif" for number in numbers))
    padded = ("_".join(f"{int(part):02d}" for part in number.split("_")) for number in numbers)
    files(tmp_path, *(f"surface/dsm_potsdam_{number}.tif" for number in padded))
    found = scenes("rgb=ortho", "dsm=surface")
    assert list(found) == [f"top_potsdam_{number}_RGB" for number in numbers]
    assert found["top_potsdam_2_12_RGB"]["dsm"] == "surface/dsm_potsdam_02_12.tif"
    assert found["top_potsdam_10_2_RGB"]["dsm"] == "surface/dsm_potsdam_10_02.tif"


def test_capitals_and_separators_do_not_matter(tmp_path):
    files(tmp_path, "a/North-West.tif", "a/South-West.tif", "b/dsm north west.tif", "b/dsm south west.tif")
    assert scenes("rgb=a", "dsm=b") == {
        f"{name}-West": {"rgb": f"a/{name}-West.tif", "dsm": f"b/dsm {name.lower()} west.tif"}
        for name in ("North", "South")
    }


def test_parts_that_some_names_repeat(tmp_path):
    files(tmp_path, *(f"a/rgb_{n}_x.tif" for n in ("2_2", "2_3", "3_2")), "b/d_2_2.tif", "b/d_2_3.tif", "b/d_3_2.tif")
    found = scenes("rgb=a", "dsm=b")
    assert {key: rasters["dsm"] for key, rasters in found.items()} == {
        f"rgb_{n}_x": f"b/d_{n}.tif" for n in ("2_2", "2_3", "3_2")
    }
    files(tmp_path, "c/t_2_2.tif", "c/t_2_3.tif")
    assert list(scenes("rgb=c")) == ["t_2_2", "t_2_3"]


def test_a_scene_may_lack_a_modality(tmp_path):
    files(tmp_path, *(f"a/rgb_{n}.tif" for n in (1, 2, 4)), *(f"b/dsm_{n}.tif" for n in (2, 3, 4)))
    assert scenes("rgb=a", "dsm=b") == {
        "rgb_1": {"rgb": "a/rgb_1.tif"},
        "rgb_2": {"rgb": "a/rgb_2.tif", "dsm": "b/dsm_2.tif"},
        "dsm_3": {"dsm": "b/dsm_3.tif"},
        "rgb_4": {"rgb": "a/rgb_4.tif", "dsm": "b/dsm_4.tif"},
    }


def test_a_modality_of_fewer_tiles_is_still_matched_by_the_whole_number(tmp_path):
    files(tmp_path, *(f"a/rgb_{n}.tif" for n in ("2_12", "2_13")))
    files(tmp_path, *(f"b/dsm_{n}.tif" for n in ("02_12", "02_13", "03_10")))
    assert scenes("rgb=a", "dsm=b") == {
        "rgb_2_12": {"rgb": "a/rgb_2_12.tif", "dsm": "b/dsm_02_12.tif"},
        "rgb_2_13": {"rgb": "a/rgb_2_13.tif", "dsm": "b/dsm_02_13.tif"},
        "dsm_03_10": {"dsm": "b/dsm_03_10.tif"},
    }


def test_a_row_of_one_modality_is_not_a_column_of_another(tmp_path):
    files(tmp_path, *(f"a/rgb_{n}.tif" for n in ("2_10", "3_10", "4_10")))
    files(tmp_path, *(f"b/dsm_{n}.tif" for n in ("3_2", "3_4", "3_10")))
    found = scenes("rgb=a", "dsm=b")
    together = {key: rasters for key, rasters in found.items() if len(rasters) == 2}
    assert together == {"rgb_3_10": {"rgb": "a/rgb_3_10.tif", "dsm": "b/dsm_3_10.tif"}}


def test_numbers_within_words_are_in_natural_order(tmp_path):
    files(
        tmp_path, *(f"a/top_area{n}.tif" for n in (1, 2, 10, 11)), *(f"b/dsm_area{n:02d}.tif" for n in (1, 2, 10, 11))
    )
    assert list(scenes("rgb=a")) == [f"top_area{n}" for n in (1, 2, 10, 11)]
    assert [rasters["dsm"] for rasters in scenes("rgb=a", "dsm=b").values()] == [
        f"b/dsm_area{n:02d}.tif" for n in (1, 2, 10, 11)
    ]


def test_a_minimum_belongs_to_a_modality(tmp_path):
    files(tmp_path, "a.tif", "b.tif")
    for minimum in (["dsm=-50"], {"dsm": -50}):
        (scene,) = find_scenes(["rgb=a.tif", "dsm=b.tif"], NAMES, minimum=minimum)
        assert scene.rasters["dsm"].minimum == -50
        assert scene.rasters["rgb"].minimum is None


def test_nodata_and_factors_belong_to_a_modality(tmp_path):
    files(tmp_path, "a.tif", "b.tif")
    given = (["rgb=a.tif", "dsm=b.tif"], NAMES)
    for nodata, factor in ((["dsm=-9999"], ["dsm=0.1", "rgb=2"]), ({"dsm": -9999}, {"dsm": 0.1, "rgb": 2})):
        (scene,) = find_scenes(*given, nodata, factor)
        assert (scene.rasters["dsm"].nodata, scene.rasters["dsm"].factor) == (-9999, 0.1)
        assert (scene.rasters["rgb"].nodata, scene.rasters["rgb"].factor) == (None, 2)
    (scene,) = find_scenes(*given, ["dsm=nan"])
    assert np.isnan(scene.rasters["dsm"].nodata)


WRONG = {
    "unknown modality": ("dms=a.tif", {}, "--input dms: the model takes rgb, ir, dsm; write --input rgb=FILE."),
    "no modality": ("a.tif", {}, "--input a.tif: the model takes rgb, ir, dsm; write --input rgb=FILE."),
    "no name": ("=a.tif", {}, "--input without a name: the model takes rgb, ir, dsm; write --input rgb=FILE."),
    "no file": ("rgb=", {}, "--input gives rgb without a value; give it once."),
    "twice": ("rgb=a.tif rgb=b.tif", {}, "--input gives rgb twice; give it once."),
    "nothing": ("", {}, "--input names no raster; give at least one of rgb, ir, dsm, as rgb=FILE."),
    "missing file": ("rgb=c.tif", {}, "--input rgb=c.tif does not exist; give a raster, a folder or a pattern."),
    "missing folder": (
        "rgb=no/c.tif",
        {},
        "--input rgb=no/c.tif does not exist; give a raster, a folder or a pattern.",
    ),
    "missing file with bands": ("ir=c.tif[4]", {}, "--input ir=c.tif does not exist; give a raster"),
    "empty folder": ("rgb=empty", {}, "--input rgb=empty: the folder holds no raster (.tif, .tiff, "),
    "no match": ("rgb=x*.tif", {}, "--input rgb=x*.tif matches no file; check the folder and the pattern."),
    "pattern of folders": ("rgb=emp*", {}, "--input rgb=emp* matches no file; check the folder and the pattern."),
    "band 0": ("rgb=a.tif[0,1,2]", {}, "--input a.tif[0,1,2]: bands are counted from 1."),
    "nodata of nothing": ("rgb=a.tif", {"nodata": ["dsm=1"]}, "--nodata dsm=1: --input gives no dsm; leave it out."),
    "nodata of an unknown one": ("rgb=a.tif", {"nodata": ["dms=1"]}, "--nodata dms: the model takes rgb, ir, dsm"),
    "nodata in words": ("rgb=a.tif", {"nodata": ["rgb=black"]}, "--nodata rgb=black is no number; write it as -9999"),
    "minimum of nothing": ("rgb=a.tif", {"minimum": ["dsm=1"]}, "--minimum dsm=1: --input gives no dsm; leave it out."),
    "minimum in words": ("rgb=a.tif", {"minimum": ["rgb=sea"]}, "--minimum rgb=sea is no number; write it as -9999"),
    "factor of nothing": ("rgb=a.tif", {"factor": ["dsm=1"]}, "--factor dsm=1: --input gives no dsm; leave it out."),
    "factor in words": (
        "rgb=a.tif",
        {"factor": ["rgb=1,5"]},
        "--factor rgb=1,5 is no number; write it as -9999 or 0.1",
    ),
    "factor twice": ("rgb=a.tif", {"factor": ["rgb=1", "rgb=2"]}, "--factor gives rgb twice; give it once."),
    "names of different things": (
        "rgb=one dsm=two",
        {},
        "the files of rgb and dsm cannot be matched by name: rgb differs in 1, 2, 3, …, dsm in north, south; rename "
        "them, or predict one scene at a time.",
    ),
    "names that are alike": (
        "rgb=alike/*",
        {},
        "t_01 and the other files beside it cannot be told apart by name: rename them.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes(case, tmp_path):
    files(tmp_path, "a.tif", "b.tif", "alike/t_01.tif", "alike/t_1.tif", "empty/readme.txt")
    files(tmp_path, *(f"one/rgb_{n}.tif" for n in (1, 2, 3, 4)), "two/dsm_north.tif", "two/dsm_south.tif")
    words, options, said = WRONG[case]
    with pytest.raises(UserError) as error:
        find_scenes(words.split(), NAMES, **options)
    assert str(error.value).startswith(said)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_minimum_is_a_number(number, tmp_path):
    files(tmp_path, "a.tif")
    with pytest.raises(UserError, match=f"--minimum rgb={number} is no bound; give a number such as -50"):
        find_scenes(["rgb=a.tif"], NAMES, minimum=[f"rgb={number}"])


@pytest.mark.parametrize("number", ["0", "nan", "inf", "-inf"])
def test_factors_that_leave_nothing_of_a_raster_are_refused(number, tmp_path):
    files(tmp_path, "a.tif")
    with pytest.raises(UserError, match=f"--factor rgb={number}"):
        find_scenes(["rgb=a.tif"], NAMES, factor=[f"rgb={number}"])
