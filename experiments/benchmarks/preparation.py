"""Seconds and peak memory of `mobanet.prepare`: a tile of Potsdam's size, and a mosaic that is much larger than memory.

    python experiments/benchmarks/preparation.py --side 30000

Both have rgb, a surface model of float32 with voids, and a label in colours. The files of the mosaic are sparse: only
some of their blocks are written. Its store takes 9 bytes a pixel (8 GB at 30000), which are deleted afterwards.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import peaks
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

BANDS = {"rgb": (3, "uint8"), "dsm": (1, "float32"), "label": (3, "uint8")}
COLOURS = np.array([(255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)], np.uint8)
TILE, BLOCK = 6_000, 512
SETTINGS = """modalities:
  rgb: {pattern: "{tile}_rgb.tif", band_numbers: [1, 2, 3]}
  dsm: {pattern: "{tile}_dsm.tif", kind: elevation, unit: metre}
classes: [a, b, c, d, e, f]
label: "{tile}_label.tif"
colours: [[255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 255, 0], [255, 255, 0], [255, 0, 0]]
ignored_colours: [[0, 0, 0]]
"""


def main() -> None:
    """Print seconds and peak memory for a tile and for a mosaic."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=30_000, help="height and width of the mosaic; 0 for none")
    parser.add_argument("--every", type=int, default=8, help="one block in so many of the mosaic is written")
    parser.add_argument("--repeats", type=int, default=3, help="of the tile, of which the fastest counts")
    parser.add_argument("--folder", default=None, help="where files go; null for a temporary folder")
    given = parser.parse_args()
    print(f"1 x 1: peak {measured_once(1, 1, given.folder)[0]:.0f} MB, most of it Python and its libraries", flush=True)
    for side, every, repeats in ((TILE, 1, given.repeats), (given.side, given.every, 1)):
        if side:
            peak, seconds = measured_once(side, every, given.folder, repeats)
            rate = side * side / seconds / 1e6
            print(f"{side} x {side}: peak {peak:.0f} MB, {seconds:.1f} s, {rate:.1f} million pixels/s", flush=True)


def measured_once(side: int, every: int, place: str | None, repeats: int = 1) -> tuple[float, float]:
    """Peak resident memory in MB and the least seconds of preparing a raster of `side` x `side` pixels."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        mosaic(Path(folder) / "data", side, every)
        (Path(folder) / "data.yaml").write_text(SETTINGS)
        found = [measured(Path(folder), number) for number in range(repeats)]
        return max(peak for peak, _ in found), min(seconds for _, seconds in found)


def mosaic(folder: Path, side: int, every: int) -> None:
    """Tiled files, of which one block in `every` is written."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, (bands, dtype) in BANDS.items():
        profile = {"driver": "GTiff", "height": side, "width": side, "count": bands, "dtype": dtype, "bigtiff": "yes"}
        profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "sparse_ok": True, "interleave": "pixel"}
        profile |= {"crs": "EPSG:32633", "transform": from_origin(3e5, 6e6, 0.05, 0.05)}
        profile |= {"nodata": -9999} if name == "dsm" else {}
        with rasterio.open(folder / f"a_{name}.tif", "w", **profile) as raster:
            # whole blocks, as a sparse file takes room for those alone that are written
            corners = [(top, left) for top in range(0, side, BLOCK) for left in range(0, side, BLOCK)]
            for top, left in corners[::every]:
                window = Window(left, top, min(BLOCK, side - left), min(BLOCK, side - top))
                raster.write(block(name, generator, window.height, window.width), window=window)


def block(name: str, generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(bands, height, width), random."""
    if name == "label":
        return COLOURS[generator.integers(0, 6, (height, width))].transpose(2, 0, 1)
    if name == "rgb":
        return generator.integers(0, 256, (3, height, width), np.uint8)
    metres = 30 + 10 * generator.random((1, height, width), np.float32)
    metres[:, : height // 8, : width // 8] = -9999
    return metres


def measured(folder: Path, number: int) -> tuple[float, float]:
    """Peak resident memory in MB and seconds of one run of the command, in a single process."""
    store = folder / f"store{number}"
    words = ["-m", "mobanet.prepare", "--root", str(folder / "data"), "--store", str(store), "--layout", "folder"]
    peak, seconds = peaks.measured([*words, "--folder", str(folder / "data.yaml"), "--workers", "1"])
    for path in store.rglob("*.npy"):  # the next run finds the room that this one did
        path.unlink()
    return peak, seconds


if __name__ == "__main__":
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    main()
