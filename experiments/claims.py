"""What is gained and paid by training for missing sensors: many short paired runs around the package's own backbone.

    python experiments/claims.py [--arms full uniform latent own] [--seeds 0 1 2 3 4 5 6 7] [--against uniform]
        [--steps 400] [--jobs 2] [--results experiments/results/claims.csv] [--readme README.md]
        [--figure experiments/pictures/claims.png]

An arm is a way to train. Of one seed all arms start from the same weights and see the same crops in the same order, for
as many steps, so that differences are paired; each is tested at its last step, in every scenario, on tiles of a city
that is drawn for the purpose. A process a core trains one run after the other, and each finished run is added to the
results, with the commit, so that the same command goes on where it stopped. At the end the table of all rows there are
for these steps is printed: means over seeds, and paired differences with a 95 % bootstrap interval over seeds. One
that holds 0 is marked undecided; of how many seeds it is, is said, too. With `full` and the specialists of the
incomplete scenarios there (`alone_rgb` and so on), the table has the share of the gap between them that is regained.
`--readme FILE` writes the table between its two comments there; the suite checks that it is the one of the rows.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CITY, TILES, TILE_SIZE, CITY_SEED = Path("runs/claims/city"), 24, 512, 11
MODALITIES = ["rgb", "ir", "dsm"]
CROP, BATCH, EPOCHS = 60, 8, 10
FAILURES = (0.05, 0.1, 0.2)
FEWEST = 3
"""Pairs that an interval is told of."""
BEGIN, END = "<!-- claims: the table of experiments/results/claims.csv -->\n", "\n<!-- end of claims -->\n"
COLUMNS = ("arm", "seed", "steps", "scenario", "miou", "parameters", "commit", "protocol")


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes:
        words: in the table.
        scenarios: settings of `ScenarioSettings`.
        network: settings of `MoBaNetSettings`, beside the sizes that all arms share.
        module: settings of `SegmentationModule`.
        backbone: settings of `BackboneSettings`, beside the name.
    """

    words: str
    scenarios: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    module: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)


SIZES = {"projection_channels": 40, "decoder_channels": 32, "cpia_ratio": 0.125}
AWARE = {"absent": "left_out", "normalization": "group"}
HALF = {"strategy": "uniform", "full_share": 0.5}
LATER = {**HALF, "warmup_epochs": 0.4}
APART = {"strategy": "uniform", "full_share": 0.5, "warmup_epochs": 0.3}
OWN = {"absent": "left_out", "incomplete": "own"}
PLAIN: dict[str, Any] = {"masking": {"ratio": 0.0}, "auxiliary_weight": 0.0}
INCOMPLETE = ("rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm")
ARMS = {
    # how samples come to lack sensors, everything else as in the paper
    "full": Arm("all sensors, always"),
    "uniform": Arm("every scenario alike", {"strategy": "uniform"}),
    "latent": Arm("by latent distortion, each epoch", {"strategy": "latent"}),
    "latent_once": Arm("by latent distortion, once", {"strategy": "latent", "every_n_epochs": None}),
    "half": Arm("half of each batch full, the rest uniform", HALF),
    "half_later": Arm("half, after 40 % of the steps on full", LATER),
    # a network that knows what is missing
    "full_aware": Arm("full; absent streams left out, group norm", network=AWARE),
    "uniform_aware": Arm("uniform; likewise", {"strategy": "uniform"}, AWARE),
    "half_aware": Arm("half; likewise", HALF, AWARE),
    "half_later_aware": Arm("half, later; likewise", LATER, AWARE),
    # parts of their own for samples that lack a sensor
    "own": Arm("own parts; 30 % of the steps on full, then half of the batches; absent left out", APART, OWN),
    "own_latent": Arm("own, the rest by latent distortion", {**APART, "strategy": "latent"}, OWN),
    "own_quarter": Arm("own, a quarter of the batches full", {**APART, "full_share": 0.25}, OWN),
    "own_later": Arm("own, after 40 %", {**APART, "warmup_epochs": 0.4}, OWN),
    "own_zeros": Arm("own, absent streams as zeros", APART, {"incomplete": "own"}),
    "own_group_norm": Arm("own with group norm", APART, {**OWN, "normalization": "group"}),
    "own_tokens": Arm("own with learned tokens", APART, {**OWN, "missing": "token"}),
    # MoBaNet's parts, all sensors there
    "no_cpia": Arm("full without CPIA", network={"placement": "none"}),
    "no_dgfm": Arm("full without DGFM", network={"fusion": "mean"}),
    "no_masking": Arm("full without MCRM", module={"masking": {"ratio": 0.0}}),
    "no_auxiliary": Arm("full without auxiliary losses", module={"auxiliary_weight": 0.0}),
    "decoder_only": Arm("full without any of them", network={"placement": "none", "fusion": "mean"}, module=PLAIN),
    "lora": Arm(
        "low-rank adaptation in place of interaction, masking and auxiliary losses",
        network={"placement": "none"},
        module={**PLAIN, "lora": {"rank": 4}},
    ),
    "full_finetuning": Arm(
        "the backbone is trained, in place of them",
        network={"placement": "none"},
        module={**PLAIN, "backbone_lr": 1e-4},
        backbone={"freeze": False},
    ),
    # specialists: what each incomplete scenario allows where nothing else is asked for
    **{
        f"alone_{name}": Arm(f"{name} alone, always", {"strategy": "fixed", "probabilities": {name: 1.0}})
        for name in INCOMPLETE
    },
}


def trained(name: str, seed: int, steps: int) -> list[dict[str, Any]]:
    """One run: rows of its results, a scenario each. Runs in a process of its own kind, on one core."""
    import torch
    from lightning.pytorch import Trainer

    from mobanet.data.augment import AugmentationSettings
    from mobanet.data.datamodule import RasterDataModule
    from mobanet.data.options import EvaluationSettings
    from mobanet.models.backbones import BackboneSettings
    from mobanet.models.lora import LoRASettings
    from mobanet.models.mobanet import MoBaNetSettings
    from mobanet.models.summary import count_parameters
    from mobanet.scenarios.callback import ScenarioSampling
    from mobanet.scenarios.masking import MaskingSettings
    from mobanet.scenarios.sampling import ScenarioSettings
    from mobanet.training.module import SegmentationModule
    from mobanet.training.optim import ScheduleSettings

    torch.set_num_threads(1)
    arm = ARMS[name]
    data = RasterDataModule(
        str(CITY),
        modalities=MODALITIES,
        crop=CROP,
        batch_size=BATCH,
        steps_per_epoch=steps // EPOCHS,
        sampling="area",
        augmentation=AugmentationSettings(flips=True, turns=True, colour=0.1),
        evaluation=EvaluationSettings(test_stride=CROP, batch_size=24),
        num_workers=0,
        seed=seed,
    )
    kinds = {"masking": MaskingSettings, "lora": LoRASettings}
    options = {name: kinds[name](**value) if name in kinds else value for name, value in arm.module.items()}
    torch.manual_seed(seed)
    module = SegmentationModule(
        data.description,
        backbone=BackboneSettings("vit_city_patch6_120.mobanet", **arm.backbone),
        network=MoBaNetSettings(**SIZES, **arm.network),
        schedule=ScheduleSettings(warmup_epochs=0.5, min_lr=1e-6, every="step"),
        class_weights=[1, 1, 1, 1, 5, 2],
        lr=2e-3,
        seed=seed,
        **options,
    )
    module.evaluate_on(validation="full", test="all")
    trainer = Trainer(
        max_epochs=EPOCHS,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[ScenarioSampling(ScenarioSettings(**arm.scenarios, num_windows=64))],
    )
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    shared = {
        "arm": name,
        "seed": seed,
        "steps": steps,
        "parameters": count_parameters(module.network)[-1].trainable,
        "commit": commit(),
        "protocol": "; ".join(data.protocol("test").values()),
    }
    return [
        {**shared, "scenario": scenario, "miou": f"{figures.mean_iou:.5f}"}
        for scenario, figures in module.scores["test"].items()
    ]


def commit() -> str:
    """Of the code that trains, with a plus where files differ from it."""
    given = {"cwd": Path(__file__).parent, "capture_output": True, "text": True}
    head = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], **given).stdout.strip()
    words = ["git", "status", "--porcelain", "--untracked-files=all", "--", "../mobanet", "."]
    changed = subprocess.run(words, **given).stdout.splitlines()
    return head + "+" * any(not line.endswith(".csv") for line in changed)


def read(results: Path) -> list[dict[str, str]]:
    """All rows there are."""
    if not results.is_file():
        return []
    with results.open(newline="") as file:
        return list(csv.DictReader(file))


def add(results: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Append the rows of a run at once, so that a run is there with all its scenarios or not at all."""
    results.parent.mkdir(parents=True, exist_ok=True)
    new = not results.is_file()
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def figures(scenarios: dict[str, float]) -> np.ndarray:
    """All sensors, mean of incomplete, worst, expected at each failure probability: in per cent."""
    from mobanet.scenarios.failure import usual_failures
    from mobanet.training.scenario_summary import expected_of

    *incomplete, full = scenarios.values()
    expected = [expected_of(failure.weights(), scenarios) for failure in usual_failures(MODALITIES)]
    return 100 * np.array([full, np.mean(incomplete), min(incomplete), *expected])


def regained(run: dict[str, float], full: dict[str, float], alone: dict[str, float]) -> float:
    """Of the gap between a model of all sensors and specialists, in per cent; the mean over incomplete scenarios."""
    return 100 * float(np.mean([(run[name] - full[name]) / (alone[name] - full[name]) for name in INCOMPLETE]))


def grouped(rows: Sequence[dict[str, str]], steps: int) -> tuple[dict[str, dict[int, np.ndarray]], bool]:
    """By arm and seed the `figures` of runs of so many steps, and whether a share of the gap is one of them."""
    from mobanet.scenarios.scenario import scenarios_of

    order = [scenario.name for scenario in scenarios_of(MODALITIES)]
    found: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if int(row["steps"]) == steps:
            found[row["arm"]][int(row["seed"])][row["scenario"]] = float(row["miou"])
    alone = {
        seed: {name: found[f"alone_{name}"][seed][name] for name in INCOMPLETE}
        for seed in set.intersection(*(set(found[f"alone_{name}"]) for name in INCOMPLETE))
        if seed in found["full"]
    }
    runs = {
        arm: {
            seed: np.append(
                figures({name: run[name] for name in order}),
                [regained(run, found["full"][seed], alone[seed]) if seed in alone else np.nan] * bool(alone),
            )
            for seed, run in seeds.items()
        }
        for arm, seeds in found.items()
        if seeds and not arm.startswith("alone_")  # each for one scenario, and of no use in others
    }
    return runs, bool(alone)


def table(rows: Sequence[dict[str, str]], steps: int, against: str) -> str:
    """Means over seeds and paired differences, in Markdown."""
    runs, gaps = grouped(rows, steps)
    heads = ["all sensors", "mean of incomplete", "worst", *(f"expected at {p:g}" for p in FAILURES)]
    heads += ["gap regained"] * gaps
    lines = [" | ".join(["arm", "seeds", *heads]), " | ".join(["---"] * (2 + len(heads)))]
    for arm in (name for name in ARMS if name in runs):
        values = np.array([runs[arm][seed] for seed in sorted(runs[arm])])
        cells = [f"{column[~np.isnan(column)].mean():.1f}" if (column == column).any() else "" for column in values.T]
        common = sorted(runs[arm].keys() & runs.get(against, {}).keys())
        if arm != against and len(common) >= FEWEST:
            paired = np.array([runs[arm][seed] - runs[against][seed] for seed in common])
            cells = [f"{cell} ({one})" for cell, one in zip(cells, map(difference, paired.T), strict=True)]
        lines.append(" | ".join([f"{arm}: {ARMS[arm].words}", str(len(values)), *cells]))
    shown = "\n".join(f"| {line} |" for line in lines)
    return (
        f"{shown}\n\nmIoU in per cent, means over seeds; in brackets the paired difference to {against}, 95 % interval."
    )


def frontier(rows: Sequence[dict[str, str]], steps: int) -> "Figure":
    """What each way to train has with all sensors, and what it has left without some: a dot a seed, a mark a mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs, _ = grouped(rows, steps)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, arm in enumerate(name for name in ARMS if name in runs):
        values, colour = np.array(list(runs[arm].values())), f"C{number % 10}"
        axes.scatter(values[:, 0], values[:, 1], s=10, color=colour, alpha=0.5, linewidths=0)
        mean = values.mean(0)
        axes.scatter(mean[0], mean[1], s=46, color=colour, marker="D", edgecolors="white", label=arm, zorder=3)
    seeds = max((len(of) for of in runs.values()), default=0)
    axes.set_xlabel("mIoU % with all sensors")
    axes.set_ylabel("mIoU %, mean of incomplete scenarios")
    axes.set_title(f"{steps} steps each, up to {seeds} seed{'s' * (seeds != 1)} an arm", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def difference(paired: np.ndarray) -> str:
    """A mean with its bootstrap interval, and a word where that holds 0."""
    paired = paired[~np.isnan(paired)]
    if len(paired) < FEWEST:
        return "too few"
    draws = np.random.default_rng(0).integers(len(paired), size=(10_000, len(paired)))
    low, high = np.percentile(paired[draws].mean(1), (2.5, 97.5))
    undecided = ", undecided" if low <= 0 <= high else ""
    return f"{paired.mean():+.1f}, {low:+.1f} to {high:+.1f}{undecided}"


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["full", "uniform", "latent", "own"])
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(8)))
    parser.add_argument("--against", choices=list(ARMS), default="uniform")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path, default=Path("experiments/results/claims.csv"))
    parser.add_argument("--figure", type=Path, help="PNG to draw: all sensors against incomplete scenarios")
    parser.add_argument("--readme", type=Path, help="file to write the table into, between its two comments")
    options = parser.parse_args()
    if options.steps < EPOCHS or options.steps % EPOCHS:
        parser.error(f"--steps {options.steps}: give a multiple of {EPOCHS}, the number of epochs")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    os.environ["OMP_NUM_THREADS"] = "1"  # a process a core
    if options.seeds:
        prepare()
    done = {(row["arm"], int(row["seed"]), int(row["steps"])) for row in read(options.results)}
    # all arms of one seed before the next seed, so that pairs are complete whenever it is stopped
    wanted = [(arm, seed, options.steps) for seed in options.seeds for arm in options.arms]
    left = [job for job in wanted if job not in done]
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        for number, future in enumerate(as_completed([pool.submit(trained, *job) for job in left]), 1):
            rows = future.result()
            add(options.results, rows)
            print(f"{number} of {len(left)}: {rows[0]['arm']}, seed {rows[0]['seed']}", file=sys.stderr, flush=True)
    shown = table(read(options.results), options.steps, options.against)
    print(shown)
    if options.figure:
        frontier(read(options.results), options.steps).savefig(options.figure, dpi=150)
    if options.readme:
        options.readme.write_text(with_table(options.readme.read_text(), shown))


def with_table(text: str, shown: str) -> str:
    """A text with another table between its two comments."""
    before, behind = text.split(BEGIN)
    return f"{before}{BEGIN}\n{shown}\n{END}{behind.split(END)[1]}"


def prepare() -> None:
    """Draw the city and prepare its tiles, once."""
    from mobanet.data.datamodule import RasterDataModule
    from mobanet.synthetic import synthesize

    synthesize("potsdam", CITY, TILES, TILE_SIZE, seed=CITY_SEED)
    RasterDataModule(str(CITY), modalities=MODALITIES).prepare_data()


if __name__ == "__main__":
    main()
