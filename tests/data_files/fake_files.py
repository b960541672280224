"""Tiny rasters under the official names, with random but repeatable content."""

import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from mobanet.store.arrays import read_array

SIZE = (60, 64)
PALETTE = np.array([(255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)], np.uint8)
WORLD = "0.05\n0\n0\n-0.05\n366976.525\n5809760.975\n"


def noise(name: str, bands: int, size=SIZE, high=255):
    """(bands, H, W) uint8 that depends on `name`."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(0, high, (bands, *size)).astype(np.uint8)


def surface(name: str, size=SIZE):
    """(1, H, W) float32 metres."""
    return (30 + noise(name, 1, size) / 10).astype(np.float32)


def indices(name: str, size=SIZE):
    """(H, W) class indices in blocks, so that lossy copies stay recognisable."""
    coarse = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 6, (size[0] // 8 + 1, size[1] // 8 + 1))
    return coarse.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]].astype(np.uint8)


def coloured(classes):
    """(3, H, W) colour code of class indices; 255 is black."""
    palette = np.zeros((256, 3), np.uint8)
    palette[:6] = PALETTE
    return palette[classes].transpose(2, 0, 1)


def write(path: Path, array, driver="GTiff", **options):
    """Write a (bands, H, W) raster; `options` go to rasterio."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": driver, "count": len(array), "height": array.shape[1], "width": array.shape[2]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", dtype=array.dtype, **profile, **options) as raster:
            raster.write(array)
    return path


def truncate(path: Path, share=0.5):
    """Keep the first part of a file."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def georeferenced(left, top, pixel, crs="EPSG:32633"):
    """Options for `write`."""
    return {"crs": crs, "transform": from_origin(left, top, pixel, pixel)}


def potsdam_tile(root: Path, row: int, column: int, size=SIZE, labels=True, padded=True):
    """One tile in the official folders."""
    name = f"{row}_{column}"
    write(root / f"4_Ortho_RGBIR/top_potsdam_{name}_RGBIR.tif", noise(name, 4, size))
    (root / f"4_Ortho_RGBIR/top_potsdam_{name}_RGBIR.tfw").write_text(WORLD)
    dsm = f"dsm_potsdam_{row:02d}_{column:02d}" if padded else f"dsm_potsdam_{name}"
    write(root / f"1_DSM/{dsm}.tif", surface(name, size))
    if labels:
        classes = indices(name, size)
        write(root / f"5_Labels_all/top_potsdam_{name}_label.tif", coloured(classes))
        classes[::8] = 255
        write(root / f"5_Labels_all_noBoundary/top_potsdam_{name}_label_noBoundary.tif", coloured(classes))


def vaihingen_area(root: Path, area: int, size=SIZE, label_folder="gts_for_participants"):
    """One area in the official folders."""
    name = f"area{area}"
    write(root / f"top/top_mosaic_09cm_{name}.tif", noise(name, 3, size))
    write(root / f"dsm/dsm_09cm_matching_{name}.tif", surface(name, size))
    write(root / f"{label_folder}/top_mosaic_09cm_{name}.tif", coloured(indices(name, size)))


def zipped(archive: Path, folder: Path, prefix="", compression=zipfile.ZIP_DEFLATED):
    """Pack the content of `folder`, each name behind `prefix`."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", compression) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, f"{prefix}{path.relative_to(folder).as_posix()}")
    return archive


def load(tile, name):
    """An array of a stored tile."""
    return np.load(tile.path(name)) if name.endswith((".blocks", ".marks")) else read_array(tile, name)


def ages(store: Path):
    """Inode of every array, which changes when it is written anew."""
    return {str(path.relative_to(store)): path.stat().st_ino for path in store.rglob("*.npy")}


def files(folder: Path):
    """All files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
