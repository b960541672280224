"""One name for one thing on command lines: short ones everywhere, and those of files with a hint."""

import pytest

from mobanet.cli.option_names import as_typed, with_settings, with_short_names
from mobanet.plain import hints


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(hints, "_SAID", set())


def test_short_names_are_the_settings_of_a_run(capsys):
    words = [
        "--root",
        "--seed=3",
        "--modalities+=ir",
        "--workers=a=b\nc",
        "--backbone",
        "x",
        "root",
        "-c",
        "--rootless",
        "",
    ]
    other = ["--rootless", ""]
    assert with_settings(words, "test") == [
        *("--data.root", "--seed_everything=3", "--data.modalities+=ir", "--data.num_workers=a=b\nc"),
        *("--model.backbone.checkpoint", "x", "root", "-c", *other),
    ]
    assert with_settings(["--stride=3"], "fit") == ["--stride=3"]  # it has two
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("renamed", "long", "kept"),
    [
        (lambda words: with_settings(words, "fit"), "--data.root", "--data.root"),
        (lambda words: with_short_names(words, ["root", "tiles"]), "--data.root", "--root"),
    ],
)
def test_long_names_are_taken_with_a_hint_that_is_given_once(renamed, long, kept, capsys, monkeypatch):
    words = [long, "x", f"{long}=y", "--data.store", "z", "--data.rooty", "--data.folder.label"]
    found = renamed(words)
    assert found[:3] == [kept, "x", f"{kept}=y"]
    assert found[3:] == words[3:]
    told = [line for line in capsys.readouterr().err.splitlines() if "root" in line]
    assert told == ["hint: --data.root is called --root on command lines, of all commands alike; both are taken."]
    renamed(words)
    monkeypatch.setattr(hints, "_SAID", set())
    monkeypatch.setenv("LOCAL_RANK", "1")
    renamed(words)
    assert capsys.readouterr().err == ""


def test_sentences_name_what_is_to_be_typed():
    text = "lower --data.batch_size, or --data.crop. Give --data.folder.splits.buffer, --data.crops, --data.store?"
    assert as_typed(text, "fit") == (
        "lower --batch_size, or --crop_size. Give --data.folder.splits.buffer, --data.crops, --store?"
    )
    strides = "--data.evaluation.test_stride 3"
    assert (as_typed(strides, "fit"), as_typed(strides, "test")) == (strides, "--stride 3")
