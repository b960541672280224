"""Peak memory of `mobanet.predict` on a scene of any size, whose files are sparse: they take no room on the disk.

    python experiments/benchmarks/prediction_memory.py --side 30000

The surface model covers half of the scene, the scenario map is written too, and the network is as small as it can be:
what is measured is the reading, adding up and writing, beside torch itself. A second, small scene shows what does not
grow.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import peaks
import rasterio
import torch
from rasterio.transform import from_origin

from mobanet.data.datamodule import RasterDataModule
from mobanet.data.scaling import learn
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.training.module import SegmentationModule

BANDS = {"rgb": (3, "uint8"), "ir": (1, "uint8"), "dsm": (1, "float32")}
SMALLEST = {"depth": 4, "embed_dim": 16, "num_heads": 1, "patch_size": 32, "img_size": 256}


def main() -> None:
    """Print peak memory and time for two scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=30_000, help="height and width of the scene in pixels")
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--stride", type=int, default=None, help="null for half the window")
    parser.add_argument("--probabilities", default="none")
    parser.add_argument("--folder", default=None, help="where files go; null for a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        model = checkpoint(Path(folder))
        peaks = []
        for side in (2_000, given.side):
            files = sparse_scene(Path(folder) / str(side), side)
            words = ["--stride", str(given.stride)] if given.stride else []
            peak, seconds = measured(model, files, words, given)
            peaks.append(peak)
            rate = side * side / seconds / 1e6
            print(f"{side} x {side}: peak {peak:.0f} MB, {seconds:.0f} s, {rate:.2f} million pixels/s", flush=True)
        print(f"{peaks[1] / peaks[0]:.2f} times the memory for {(given.side / 2_000) ** 2:.0f} times the pixels")


def checkpoint(folder: Path) -> Path:
    """A smallest network with random weights for rgb, ir and dsm."""
    plain = dict.fromkeys(("rgb", "ir", "dsm"), "unit")  # of which nothing has to be learnt from tiles
    data = RasterDataModule(str(folder), modalities=list(plain), crop=256, scaling=plain)
    backbone = BackboneSettings("vit_tiny_patch16_224", pretrained=False, freeze=False, options=dict(SMALLEST))
    module = SegmentationModule(data.description, backbone=backbone)
    scaling = {name: learn(m, "unit", []).tolist() for name, m in data.modalities.items()}
    content = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "RasterDataModule": {"scaling": scaling, "windows": {"size": 256, "stride": 128}},
    }
    torch.save(content, folder / "model.ckpt")
    return folder / "model.ckpt"


def sparse_scene(folder: Path, side: int) -> dict[str, Path]:
    """Files of which only a few blocks are written."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    out = {}
    for name, (bands, dtype) in BANDS.items():
        out[name] = folder / f"{name}.tif"
        profile = {"driver": "GTiff", "height": side, "width": side, "count": bands, "dtype": dtype, "tiled": True}
        profile |= {"blockxsize": 512, "blockysize": 512, "sparse_ok": True, "bigtiff": "yes", "compress": "deflate"}
        profile |= {"crs": "EPSG:32633", "transform": from_origin(3e5, 6e6, 0.05, 0.05)}
        with rasterio.open(out[name], "w", **profile, **({"nodata": 0} if name == "dsm" else {})) as raster:
            for top in range(0, side, 8192):
                window = rasterio.windows.Window(0, top, min(512, side), min(512, side - top))
                values = generator.integers(1, 255, (bands, window.height, window.width)).astype(dtype)
                raster.write(values, window=window)
            if name == "dsm":  # one row of blocks, far from empty
                window = rasterio.windows.Window(0, 0, side // 2, min(512, side))
                raster.write(np.full((1, window.height, window.width), 30, dtype), window=window)
    return out


def measured(model: Path, files: dict[str, Path], words: list[str], given: argparse.Namespace) -> tuple[float, float]:
    """Peak resident memory in MB and seconds of one run of the command."""
    output = files["rgb"].with_name("map.tif")
    command = ["-m", "mobanet.predict", "--ckpt_path", str(model), "--output", str(output)]
    command += ["--window", str(given.window), "--scenarios", "--probabilities", given.probabilities, *words]
    command += ["--input", *(f"{name}={path}" for name, path in files.items())]
    return peaks.measured(command, 0.2)


if __name__ == "__main__":
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    main()
