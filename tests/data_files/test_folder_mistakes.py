"""Mistakes in the description of one's own data: the same key and value are named by `fit` and by `prepare`."""

import copy

import pytest
import yaml

from mobanet import prepare
from mobanet.cli.commands import main
from mobanet.datasets import load_folder_settings
from mobanet.datasets.folder_words import with_quoted_ids
from mobanet.errors import UserError

GOOD = {
    "modalities": {
        "rgb": {"pattern": "ortho/{tile}.tif", "band_numbers": [1, 2, 3]},
        "dsm": {"pattern": "height/{tile}.tif", "kind": "elevation"},
    },
    "classes": ["a", "b"],
    "label": "label/{tile}.tif",
    "values": {"1": 0, 2: 1},
}

CASES = {
    "a choice": (
        "modalities.dsm.kind",
        "height",
        "modalities.dsm.kind is 'height', not one of optical, elevation, other",
    ),
    "a text for a list": (
        "modalities.rgb.bands",
        "0,1",
        "modalities.rgb.bands is '0,1' where a list or null is expected",
    ),
    "a mistyped key": (
        "modalities.rgb.patern",
        "x",
        "modalities.rgb.patern is not a key of a description of data (did you",
    ),
    "a key that is missing": ("modalities.rgb", {"band_numbers": [2]}, "modalities.rgb.pattern is missing"),
    "a mistyped key on top": ("clases", ["a"], "clases is not a key of a description of data (did you mean classes?)"),
    "a word for a number": ("values", {1: "a"}, "values.1 is 'a' where a whole number is expected"),
    "a colour of two": ("colours", [[1, 2], [3, 4, 5]], "colours[0] has 2 entries where 3 are expected"),
    "a tile for tiles": ("splits", {"train": "a"}, "splits.train is 'a' where a list is expected"),
    "a split that there is not": (
        "splits",
        {"training": ["a"]},
        "splits.training is not a key of a description of data",
    ),
    "a list of modalities": ("modalities", ["rgb"], "modalities is a list where a mapping is expected"),
}


def said(command, words, capsys):
    with pytest.raises(SystemExit) as caught:
        command(words)
    assert caught.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def written(tmp_path, settings):
    """The settings as a file of their own, and in a configuration."""
    alone, whole = tmp_path / "own.yaml", tmp_path / "config.yaml"
    alone.write_text(yaml.safe_dump(settings))
    whole.write_text(yaml.safe_dump({"data": {"root": str(tmp_path), "layout": "folder", "folder": settings}}))
    return alone, whole


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_names_its_key_and_its_value(case, tmp_path, capsys):
    path, value, words = CASES[case]
    settings = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    inner = settings
    for key in parents:
        inner = inner[key]
    inner[last] = value
    alone, whole = written(tmp_path, settings)
    fit = said(lambda given: main("fit", given), ["--config", str(whole)], capsys)
    assert fit.startswith(f"error: {whole}: data.folder.{words}")
    own = said(prepare.main, ["--root", str(tmp_path), "--layout", "folder", "--folder", str(alone)], capsys)
    assert own.startswith(f"error: {alone}: {words}")


def test_what_is_missing_from_all_files_is_named(tmp_path, capsys):
    settings = {key: value for key, value in GOOD.items() if key != "classes"}
    alone, whole = written(tmp_path, settings)
    fit = said(lambda given: main("fit", given), ["--config", str(whole)], capsys)
    assert fit == "error: --folder lacks classes, which a description of data needs; give it."
    with pytest.raises(UserError, match=r"own\.yaml: classes is missing; mend it"):
        load_folder_settings(alone)


def test_an_option_on_the_command_line(tmp_path, capsys):
    _, whole = written(tmp_path, GOOD)
    words = ["--config", str(whole), "--data.folder.distance", "far"]
    fit = said(lambda given: main("fit", given), words, capsys)
    assert fit == "error: --data.folder.distance is 'far' where a whole number is expected; give another value."


def test_tiles_on_the_command_line_are_called_what_was_typed():
    words = ["--data.folder.splits.train", "[3_10, 010, a*]", "--data.folder.splits.test=[7]", "--crop_size", "[3_10]"]
    assert with_quoted_ids(words) == [
        "--data.folder.splits.train",
        '["3_10", "010", "a*"]',
        '--data.folder.splits.test=["7"]',
        "--crop_size",
        "[3_10]",
    ]
    for odd in ("a", "null", "[[1]]", "[", "{a: b}"):
        assert with_quoted_ids(["--data.folder.splits.train", odd])[1] == odd
