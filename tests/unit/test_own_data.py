"""Names of files as tiles, sizes of tiles, and what a machine gets: without a raster."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from mobanet.datasets.folder_words import as_words
from mobanet.errors import UserError
from mobanet.own_data.classes import class_name, colours_for
from mobanet.own_data.files import find_files
from mobanet.own_data.given import Given, given_modalities
from mobanet.own_data.label_rasters import _names
from mobanet.own_data.recipe import TILES, Machine, _batch, drawn_split, tile_size
from mobanet.own_data.written import _word
from mobanet.rasters.categories import sidecar
from mobanet.rasters.distinct_colours import OKABE_ITO


def found(folder: Path, **names):
    """Patterns of folders of empty files, by folder, and their tiles."""
    for name, files in names.items():
        (folder / name).mkdir(parents=True)
        for file in files:
            (folder / name / file).touch()
    given = [Given(name, str(folder / name), f"--{name}") for name in names]
    return {each.given.name: (Path(each.pattern).name, [*each.files]) for each in find_files(given)}


@pytest.mark.parametrize(
    ("names", "patterns", "tiles"),
    [
        (
            {"a": ["top_2_10_RGB.tif", "top_2_11_RGB.tif"], "b": ["dsm_2_10.tif", "dsm_2_11.tif"]},
            ["top_2_{tile}_RGB.tif", "dsm_2_{tile}.tif"],
            ["10", "11"],
        ),
        (
            {"a": ["top_2_10.tif", "top_2_11.tif"], "b": ["dsm_2_10.tif", "dsm_2_11.tif", "dsm_3_11.tif"]},
            ["top_{tile}.tif", "dsm_{tile}.tif"],
            ["2_10", "2_11"],
        ),
        ({"a": ["area1.tif", "area10.tif", "area2.tif"]}, ["area{tile}.tif"], ["1", "2", "10"]),
        ({"a": ["1.tif", "2.tif"], "b": ["x1.TIF", "x2.TIF"]}, ["{tile}.tif", "x{tile}.TIF"], ["1", "2"]),
        ({"a": ["_a.tif", "_b.tif"]}, ["_{tile}.tif"], ["a", "b"]),
        ({"a": ["north_ortho.tif", "south_ortho.tif"]}, ["{tile}_ortho.tif"], ["north", "south"]),
        ({"rgb": [f"{n}_{kind}.tif" for n in "ab" for kind in ("rgb", "dsm")]}, ["{tile}_rgb.tif"], ["a", "b"]),
        ({"labels": [f"{n}_{kind}.tif" for n in "ab" for kind in ("rgb", "label")]}, ["{tile}_label.tif"], ["a", "b"]),
        ({"a": ["2_2.tif", "2_22.tif"], "b": ["2_2.tif", "2_22.tif"]}, ["2_{tile}.tif"] * 2, ["2", "22"]),
    ],
)
def test_names_that_differ_in_a_part(tmp_path, names, patterns, tiles):
    told = found(tmp_path, **names)
    assert [pattern for pattern, _ in told.values()] == patterns
    assert next(iter(told.values()))[1] == tiles


def test_a_tile_that_is_called_like_the_modality_is_not_taken_for_all(tmp_path):
    assert found(tmp_path, north=["north.tif", "south.tif"])["north"] == ("{tile}.tif", ["north", "south"])


def test_tiles_that_patterns_name_are_those_of_folders(tmp_path):
    for name in ("x[1]/t1/image.tif", "x[1]/t2/image.tif", "y/dsm_t1.tif", "y/dsm_t2.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    given = [Given("a", f"{tmp_path}/x[1]/{{tile}}/image.tif", "--a"), Given("b", f"{tmp_path}/y", "--b")]
    assert [[*each.files] for each in find_files(given)] == [["t1", "t2"]] * 2


def test_two_files_of_a_tile(tmp_path):
    for name in ("x1/t.tif", "x2/t.tif"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="leads to two files of the tile t, "):
        find_files([Given("a", f"{tmp_path}/x*/{{tile}}.tif", "--a")])


@pytest.mark.parametrize(("cell", "instead"), [("", ""), ("<F>p</F>", ""), ("<F>0</F>", "<F>1e999</F>")])
def test_names_beside_a_label_that_are_damaged_are_none(tmp_path, cell, instead):
    (tmp_path / "a.tif.aux.xml").write_text(sidecar(["p", "q"]).decode().replace(cell, instead))
    assert _names(tmp_path / "a.tif") == ({} if cell else {0: "p", 1: "q"})


def test_texts_that_the_parser_would_take_for_numbers_are_written_as_texts():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--names", type=list[str])
    names = ["1e3", "2E-5", "+4e+1", "7", "1.5", "nan", "null", "yes", "1:30", "a\tb"]
    for written in (as_words(names), _word(names)):
        assert parser.parse_string(f"names: {written}").names == names


def test_the_order_of_modalities_is_that_of_their_options():
    given = given_modalities({"rgb": "a", "ir": None, "dsm": "b"}, ["x=c[2, 3]"])
    assert [(each.name, each.text, each.bands) for each in given] == [
        ("rgb", "a", None),
        ("dsm", "b", None),
        ("x", "c", (1, 2)),
    ]


@pytest.mark.parametrize("shape", [(400, 500), (290, 290), (1000, 90_000), (30_000, 30_000), (4096, 4096 * 20)])
def test_a_mosaic_becomes_at_least_twenty_tiles(shape):
    size = tile_size([shape])
    assert 64 <= size <= 4096
    assert max(1, round(shape[0] / size)) * max(1, round(shape[1] / size)) >= TILES
    assert size % 64 == 0 or size < 256


def test_a_mosaic_that_is_too_small_is_refused():
    with pytest.raises(UserError, match=r"has 200 x 100 pixels, of which 20 tiles of 64 x 64 cannot be cut"):
        tile_size([(100, 200)])


@pytest.mark.parametrize("count", [3, 4, 7, 100])
def test_every_part_of_a_split_has_tiles_and_none_is_in_two(count):
    tiles = [f"{n}" for n in range(count)]
    split = drawn_split(tiles, 1)
    assert sorted(sum((split[part] for part in split), [])) == sorted(tiles)  # noqa: RUF017 - few
    assert all(split.values())
    assert split == drawn_split(tiles, 1)


@pytest.mark.parametrize(("memory", "batch", "steps"), [(80, 24, 1), (24, 12, 2), (8, 6, 4), (float("inf"), 24, 1)])
def test_the_recipes_batch_on_any_gpu(memory, batch, steps):
    chosen, spread = _batch(24, Machine(memory))
    assert (chosen.value, spread) == (batch, steps)


def test_names_of_classes():
    assert class_name("  Grünland ", []) == "Grünland"
    assert class_name(17, []) == "class_17"
    assert class_name("x", ["x", "x_2"]) == "x_3"
    assert class_name("No Data", []) == "ignored"
    assert class_name("a\x1bb", []).isprintable()
    assert len(class_name("y" * 90, ["y" * 60])) <= 60


def test_colours_of_classes_differ():
    assert colours_for(3) == list(OKABE_ITO[:3])
    assert colours_for(3, {1: OKABE_ITO[0]}) == [OKABE_ITO[1], OKABE_ITO[0], OKABE_ITO[2]]
    assert len(set(colours_for(60))) == 60
