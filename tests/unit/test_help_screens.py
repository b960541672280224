"""Help in one screen says nothing that the parsers do not know; the full help leaves out what is internal."""

import re
import shlex
from contextlib import redirect_stdout
from functools import cache
from io import StringIO

import pytest

from mobanet.cli.commands import main
from mobanet.cli.help_screens import screen
from mobanet.predict import main as predict
from mobanet.shipped import experiment_names
from mobanet.start import start

COMMANDS = ("fit", "test", "scores", "adapt", "predict")


@cache
def all_options(command):
    with redirect_stdout(StringIO()) as out, pytest.raises(SystemExit) as ended:
        predict(["--help_all"]) if command == "predict" else main(command, ["--help_all"])
    assert ended.value.code == 0
    return out.getvalue()


@pytest.mark.parametrize("command", COMMANDS)
def test_one_screen_names_what_the_parser_has(command, capsys):
    predict(["--help"]) if command == "predict" else start(command, ["--experiment", "x", "-h"])
    text = capsys.readouterr().out
    assert text == screen(command)
    lines = text.splitlines()
    assert 24 <= len(lines) <= 40
    assert max(map(len, lines)) <= 125
    everything = set(re.findall(r"(--[a-z][\w.]*)", all_options(command)))
    assert set(re.findall(r"(--[a-z][\w.]*)", text)) <= everything
    if command == "fit":
        assert all(name in text for name in experiment_names())


def test_all_options_are_those_that_a_user_may_set():
    text = all_options("fit")
    assert "(required" not in text
    assert "needed unless an experiment" in text
    assert "--data.augmentation.flips" in text
    for internal in ("--model.restored", "--model.data", "model.seed", "data.seed", "Linked arguments"):
        assert internal not in text
    text = all_options("test")
    assert not re.search(r"^  --(variant|init_from)", text, re.M)


def test_what_is_hidden_is_still_taken(capsys):
    with pytest.raises(SystemExit) as ended:
        main("fit", ["--experiment", "synthetic_irrgb_dsm", "--model.restored", "trained", "--print_config"])
    assert ended.value.code == 0
    assert "restored: trained" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_whole_commands(command):
    for line in re.findall(r"^  (python -m mobanet.*)$", screen(command), re.M):
        words = shlex.split(line)
        assert words[2] == f"mobanet.{command}"
        assert {"--experiment", "--ckpt_path"} & set(words)
