"""Tiny DSTL scenes and Hunan tiles under the official names, with random but repeatable content."""

import csv
from pathlib import Path

import numpy as np

from tests.data_files.fake_files import noise, write

SHAPES = {"": (50, 100), "P": (49, 100), "M": (13, 25), "A": (2, 4)}
"""Rows and columns of a scene's products."""
X_MAX, Y_MIN = 0.0092, -0.0090
SCENES = ("6010_1_2", "6040_1_0", "6110_1_2")


def band(name, count, size):
    """(count, H, W) uint16 of 11 bit."""
    return noise(name, count, size).astype(np.uint16) * 8


def box(left, top, right, bottom, shape=SHAPES[""]):
    """A ring of WKT around whole pixels, in a scene's coordinates."""
    height, width = shape
    x, y = X_MAX * (width + 1) / width**2, Y_MIN * (height + 1) / height**2
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    return "(" + ", ".join(f"{column * x:.12f} {row * y:.12f}" for column, row in corners) + ")"


CROPS = f"MULTIPOLYGON (({box(10, 10, 29, 29)}, {box(15, 15, 20, 20)}), ({box(17, 17, 18, 18)}))"
BUILDING = f"MULTIPOLYGON (({box(25, 5, 34, 14)}))"
ROAD = f"MULTIPOLYGON (({box(0, 40, 99, 44)}))"
CAR = f"MULTIPOLYGON (({box(50, 41, 53, 42)}))"


def expected():
    """(H, W) class indices of all ten for the polygons above, and the crops alone."""
    crops = np.zeros(SHAPES[""], np.uint8)
    crops[10:30, 10:30] = 1
    crops[15:21, 15:21] = 0
    crops[17:19, 17:19] = 1
    classes = crops * 6
    classes[40:45] = 3
    classes[5:15, 25:35] = 1
    classes[41:43, 50:54] = 10
    return classes, crops


def dstl_scene(root: Path, scene: str):
    """The four rasters of a scene."""
    write(root / f"three_band/{scene}.tif", band(scene, 3, SHAPES[""]), interleave="band")
    for product, count in (("P", 1), ("M", 8), ("A", 8)):
        name = f"{scene}_{product}"
        write(root / f"sixteen_band/{name}.tif", band(name, count, SHAPES[product]), interleave="band")


def rows_of(scene, **outlines):
    """Ten rows of the polygon file; `c6="…"` gives those of class 6."""
    usual = {"c1": BUILDING, "c3": ROAD, "c6": CROPS, "c10": CAR} | outlines
    return [(scene, number, usual.get(f"c{number}", "MULTIPOLYGON EMPTY")) for number in range(1, 11)]


def table(path: Path, header, rows):
    """A CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows((header, *rows))


def dstl(root: Path, scenes=SCENES, **outlines):
    """Scenes with their polygons and extents."""
    for scene in scenes:
        dstl_scene(root, scene)
    polygons = [row for scene in scenes for row in rows_of(scene, **outlines)]
    table(root / "train_wkt_v4.csv", ("ImageId", "ClassType", "MultipolygonWKT"), polygons)
    table(root / "grid_sizes.csv", ("", "Xmax", "Ymin"), [(scene, X_MAX, Y_MIN) for scene in scenes])


def codes(name, size):
    """(H, W) raw land-cover codes, all of 0 to 11 and 255, in blocks."""
    values = np.array([*range(12), 255], np.uint8)
    cells = (size[0] // 4, size[1] // 4)
    return values[np.arange(cells[0] * cells[1]).reshape(cells) % 13].repeat(4, 0).repeat(4, 1)


def hunan_tile(root: Path, part: str, tile: int, size=(32, 32)):
    """The files of one tile below `Hunan_Dataset`."""
    folder = root / "Hunan_Dataset" / part
    write(folder / f"s2/s2_{tile}.tif", band(f"s2_{tile}", 13, size))
    write(folder / f"s1/s1_{tile}.tif", noise(f"s1_{tile}", 2, size).astype(np.float32) / -10)
    write(folder / f"topo/topo_{tile}.tif", noise(f"topo_{tile}", 2, size).astype(np.float32))
    write(folder / f"lc/lc_{tile}.tif", codes(tile, size)[None])
    if part == "train":
        write(folder / f"tri/tri_{tile}.tif", noise(f"tri_{tile}", 1, size).astype(np.float32))
