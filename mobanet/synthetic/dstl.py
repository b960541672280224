"""The city as DSTL delivers scenes: uint16 products of three resolutions, polygons in a CSV file, no georeference.

Crops, which the city lacks, are fields in its grass that look like grass in red, green and blue, and differ in the red
edge and in the short-wave infrared. Roads run on under parked cars, so that classes overlap as in the real polygons.
"""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mobanet.datasets import dstl_folds
from mobanet.datasets.polygons import Extent
from mobanet.synthetic.archives import pack_flat
from mobanet.synthetic.canvas import Label
from mobanet.synthetic.delivery import CityPlan, Delivery, share_out
from mobanet.synthetic.files import write_bytes, write_tiff
from mobanet.synthetic.noise import smooth, stream, white
from mobanet.synthetic.outlines import to_wkt, trace
from mobanet.synthetic.scene import SyntheticTile, render_tile

_FILES = {
    "rgb": "three_band/{tile}.tif",
    "pan": "sixteen_band/{tile}_P.tif",
    "ms": "sixteen_band/{tile}_M.tif",
    "swir": "sixteen_band/{tile}_A.tif",
}
_COARSER = {"ms": 4, "swir": 25}
"""Pixels of the RGB image along one of these products."""

_CLASSES = 10
_POLYGONS, _EXTENTS, _PARTS = "train_wkt_v4.csv", "grid_sizes.csv", ".polygons"
_UNEVEN = 0.01  # by which sizes of tiles differ, as the published ones do
_FULL, _SWIR_FULL = 2047, 16383  # 11 bits, and 14 of the short-wave infrared, as published


class DstlDelivery(Delivery):
    """Labelled scenes, named so that the split `fold1_scenes` has all parts."""

    layout = "dstl"
    contents = (*_FILES, "labels")

    def names(self, count: int) -> list[str]:
        """See `Delivery.names`."""
        split = dstl_folds.scene_fold(1)
        return share_out(self.layout, (split.train, split.validation, split.test), count)

    def paths(self, plan: CityPlan, tile: str) -> list[str]:
        """See `Delivery.paths`; of the rasters."""
        return [name.format(tile=tile) for content, name in _FILES.items() if content in plan.products]

    def drawn(self, plan: CityPlan, folder: Path, tile: str) -> bool:
        """See `Delivery.drawn`."""
        # the parts are gone once the table is there
        labelled = (folder / _POLYGONS).exists() or (folder / _PARTS / f"{tile}.json").exists()
        return super().drawn(plan, folder, tile) and (labelled or "labels" not in plan.products)

    def draw(self, plan: CityPlan, folder: Path, tile: str) -> None:
        """See `Delivery.draw`."""
        rng = stream(plan.seed, plan.layout, tile, "scene")
        shape = tuple(round(plan.size * factor) for factor in rng.uniform(1 - _UNEVEN, 1 + _UNEVEN, 2))
        city = render_tile((plan.seed, plan.layout, tile), shape, plan.gsd)
        crops = (city.classes == Label.LOW_VEGETATION) & (smooth(rng, shape, 20 / plan.gsd) > 0.2)
        images = {
            "rgb": _digital(rng, city.rgb / np.float32(255), _FULL),
            "pan": _panchromatic(rng, city),
            "ms": _coarser(rng, _multispectral(city, crops), _COARSER["ms"], _FULL),
            "swir": _coarser(rng, _short_wave(city, crops), _COARSER["swir"], _SWIR_FULL),
        }
        for content, name in _FILES.items():
            if content in plan.products:
                write_tiff(folder / name.format(tile=tile), images[content], interleave="band")
        if "labels" in plan.products:
            # as far apart as those of the published scenes
            extent = Extent(float(rng.uniform(0.00900, 0.00919)), float(-rng.uniform(0.00903, 0.00905)))
            outlines = _outlines(city, crops, extent)
            told = {"extent": [extent.x_max, extent.y_min], "outlines": outlines}
            write_bytes(folder / _PARTS / f"{tile}.json", json.dumps(told).encode())

    def finish(self, plan: CityPlan, folder: Path, names: Sequence[str]) -> None:
        """Write the two tables, those of the polygons last."""
        if "labels" in plan.products and not (folder / _POLYGONS).exists():
            parts = {name: json.loads((folder / _PARTS / f"{name}.json").read_text()) for name in sorted(names)}
            extents = [(name, *part["extent"]) for name, part in parts.items()]
            write_bytes(folder / _EXTENTS, _table(("", "Xmax", "Ymin"), extents))
            rows = [
                # the published table has a row for each class of a scene, polygons or none; keys of JSON are texts
                (name, number, part["outlines"].get(str(number), "MULTIPOLYGON EMPTY"))
                for name, part in parts.items()
                for number in range(1, _CLASSES + 1)
            ]
            write_bytes(folder / _POLYGONS, _table(("ImageId", "ClassType", "MultipolygonWKT"), rows))
        shutil.rmtree(folder / _PARTS, ignore_errors=True)

    def archives(self) -> tuple[str, ...]:
        """See `Delivery.archives`."""
        return ("three_band.zip", "sixteen_band.zip", f"{_EXTENTS}.zip", f"{_POLYGONS}.zip")

    def pack(self, plan: CityPlan, folder: Path, root: Path, names: Sequence[str]) -> None:
        """See `Delivery.pack`."""
        for archive in self.archives():
            stem = archive.removesuffix(".zip")
            files = [path for tile in names for path in self.paths(plan, tile) if path.startswith(f"{stem}/")]
            files += [stem] if (folder / stem).is_file() else []
            pack_flat(root / archive, [(name, folder / name) for name in files], folder)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows((header, *rows))
    return text.getvalue().encode()


def _panchromatic(rng: np.random.Generator, city: SyntheticTile) -> np.ndarray:
    """(1, H, W), or a row less, as some scenes have it."""
    grey = (city.rgb.mean(axis=0, dtype=np.float32)[None] + 0.3 * city.ir[None]) / np.float32(1.3 * 255)
    return _digital(rng, grey[:, : grey.shape[1] - int(rng.integers(2))], _FULL)


def _multispectral(city: SyntheticTile, crops: np.ndarray) -> np.ndarray:
    """(8, H, W) in 0…1, coastal blue to NIR2."""
    red, green, blue = city.rgb / np.float32(255)
    infrared = city.ir / np.float32(255)
    edge = (0.45 * red + 0.55 * infrared) * np.where(crops, np.float32(1.3), np.float32(1))
    near = infrared * np.where(crops, np.float32(1.12), np.float32(1))
    return np.stack((0.8 * blue, blue, green, (green + red) / 2, red, edge, near, 0.94 * near))


def _short_wave(city: SyntheticTile, crops: np.ndarray) -> np.ndarray:
    """(8, H, W) in 0…1, SWIR1 to 8: wet leaves are dark in it, stone is bright, crops are wetter than grass."""
    red, infrared = city.rgb[0] / np.float32(255), city.ir / np.float32(255)
    water = np.clip((infrared - red) / (infrared + red + 0.05), 0, 1) * np.where(
        crops, np.float32(1.3), np.float32(0.8)
    )
    mineral = 0.4 * red + 0.35
    depths = np.array((0.3, 0.5, 0.45, 0.45, 0.7, 0.7, 0.7, 0.75), np.float32)
    return np.clip(mineral * (1 - depths[:, None, None] * water), 0, 1)


def _coarser(rng: np.random.Generator, bands: np.ndarray, factor: int, full: int) -> np.ndarray:
    """Bands of larger pixels over the same ground, shifted a little as the real products are."""
    height, width = bands.shape[1:]
    # rounded, so that sizes are no multiples of one another, as those of the published products
    size = max(1, round(width / factor)), max(1, round(height / factor))
    shift = np.array([[1, 0, rng.uniform(-3, 3)], [0, 1, rng.uniform(-3, 3)]], np.float32)
    planes = [
        cv2.resize(
            cv2.warpAffine(band, shift, (width, height), borderMode=cv2.BORDER_REPLICATE),
            size,
            interpolation=cv2.INTER_AREA,
        )
        for band in bands.astype(np.float32)
    ]
    return _digital(rng, np.stack(planes), full)


def _digital(rng: np.random.Generator, bands: np.ndarray, full: int) -> np.ndarray:
    """Digital numbers up to `full`, uint16, with the noise of a sensor."""
    noise = np.stack([white(rng, bands.shape[1:]) for _ in bands]) * np.float32(0.004)
    return np.rint(np.clip(bands + noise, 0, 1) * full).astype(np.uint16)


def _outlines(city: SyntheticTile, crops: np.ndarray, extent: Extent) -> dict[int, str]:
    """WKT by class number."""
    classes = city.classes
    masks = {
        1: classes == Label.BUILDING,
        2: classes == Label.CLUTTER,
        3: (classes == Label.IMPERVIOUS) | (classes == Label.CAR),
        5: classes == Label.TREE,
        6: crops,
        10: classes == Label.CAR,
    }
    return {number: to_wkt(trace(mask), extent, *classes.shape) for number, mask in masks.items()}
