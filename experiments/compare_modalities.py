"""Train an experiment on several sets of modalities and print what each of them reaches on the test tiles.

    python experiments/compare_modalities.py [--experiment synthetic_irrgb_dsm] [--sets rgb dsm rgb,dsm rgb,ir,dsm]
        [--seeds 0 1] [--out runs/modalities] [-- --trainer.max_epochs 3 ...]

Every set gets the same steps, batch size and network; a set of one stream has nothing to fuse (MoBaNet's unimodal
baseline). Runs that are finished are not repeated. What follows `--` goes to `mobanet.fit` as it is.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path


def run(out: Path, experiment: str, modalities: str, seed: int, extra: list[str]) -> dict:
    """Fit and test once; the figures of the test."""
    folder = out / f"{modalities.replace(',', '+')}-{seed}"
    result = folder / "test" / "test.json"
    if not result.is_file():
        words = ["--experiment", experiment, "--run", str(folder), "--wandb", "off", "--seed_everything", str(seed)]
        words += ["--data.modalities", modalities, *extra]
        subprocess.run([sys.executable, "-m", "mobanet.fit", *words], check=True)
        best = str(folder / "checkpoints" / "best.ckpt")
        subprocess.run([sys.executable, "-m", "mobanet.test", "--ckpt_path", best], check=True)
    return json.loads(result.read_text())


def shown(values: list[float]) -> str:
    """Mean and standard deviation in per cent."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def main() -> None:
    """Run everything that is missing, then print the table."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", default="synthetic_irrgb_dsm")
    parser.add_argument("--sets", nargs="+", default=["rgb", "dsm", "rgb,dsm", "rgb,ir,dsm"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--out", type=Path, default=Path("runs/modalities"))
    options = parser.parse_args(words[:cut])
    rows = []
    for modalities in options.sets:
        results = [run(options.out, options.experiment, modalities, seed, words[cut + 1 :]) for seed in options.seeds]
        classes = [shown([r["classes"][name]["iou"] for r in results]) for name in results[0]["classes"]]
        figures = [shown([r[key] for r in results]) for key in ("miou", "mean_f1", "oa")]
        rows.append([modalities.replace(",", " + "), *figures, *classes])
    header = ["modalities", "mIoU", "mean F1", "OA", *(f"IoU {name}" for name in results[0]["classes"])]
    print()
    for row in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(row)} |")
    print()
    for name, text in results[0]["protocol"].items():
        print(f"{name}: {text}")


if __name__ == "__main__":
    main()
