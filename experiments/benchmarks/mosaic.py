"""One large mosaic from files to map: peak memory of preparing it, of training on it for a few steps, and of its map.

    python experiments/benchmarks/mosaic.py --side 30000

The files are those of `preparation.py`: rgb, a surface model with voids and a label in colours, sparse on disk. The
store takes 9 bytes a pixel (8 GB at 30000), and is deleted with everything else. The network is as small as it can be:
what is measured is the reading and writing, beside torch itself. The map is made without overlap, which costs time and
no memory.
"""

import argparse
import os
import tempfile
from pathlib import Path

from peaks import measured
from preparation import SETTINGS, mosaic

SPLITS = "splits: {train: [a]}\n"
SMALLEST = "{depth: 4, embed_dim: 32, num_heads: 2, img_size: 128, patch_size: 16}"


def main() -> None:
    """Print seconds and peak memory of each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=30_000, help="height and width of the mosaic")
    parser.add_argument("--every", type=int, default=8, help="one block in so many is written")
    parser.add_argument("--steps", type=int, default=8, help="of training")
    parser.add_argument("--folder", default=None, help="where files go; null for a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        mosaic(folder / "data", given.side, given.every)
        (folder / "data.yaml").write_text(SETTINGS + SPLITS)
        for command in ("prepare", "fit", "predict"):
            peak, seconds = measured(["-m", f"mobanet.{command}", *words(folder, command, given.steps)])
            print(f"{command} {given.side} x {given.side}: peak {peak:.0f} MB, {seconds:.0f} s", flush=True)


def words(folder: Path, command: str, steps: int) -> list[str]:
    """The command's options."""
    data, settings, run = folder / "data", folder / "data.yaml", folder / "run"
    if command == "prepare":
        return ["--root", str(data), "--layout", "folder", "--folder", str(settings), "--workers", "1"]
    if command == "predict":
        inputs = [f"{name}={data}/a_{name}.tif" for name in ("rgb", "dsm")]
        model = ["--ckpt_path", str(run / "checkpoints/last.ckpt"), "--window", "256", "--stride", "256"]
        return [*model, "--input", *inputs, "--output", str(folder / "map.tif"), "--scenarios"]
    options = {
        "data.root": str(data),
        "data.layout": "folder",
        "data.folder": str(settings),
        "data.modalities": "[rgb, dsm]",
        "data.crop": "128",
        "data.steps_per_epoch": str(steps),
        "data.num_workers": "0",
        "model.backbone.name": "vit_tiny_patch16_224",
        "model.backbone.pretrained": "false",
        "model.backbone.options": SMALLEST,
        "trainer.max_epochs": "1",
        "trainer.limit_val_batches": "0",
        "trainer.accelerator": "cpu",
        "wandb": "off",
        "run": str(run),
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


if __name__ == "__main__":
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    main()
