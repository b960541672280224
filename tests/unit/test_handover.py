"""Batches through recycled shared memory: the same as without workers, the receiver's own, and nothing left behind."""

import multiprocessing
import os
import shlex
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from mobanet.data.crops import collate
from mobanet.data.handover import Handover, HandoverLoader

LENGTH, BATCH = 22, 4  # the last batch is smaller
SHARED = Path("/dev/shm")


class Noise(Dataset):
    """Samples laid out as crops are; `large` is the index from which on they are larger."""

    def __init__(self, large=LENGTH):
        self.large = large

    def __len__(self):
        return LENGTH

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        size = 96 if index >= self.large else 48
        return {
            "inputs": {
                "rgb": torch.randint(0, 256, (size, size, 3), generator=generator, dtype=torch.uint8),
                "dsm": torch.rand(size, size, 1, generator=generator),
            },
            "valid": {},
            "offset_scale": {"rgb": torch.rand(2, 3, generator=generator)},
            "label": torch.randint(0, 6, (size, size), generator=generator, dtype=torch.uint8),
            "available": torch.tensor([True, index % 3 > 0]),
            "extent": torch.tensor([index, 7]),
            "tile": f"tile {index}",
        }


class Watched(Handover):
    """Counts the batches that came another way than through the ring, at least in part."""

    fresh = 0

    def receive(self, batch, rings):
        self.fresh += any(
            not hasattr(x, "offset") for x in [batch.contents["label"], *batch.contents["inputs"].values()]
        )
        return super().receive(batch, rings)


def make_loader(dataset=None, workers=1, handover=Handover, **options):
    return HandoverLoader(dataset or Noise(), BATCH, num_workers=workers, collate_fn=handover(collate), **options)


def plain(batch):
    """Everything in a batch, that can be compared with ==."""
    if isinstance(batch, dict):
        return {name: plain(value) for name, value in batch.items()}
    return (batch.dtype, batch.stride(), batch.tolist()) if isinstance(batch, torch.Tensor) else batch


@pytest.fixture(scope="module")
def expected():
    return [plain(batch) for batch in make_loader(workers=0)]


@pytest.mark.parametrize(("workers", "persistent"), [(1, True), (2, True), (2, False)])
def test_every_epoch_is_that_of_no_workers(expected, workers, persistent):
    loader = make_loader(workers=workers, persistent_workers=persistent)
    for _ in range(4):
        assert [plain(batch) for batch in loader] == expected
    assert expected[0]["inputs"]["rgb"][1] == (48 * 48 * 3, 1, 48 * 3, 3)  # (B, C, H, W) on channels-last memory


def test_batches_stay_as_they_were_received(expected):
    loader = make_loader(persistent_workers=True)
    kept = [[*loader] for _ in range(4)]
    for epoch in kept:
        assert [plain(batch) for batch in epoch] == expected
    del loader
    assert [plain(batch) for batch in kept[-1]] == expected
    assert not any(x.is_shared() for x in kept[-1][0]["inputs"].values())


@pytest.mark.parametrize("workers", [1, 2])
def test_every_batch_lies_in_the_ring_of_its_worker(workers):
    loader = make_loader(workers=workers, handover=Watched, persistent_workers=True)
    for _ in range(5):
        assert len([*loader]) == 6
    assert loader.collate_fn.fresh == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_an_epoch_broken_off_gives_its_slots_back(expected, workers):
    loader = make_loader(workers=workers, handover=Watched, persistent_workers=True)
    for count in (1, 2, 3, 1, 4, 2, 1, 1, 1):
        assert [plain(batch) for batch in islice(loader, count)] == expected[:count]
    assert [plain(batch) for batch in loader] == expected  # what was dropped holds slots until its first batch is here
    loader.collate_fn.fresh = 0
    assert [plain(batch) for batch in loader] == expected
    assert loader.collate_fn.fresh == 0


def test_an_epoch_broken_off_without_persistent_workers_ends_them(expected):
    others = set(multiprocessing.active_children())
    loader = make_loader(workers=2)
    for _ in range(3):
        assert [plain(batch) for batch in islice(loader, 3)] == expected[:3]
    assert set(multiprocessing.active_children()) <= others


def test_a_batch_larger_than_its_slot_arrives_all_the_same():
    dataset = Noise(large=8)
    expected = [plain(batch) for batch in make_loader(dataset, workers=0)]
    loader = make_loader(dataset, persistent_workers=True)
    for _ in range(3):
        assert [plain(batch) for batch in loader] == expected


@pytest.mark.long
def test_workers_that_are_spawned(expected):
    loader = make_loader(multiprocessing_context="spawn", persistent_workers=True)
    for _ in range(2):
        assert [plain(batch) for batch in loader] == expected


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared memory shows up nowhere")
def test_nothing_is_left_in_shared_memory():
    others = set(multiprocessing.active_children())
    loader = make_loader(workers=2, persistent_workers=True)
    batches = iter(loader)
    next(batches), next(batches)
    workers = set(multiprocessing.active_children()) - others
    makers = {os.getpid(), *(worker.pid for worker in workers)}
    del loader, batches
    assert len(workers) == 2
    assert not any(worker.is_alive() for worker in workers)
    assert not [path.name for path in SHARED.iterdir() if any(f"_{maker}_" in path.name for maker in makers)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_pinned_memory(expected):
    for workers in (0, 1):
        handover = Handover(collate, pin_memory=True)
        loader = HandoverLoader(Noise(), BATCH, num_workers=workers, collate_fn=handover, pin_memory=True)
        batches = [*loader]
        assert [plain(batch) for batch in batches] == expected
        assert all(batch["label"].is_pinned() and batch["inputs"]["dsm"].is_pinned() for batch in batches)


@pytest.mark.long  # where the system gives tests shared memory of their own, the program below ends so, too
def test_a_program_that_ends_in_mid_epoch_says_nothing():
    program = (
        "from tests.unit.test_handover import make_loader\n"
        "batches = iter(make_loader(workers=2, persistent_workers=True))\n"
        "kept = [next(batches), next(batches)]\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


LITTLE = """
import warnings
import torch
from lightning.pytorch.utilities import rank_zero
from tests.unit.test_handover import Noise, make_loader, plain
from mobanet.data import handover
handover.rank_zero_info = print
warnings.filterwarnings("ignore", "This DataLoader will create")  # more processes than a machine has cores
expected = [plain(batch) for batch in make_loader(workers=0)]
loader = make_loader(workers=4, persistent_workers=True)
for _ in range(3):
    assert [plain(batch) for batch in loader] == expected
batches = iter(loader)
kept = [next(batches), next(batches)]
print("done")
"""


def in_little_shared_memory(size, program):
    """What becomes of a program where /dev/shm holds so much; skips where the system gives tests none of their own."""
    mount = "mount -t tmpfs -o size={} tmpfs /dev/shm"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*command, mount.format("1m")], check=False).returncode:
        pytest.skip("the system gives tests no /dev/shm of their own")
    words = f"{mount.format(size)} && exec {shlex.quote(sys.executable)} -c {shlex.quote(program)}"
    return subprocess.run([*command, words], capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize(
    ("size", "full"),
    [
        pytest.param("128k", True, marks=pytest.mark.long),
        ("320k", True),
        pytest.param("8m", False, marks=pytest.mark.long),
    ],
)
def test_little_shared_memory_is_slower_and_said_and_that_is_all(size, full):
    """A ring takes 170 kB: there is room for none, for one of the four, and for all."""
    ended = in_little_shared_memory(size, LITTLE)
    assert (ended.returncode, ended.stderr) == (0, "")  # in mid-epoch
    told = ended.stdout.splitlines()
    assert told[-1] == "done"
    assert [line.partition(";")[2] for line in told[:-1]] == (
        [" start the container with --shm-size 2g (or --ipc host), or lower --data.num_workers."] if full else []
    )
