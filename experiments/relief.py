"""Map one test tile as it is, inside a mosaic, in four cuts, on a slope and at other altitudes, and compare the maps.

    python experiments/relief.py --ckpt_path demo/run/checkpoints/best.ckpt --store demo/city/mobanet_store
        [--tiles 2_14 2_13 2_12 2_11 3_13 3_12] [--out runs/relief]

The first tile is what is scored; the others make up the mosaic. A map should say the same wherever the tile's edges are
and whatever the land under it does: the table gives mean IoU, and the share of pixels that are as in the map of the
tile alone, all of them and those further from a cut than the model looks for the ground.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

from mobanet.data.scaling import learnt_radius
from mobanet.prediction.run import Model, describe_model
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.store.arrays import read_array
from mobanet.store.stored import StoredTile, TileStore

Planes = dict[str, np.ndarray]
"""By modality, (C, H, W)."""


def main() -> None:
    """Write the rasters, map them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ckpt_path", required=True, help="checkpoint of a model with an elevation modality")
    parser.add_argument("--store", type=Path, default=Path("demo/city/mobanet_store"), help="tiles prepared for it")
    parser.add_argument("--tiles", nargs="+", default=["2_14", "2_13", "2_12", "2_11", "3_13", "3_12"])
    parser.add_argument("--out", type=Path, default=Path("runs/relief"))
    options = parser.parse_args()
    model = describe_model(options.ckpt_path)
    store = TileStore(options.store)
    tiles = [store.tiles[name] for name in options.tiles]
    truth = read_array(tiles[0], "label_eroded")
    radii = [learnt_radius(how, model.learnt[name]) or 0 for name, how in model.data.scaling.items()]
    rim = max(radii) * 3 // 2  # a pixel lies between nodes that see as far as the radius
    alone: np.ndarray | None = None
    print("| scene | mean IoU | pixels as in the tile alone | away from the cut's rim |\n| --- | --- | --- | --- |")
    for name, cuts in _scenes(model, tiles):
        found = np.full(truth.shape, IGNORE_INDEX, np.uint8)
        away = np.zeros(truth.shape, bool)
        for number, (planes, row, column) in enumerate(cuts):
            classes = _mapped(options, f"{name.replace(' ', '_')}_{number}", planes, tiles[0], row, column)
            height, width = classes.shape
            there = np.s_[max(row, 0) : row + height, max(column, 0) : column + width]
            here = np.s_[max(-row, 0) : truth.shape[0] - row, max(-column, 0) : truth.shape[1] - column]
            found[there] = classes[here]
            # edges of the cut that are edges of the tile, too, are not the cut's doing
            inner = [
                slice(start + rim if start > 0 else 0, end - rim if end < side else side)
                for start, end, side in zip((row, column), (row + height, column + width), truth.shape, strict=True)
            ]
            if row < 0 or column < 0 or height > truth.shape[0]:  # a mosaic has no cut where the tile has its edges
                inner = [slice(rim, side - rim) for side in truth.shape]
            away[tuple(inner)] = True
        alone = found if alone is None else alone
        same = found == alone
        shown = [f"{100 * same.mean():.2f} %", f"{100 * same[away].mean():.2f} %" if away.any() else "none is"]
        print(f"| {name} | {100 * _mean_iou(found, truth, model):.1f} | {' | '.join(shown)} |", flush=True)


def _scenes(model: Model, tiles: Sequence[StoredTile]) -> Iterator[tuple[str, list[tuple[Planes, int, int]]]]:
    """Names, and the rasters of each with the row and column of the first tile that they begin at."""
    planes = {name: read_array(tiles[0], name).transpose(2, 0, 1) for name in model.modalities}
    height, width = tiles[0].height, tiles[0].width
    yield "the tile alone", [(planes, 0, 0)]
    yield f"in a mosaic of {len(tiles)}", [_mosaic(model, tiles)]
    halves = [(row, column) for row in (0, height // 2) for column in (0, width // 2)]
    ends = {0: height // 2, height // 2: height}, {0: width // 2, width // 2: width}
    yield (
        "cut into four",
        [
            ({n: x[:, row : ends[0][row], column : ends[1][column]] for n, x in planes.items()}, row, column)
            for row, column in halves
        ],
    )
    raised = [name for name, modality in model.modalities.items() if modality.kind == "elevation"]
    side = abs(tiles[0].transform[0]) if tiles[0].transform else 1.0
    # metres, a tenth of the way across
    slope = np.broadcast_to(np.arange(width) * side * 0.1, (height, width)).astype(np.float32)
    for name, added in (("on a slope of 10 %", slope), ("30 m higher", 30), ("300 m higher", 300)):
        yield name, [({n: x + added if n in raised else x for n, x in planes.items()}, 0, 0)]


def _mosaic(model: Model, tiles: Sequence[StoredTile]) -> tuple[Planes, int, int]:
    """The tiles side by side; gaps are NaN in elevation and 0 elsewhere."""
    places = []
    for tile in tiles:
        a, _, left, _, e, top = tile.transform
        places.append((round(top / e), round(left / a)))
    first = np.min(places, axis=0)
    last = np.max(
        [(row + tile.height, column + tile.width) for (row, column), tile in zip(places, tiles, strict=True)], 0
    )
    planes = {}
    for name, modality in model.modalities.items():
        empty = np.nan if modality.kind == "elevation" else 0
        arrays = [read_array(tile, name).transpose(2, 0, 1) for tile in tiles]
        planes[name] = np.full((len(modality.bands), *(last - first)), empty, arrays[0].dtype)
        for array, place in zip(arrays, places, strict=True):
            row, column = place - first
            planes[name][:, row : row + array.shape[1], column : column + array.shape[2]] = array
    row, column = first - places[0]
    return planes, int(row), int(column)


def _mapped(
    options: argparse.Namespace, name: str, planes: Planes, tile: StoredTile, row: int, column: int
) -> np.ndarray:
    """The map of some rasters, (H, W), by `mobanet.predict` with the windows of the test."""
    folder = options.out / name
    folder.mkdir(parents=True, exist_ok=True)
    # a cut's pixels stay where they are on the ground
    transform = Affine(*tile.transform) * Affine.translation(column, row)
    words = []
    for modality, values in planes.items():
        profile = {"transform": transform, "crs": tile.crs, "count": len(values), "dtype": values.dtype}
        height, width = values.shape[1:]
        with rasterio.open(folder / f"{modality}.tif", "w", "GTiff", width, height, **profile) as file:
            file.write(values)
        words.append(f"{modality}={folder / modality}.tif")
    output = folder / "map.tif"
    command = ["-m", "mobanet.predict", "--ckpt_path", options.ckpt_path, "--preset", "test", "--output", str(output)]
    subprocess.run([sys.executable, *command, "--overwrite", "--input", *words], check=True, capture_output=True)
    with rasterio.open(output) as file:
        return file.read(1)


def _mean_iou(found: np.ndarray, truth: np.ndarray, model: Model) -> float:
    counted, ious = truth != IGNORE_INDEX, []
    for name in model.data.classes.averaged:
        number = model.data.classes.names.index(name)
        one, other = (found == number)[counted], (truth == number)[counted]
        ious.append(np.count_nonzero(one & other) / max(np.count_nonzero(one | other), 1))
    return float(np.mean(ious))


if __name__ == "__main__":
    main()
