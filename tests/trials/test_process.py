"""Commands as processes of their own: signals once each, the last sentence kept, a clean environment."""

import os
import signal
import sys

import pytest

from mobanet.trials.process import Commands, environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

COUNTING = """
import os, signal, sys, time
got = []
for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
    signal.signal(getattr(signal, name), lambda number, frame: got.append(number))
for number in map(int, sys.argv[2:]):
    before = len(got)
    os.kill(os.getppid(), number)
    end = time.monotonic() + 20
    while len(got) == before and time.monotonic() < end:
        time.sleep(0.01)
time.sleep(0.2)  # for any that comes twice
print(got, os.getpgid(0) == os.getpid(), sys.stdin.read() == "", flush=True)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def child(tmp_path):
    """Runs a text as a module."""

    def run(commands, text, *words, hopeless=False):
        (tmp_path / "child_of_trials.py").write_text(text)
        begun = [str(tmp_path / word) for word in words if word == "begun"]
        given = (begun or words, {"PYTHONPATH": str(tmp_path)})
        return commands.run("child_of_trials", *given, (tmp_path / "begun").exists if hopeless else None)

    return run


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_reaches_the_command_once_and_its_code_comes_back(name, child, capfd):
    number = signal.Signals[name]
    before = signal.getsignal(number)
    with Commands() as commands:
        ended = child(commands, COUNTING, str(128 + number), str(int(number)))
    assert signal.getsignal(number) is before
    assert capfd.readouterr().out == f"[{number}] True True\n"
    assert (ended.code, ended.asked, ended.interrupted, commands.stop) == (128 + number, number, True, 128 + number)


def test_a_second_ctrl_c_is_handed_on_too(child, capfd):
    with Commands() as commands:
        child(commands, COUNTING, "130", "2", "2")
    assert capfd.readouterr().out == "[2, 2] True True\n"


def test_a_command_that_finishes_in_spite_of_a_signal_has_finished(child):
    with Commands() as commands:
        ended = child(commands, COUNTING, "0", "15")
    assert (ended.code, ended.interrupted, commands.stop) == (0, False, 143)


def test_a_command_that_is_killed_while_it_starts_counts_as_interrupted(child):
    with Commands() as commands:
        ended = child(commands, "import os, time\nos.kill(os.getppid(), 15)\ntime.sleep(20)")
    assert (ended.code, ended.interrupted, commands.stop) == (143, True, 143)


@pytest.mark.parametrize("code", [143, 0])
def test_a_command_that_is_hopeless_is_ended_and_the_next_one_runs(code, child, capfd, monkeypatch):
    monkeypatch.setattr("mobanet.trials.process._BETWEEN_LOOKS", 0.1)
    text = f"""
import pathlib, signal, sys, time
def end(*_):
    print("asked", flush=True)
    sys.exit({code})
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1]).touch()
time.sleep(20)
"""
    with Commands() as commands:
        ended = child(commands, text, "begun", hopeless=True)
        assert (ended.code, ended.early, ended.interrupted, commands.stop) == (code, code == 143, False, 0)
        assert child(commands, "print('next')").code == 0
    assert capfd.readouterr().out == "asked\nnext\n"


def test_a_signal_before_a_command_stops_all_of_them():
    with Commands() as commands:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert commands.stop == 128 + signal.SIGUSR1


def test_the_closing_sentence_is_kept_and_all_else_is_shown(child, capsys):
    text = "import sys\nprint('error: early\\nstep 1\\nerror: it is broken.', file=sys.stderr)\nsys.exit(2)"
    with Commands() as commands:
        ended = child(commands, text)
    assert capsys.readouterr().err == "error: early\nstep 1\n"
    assert (ended.code, ended.error, ended.told, ended.interrupted) == (2, "it is broken.", "it is broken", False)
    assert commands.stop == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raise ValueError('oh')", "it ended with exit code 1, for which see above"),
        ("import os\nos.kill(os.getpid(), 9)", "it was ended by SIGKILL"),
    ],
)
def test_an_end_without_a_sentence_is_told_by_its_code(text, told, child):
    with Commands() as commands:
        ended = child(commands, text)
    assert (ended.error, ended.told, ended.interrupted, commands.stop) == (None, told, False, 0)


def test_nothing_of_another_run_is_handed_down(monkeypatch):
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MOBANET_RUN_FOLDER", "TORCHELASTIC_RUN_ID", "WANDB_RUN_ID")
    for name in (*names, "WANDB_MODE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "0")
    handed = environment()
    assert not [name for name in names if name in handed]
    assert (handed["WANDB_MODE"], handed["CUDA_VISIBLE_DEVICES"]) == ("0", "0")
