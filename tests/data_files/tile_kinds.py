"""Tiles of all kinds of files, several chunks of rows high: each function writes one and gives its layout."""

import numpy as np
import rasterio
from rasterio.enums import ColorInterp

from mobanet.datasets import FolderModality, FolderSettings, get_layout
from tests.data_files.fake_files import PALETTE, coloured, georeferenced, indices, noise, write
from tests.data_files.fake_satellites import X_MAX, Y_MIN, table

SIZE = (601, 530)
WIDE = (300, 2150)
HERE = georeferenced(500_000, 5_800_000, 0.5)
COLOURS = [[int(channel) for channel in colour] for colour in PALETTE]
NAMES = list("abcdef")


def described(modalities, **changes):
    """A layout of tiles `ortho/a.tif` with labels `label/a.tif`."""
    patterns = {name: FolderModality(f"{name}/{{tile}}.tif", **given) for name, given in modalities.items()}
    given = {"classes": NAMES, "label": "label/{tile}.tif", "colours": COLOURS} | changes
    return get_layout("folder", FolderSettings(patterns, **given))


def metres(name, size=SIZE):
    """(1, H, W) float32 with all that may be missing."""
    values = (30 + noise(name, 1, size) / 10).astype(np.float32)
    height, width = size
    values[0, height // 3 : height // 3 + 20, 20:50] = -9999
    values[0, height // 2 : height // 2 + 9, width // 3 : width // 3 + 40] = np.nan
    values[0, height - 40 : height - 30] = -5000
    values[0, height // 4 :, :7] = 3.4e38
    values[0, height - 20 :, width - 60 : width - 20] = 777
    return values


def coded(name, size=SIZE):
    """(3, H, W) colours of a label, some of them off the palette and some far from it."""
    colours = coloured(indices(name, size)).astype(np.int16)
    off = noise(f"{name} off", 3, size, 9)
    colours = np.where(colours > 127, colours - off, colours + off)
    colours[:, ::50, ::7] = 128
    return colours.astype(np.uint8)


def same_grid(root):
    """Alpha, nodata of all kinds, 8, 16 and 32 bit; the label's nodata names a class."""
    rgba = noise("rgba", 4, SIZE)
    rgba[3] = np.where(rgba[3] < 60, 0, 255)
    rgba[3, :300] = 255
    write(root / "rgb/a.tif", rgba, photometric="RGB", **HERE)
    with rasterio.open(root / "rgb/a.tif", "r+") as file:
        file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    infrared = noise("ir", 1, SIZE).astype(np.uint16) * 9
    write(root / "ir/a.tif", infrared, nodata=0, tiled=True, blockxsize=64, blockysize=64, **HERE)
    write(root / "dsm/a.tif", metres("dsm"), nodata=777, **HERE)
    write(root / "label/a.tif", coded("label"), **HERE)
    dsm = {"kind": "elevation", "nodata": -9999, "minimum": -1000}
    return described({"rgb": {"band_numbers": [1, 2, 3]}, "ir": {}, "dsm": dsm}, distance=10)


def without_places(root):
    """Rasters that lack a column, have rows too many, or a mask of the data set."""
    write(root / "rgb/a.tif", noise("rgb", 3, SIZE))
    mask = np.full(SIZE, 255, np.uint8)
    mask[240:280, 10:40] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(root / "rgb/a.tif", "r+") as file:
        file.write_mask(mask)
    write(root / "dsm/a.tif", 1 + noise("dsm", 1, (SIZE[0], SIZE[1] - 1)).astype(np.float32))
    write(root / "ndsm/a.tif", noise("ndsm", 1, (SIZE[0] - 5, SIZE[1])))
    write(root / "label/a.tif", coded("label", (SIZE[0] - 3, SIZE[1])))
    heights = {"kind": "elevation", "factor": 0.1}
    rgb = {"band_numbers": [1, 2, 3]}
    return described({"rgb": rgb, "dsm": {"kind": "elevation"}, "ndsm": heights}, distance=10)


def other_pixels(root):
    """A coarser surface model with voids, a finer and shifted infrared, a finer label with numbers and nodata."""
    write(root / "rgb/a.tif", noise("rgb", 3, WIDE), **HERE)
    write(root / "dsm/a.tif", metres("dsm", (160, 1000)), nodata=-9999, **georeferenced(500_003, 5_800_004, 1))
    infrared = noise("ir", 1, (1000, 4000))
    infrared[0, 300:400, 700:900] = 0
    write(root / "ir/a.tif", infrared, nodata=0, **georeferenced(499_999.25, 5_799_990, 0.25))
    numbers = indices("label", (500, 1500)).astype(np.uint16) * 100
    numbers[200:240, :500] = 9
    write(root / "label/a.tif", numbers[None], nodata=9, **georeferenced(500_100, 5_799_990, 0.25))
    values = {100 * number: number for number in range(5)}
    dsm = {"kind": "elevation", "nodata": 777, "minimum": -1000}
    return described({"rgb": {"band_numbers": [1, 2, 3]}, "dsm": dsm, "ir": {}}, colours=None, values=values)


def other_system(root):
    """A surface model and a label in the next zone."""
    write(root / "rgb/a.tif", noise("rgb", 3, WIDE), **HERE)
    there = georeferenced(908_400, 5_817_150, 1, "EPSG:32632")
    rows, columns = np.mgrid[:1300, :1300]
    slope = (30 + 0.03 * rows + 0.05 * columns).astype(np.float32)[None]
    slope[0, 700:720, 500:620] = np.nan
    write(root / "dsm/a.tif", slope, **there)
    write(root / "label/a.tif", coloured(indices("label", (1300, 1300))), **there)
    return described({"rgb": {"band_numbers": [1, 2, 3]}, "dsm": {"kind": "elevation"}})


def palettes(root):
    """Colours behind a table, of imagery and of a label."""
    table = {number: (number, 255 - number, (number * 7) % 256, 255) for number in range(256)}
    classes = {number: (*colour, 255) for number, colour in enumerate(COLOURS)}
    for name, values, colours in (("rgb", noise("p", 1, SIZE), table), ("label", indices("p", SIZE)[None], classes)):
        write(root / f"{name}/a.tif", values, photometric="palette", **HERE)
        with rasterio.open(root / f"{name}/a.tif", "r+") as file:
            file.write_colormap(1, colours)
    return described({"rgb": {"band_numbers": [1, 2, 3]}})


def numbers(root):
    """Bands of floats, and a label of 32 bit whose nodata is the number of a class."""
    write(root / "sar/a.tif", (noise("sar", 2, SIZE) / -10).astype(np.float32), nodata=-25.0, **HERE)
    write(root / "topo/a.tif", np.concatenate([metres("topo"), metres("slope")]), **HERE)
    values = indices("label", SIZE).astype(np.int32) * 70_000 - 5
    values[::30, ::11] = 12
    write(root / "label/a.tif", values[None], nodata=-5, **HERE)
    found = {70_000 * number - 5: number for number in range(6)}
    sar, topo = {"kind": "other", "band_numbers": [1, 2]}, {"kind": "elevation", "band_numbers": [1, 2]}
    return described({"sar": sar, "topo": topo}, colours=None, values=found, ignored=[12])


def outlines(root):
    """A scene of DSTL, whose products are stretched onto one another and whose label is drawn."""
    name = "6010_1_2"
    sizes = {"three_band/6010_1_2": (3, (600, 640)), "sixteen_band/6010_1_2_M": (8, (150, 160))}
    sizes |= {"sixteen_band/6010_1_2_A": (8, (29, 31)), "sixteen_band/6010_1_2_P": (1, (599, 640))}
    for file, (count, size) in sizes.items():
        write(root / f"{file}.tif", noise(file, count, size).astype(np.uint16) * 8)
    random = np.random.default_rng(0)
    rows = []
    for number in range(1, 11):
        shapes = []
        for _ in range(12):
            x, y, reach = random.random(3) * (X_MAX, Y_MIN, 0.002)
            turns = np.sort(random.uniform(0, 2 * np.pi, 7))
            ring = [(x + reach * np.cos(turn), y + reach * np.sin(turn)) for turn in turns]
            shapes.append("((" + ", ".join(f"{a:.9f} {b:.9f}" for a, b in (*ring, ring[0])) + "))")
        rows.append((name, number, f"MULTIPOLYGON ({', '.join(shapes)})"))
    table(root / "train_wkt_v4.csv", ("ImageId", "ClassType", "MultipolygonWKT"), rows)
    table(root / "grid_sizes.csv", ("", "Xmax", "Ymin"), [(name, X_MAX, Y_MIN)])
    return get_layout("dstl")


def potsdam(root):
    """With the colours of ISPRS, re-encoded with loss."""
    name = "2_10"
    write(root / f"top_potsdam_{name}_RGBIR.tif", noise(name, 4, SIZE))
    write(root / "dsm_potsdam_02_10.tif", (30 + noise("d", 1, SIZE) / 10).astype(np.float32))
    write(root / f"top_potsdam_{name}_label.tif", coded(name))
    return get_layout("potsdam")


KINDS = (same_grid, without_places, other_pixels, other_system, palettes, numbers, outlines, potsdam)
