"""Random training crops from the tile store: what reading in chunks and what handing over contribute.

All designs cut 256 x 256 crops of image, surface model and label. First windows are read in this process alone, from
the store's chunks (`TileReader`) and from the same pixels in rows, memory-mapped, as stores had them once: cold, in
bytes that the kernel says it fetched from the disk for this process (`read_bytes` of /proc/self/io, after it was told
to forget the files), and warm, in milliseconds. Then crops are flipped with albumentations and handed over in batches
of 24 by one DataLoader worker:

    whole tiles   held as float32 by the worker, and handed over as PyTorch does by itself
    rows          memory-mapped, handed over by `mobanet.data.handover`
    by PyTorch    the store, handed over as PyTorch does by itself
    tile store    the store, handed over by `mobanet.data.handover`: as in training

The main process reads from every page of what it receives. Prints milliseconds a crop, those that the worker computes
(which other programs on the computer hardly change), their ratios, and the worker's memory.

    python experiments/benchmarks/crops.py [--tiles 4] [--size 6000] [--batches 20] [--rounds 5]
"""

import argparse
import mmap
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
from mobanet.data.crops import RandomCrops, collate, crop_loader
from mobanet.data.reading import Sample, TileReader, TileWindow
from mobanet.data.sampler import CropSampler
from mobanet.files import put_in_place, sync
from mobanet.rasters.contents import Modality
from mobanet.rasters.statistics import BandStatistics
from mobanet.store.arrays import read_array
from mobanet.store.stored import LabelRecord, ModalityRecord, StoredTile
from mobanet.store.writing import stage_array

MODALITIES = {"rgb": Modality("rgb", ("r", "g", "b")), "dsm": Modality("dsm", ("height",), "elevation", "metre")}
CROP, BATCH = 256, 24
RESIDENT = 32 * 2**20  # bytes


class WholeTiles(Dataset):
    """The design to beat: every tile in memory as float32, cropped by slicing."""

    def __init__(self, tiles: list[StoredTile], augmentation: Augmentation) -> None:
        self.tiles = tiles
        self.augmentation = augmentation
        self.arrays: list[dict[str, np.ndarray]] | None = None

    def __getitem__(self, index: int) -> dict:
        """A random crop."""
        # in the worker, or whole tiles would be handed over to it
        if self.arrays is None:
            self.arrays = [
                {
                    "rgb": read_array(tile, "rgb").astype(np.float32) / 255,
                    "dsm": read_array(tile, "dsm"),
                    "label": read_array(tile, "label_full"),
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


class RowReader(TileReader):
    """Windows of the same pixels in rows, memory-mapped; pages are given back before they add up."""

    def _cut(self, tile: StoredTile, name: str, window: TileWindow, fill: int) -> np.ndarray:
        if self._arrays is None:
            self._arrays, self._touched = {}, 0
        array = self._arrays.get((tile.id, name))
        if array is None:
            array = self._arrays[tile.id, name] = np.load(in_rows(tile, name), mmap_mode="r")
        if self._touched > RESIDENT:
            self._touched = 0
            for mapped in self._arrays.values():
                mapped.base.madvise(mmap.MADV_DONTNEED)
        self._touched += window.height * array.strides[0]
        rows = slice(window.top, window.top + window.height)
        return array[rows, window.left : window.left + window.width].copy()


def in_rows(tile: StoredTile, name: str) -> Path:
    """Where an array of a tile is in rows."""
    return tile.folder / f"{name}.rows.npy"


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
        for name, (shape, dtype) in tile.arrays().items():
            pixels = (
                generator.random(shape, np.float32) if dtype == "float32" else generator.integers(0, 6, shape, dtype)
            )
            put_in_place(stage_array(tile.path(name), pixels), tile.path(name))
            np.save(in_rows(tile, name), pixels)
            sync(in_rows(tile, name))
        tiles.append(tile)
    return tiles


def draw(tiles: list[StoredTile], count: int) -> list[TileWindow]:
    """Windows at random places."""
    generator, (height, width) = np.random.default_rng(1), (tiles[0].height, tiles[0].width)
    tops, lefts = generator.integers(height - CROP + 1, size=count), generator.integers(width - CROP + 1, size=count)
    numbers = generator.integers(len(tiles), size=count)
    return [
        TileWindow(int(n), int(top), int(left), CROP, CROP) for n, top, left in zip(numbers, tops, lefts, strict=True)
    ]


def forget(tiles: list[StoredTile]) -> None:
    """Have the kernel drop what it holds of the tiles' files."""
    for path in (path for tile in tiles for path in tile.folder.iterdir()):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def fetched() -> int:
    """Bytes that were fetched from disks for this process."""
    (line,) = (line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("read_bytes"))
    return int(line.split()[1])


def cold(readers: dict[str, TileReader], count: int) -> None:
    """Print how much is fetched, of files that no process has open, for a byte of a crop."""
    shares = {}
    for name, reader in readers.items():
        forget(reader.tiles)
        before = fetched()
        samples = [reader.read(window) for window in draw(reader.tiles, count)]
        wanted = sum(sum(x.nbytes for x in sample.inputs.values()) + sample.label.nbytes for sample in samples)
        shares[name] = (fetched() - before) / wanted
        reader._arrays = None  # closed: what a process has mapped is not dropped
    if not all(shares.values()):
        print("cold: nothing is fetched from a disk here; set TMPDIR to a folder on one")
        return
    told = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    ratio = shares["rows"] / shares["chunks"]
    print(f"cold, bytes fetched from the disk for a byte of a crop: {told} (ratio {ratio:.1f})")


def warm(readers: dict[str, TileReader], count: int, rounds: int) -> None:
    """Print how long reading alone takes."""
    for path in (path for tile in readers["rows"].tiles for path in tile.folder.iterdir()):
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
    times: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(rounds + 1):
        for name, reader in readers.items():
            windows = draw(reader.tiles, count)
            start = time.process_time()
            for window in windows:
                reader.read(window)
            if turn:
                times[name].append((time.process_time() - start) * 1000 / count)
    told = ", ".join(f"{name} {statistics.median(values):.3f}" for name, values in times.items())
    ratio = statistics.median(a / b for a, b in zip(times["rows"], times["chunks"], strict=True))
    print(f"warm, ms of processor time to read a crop: {told} (ratio {ratio:.2f})")
    for reader in readers.values():
        reader._arrays = None


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
        # (tiles, 2, C)
        offset_scale = {name: np.ones((len(tiles), 2, len(m.bands)), np.float32) for name, m in MODALITIES.items()}
        bands = {name: len(m.bands) for name, m in MODALITIES.items()}
        readers = {"rows": RowReader(tiles, bands, "full", CROP), "chunks": TileReader(tiles, bands, "full", CROP)}
        print(f"{options.tiles} tiles of {options.size} x {options.size}, crops of {CROP}")
        cold(readers, 20)
        warm(readers, 500, options.rounds)
        rows, store = (
            RandomCrops(reader, offset_scale, CROP, "tile", 0, augmentation)
            for reader in (readers["rows"], readers["chunks"])
        )

        def sampler() -> CropSampler:
            return CropSampler(steps, BATCH, 0, 1, lambda: (0, 0))

        designs = {
            "whole tiles": DataLoader(
                WholeTiles(tiles, augmentation), BATCH, sampler=range(steps * BATCH), num_workers=1, prefetch_factor=2
            ),
            "rows": crop_loader(rows, BATCH, sampler(), 1),
            "by PyTorch": DataLoader(
                store, BATCH, sampler=sampler(), num_workers=1, prefetch_factor=2, collate_fn=collate
            ),
            "tile store": crop_loader(store, BATCH, sampler(), 1),
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
        shares = {name: value / (options.rounds * (options.batches - 4) * BATCH) for name, value in computed.items()}
        print("handed over by one worker:")
        for name, values in times.items():
            print(
                f"{name:<12} {statistics.median(values):.3f} ms a crop, {shares[name]:.3f} ms of the worker's "
                f"processor time, {peak_memory(workers[name]):.0f} MB of its memory at most"
            )
        for other, part in (("whole tiles", "all"), ("rows", "chunks"), ("by PyTorch", "handover")):
            ratio = statistics.median(a / b for a, b in zip(times[other], times["tile store"], strict=True))
            share = shares[other] / shares["tile store"]
            print(f"{part}: {ratio:.2f} times as fast as {other}, {share:.2f} times less of the worker's time")


if __name__ == "__main__":
    main()
