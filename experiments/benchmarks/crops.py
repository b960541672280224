"""Random training crops from the tile store against whole tiles held as float32 in each process.

Both designs cut 256 x 256 crops of image, surface model and label, draw the same flips with albumentations, and hand
batches of 24 over through one DataLoader worker: the tile store through `mobanet.data.crops.crop_loader`, as in
training, and whole tiles as PyTorch does by itself. The main process reads from every page of what it receives. Prints
milliseconds a crop, those that the worker computes (which other programs on the computer hardly change), their ratios,
and the worker's memory.

    python experiments/benchmarks/crops.py [--tiles 4] [--size 6000] [--batches 20] [--rounds 5]
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mobanet.data.augment import Augmentation, AugmentationSettings
from mobanet.data.crops import RandomCrops, crop_loader
from mobanet.data.layout import Modality
from mobanet.data.reading import Sample, TileReader
from mobanet.data.sampler import CropSampler
from mobanet.data.store import BandStatistics, LabelRecord, ModalityRecord, StoredTile

MODALITIES = {"rgb": Modality("rgb", ("r", "g", "b")), "dsm": Modality("dsm", ("height",), "elevation", "metre")}
CROP, BATCH = 256, 24


class WholeTiles(Dataset):
    """The design to beat: every tile in memory as float32, cropped by slicing."""

    def __init__(self, tiles: list[StoredTile], augmentation: Augmentation) -> None:
        self.tiles = tiles
        self.augmentation = augmentation
        self.arrays: list[dict[str, np.ndarray]] | None = None

    def __getitem__(self, index: int) -> dict:
        """A random crop."""
        if self.arrays is None:
            self.arrays = [
                {
                    "rgb": np.load(tile.path("rgb")).astype(np.float32) / 255,
                    "dsm": np.load(tile.path("dsm")),
                    "label": np.load(tile.path("label_full")),
                }
                for tile in self.tiles
            ]
        generator = np.random.default_rng(index)
        tile = self.arrays[generator.integers(len(self.arrays))]
        height, width = tile["label"].shape
        top, left = generator.integers(height - CROP + 1), generator.integers(width - CROP + 1)
        cut = {name: array[top : top + CROP, left : left + CROP].copy() for name, array in tile.items()}
        sample = self.augmentation(Sample({"rgb": cut["rgb"], "dsm": cut["dsm"]}, {}, cut["label"]), generator)
        inputs = {name: torch.from_numpy(x.transpose(2, 0, 1).copy()) for name, x in sample.inputs.items()}
        return {"inputs": inputs, "label": torch.from_numpy(sample.label.astype(np.int64))}


def make_tiles(folder: Path, count: int, size: int) -> list[StoredTile]:
    """Tiles of noise in the store's format."""
    generator = np.random.default_rng(0)
    band = BandStatistics(size * size, 0.0, 1.0, 0.0, 1.0, 0.0, 0.5, 1.0)
    tiles = []
    for number in range(count):
        tile = StoredTile(
            id=str(number),
            folder=folder / str(number),
            height=size,
            width=size,
            reference="rgb",
            modalities={
                "rgb": ModalityRecord(3, "uint8", True, 1.0, (band,) * 3, "", ""),
                "dsm": ModalityRecord(1, "float32", True, 1.0, (band,), "", ""),
            },
            labels={"full": LabelRecord((size * size,), 0, 0, 0, "", "")},
            transform=None,
            crs=None,
            notes=(),
        )
        tile.folder.mkdir(parents=True)
        np.save(tile.path("rgb"), generator.integers(0, 256, (size, size, 3), np.uint8))
        np.save(tile.path("dsm"), generator.random((size, size, 1), np.float32))
        np.save(tile.path("label_full"), generator.integers(0, 6, (size, size), np.uint8))
        tiles.append(tile)
    return tiles


def receive(loader: Iterator[dict]) -> None:
    """Take a batch and read from every page of its pixels."""
    batch = next(loader)
    for x in [*batch["inputs"].values(), batch["label"]]:
        x[..., ::4, 0].sum()  # every fourth row of every channel: less than a page apart, in either layout


def peak_memory(pid: int) -> float:
    """Most memory that a process has had resident, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} does not tell its memory")


def processor_time(pid: int) -> float:
    """Milliseconds that a process has computed, in its own code and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=4)
    parser.add_argument("--size", type=int, default=6000)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tiles = make_tiles(Path(folder), options.tiles, options.size)
        augmentation = Augmentation(AugmentationSettings(flips=True), MODALITIES)
        steps = options.batches * (options.rounds + 1) + 1
        levels = {name: np.ones((len(tiles), 2, len(m.bands)), np.float32) for name, m in MODALITIES.items()}
        reader = TileReader(tiles, {"rgb": 3, "dsm": 1}, "full", CROP)
        store = RandomCrops(reader, levels, CROP, "tile", 0, augmentation)
        designs = {
            "whole tiles": DataLoader(
                WholeTiles(tiles, augmentation), BATCH, sampler=range(steps * BATCH), num_workers=1, prefetch_factor=2
            ),
            "tile store": crop_loader(store, BATCH, CropSampler(steps, BATCH, 0, 1, lambda: (0, 0)), 1),
        }
        loaders, workers = {}, {}
        for name, loader in designs.items():
            before = set(multiprocessing.active_children())
            loaders[name] = iter(loader)
            receive(loaders[name])
            (workers[name],) = (worker.pid for worker in set(multiprocessing.active_children()) - before)
        times: dict[str, list[float]] = {name: [] for name in designs}
        computed = dict.fromkeys(designs, 0.0)
        for turn in range(options.rounds + 1):
            for name, loader in loaders.items():
                for _ in range(4):
                    receive(loader)  # what was fetched while the other one ran
                start, computing = time.perf_counter(), processor_time(workers[name])
                for _ in range(options.batches - 4):
                    receive(loader)
                if turn:  # the first round opens files and imports
                    times[name].append((time.perf_counter() - start) * 1000 / ((options.batches - 4) * BATCH))
                    computed[name] += processor_time(workers[name]) - computing
        print(f"{options.tiles} tiles of {options.size} x {options.size}, crops of {CROP}, one worker")
        for name, values in times.items():
            share = computed[name] / (options.rounds * (options.batches - 4) * BATCH)
            print(
                f"{name:<12} {statistics.median(values):.3f} ms a crop, {share:.3f} ms of the worker's processor time, "
                f"{peak_memory(workers[name]):.0f} MB of its memory at most"
            )
        ratio = statistics.median(a / b for a, b in zip(times["whole tiles"], times["tile store"], strict=True))
        share = computed["whole tiles"] / computed["tile store"]
        print(f"the tile store is {ratio:.1f} times as fast, and takes the processor {share:.1f} times less time")


if __name__ == "__main__":
    main()
