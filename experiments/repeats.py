"""What the comparing scripts share: runs that are made once, and tables of means over seeds."""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def parsed(parser: argparse.ArgumentParser, seeds: Sequence[int], out: str) -> tuple[argparse.Namespace, list[str]]:
    """The script's options, to which those of all scripts are added, and the words behind `--`."""
    # cut by hand, as argparse would refuse options of `mobanet.fit` that it does not know
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser.add_argument("--experiment", default="synthetic_irrgb_dsm")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    parser.add_argument("--out", type=Path, default=Path(out))
    return parser.parse_args(words[:cut]), words[cut + 1 :]


def finished(
    folder: Path, experiment: str, seed: int, words: Sequence[str], checkpoint: str, result: str
) -> dict[str, Any]:
    """Fit and test, unless that is done already.

    Args:
        folder: of the run.
        experiment: name, or a YAML file.
        seed: of everything.
        words: for `mobanet.fit`.
        checkpoint: `best` or `last`, the one to test.
        result: file of the test to read.
    """
    path = folder / "test" / result
    if not path.is_file():
        given = ["--experiment", experiment, "--run", str(folder), "--wandb", "off", "--seed", str(seed)]
        subprocess.run([sys.executable, "-m", "mobanet.fit", *given, *words], check=True)
        tested = str(folder / "checkpoints" / f"{checkpoint}.ckpt")
        subprocess.run([sys.executable, "-m", "mobanet.test", "--ckpt_path", tested], check=True)
    return json.loads(path.read_text())


def shown(values: Sequence[float]) -> str:
    """Mean and standard deviation in per cent."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], protocol: dict[str, str]) -> None:
    """A table in Markdown, and how its figures were measured."""
    print()
    for row in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(row)} |")
    print()
    for name, text in protocol.items():
        print(f"{name}: {text}")
