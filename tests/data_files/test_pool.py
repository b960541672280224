import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobanet.errors import UserError
from mobanet.store.pool import in_processes
from tests.data_files.fake_files import potsdam_tile


def double(number):
    return 2 * number


def die(number):
    os._exit(9)


def complain(number):
    raise UserError(f"job {number} is wrong.")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_and_errors(workers):
    assert sorted(in_processes(double, [1, 2, 3], workers, alone=0)) == [2, 4, 6]
    with pytest.raises(UserError, match="job 7 is wrong"):
        list(in_processes(complain, [7, 7], workers, alone=0))


def linger(seconds):
    time.sleep(seconds)
    return os.getpid()


def test_other_processes_are_started_when_there_is_work_for_longer():
    assert set(in_processes(linger, [0, 0, 0], 2)) == {os.getpid()}
    here, *elsewhere = in_processes(linger, [0.1, 0, 0], 2, alone=0.05)
    assert here == os.getpid()
    assert here not in elsewhere


def test_a_killed_worker_is_explained():
    with pytest.raises(UserError, match=r"a worker .* was killed, most likely for lack of memory"):
        list(in_processes(die, [1, 2], 2, alone=0))


def test_negative_number_of_workers():
    with pytest.raises(UserError, match="workers is -1"):
        list(in_processes(double, [1], -1))


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "script.py"
    (tmp_path / "work.py").write_text(  # what a script itself defines stays in its process
        "import os, time\ndef work(number):\n    os.write(1, f'{os.getpid()}\\n'.encode())\n    time.sleep(60)\n"
    )
    script.write_text(
        "from mobanet.store.pool import in_processes\nfrom work import work\n"
        "list(in_processes(work, [1, 2, 3], 2, alone=0))\n"
    )
    source = str(Path(__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": source}, text=True
    )
    with parent:
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(alive(worker) for worker in workers)
        parent.kill()
    ends = time.monotonic() + 20
    while any(alive(worker) for worker in workers) and time.monotonic() < ends:
        time.sleep(0.02)
    assert not any(alive(worker) for worker in workers)


def alive(process):
    """Whether there is such a process, and more than what nobody has collected of it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


SCRIPT = """
from mobanet.store.pool import in_processes
print("begun", flush=True)
print(sorted(in_processes(abs, [-1, -2, -3], 2, alone=0)))
"""
OWN = """
def double(number):
    return 2 * number
"""


def told(arguments, text, folder):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, *arguments],
        input=text,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, ended.stderr


@pytest.mark.parametrize("way", ["file", "standard input", "command"])
def test_a_script_that_guards_nothing_prepares_in_several_processes(way, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = {"file": ["script.py"], "standard input": ["-"], "command": ["-c", SCRIPT]}[way]
    assert told(arguments, SCRIPT, tmp_path) == ("begun\n[1, 2, 3]\n", "")


def test_what_only_a_script_defines_stays_in_its_process(tmp_path):
    (tmp_path / "script.py").write_text(OWN + SCRIPT.replace("abs", "double"))
    out, err = told(["script.py"], "", tmp_path)
    assert out == "begun\n[-6, -4, -2]\n"
    assert err == "preparing in this process alone: others would not find what this script defines\n"


@pytest.mark.long
def test_a_module_of_a_script_that_guards_nothing_prepares_in_several_processes(tmp_path):
    for row in (2, 3):
        potsdam_tile(tmp_path / "data", row, 10)
    (tmp_path / "script.py").write_text(
        "from mobanet.data.datamodule import RasterDataModule\nfrom mobanet.store import pool\n"
        "print('begun', flush=True)\npool.in_processes.__defaults__ = (0, 0.0)\n"
        "RasterDataModule('data').prepare_data()\nprint('done')\n"
    )
    out, _ = told(["script.py"], "", tmp_path)
    assert out == "begun\ndone\n"
    assert (tmp_path / "data/mobanet_store/store.json").is_file()
