"""Presets of `mobanet.predict` against that of MoBaNet's authors: time and mIoU on the test tiles of a run.

    python experiments/benchmarks/prediction.py --run demo/run

Every preset predicts the same tiles one after the other, in turns, so that a slower moment of the machine meets all.
Maps are compared with the tiles' labels as the run's own test compares them.
"""

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
from rich.console import Console
from rich.table import Table

from mobanet.data.reading import TileReader, TileWindow
from mobanet.evaluation.metrics import confusion_matrix, scores
from mobanet.predict import predict
from mobanet.runs.opened import Run, open_run

CHOICES = {
    "authors: stride 32, sum": {"preset": "authors"},
    "smooth, stride 7/8": {"overlap": 1 / 8},
    "smooth, stride 3/4": {"overlap": 1 / 4},
    "smooth, stride 1/2 (default)": {},
    "no overlap, sum": {"preset": "test", "overlap": 0},
    "smooth, eight turns": {"turns": True},
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run folder whose test tiles are predicted")
    parser.add_argument("--tiles", type=int, default=3, help="of the test, at most")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--precision", default="32-true")
    given = parser.parse_args()
    run = open_run(given.run)
    tiles = run.data.tiles("test")[: given.tiles]
    seconds = dict.fromkeys(CHOICES, 0.0)
    classes = run.module.data.classes
    matrices = {name: torch.zeros(len(classes), len(classes), dtype=torch.int64) for name in CHOICES}
    window = run.data.evaluation.size(run.data.crop)
    with tempfile.TemporaryDirectory() as folder:
        for tile in tiles:
            files = inputs_of(run, tile)
            for name, options in CHOICES.items():
                options = dict(options)
                overlap = options.pop("overlap", None)
                if overlap is not None:
                    options["stride"] = round(window * (1 - overlap))
                path = Path(folder) / "map.tif"
                begin = time.perf_counter()
                # what each prediction says would stand between the rows of the table
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    predict(
                        str(given.run / "checkpoints/best.ckpt"),
                        files,
                        str(path),
                        overwrite=True,
                        batch_size=given.batch_size,
                        precision=given.precision,
                        **options,
                    )
                seconds[name] += time.perf_counter() - begin
                with rasterio.open(path) as raster:
                    found = raster.read(1)
                label = torch.from_numpy(label_of(run, tile))
                matrices[name] += confusion_matrix(torch.from_numpy(found), label, len(classes))
    table = Table(title=f"{len(tiles)} tiles, windows of {window} pixels, {torch.get_num_threads()} threads")
    for column in ("way", "seconds", "times as fast", "mIoU %", "difference"):
        table.add_column(column, justify="left" if column == "way" else "right")
    first = next(iter(CHOICES))
    mious = {name: 100 * scores(matrix, classes).mean_iou for name, matrix in matrices.items()}
    for name, spent in seconds.items():
        table.add_row(
            name,
            f"{spent:.1f}",
            f"{seconds[first] / spent:.1f}",
            f"{mious[name]:.2f}",
            f"{mious[name] - mious[first]:+.2f}",
        )
    Console(width=100).print(table)


def inputs_of(run: Run, tile: "object") -> dict[str, str]:
    """The rasters that a tile of the store was made of, as `--input` takes them."""
    found = {t.id: t for t in run.data.layout.find(run.data.root, run.data.modalities)}[tile.id]
    words = {}
    for name, source in found.sources.items():
        bands = ",".join(str(band + 1) for band in source.bands)
        words[name] = f"{source.file.path}[{bands}]"
    return words


def label_of(run: Run, tile: "object") -> np.ndarray:
    """(H, W) class indices, 255 where they do not count."""
    modalities = {name: len(m.bands) for name, m in run.data.modalities.items()}
    reader = TileReader([tile], modalities, run.data.evaluation.labels, 1)
    return reader.read(TileWindow(0, 0, 0, tile.height, tile.width)).label


if __name__ == "__main__":
    main()
