"""How long commands take to start, warm, beside starting Python and importing Lightning alone.

python experiments/benchmarks/startup.py [--rounds 5]
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import mobanet": ["-c", "import mobanet"],
    "import lightning.pytorch": ["-c", "import lightning.pytorch"],
    "mobanet": ["-m", "mobanet"],
    "mobanet.fit --help": ["-m", "mobanet.fit", "--help"],
    "mobanet.fit --help_all": ["-m", "mobanet.fit", "--help_all"],
    "mobanet.prepare --help": ["-m", "mobanet.prepare", "--help"],
}


def seconds(words: list[str]) -> float:
    """Wall-clock time of one start."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(options.rounds + 1):
        for name, words in COMMANDS.items():
            value = seconds(words)
            if turn:  # the first round fills the page cache
                times[name].append(value)
    for name, values in times.items():
        print(f"{name:<26} {statistics.median(values):.2f} s")
    pairs = zip(times["mobanet.fit --help_all"], times["import lightning.pytorch"], strict=True)
    print(f"mobanet.fit --help_all over importing Lightning: {statistics.median(a / b for a, b in pairs):.2f}")


if __name__ == "__main__":
    main()
