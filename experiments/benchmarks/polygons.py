"""Peak memory and time of a map's polygons, beside writing the map itself and beside rasterio, which takes all at once.

    python experiments/benchmarks/polygons.py --side 8000
    python experiments/benchmarks/polygons.py --side 30000 --whole 0

The map is drawn, not predicted: five classes in patches some `--cell` pixels wide, one pixel in two thousand of another
class. Each step runs in a process of its own, torch and all, from parts saved as `mobanet.predict` saves them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from mobanet.prediction.assemble import MapFiles, assemble
from mobanet.prediction.parts import MapPart, parts_of
from mobanet.prediction.patches import generalised
from mobanet.prediction.plan import STRIP
from mobanet.prediction.polygons import Legend, write_polygons
from mobanet.prediction.predictor import PartMaps
from mobanet.prediction.strips import SavedStrips
from mobanet.prediction.workspace import Workspace
from mobanet.rasters.contents import Classes
from mobanet.rasters.grid import Grid
from mobanet.scenarios.scenario import scenarios_of

NAMES = ("impervious", "building", "low vegetation", "tree", "car")
COLOURS = ((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0))
CLASSES = Classes(NAMES, COLOURS, NAMES)
MODALITIES = ("rgb", "ir", "dsm")
MINIMUM = 0.25
"""Square metres, of 100 pixels: pieces and holes that are smaller go, in the step `merged`."""


def main() -> None:
    """Print peak memory, time and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=8000, help="height and width of the map in pixels")
    parser.add_argument("--cell", type=int, default=64, help="pixels from which on patches differ")
    parser.add_argument("--whole", type=int, default=1, help="0 leaves rasterio out, whose memory grows with the map")
    parser.add_argument("--folder", default=None, help="where files go; null for a temporary folder")
    parser.add_argument("--step", default=None, help="internal: what this process does")
    given = parser.parse_args()
    if given.step:
        before, begin = peak(), time.perf_counter()
        run(given.step, Path(given.folder), given.side)
        print(before, peak(), time.perf_counter() - begin)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        draw(Path(folder), given.side, given.cell)
        found = {}
        for step in ("map", "polygons", "merged", *(["whole"] if given.whole else [])):
            before, highest, seconds = measured(step, folder, given.side)
            found[step] = np.array([highest - before, seconds])
            print(f"{step}: peak {highest:.0f} MB, {before:.0f} of them before it began, {seconds:.1f} s", flush=True)
    for step in ("polygons", "merged"):
        print(f"{step}: {found[step][1] / found['map'][1]:.2f} times as long as writing the map")
    if given.whole:
        memory, seconds = (found["polygons"] / found["whole"]).tolist()
        print(f"{memory:.2f} times the memory and {seconds:.2f} times the time of rasterio and pyogrio at once")


def draw(folder: Path, side: int, cell: int) -> None:
    """Save the parts of a map."""
    workspace = Workspace.of(folder / "map.tif")
    workspace.begin({})
    generator = np.random.default_rng(0)
    coarse = generator.standard_normal((len(NAMES), side // cell + 3, side // cell + 3)).astype(np.float32)
    for part in parts_of_map(side):
        shape = (part.bottom - part.top, part.right - part.left)
        place = np.array([[1 / cell, 0, part.left / cell + 1], [0, 1 / cell, part.top / cell + 1]], np.float32)
        how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        heights = [cv2.warpAffine(field, place, shape[::-1], flags=how) for field in coarse]
        classes = np.argmax(heights, axis=0).astype(np.uint8)
        odd = generator.integers(0, classes.size, classes.size // 2000)
        classes.ravel()[odd] = generator.integers(0, len(NAMES), len(odd))
        scenarios = np.where(heights[0] > 0, 6, 3).astype(np.uint8)
        workspace.save(part, PartMaps(classes, scenarios, None))


def parts_of_map(side: int) -> list[MapPart]:
    """As of a prediction."""
    return parts_of(0, side, side, STRIP)


def run(step: str, folder: Path, side: int) -> None:
    """Do one thing."""
    workspace, parts = Workspace.of(folder / "map.tif"), parts_of_map(side)
    grid = Grid(side, side, (0.05, 0, 3e5, 0, -0.05, 6e6), "EPSG:32633")
    scenarios = scenarios_of(MODALITIES)
    if step == "map":
        files = MapFiles(folder / "map.tif", None, None)
        assemble(workspace, parts, files, grid, CLASSES, scenarios, {})
    elif step in ("polygons", "merged"):
        strips = SavedStrips(workspace, parts, grid)
        if step == "merged":
            strips = generalised(strips, (0.05, 0.05), MINIMUM, MINIMUM)
        count = write_polygons(folder / "map.gpkg", strips, grid, Legend(NAMES, scenarios, MODALITIES))
        print(f"  {count} polygons, {(folder / 'map.gpkg').stat().st_size / 2**20:.0f} MB", flush=True)
    elif step == "whole":
        whole(folder / "map.tif", folder / "whole.gpkg")


def whole(source: Path, target: Path) -> None:
    """The usual few lines: all shapes, then one file."""
    import rasterio
    import shapely
    from pyogrio.raw import write
    from rasterio.features import shapes

    with rasterio.open(source) as raster:
        values, transform, crs = raster.read(1), raster.transform, raster.crs.to_string()
    # 4: by sides, as the package's pieces hang together, or these would be others
    found = [(shapely.geometry.shape(one), value) for one, value in shapes(values, connectivity=4, transform=transform)]
    polygons = shapely.to_wkb(np.array([polygon for polygon, _ in found]))
    numbers = np.array([value for _, value in found], np.int32)
    write(target, polygons, [numbers], ["class_index"], driver="GPKG", geometry_type="Polygon", crs=crs)


def measured(step: str, folder: str, side: int) -> list[float]:
    """Of one step: resident memory before it in MB, at its peak, and seconds."""
    command = [sys.executable, __file__, "--step", step, "--folder", folder, "--side", str(side)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{step} failed")
    *told, figures = done.stdout.splitlines()
    print(*told, sep="\n", end="\n" if told else "", flush=True)
    return [float(figure) for figure in figures.split()]


def peak() -> float:
    """The highest resident memory of this process so far, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    main()
