"""The examples for clusters, as they are: torchrun on one node and on two, and a SLURM job without SLURM."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mobanet.loading.checkpoint import read_checkpoint
from tests.cli.conftest import fork_server, start, wait
from tests.cli.signals import sending
from tests.cli.test_ddp import ended_alone
from tests.cli.test_fit_and_test import differing, rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

ROOT = Path(__file__).parents[2]
TORCHRUN, SBATCH = (ROOT / "experiments/cluster" / name for name in ("torchrun.sh", "slurm.sbatch"))
CPU = ("--accelerator", "cpu", "--wandb", "off")


def bash(script, *words, folder, **environment) -> subprocess.Popen:
    """`bash SCRIPT WORDS` in `folder`, with nothing in the environment that a launcher has left there."""
    launchers = ("SLURM_", "MASTER_", "NNODES", "NODE_RANK", "NPROC", "LOCAL_RANK", "GPUS", "MOBANET_RUN_FOLDER")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(launchers)}
    given = {"PYTHON": str(fork_server().python), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        ["bash", str(script), *words],
        cwd=folder,
        env={**clean, **given},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


@pytest.mark.parametrize("script", [TORCHRUN, SBATCH])
def test_the_scripts_are_bash(script):
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.long
def test_two_nodes_of_one_process_make_the_run_that_two_processes_of_one_node_make(small, tmp_path):
    words = ("--experiment", str(small), *CPU)
    ended = ended_alone(bash(TORCHRUN, *words, "--run", "one", folder=tmp_path, NPROC="2"))
    assert ended.code == 0, ended.err
    assert ended.err.count("the run is in one") == 1
    there = {"NPROC": "1", "NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    words = (*words, "--run=two")
    nodes = [bash(TORCHRUN, *words, folder=tmp_path, NODE_RANK=rank, **there) for rank in ("1", "0")]
    second, first = (ended_alone(node) for node in nodes)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.err.count("the run is in two") == 1
    assert "the run is in" not in second.err
    one, two = tmp_path / "one", tmp_path / "two"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["one", "two"]
    assert differing(one / "checkpoints/last.ckpt", two / "checkpoints/last.ckpt") == []
    assert read_checkpoint(two / "checkpoints/last.ckpt")["global_step"] == 4
    assert rows(one / "metrics.csv") == rows(two / "metrics.csv")
    assert [row["step"] for row in rows(two / "metrics.csv")] == ["0", "1", "2", "3"]
    assert (one / "validation_confusion.csv").read_bytes() == (two / "validation_confusion.csv").read_bytes()


@pytest.mark.parametrize(
    ("words", "environment", "sentence"),
    [
        ((), {"NODE_RANK": "1"}, "several nodes need one run folder; give it to all of them with --run DIR."),
        (
            ("--run", "run"),
            {},
            "NODE_RANK is not set; set it to a number of its own on each node, from 0 to 1.",
        ),
        (
            ("--run", "run"),
            {"NODE_RANK": "2"},
            "NODE_RANK is 2; set it to a number of its own on each node, from 0 to 1.",
        ),
        (("--run", "run"), {"NODE_RANK": "0"}, "MASTER_ADDR is not set; set it to the name of node 0 on all nodes."),
        ((), {"NNODES": "two"}, "NNODES is two; give the number of nodes."),
        ((), {"NNODES": "1", "NPROC": "0"}, "NPROC is 0; give the number of processes on each node."),
    ],
)
def test_what_several_nodes_lack_is_told(words, environment, sentence, tmp_path):
    given = {"NNODES": "2", "NPROC": "1", **environment}
    ended = wait(bash(TORCHRUN, "--experiment", "x", *words, folder=tmp_path, **given))
    assert ended.code == 2
    assert ended.err == f"error: {sentence}\n"


@pytest.fixture
def job(tmp_path):
    """Runs the job's script as SLURM does on its first node, from a copy, with an `srun` that starts one task."""
    copy = shutil.copy(SBATCH, tmp_path / "slurm_script")
    folder = tmp_path / "bin"
    folder.mkdir()
    srun = folder / "srun"
    srun.write_text(
        "#!/bin/bash\n"
        f'printf "%s\\n" "$OMP_NUM_THREADS" "$@" > {tmp_path / "called"}\n'
        '[[ -z ${TASK:-} ]] && exit 0\nwhile [[ $1 != "$PYTHON" ]]; do shift; done\n'
        'SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 exec "$@"\n'
    )
    srun.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"

    def run(*words, **environment):
        environment = {"SLURM_JOB_ID": "42", "SLURM_JOB_NAME": "city", "OMP_NUM_THREADS": "", **environment}
        ended = wait(bash(copy, *words, folder=tmp_path, PATH=path, **environment))
        called = tmp_path / "called"
        return ended, called.read_text().splitlines() if called.is_file() else None

    return run


@pytest.mark.parametrize(
    ("given", "nodes", "tasks", "threads", "accelerator"),
    [
        ({}, 1, 1, 1, "auto"),
        ({"NTASKS_PER_NODE": 4, "GPUS_ON_NODE": 4, "CPUS_PER_TASK": 8}, 1, 4, 8, "gpu"),
        ({"JOB_NUM_NODES": 2, "NTASKS_PER_NODE": 4, "GPUS_ON_NODE": 4, "CPUS_PER_TASK": 8}, 2, 4, 8, "gpu"),
        ({"JOB_NUM_NODES": 3, "NTASKS_PER_NODE": 2, "GPUS_PER_NODE": 0}, 3, 2, 1, "cpu"),
    ],
)
def test_a_job_starts_a_task_a_gpu_on_all_its_nodes(given, nodes, tasks, threads, accelerator, job):
    slurm = {f"SLURM_{name}": str(value) for name, value in given.items()}
    ended, called = job("--experiment", "x y", "--model.lr", "1e-4", **slurm)
    assert ended.code == 0, ended.err
    words = f"{threads}|--nodes|{nodes}|--ntasks-per-node|{tasks}|--cpus-per-task|{threads}|--kill-on-bad-exit=1|"
    words += f"{fork_server().python}|-m|mobanet.fit|--run|runs/city-42|--accelerator|{accelerator}|"
    words += f"--devices|{tasks}|--trainer.num_nodes|{nodes}|--trainer.strategy|ddp|"
    words += "--experiment|x y|--model.lr|1e-4"
    assert "|".join(called) == words


def test_the_cpu_may_be_asked_for_on_nodes_with_gpus(job):
    ended, called = job(SLURM_GPUS_ON_NODE="4", SLURM_NTASKS_PER_NODE="2", GPUS="0")
    assert ended.code == 0, ended.err
    assert called[called.index("--accelerator") + 1] == "cpu"


def test_a_job_with_gpus_that_no_task_would_use_does_not_start(job):
    ended, called = job(SLURM_GPUS_ON_NODE="4", SLURM_NTASKS_PER_NODE="1")
    assert (ended.code, called) == (2, None)
    sentence = "each GPU needs a task; a node has 4 GPUs and 1 tasks: give sbatch --ntasks-per-node 4."
    assert ended.err == f"error: {sentence}\n"


def test_the_job_script_outside_a_job_says_how_to_start_it(tmp_path):
    ended = wait(bash(SBATCH, folder=tmp_path))
    assert ended.code == 2
    assert ended.err == f"error: this is no SLURM job; start it with: sbatch {SBATCH} --experiment NAME\n"


def test_a_job_that_starts_again_goes_on_with_its_run(job, small, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "runs/city-42")
    task = {"TASK": "1", "OMP_NUM_THREADS": "1", "SLURM_NTASKS_PER_NODE": "1", "MASTER_PORT": free_port()}
    words = ("--experiment", str(small), *CPU, "--trainer.max_epochs", "3")
    ended, called = job(*words, **task, SLURM_RESTART_COUNT="1")
    assert ended.code == 0, ended.err
    assert "--ckpt_path" not in called
    assert "Restored all states from the checkpoint at runs/city-42/checkpoints/last.ckpt" in ended.err
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["city-42"]
    assert read_checkpoint(run / "checkpoints/last.ckpt")["global_step"] == 6
    assert [row["step"] for row in rows(run / "metrics.csv")] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.long
def test_no_task_ends_before_the_job_is_back_in_the_queue(small, tmp_path):
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\nsleep 5\necho "$@" > {tmp_path / "called"}\n')
    scontrol.chmod(0o755)
    job = {"NTASKS": 2, "NTASKS_PER_NODE": 2, "NNODES": 1, "JOB_NAME": "city", "JOB_ID": 42, "NODEID": 0}
    job = {f"SLURM_{name}": str(value) for name, value in job.items()}
    job |= {"PATH": f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}", "MASTER_ADDR": "127.0.0.1"}
    job["MASTER_PORT"] = free_port()
    words = ("--experiment", str(small), *CPU, "--devices", "2", "--trainer.strategy", "ddp", "--run", "run")
    words += (sending("on_before_optimizer_step", 1, "SIGUSR1", rank=1),)
    first, second = (
        start("mobanet.fit", *words, folder=tmp_path, **job, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in "01"
    )
    ended = wait(second)  # with a code at which srun ends the first, and scontrol with it
    assert (tmp_path / "called").read_text() == "requeue 42\n"
    assert ended.code == 138, ended.err
    ended = wait(first)
    assert ended.code == 138, ended.err
    assert ended.err.splitlines()[-1].endswith("last.ckpt (job 42 is back in the queue)")
