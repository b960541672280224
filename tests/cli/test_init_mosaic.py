"""`mobanet.init` on one mosaic, and on few large rasters: they are cut into tiles, and their ground is dealt out."""

import pytest
import shapely
import yaml

from mobanet.check import main as check
from mobanet.cli.commands import main
from mobanet.init import main as init
from mobanet.own_data import looks
from tests.cli.test_init import QUICK
from tests.data_files.fake_files import georeferenced, indices, noise, surface, write
from tests.data_files.fake_vectors import write_vector

LEFT, TOP, PIXEL = 500_000, 5_800_000, 0.5
SIZE = (400, 500)
HERE = georeferenced(LEFT, TOP, PIXEL)


def box(left, top, right, bottom):
    """By columns and rows of the mosaic's pixels."""
    return shapely.box(LEFT + left * PIXEL, TOP - bottom * PIXEL, LEFT + right * PIXEL, TOP - top * PIXEL)


@pytest.fixture
def town(tmp_path, monkeypatch):
    """A mosaic with heights and land cover, and areas for training, validation and test."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "ortho.tif", noise("town", 3, SIZE), **HERE)
    write(tmp_path / "dsm.tif", surface("town", SIZE), nodata=-9999, **HERE)
    write(tmp_path / "label.tif", (indices("town", SIZE) % 3)[None], **HERE)
    shapes = [box(x, y, x + 20, y + 40) for x in range(0, 500, 20) for y in range(0, 400, 40)]
    names = [("meadow", "house", "road")[n % 3] for n in range(len(shapes))]
    write_vector(tmp_path / "landcover.gpkg", shapes, {"class": names})
    parts = [box(0, 0, 500, 200), box(0, 200, 250, 400), box(250, 200, 500, 400)]
    write_vector(tmp_path / "areas.gpkg", parts, {"split": ["Training", "val", "test"]})
    return tmp_path


USUAL = ("--rgb", "ortho.tif", "--dsm", "dsm.tif", "--labels", "landcover.gpkg", "--attribute", "class")


@pytest.fixture
def made(command, town):
    """Runs the command and gives the folder's settings, all settings, and what was said; `check` finds no problem."""

    def run(*words):
        (town / "town.yaml").unlink(missing_ok=True)
        ended = command(init, [*words, "--output", "town.yaml", "--accelerator", "cpu"])
        assert ended.code == 0, ended.err
        content = yaml.safe_load((town / "town.yaml").read_text())
        checked = command(check, ["--experiment", "town.yaml", "--workers", "1"])
        assert checked.code == 0, checked.out + checked.err
        return content["data"]["folder"], content, ended.out

    return run


@pytest.mark.long
def test_a_mosaic_with_areas_from_looking_to_training(made, command, town):
    folder, content, said = made(*USUAL, "--areas", "areas.gpkg")
    assert folder["modalities"]["rgb"]["pattern"] == "ortho.tif"
    assert folder["tiling"] == {"size": 100}
    assert folder["splits"]["areas"] == {
        "vector": "areas.gpkg",
        "attribute": "split",
        "values": {"Training": "train", "test": "test", "val": "validation"},
    }
    assert folder["splits"]["buffer"] == 12
    assert content["data"]["root"] == "."
    assert content["data"]["crop"] == 96
    assert "splits      in tiles of 100 pixels, by the polygons of areas.gpkg" in said
    trained = command(main, "fit", ["--experiment", "town.yaml", "--run", "run", *QUICK])
    assert trained.code == 0, trained.err


def test_areas_without_ground_to_test_on(made, town):
    write_vector(town / "areas.gpkg", [box(0, 0, 250, 400), box(250, 0, 500, 400)], {"split": ["train", "val"]})
    folder, _, said = made(*USUAL, "--areas", "areas.gpkg")
    assert folder["splits"]["areas"]["values"] == {"train": "train", "val": "validation"}
    assert "mobanet.test" not in said


def test_a_mosaic_without_areas_has_tiles_drawn_and_heights_may_be_of_a_part_of_it(made, town):
    write(town / "dsm.tif", surface("town", (400, 200)), nodata=-9999, **HERE)
    folder, content, said = made(*USUAL, "--seed", "5")
    assert folder["splits"]["blocks"] == {"validation": 0.15, "test": 0.15, "seed": 5}
    assert "in tiles of 100 pixels, 15% drawn for validation and 15% for test" in said
    assert content["data"]["allow_missing"] is True
    assert "dsm reaches about 40 % of the ground" in said


def test_label_rasters_of_a_mosaic(made):
    folder, _, _ = made(*USUAL[:4], "--labels", "label.tif")
    assert (folder["label"], folder["classes"]) == ("label.tif", ["class_0", "class_1", "class_2"])


def test_two_large_tiles_are_cut(made, town):
    for number in range(2):
        write(
            town / f"ortho/{number}.tif",
            noise(f"{number}", 3, (400, 250)),
            **georeferenced(LEFT + 125 * number, TOP, 0.5),
        )
    folder, _, _ = made("--rgb", "ortho", *USUAL[2:])
    assert folder["modalities"]["rgb"]["pattern"] == "ortho/{tile}.tif"
    assert folder["modalities"]["dsm"]["pattern"] == "dsm.tif"
    assert folder["tiling"]["size"] == 100


def test_the_few_labelled_ones_of_many_tiles_are_cut(command, town, monkeypatch):
    monkeypatch.setattr(looks, "HEADERS", 2)  # those of the first and the third
    for number in range(5):
        place = georeferenced(LEFT + 125 * number, TOP, 0.5)
        write(town / f"ortho/{number}.tif", noise(f"{number}", 3, (400, 250)), **place)
        if number in (1, 3):
            write(town / f"label/{number}.tif", (indices(f"{number}", (400, 250)) % 3)[None], **place)
    ended = command(init, ["--rgb", "ortho", "--labels", "label", "--output", "town.yaml", "--accelerator", "cpu"])
    assert ended.code == 0, ended.err
    assert yaml.safe_load((town / "town.yaml").read_text())["data"]["folder"]["tiling"]["size"] == 100


def test_tiles_with_areas_are_cut(made, town):
    for number in range(4):
        place = georeferenced(LEFT + 125 * (number % 2), TOP - 100 * (number // 2), 0.5)
        write(town / f"ortho/{number}.tif", noise(f"{number}", 3, (200, 250)), **place)
        write(town / f"dsm/{number}.tif", surface(f"{number}", (200, 250)), **place)
    folder, _, _ = made("--rgb", "ortho", "--dsm", "dsm", *USUAL[4:], "--areas", "areas.gpkg")
    assert (folder["tiling"]["size"], folder["splits"]["areas"]["attribute"]) == (100, "split")


def far(town):
    write_vector(town / "areas.gpkg", [box(9000, 0, 9100, 100)] * 2, {"split": ["train", "val"]})


def unsaid(town):
    write_vector(town / "areas.gpkg", [box(0, 0, 100, 100)] * 2, {"split": ["train", "other"]})


def nameless(town):
    write_vector(town / "areas.gpkg", [box(0, 0, 100, 100)] * 2, {"part": ["a", "b"]})


def small(town):
    write(town / "ortho.tif", noise("town", 3, (200, 200)), **HERE)


def few(town):
    for number in range(2):
        place = georeferenced(LEFT + 50 * number, TOP, PIXEL)
        write(town / f"few/{number}.tif", noise(f"{number}", 3, (100, 100)), **place)


def vectors(town):
    for name in "ab":
        write_vector(town / f"cover/{name}.gpkg", [box(0, 0, 100, 100)], {"class": ["x"]})


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        (far, (*USUAL, "--areas", "areas.gpkg"), "areas.gpkg, which covers"),
        (
            unsaid,
            (*USUAL, "--areas", "areas.gpkg"),
            "has no area for validation in split, whose values are 'other', 'train'",
        ),
        (nameless, (*USUAL, "--areas", "areas.gpkg"), "has no attribute with train among the values, where areas say"),
        (None, (*USUAL, "--areas", "areas.gpkg", "--areas_attribute", "splt"), "(did you mean 'split'?)"),
        (None, (*USUAL, "--areas", "ortho.tif"), "--areas ortho.tif is no vector file; give polygons as GeoPackage"),
        (None, (*USUAL, "--areas", "nowhere.gpkg"), "--areas nowhere.gpkg does not exist"),
        (small, USUAL, "--rgb ortho.tif has 200 x 200 pixels, of which 20 tiles of 64 x 64 cannot be cut; give larger"),
        (few, ("--rgb", "few", *USUAL[2:]), "--rgb few has 100 x 100, 100 x 100 pixels, of which 20 tiles of 64 x 64"),
        (
            vectors,
            (*USUAL[:4], "--labels", "cover"),
            "--labels cover is of several files and --rgb ortho.tif is one raster",
        ),
    ],
)
def test_mistakes(command, town, make, words, said):
    if make is not None:
        for path in (town / "areas.gpkg",):
            path.unlink()
        make(town)
    assert said in command(init, [*words, "--output", "town.yaml"]).sentence()
    assert not (town / "town.yaml").exists()
