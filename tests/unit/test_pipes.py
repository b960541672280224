"""Every command ends quietly where its output is no longer read."""

import os
import sys
from contextlib import contextmanager

import pytest

import mobanet.__main__ as console
from mobanet.check import main as check
from mobanet.plain.pipes import UNREAD, unread_output_ends_quietly
from mobanet.start import start
from mobanet.synthetic import synthesize


@contextmanager
def unread(name):
    """Standard output or error is a pipe whose reader has gone; at the end it is flushed as the interpreter would."""
    reader, writer = os.pipe()
    os.close(reader)
    present = getattr(sys, name)
    stream = os.fdopen(writer, "w", buffering=1)
    setattr(sys, name, stream)
    try:
        yield
        stream.close()
    finally:
        setattr(sys, name, present)


def ended(function, *arguments, name="stdout"):
    with unread(name), pytest.raises(SystemExit) as end:
        function(*arguments)
    return end.value.code


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], *([name, "--help"] for name in console.COMMANDS)])
def test_help_and_lists(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mobanet", *words])
    assert ended(console.main) == UNREAD == 141
    assert capsys.readouterr().err == ""


def test_all_options(capsys):
    assert ended(start, "fit", ["--help_all"]) == UNREAD
    assert capsys.readouterr().err == ""


def test_tables_of_a_data_set(tmp_path, capsys):
    synthesize("potsdam", tmp_path / "city", 1, 128)
    assert ended(check, ["--layout", "potsdam", "--root", str(tmp_path / "city")]) == UNREAD
    assert "Traceback" not in capsys.readouterr().err


def test_a_sentence_that_nobody_reads(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mobanet", "fitt"])
    assert ended(console.main, name="stderr") == UNREAD


def test_another_pipe_that_breaks_is_no_quiet_end():
    with pytest.raises(BrokenPipeError), unread_output_ends_quietly():
        raise BrokenPipeError(32, "of a connection")
