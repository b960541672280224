"""What writing maps costs, without a network: parts saved while it runs, and the file that they become.

    python experiments/benchmarks/writing.py --side 4096

The old way compressed every part in the main thread, wrote a tiled GeoTIFF, read it back, added overviews and read it
back again; it is repeated here beside the present one, in turns. All rates are of one core.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from mobanet.files import write_bytes
from mobanet.prediction.assemble import MapFiles, assemble
from mobanet.prediction.map_writer import GoOn, MapWriter
from mobanet.prediction.parts import MapPart, parts_of
from mobanet.prediction.plan import STRIP, ScenePlan
from mobanet.prediction.predictor import PartMaps
from mobanet.prediction.scene import Scene
from mobanet.prediction.workspace import Workspace
from mobanet.rasters import geotiff
from mobanet.rasters.categories import UNITS, RasterKind, class_kind, probability_kind
from mobanet.rasters.contents import Classes
from mobanet.rasters.grid import Grid
from mobanet.rasters.readback import BLOCK
from mobanet.scenarios.scenario import scenarios_of

NAMES = ("road", "building", "grass", "tree", "car", "other")
CLASSES = Classes(NAMES, tuple((40 * k, 0, 255 - 40 * k) for k in range(len(NAMES))), NAMES)
PLACE = (0.05, 0.0, 366_676.0, 0.0, -0.05, 5_808_596.0)
SCENARIOS = scenarios_of(["rgb"])

Maps = dict[MapPart, PartMaps]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096, help="height and width of the map in pixels")
    parser.add_argument("--network", type=float, default=2.0, help="million pixels that a network makes in a second")
    parser.add_argument("--rounds", type=int, default=2, help="of which the fastest counts")
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title=f"{given.side} x {given.side} pixels, {len(NAMES)} classes; million pixels a second")
    for column in ("written", "step", "old", "now", "times as fast"):
        table.add_column(column, justify="left" if column in ("written", "step") else "right")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("none", "uint8", "float32"):
            name = "classes" if kind == "none" else f"with {kind} probabilities"
            for step, old, now in measured(Path(folder), kind, given):
                ratio = f"{now / old:.1f}" if "share" not in step else ""
                old, now = (f"{x:.1%}" if "share" in step else f"{x:.2f}" for x in (old, now))
                table.add_row(name, step, old, now, ratio)
                name = ""
    Console(width=110).print(table)


def measured(folder: Path, kind: str, given: argparse.Namespace) -> Iterator[tuple[str, float, float]]:
    """Rates of the old way and the present one, by step."""
    maps = content(given.side, kind)
    area, seconds = given.side**2 / 1e6, {}
    for _ in range(given.rounds):
        for name, way in {"old": old_way, "now": present_way}.items():
            for step, spent in way(folder, maps, kind).items():
                seconds[name, step] = min(seconds.get((name, step), 1e9), spent)
    for step in ("parts", "file"):
        yield step, area / seconds["old", step], area / seconds["now", step]
    both = {name: seconds[name, "parts"] + seconds[name, "file"] for name in ("old", "now")}
    yield "together", area / both["old"], area / both["now"]
    network = area / given.network
    behind = main_thread(folder, maps, kind, network)
    share = f"main thread's share beside a network of {given.network:g}"
    yield share, seconds["old", "parts"] / (seconds["old", "parts"] + network), behind / (behind + network)


def content(side: int, kind: str) -> Maps:
    """Parts of a map with areas of some size, edges, and probabilities with the noise of a network."""
    random = torch.Generator().manual_seed(0)
    levels = []
    for step, scale in ((64, 4.0), (16, 1.5)):
        count = max(side // step, 2)
        levels.append(scale * torch.randn(1, len(NAMES), count, count, generator=random))
    maps = {}
    for part in parts_of(0, side, side, STRIP):
        rows = part.bottom - part.top
        logits = 0.05 * torch.randn(len(NAMES), rows, side, generator=random)
        for x in levels:
            first, last = (int(at * x.shape[2] / side) for at in (part.top, part.bottom))
            logits += functional.interpolate(x[:, :, first : max(last, first + 1)], (rows, side), mode="bilinear")[0]
        shares = None if kind == "none" else logits.softmax(0)
        if kind == "uint8":
            shares = (shares * UNITS).round().to(torch.uint8)
        empty = np.zeros((rows, side), np.uint8)
        classes = logits.max(0).indices.to(torch.uint8).numpy()
        maps[part] = PartMaps(classes, empty, None if shares is None else shares.numpy())
    return maps


def plan_of(folder: Path, maps: Maps, kind: str) -> ScenePlan:
    """A scene whose parts these are."""
    path = folder / "map.tif"
    workspace = Workspace.of(path)
    workspace.begin({})
    side = next(iter(maps)).right
    scene = Scene("map", Grid(side, side, PLACE, "EPSG:32633"), "rgb", {}, ())
    return ScenePlan(scene, None, list(maps), MapFiles.beside(path, kind, False), workspace)


def present_way(folder: Path, maps: Maps, kind: str) -> dict[str, float]:
    """Seconds that parts take, and the files that they become."""
    plan = plan_of(folder, maps, kind)
    parts = timed(lambda: [plan.workspace.save(part, each) for part, each in maps.items()])
    whole = timed(lambda: _finish(plan, lambda: None))
    return {"parts": parts, "file": whole}


def _finish(plan: ScenePlan, go_on: GoOn) -> None:
    assemble(plan.workspace, plan.parts, plan.files, plan.grid, CLASSES, SCENARIOS, {}, go_on)
    plan.workspace.remove()


def main_thread(folder: Path, maps: Maps, kind: str, network: float) -> float:
    """Seconds that the main thread waits for the writer while a network, which sleeps, makes the parts."""
    plan, waited = plan_of(folder, maps, kind), 0.0
    with MapWriter([plan], _finish) as writer:
        for part, each in maps.items():
            # leaves the core to the writer, as a network on a GPU does
            time.sleep(network / len(maps))
            waited += timed(lambda part=part, each=each: writer.save(part, each))
        writer.finish()
    return waited


def old_way(folder: Path, maps: Maps, kind: str) -> dict[str, float]:
    """The same as it was once."""
    packed = folder / "old"
    packed.mkdir(exist_ok=True)

    def save() -> None:
        for part, each in maps.items():
            arrays = {"classes": each.classes, "scenarios": each.scenarios}
            if each.probabilities is not None:
                arrays["probabilities"] = each.probabilities
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)
            write_bytes(packed / part.name, buffer.getbuffer(), own=True)

    def write() -> None:
        rows = [np.load(packed / part.name) for part in maps]
        old_file(folder / "old.tif", class_kind(CLASSES), [each["classes"][None] for each in rows])
        if kind != "none":
            old_file(folder / "old.tif", probability_kind(CLASSES, kind), [each["probabilities"] for each in rows])

    return {"parts": timed(save), "file": timed(write)}


def old_file(path: Path, kind: RasterKind, parts: list[np.ndarray]) -> None:
    """A tiled GeoTIFF, read back, with overviews behind its pixels, read back again."""
    predictor = 3 if kind.dtype == "float32" else 1 if kind.colours else 2
    side = parts[0].shape[2]
    profile = {"driver": "GTiff", "count": len(kind.bands), "height": side, "width": side, "dtype": kind.dtype}
    profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "DEFLATE", "predictor": predictor}
    profile |= {"interleave": "band", "nodata": kind.nodata, "photometric": "MINISBLACK"}
    profile |= {"transform": rasterio.Affine(*PLACE), "crs": "EPSG:32633"}
    settings = {"GDAL_CACHEMAX": 64_000_000, "GDAL_TIFF_OVR_BLOCKSIZE": BLOCK, "GDAL_NUM_THREADS": 1}
    factors = [2**k for k in range(1, 20) if side / 2 ** (k - 1) >= geotiff.SMALLEST_OVERVIEW]
    with rasterio.Env(**settings):
        with rasterio.open(path, "w", **profile) as raster:
            for top in range(0, side, BLOCK):
                rows = np.concatenate(parts[top // STRIP : (top + BLOCK) // STRIP], axis=1)
                for band, plane in enumerate(rows, start=1):
                    for left in range(0, side, BLOCK):
                        block = plane[:, left : left + BLOCK]
                        raster.write(block, band, window=Window(left, top, block.shape[1], block.shape[0]))
        read_back(path)
        with rasterio.open(path, "r+") as raster:
            raster.build_overviews(factors, rasterio.enums.Resampling[kind.overviews])
        read_back(path)


def read_back(path: Path) -> None:
    """Every block."""
    with rasterio.open(path) as raster:
        for band in raster.indexes:
            for _, window in raster.block_windows(band):
                raster.read(band, window=window)


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
