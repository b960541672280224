"""Data sets of many small patches: what it takes to prepare one, and to start with thousands that are prepared.

    python experiments/benchmarks/patches.py --patches 2000 --index 50000

Each patch has rgb, a surface model and a label in colours, 64 pixels a side. Beside preparing, the same rasters are
opened and read by rasterio alone; beside a start, their sizes and times are asked for and the index parsed by Python
alone. Steps take turns, and the fastest of each counts, in processor time.
"""

import argparse
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from mobanet.data.datamodule import RasterDataModule
from mobanet.data.options import EvaluationSettings
from mobanet.datasets import FolderModality, FolderSettings, FolderSplit, get_layout
from mobanet.store.build import build_store
from mobanet.store.stored import TileStore

SIDE = 64
COLOURS = [[255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 255, 0], [255, 255, 0], [255, 0, 0]]
SETTINGS = FolderSettings(
    modalities={
        "rgb": FolderModality(pattern="{tile}_rgb.tif", band_numbers=[1, 2, 3]),
        "dsm": FolderModality(pattern="{tile}_dsm.tif", kind="elevation", unit="metre"),
    },
    classes=list("abcdef"),
    label="{tile}_label.tif",
    colours=COLOURS,
    # by the last digit: eight in ten train
    splits=FolderSplit(train=["*[0-7]"], validation=["*8"], test=["*9"]),
)


def main() -> None:
    """Print processor time a patch, and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=2000)
    parser.add_argument("--prepared", type=int, default=200, help="of these, so many are prepared again in each round")
    parser.add_argument("--rounds", type=int, default=3, help="of which the fastest counts")
    parser.add_argument("--index", type=int, default=50_000, help="tiles of an index that is opened; 0 for none")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        folder = Path(name)
        draw(folder / "few", given.prepared)
        alone, prepared = fastest(given.rounds, lambda: read(folder / "few"), lambda: prepare(folder, "few"))
        tell("preparing", given.prepared, prepared, alone, "opening and reading the rasters")
        draw(folder / "all", given.patches)
        prepare(folder, "all")
        alone, started = fastest(given.rounds, lambda: look(folder), lambda: start(folder))
        tell("a start", given.patches, started, alone, "asking for sizes and times and parsing the index")
        if given.index:
            store = enlarged(folder / "all_store", given.index)
            (opened,) = fastest(given.rounds, lambda: TileStore(store))
            (made,) = fastest(1, lambda: make_all(store))
            print(f"an index of {given.index}: opened in {opened:.2f} s, all tiles made in {made:.1f} s")


def draw(folder: Path, count: int) -> None:
    """Random patches."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        place = {"crs": "EPSG:32633", "transform": from_origin(3e5 + SIDE * number, 6e6, 0.5, 0.5)}
        metres = 30 + 10 * generator.random((1, SIDE, SIDE), np.float32)
        metres[:, :8, :8] = -9999
        bands = {
            "rgb": generator.integers(0, 256, (3, SIDE, SIDE), np.uint8),
            "dsm": metres,
            "label": np.array(COLOURS, np.uint8)[generator.integers(0, 6, (SIDE, SIDE))].transpose(2, 0, 1),
        }
        for name, values in bands.items():
            size = {"height": SIDE, "width": SIDE, "count": len(values), "dtype": values.dtype}
            nodata = {"nodata": -9999} if name == "dsm" else {}
            with rasterio.open(
                folder / f"p{number:05d}_{name}.tif", "w", driver="GTiff", **size, **place, **nodata
            ) as file:
                file.write(values)


def read(folder: Path) -> None:
    """What nothing can do without."""
    for path in folder.glob("*.tif"):
        with rasterio.open(path) as raster:
            raster.read()


def prepare(folder: Path, name: str) -> None:
    """Make a store anew, in this process."""
    shutil.rmtree(folder / f"{name}_store", ignore_errors=True)
    build_store(get_layout("folder", SETTINGS), folder / name, folder / f"{name}_store", workers=1)


def look(folder: Path) -> None:
    """What nothing can do without."""
    for entry in os.scandir(folder / "all"):
        entry.stat()
    for line in (folder / "all_store/tiles.jsonl").read_text().splitlines():
        json.loads(line)


def start(folder: Path) -> None:
    """As training begins."""
    data = RasterDataModule(
        str(folder / "all"),
        "folder",
        str(folder / "all_store"),
        folder=SETTINGS,
        crop=SIDE,
        num_workers=0,
        evaluation=EvaluationSettings(labels="full"),
    )
    data.prepare_data()
    data.setup("fit")
    data.train_dataloader()
    data.val_dataloader()


def enlarged(store: Path, count: int) -> Path:
    """A store whose index has so many tiles, all of them copies of one, and one folder with arrays for all."""
    larger = store.with_name("large")
    (larger / "tiles").mkdir(parents=True)
    content = json.loads((store / "store.json").read_text())
    first = content["tiles"][0]
    names = [f"{first}_{number}" for number in range(count)]
    line = (store / "tiles.jsonl").read_text().split("\n", 1)[0]
    text = "".join(line.replace(f'"id":"{first}"', f'"id":"{name}"') + "\n" for name in names)
    for name in names:
        (larger / "tiles" / name).symlink_to(store / "tiles" / first)
    (larger / "tiles.jsonl").write_text(text)
    content |= {"tiles": names, "index": hashlib.sha256(text.encode()).hexdigest()}
    (larger / "store.json").write_text(json.dumps(content))
    return larger


def make_all(store: Path) -> None:
    """Every tile of a store."""
    for tile in TileStore(store).tiles.values():
        assert tile.height == SIDE


def fastest(rounds: int, *steps: Callable[[], object]) -> list[float]:
    """Least processor time of each step in seconds; a first round, which imports, is not counted."""
    least = [float("inf")] * len(steps)
    for turn in range(rounds + 1):
        for number, step in enumerate(steps):
            begin = time.process_time()
            step()
            if turn:
                least[number] = min(least[number], time.process_time() - begin)
    return least


def tell(what: str, count: int, seconds: float, alone: float, floor: str) -> None:
    """A line."""
    each = 1000 * seconds / count
    print(f"{what} of {count}: {seconds:.2f} s, {each:.2f} ms a patch, {seconds / alone:.1f} times {floor}", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    main()
