"""What is gained and paid by training for missing sensors: many short paired runs around the package's own backbone.

    python experiments/claims.py [--groups sampling parts specialists] [--arms full own] [--cities ambiguous redundant]
        [--seeds 0 1 2 3 4 5 6 7] [--steps 400] [--jobs 2] [--results experiments/results/claims.csv]
        [--readme README.md] [--page experiments/results/README.md] [--figure experiments/pictures/claims.png]

An arm is a way to train. Of one seed all arms start from the same weights and see the same crops in the same order, for
as many steps, so that differences are paired; each is tested at its last step, in every scenario, on tiles of a city
that is drawn for the purpose. A process a core trains one run after the other, and each finished run is added to the
results, with the commit, so that the same command goes on where it stopped. At the end the tables of all rows there are
for these steps are printed, one a group of arms and a city: means over seeds, and paired differences with a 95 %
bootstrap interval over seeds. One that holds 0 is marked undecided; of how many seeds it is, is said, too. With `full`
and the specialists of the incomplete scenarios there (`alone_rgb` and so on), the table has the share of the gap
between them that is regained. `--readme FILE` writes the tables of the first group between two comments there, `--page
FILE` all tables; the suite checks that they are those of the rows.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from matplotlib.figure import Figure

    from mobanet.scenarios.callback import ScenarioSampling
    from mobanet.training.module import SegmentationModule

WORK = Path("runs/claims")
"""Cities, and weights that other arms start from."""
TILES, TILE_SIZE, CITY_SEED = 24, 512, 11
CITIES = {
    "ambiguous": "no sensor by itself tells the classes apart",
    "redundant": "optical and infrared bands tell most of what heights tell",
    "landscape": "Sentinel-2, Sentinel-1 and topography of a drawn landscape",
}
TINTS = {  # label colour: what is added to red, green, blue and infrared in the redundant city, of 255
    (0, 0, 255): (45, -10, -25, -40),  # building
    (0, 255, 255): (-10, 25, -10, 20),  # low vegetation
    (0, 255, 0): (-40, 0, -30, -25),  # tree
    (255, 255, 0): (-20, -20, 50, 60),  # car
    (255, 0, 0): (25, -35, 35, 35),  # clutter
}
BANDS = {"2_Ortho_RGB": (0, 1, 2), "3_Ortho_IRRG": (3, 0, 1), "4_Ortho_RGBIR": (0, 1, 2, 3)}
MODALITIES = ["rgb", "ir", "dsm"]
LANDSCAPE = ["s2", "s1", "topo"]
CROP, BATCH, EPOCHS = 60, 8, 10
FAILURES = (0.05, 0.1, 0.2)
FEWEST = 3
"""Pairs that an interval is told of."""
BEGIN, END = "<!-- claims: the table of experiments/results/claims.csv -->\n", "\n<!-- end of claims -->\n"
RARE = ("car", "clutter")
"""Classes of few pixels, whose IoU is written, too; clutter is not among those that mIoU is the mean of."""
COLUMNS = (
    *("city", "arm", "seed", "steps", "scenario", "miou", "parameters", "commit", "protocol"),
    *(f"iou_{name}" for name in RARE),
)
"""New ones at the end: a row that was written before is one without them."""


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes:
        words: in the table.
        scenarios: settings of `ScenarioSettings`.
        network: settings of `MoBaNetSettings`, beside the sizes that all arms share.
        module: settings of `SegmentationModule`.
        backbone: settings of `BackboneSettings`, beside the name.
        data: settings of `RasterDataModule`, beside those that all arms share.
        tested: in which scenarios: `all`, `full`, or names; more than a table tells would cost as much as training.
        falls_to: share of complete samples that the last epoch has, falling evenly from 1; None keeps `full_share`.
        consistency: weight of what incomplete samples are seen as, towards what is seen of the same crops complete.
        start: the arm whose weights it begins with, and trains half as many steps more at half the learning rate.
    """

    words: str
    scenarios: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    module: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    tested: str | tuple[str, ...] = "all"
    start: str | None = None
    falls_to: float | None = None
    consistency: float = 0.0


SIZES = {"projection_channels": 40, "decoder_channels": 32, "cpia_ratio": 0.125}
AWARE = {"absent": "left_out", "normalization": "group"}
HALF = {"strategy": "uniform", "full_share": 0.5}
LATER = {**HALF, "warmup_epochs": 0.4}
APART = {"strategy": "uniform", "full_share": 0.5, "warmup_epochs": 0.3}
THEN = {"strategy": "uniform", "full_share": 0.0, "warmup_epochs": 0.8}
OWN = {"absent": "left_out", "incomplete": "own"}
EVEN: dict[str, Any] = {"class_weights": None}
DICE: dict[str, Any] = {**EVEN, "loss": {"cross_entropy": 1, "dice": 1}}
PLAIN: dict[str, Any] = {"masking": {"ratio": 0.0}, "auxiliary_weight": 0.0}
CMX: dict[str, Any] = {
    "architecture": "cmx",
    "masking": {"ratio": 0.0},
    "cmx": {"encoder": "cnn", "decoder_channels": 64},
}
# What is left to regain in incomplete scenarios: what specialists have above `own_latent` (seeds 0 to 2), in points.
LEFT = {"rgb": 5.2, "ir": 13.2, "dsm": 11.1, "rgb+ir": 15.4, "rgb+dsm": 6.1, "ir+dsm": 12.0}
REGAIN: dict[str, Any] = {
    "strategy": "fixed",
    "probabilities": {scenario: left / sum(LEFT.values()) for scenario, left in LEFT.items()},
}
ONCE = {"strategy": "latent", "every_n_epochs": None}
TWO = ("full", "uniform", "own_latent")
"""Arms that there are with three streams as well."""
THREE: dict[str, Any] = {"streams": {"optical": ["rgb"], "infrared": ["ir"], "elevation": ["dsm"]}}
LAND_TWO = {**EVEN, "streams": {"optical": ["s2"], "ground": ["s1", "topo"]}}
"""As in the experiment `hunan_s2_s1_topo`, and below in `hunan_three_streams`."""
LAND_THREE = {**EVEN, "streams": {"optical": ["s2"], "radar": ["s1"], "elevation": ["topo"]}}
INCOMPLETE = ("rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm")
ARMS = {
    # how samples come to lack sensors, everything else as in the paper
    "full": Arm("all sensors, always"),
    "uniform": Arm("every scenario alike", {"strategy": "uniform"}),
    "latent": Arm("by latent distortion, each epoch", {"strategy": "latent"}),
    "latent_once": Arm("by latent distortion, once", ONCE),
    "half": Arm("half of each batch full, the rest uniform", HALF),
    "third": Arm("a third of each batch full, the rest uniform", {**HALF, "full_share": 1 / 3}),
    "falling": Arm("a share that falls from all to a quarter, the rest uniform", HALF, falls_to=0.25),
    "half_told": Arm("half; gate and prompts are told what is missing", HALF, {"absent": "left_out"}),
    "half_group_norm": Arm("half; group norm", HALF, {"normalization": "group"}),
    "half_tokens": Arm("half; learned tokens", HALF, {"missing": "token"}),
    "half_regain": Arm("half; the rest by what is left to regain", {**HALF, **REGAIN}),
    "half_consistent": Arm("half; incomplete samples drawn to what is seen complete", HALF, consistency=0.3),
    "half_later": Arm("half, after 40 % of the steps on full", LATER),
    # a network that knows what is missing
    "full_aware": Arm("full; absent streams left out, group norm", network=AWARE),
    "uniform_aware": Arm("uniform; likewise", {"strategy": "uniform"}, AWARE),
    "half_aware": Arm("half; likewise", HALF, AWARE),
    "half_later_aware": Arm("half, later; likewise", LATER, AWARE),
    # parts of their own for samples that lack a sensor
    "own": Arm("own parts; 30 % of the steps on full, then half of the batches; absent left out", APART, OWN),
    "own_latent": Arm("own, the rest by latent distortion", {**APART, "strategy": "latent"}, OWN),
    "then": Arm("own parts; 80 % of the steps on full, then the rest without, each with a schedule", THEN, OWN),
    "then_latent": Arm("then, the rest by latent distortion", {**THEN, "strategy": "latent"}, OWN),
    "then_70": Arm("then_latent, after 70 %", {**THEN, "strategy": "latent", "warmup_epochs": 0.7}, OWN),
    "own_quarter": Arm("own, a quarter of the batches full", {**APART, "full_share": 0.25}, OWN),
    "own_late": Arm("own, after 60 %", {**APART, "warmup_epochs": 0.6}, OWN),
    "own_later": Arm("own, after 40 %", {**APART, "warmup_epochs": 0.4}, OWN),
    "own_zeros": Arm("own, absent streams as zeros", APART, {"incomplete": "own"}),
    "own_group_norm": Arm("own with group norm", APART, {**OWN, "normalization": "group"}),
    "own_tokens": Arm("own with learned tokens", APART, {**OWN, "missing": "token"}),
    "own_regain": Arm("own, the rest by what is left to regain", {**APART, **REGAIN}, OWN),
    # MoBaNet's parts, all sensors there
    "no_cpia": Arm("full without CPIA", network={"placement": "none"}, tested="full"),
    "no_dgfm": Arm("full without DGFM", network={"fusion": "mean"}, tested="full"),
    "no_masking": Arm("full without MCRM", module={"masking": {"ratio": 0.0}}, tested="full"),
    "no_auxiliary": Arm("full without auxiliary losses", module={"auxiliary_weight": 0.0}, tested="full"),
    "decoder_only": Arm(
        "full without any of them", network={"placement": "none", "fusion": "mean"}, module=PLAIN, tested="full"
    ),
    "lora": Arm(
        "low-rank adaptation in place of interaction, masking and auxiliary losses",
        network={"placement": "none"},
        module={**PLAIN, "lora": {"rank": 4}},
        tested="full",
    ),
    "full_finetuning": Arm(
        "the backbone is trained, in place of them",
        network={"placement": "none"},
        module={**PLAIN, "backbone_lr": 1e-4},
        backbone={"freeze": False},
        tested="full",
    ),
    # what is done about classes of few pixels; above, cars weigh five times as much and clutter twice
    "even": Arm("cross-entropy, every pixel alike", module=EVEN, tested="full"),
    "plus_dice": Arm("Dice added to it", module=DICE, tested="full"),
    "plus_lovasz": Arm(
        "Lovász-Softmax added to it", module={**EVEN, "loss": {"cross_entropy": 1, "lovasz": 1}}, tested="full"
    ),
    "focal": Arm("focal loss in its place", module={**EVEN, "loss": "focal"}, tested="full"),
    "weights_auto": Arm("class weights `auto`, the inverse root", module={"class_weights": "auto"}, tested="full"),
    "weights_effective": Arm("class weights `effective`", module={"class_weights": "effective"}, tested="full"),
    "balanced": Arm(
        "half of the crops around a pixel of each class alike",
        module=EVEN,
        data={"sampling": "balanced"},
        tested="full",
    ),
    # specialists: what each incomplete scenario allows where nothing else is asked for
    **{
        f"alone_{name}": Arm(
            f"{name} alone, always", {"strategy": "fixed", "probabilities": {name: 1.0}}, tested=(name,)
        )
        for name in INCOMPLETE
    },
    # from a start: the scenario paper's authors go on from a model that was trained on every scenario alike
    **{
        f"{start}_then_{name}": Arm(words, scenarios, network, start=start)
        for start in ("full", "uniform")
        for name, words, scenarios, network in (
            ("full", "all sensors", {}, {}),
            ("uniform", "every scenario alike", {"strategy": "uniform"}, {}),
            ("latent_once", "by latent distortion, once", ONCE, {}),
            ("latent", "by latent distortion, each epoch", {"strategy": "latent"}, {}),
            ("half", "half of each batch full", HALF, {}),
            ("own", "own parts, half of the batches", HALF, {"incomplete": "own"}),
            ("apart", "own parts alone; the others stay", {**HALF, "full_share": 0.0}, {"incomplete": "own"}),
        )
    },
    # a network without a foundation model, all of it trained from random weights
    "cmx_full": Arm("all sensors, always", module=CMX),
    "cmx_uniform": Arm("every scenario alike", {"strategy": "uniform"}, module=CMX),
    "cmx_latent_once": Arm("by latent distortion, once", ONCE, module=CMX),
    "cmx_latent": Arm("by latent distortion, each epoch", {"strategy": "latent"}, module=CMX),
    "cmx_half": Arm("half of each batch full, the rest uniform", HALF, module=CMX),
    # rgb and ir as a stream each, rather than in one
    "three_full": Arm("full; three streams", module=THREE),
    "three_uniform": Arm("uniform; three streams", {"strategy": "uniform"}, module=THREE),
    "three_own_latent": Arm("own_latent; three streams", {**APART, "strategy": "latent"}, OWN, THREE),
    # the same question of the landscape
    "land_full": Arm("full; Sentinel-1 and topography in one stream", module=LAND_TWO),
    "land_three_full": Arm("full; three streams", module=LAND_THREE),
    "land_own_latent": Arm("own_latent; in one stream", {**APART, "strategy": "latent"}, OWN, LAND_TWO),
    "land_three_own_latent": Arm("own_latent; three streams", {**APART, "strategy": "latent"}, OWN, LAND_THREE),
    # a loss of regions where sensors are missing
    "full_dice": Arm("all sensors, always", module=DICE),
    "uniform_dice": Arm("every scenario alike", {"strategy": "uniform"}, module=DICE),
    "own_latent_dice": Arm("own parts, the rest by latent distortion", {**APART, "strategy": "latent"}, OWN, DICE),
}


@dataclass(frozen=True)
class Group:
    """Arms of one table.

    Attributes:
        title: of the table.
        against: the arm that differences are told to.
        arms: by name.
        complete: whether only the scenario of all sensors is told.
        partners: by arm another than `against`, where each has one of its own; `to` says of all of them what they are.
        to: in words.
        rare: whether the IoU of `RARE` in it is told, too.
    """

    title: str
    against: str
    arms: tuple[str, ...]
    complete: bool = False
    rare: bool = False
    partners: dict[str, str] = field(default_factory=dict)
    to: str = ""

    def compared(self, arm: str) -> bool:
        """Whether there is another arm that differences are told to."""
        return arm in (self.partners or self.arms) and arm != self.against


GROUPS = {
    "sampling": Group(
        "Which samples lack sensors, and what sees these",
        "uniform",
        ("full", "uniform", "latent", "own_latent", "then", "then_latent"),
    ),
    "shared": Group(
        "What else was tried with the parts that all samples share",
        "half",
        tuple(ARMS)[list(ARMS).index("latent_once") : list(ARMS).index("own")],
    ),
    "apart": Group(
        "What else was tried with parts of their own",
        "own",
        tuple(ARMS)[list(ARMS).index("own") : list(ARMS).index("no_cpia")],
    ),
    "parts": Group(
        "MoBaNet's parts, trained on all sensors",
        "full",
        ("full", *("no_cpia", "no_dgfm", "no_masking", "no_auxiliary", "decoder_only", "lora", "full_finetuning")),
        complete=True,
    ),
    **{
        f"after_{start}": Group(
            f"Half as many steps more, from `{start}`",
            f"{start}_then_uniform",
            tuple(name for name in ARMS if name.startswith(f"{start}_then_")),
        )
        for start in ("full", "uniform")
    },
    "imbalance": Group(
        "What is done about classes of few pixels, trained on all sensors",
        "even",
        ("even", "plus_dice", "plus_lovasz", "focal", "weights_auto", "weights_effective", "balanced"),
        complete=True,
        rare=True,
    ),
    "dice": Group(
        "Dice added to the loss, every pixel alike, where sensors are missing",
        "full_dice",
        ("full_dice", "uniform_dice", "own_latent_dice"),
    ),
    "cmx": Group("CMX with a small encoder", "cmx_uniform", tuple(name for name in ARMS if name.startswith("cmx_"))),
    "streams": Group(
        "Two streams and three",
        "",
        (*chain(*((two, f"three_{two}") for two in TWO)), *(arm for arm in ARMS if arm.startswith("land_"))),
        partners={f"three_{two}": two for two in TWO}
        | {f"land_three_{two}": f"land_{two}" for two in ("full", "own_latent")},
        to="the same with two streams",
    ),
    "specialists": Group("", "", tuple(name for name in ARMS if name.startswith("alone_"))),
}
"""That of the specialists, each for one scenario and of no use in others, has no table: it is what others regain of."""


def trained(city: str, name: str, seed: int, steps: int) -> list[dict[str, Any]]:
    """One run: rows of its results, a scenario each. Runs in a process of its own kind, on one core."""
    import torch
    from lightning.pytorch import Trainer

    from mobanet.data.augment import AugmentationSettings
    from mobanet.data.datamodule import RasterDataModule
    from mobanet.data.options import EvaluationSettings
    from mobanet.models.backbones.stages import BackboneSettings
    from mobanet.models.cmx.network import CMXSettings
    from mobanet.models.lora import LoRASettings
    from mobanet.models.mobanet.network import MoBaNetSettings
    from mobanet.models.summary import count_parameters
    from mobanet.scenarios.callback import ScenarioSampling
    from mobanet.scenarios.masking import MaskingSettings
    from mobanet.scenarios.sampling import ScenarioSettings
    from mobanet.training.module import SegmentationModule
    from mobanet.training.optim import ScheduleSettings

    torch.set_num_threads(1)
    arm = ARMS[name]
    own_steps = steps if arm.start is None else steps // 2
    data = RasterDataModule(
        str(WORK / city),
        layout_of(city),
        modalities=modalities_of(city),
        crop=CROP,
        batch_size=BATCH,
        steps_per_epoch=own_steps // EPOCHS,
        augmentation=AugmentationSettings(flips=True, turns=True, colour=0.1),
        evaluation=EvaluationSettings(
            test_stride=CROP, batch_size=24, labels="eroded" if layout_of(city) == "potsdam" else "full"
        ),
        num_workers=0,
        seed=seed,
        **{"sampling": "area", **arm.data},
    )
    kinds = {"masking": MaskingSettings, "lora": LoRASettings, "cmx": CMXSettings}
    options = {name: kinds[name](**value) if name in kinds else value for name, value in arm.module.items()}
    torch.manual_seed(seed)
    module = SegmentationModule(
        data.description,
        backbone=BackboneSettings("vit_city_patch6_120.mobanet", **arm.backbone),
        network=MoBaNetSettings(**SIZES, **arm.network),
        schedule=ScheduleSettings(warmup_epochs=0.5, min_lr=1e-6, every="step"),
        lr=2e-3 if arm.start is None else 1e-3,
        seed=seed,
        **{"class_weights": [1, 1, 1, 1, 5, 2], **options},
    )
    if arm.consistency:
        make_consistent(module, arm.consistency)
    if arm.start is not None:
        module.begin_from(weights_of(city, arm.start, seed, steps))
    module.evaluate_on(validation="full", test=arm.tested)
    sampling = ScenarioSampling(ScenarioSettings(**arm.scenarios, num_windows=64))
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
        callbacks=[*falling(sampling, arm.falls_to), sampling],
    )
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    if any(other.start == name for other in ARMS.values()):
        path = weights_path(city, name, seed, steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(path, weights_only=True)
    shared = {
        "city": city,
        "arm": name,
        "seed": seed,
        "steps": steps,
        "parameters": count_parameters(module.network)[-1].trainable,
        "commit": commit(),
        "protocol": "; ".join(data.protocol("test").values()),
    }
    return [
        {
            **shared,
            "scenario": scenario,
            "miou": f"{figures.mean_iou:.5f}",
            **{
                f"iou_{name}": f"{figures.iou[data.layout.classes.names.index(name)]:.5f}"
                for name in RARE
                if name in data.layout.classes.names
            },
        }
        for scenario, figures in module.scores["test"].items()
    ]


def falling(sampling: "ScenarioSampling", to: float | None) -> list["Callback"]:
    """What lets the share of complete samples fall, from 1 in the first epoch to one in the last; nothing for None."""
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import LambdaCallback

    if to is None:
        return []

    def set_share(trainer: Trainer, module: LightningModule) -> None:
        # 1 by itself would leave the full scenario alone, which `uniform` with a share draws just the same
        share = 1 - (1 - to) * trainer.current_epoch / (EPOCHS - 1)
        sampling.settings = replace(sampling.settings, full_share=share)

    return [LambdaCallback(on_train_epoch_start=set_share)]


def make_consistent(module: "SegmentationModule", weight: float) -> None:
    """Add to each step's loss how far incomplete samples are from what the network sees of the same crops complete.

    The mean over pixels of the divergence of the one's class probabilities from the other's, which are taken as they
    are: from a forward of its own in evaluation's ways, without gradients. It makes a step dearer, and is not counted.
    """
    import torch
    from torch.nn import functional as F

    network, step, seen = module.network, module.training_step, {}

    def keep(network: Any, given: Any, output: Any) -> None:
        if network.training:
            seen.update(available=given[1], logits=output.logits)

    def training_step(batch: Any, batch_idx: int) -> torch.Tensor:
        loss = step(batch, batch_idx)
        lacking = (seen["available"] != batch.available).any(1)
        if not lacking.any():
            return loss
        logits, modes = seen["logits"][lacking], [(part, part.training) for part in network.modules()]
        network.eval()
        with torch.no_grad():
            whole = network(batch.inputs, batch.available).logits[lacking]
        for part, training in modes:  # a frozen backbone is in evaluation's in training, too
            part.training = training
        apart = F.kl_div(logits.log_softmax(1), whole.log_softmax(1), reduction="none", log_target=True).sum(1)
        return loss + weight * lacking.float().mean() * apart.mean()

    network.register_forward_hook(keep)
    module.training_step = training_step


def weights_path(city: str, name: str, seed: int, steps: int) -> Path:
    """Where an arm leaves its weights for those that start from them."""
    return WORK / "weights" / f"{city}-{name}-{seed}-{steps}.ckpt"


def weights_of(city: str, name: str, seed: int, steps: int) -> dict[str, Any]:
    """The checkpoint of an arm's last step, which is trained once more where its file is not here any more."""
    import torch

    path = weights_path(city, name, seed, steps)
    if not path.is_file():
        trained(city, name, seed, steps)
    return torch.load(path, map_location="cpu", weights_only=True)


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
    from mobanet.files import write_text

    results.parent.mkdir(parents=True, exist_ok=True)
    new = not results.is_file()
    if not new:
        head, _, others = results.read_text().partition("\n")
        if head != ",".join(COLUMNS):  # of a time when there were fewer
            write_text(results, "\n".join([",".join(COLUMNS), others]))
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def layout_of(city: str) -> str:
    """The layout that it is drawn in."""
    return "hunan" if city == "landscape" else "potsdam"


def modalities_of(city: str) -> list[str]:
    """Its sensors."""
    return LANDSCAPE if city == "landscape" else MODALITIES


def figures(scenarios: dict[str, float], modalities: Sequence[str] = tuple(MODALITIES)) -> np.ndarray:
    """All sensors, mean of incomplete, worst, expected at each failure probability: in per cent."""
    from mobanet.evaluation.scenario_summary import expected_of
    from mobanet.scenarios.failure import usual_failures

    *incomplete, full = scenarios.values()
    expected = [expected_of(failure.weights(), scenarios) for failure in usual_failures(list(modalities))]
    return 100 * np.array([full, np.mean(incomplete), min(incomplete), *expected])


def regained(run: dict[str, float], full: dict[str, float], alone: dict[str, float]) -> float:
    """Of the gap between a model of all sensors and specialists, in per cent; the mean over incomplete scenarios."""
    return 100 * float(np.mean([(run[name] - full[name]) / (alone[name] - full[name]) for name in INCOMPLETE]))


def grouped(
    rows: Sequence[dict[str, str]], steps: int, group: Group, city: str
) -> tuple[dict[str, dict[int, np.ndarray]], bool]:
    """By arm and seed the `figures` of runs of so many steps, and whether a share of the gap is one of them.

    The gap is that of MoBaNet after so many steps, so that it is told in the group that has `uniform` only.
    """
    from mobanet.scenarios.scenario import scenarios_of

    order = [scenario.name for scenario in scenarios_of(modalities_of(city))]
    found: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    rare: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if int(row["steps"]) == steps and row["city"] == city:
            found[row["arm"]][int(row["seed"])][row["scenario"]] = float(row["miou"])
            if row["scenario"] == order[-1]:
                rare[row["arm"], int(row["seed"])] = [100 * float(row.get(f"iou_{name}") or "nan") for name in RARE]
    alone = {
        seed: {name: found[f"alone_{name}"][seed][name] for name in INCOMPLETE}
        for seed in set.intersection(*(set(found[f"alone_{name}"]) for name in INCOMPLETE))
        if seed in found["full"] and group.against == "uniform"
    }
    runs = {
        arm: {
            seed: np.append(
                [100 * run[order[-1]], *(rare[arm, seed] if group.rare else [])]
                if group.complete
                else figures({name: run[name] for name in order}, modalities_of(city)),
                [regained(run, found["full"][seed], alone[seed]) if seed in alone else np.nan] * bool(alone),
            )
            for seed, run in seeds.items()
        }
        for arm, seeds in found.items()
        if seeds and arm in group.arms
    }
    return runs, bool(alone)


def tables(rows: Sequence[dict[str, str]], steps: int, groups: Sequence[str] = tuple(GROUPS)) -> str:
    """Of each city and group that has rows to compare, with a line that names them, in Markdown."""
    return "\n\n".join(
        f"**{GROUPS[group].title}**; city `{city}`: {words}\n\n{table(rows, steps, group, city)}"
        for group in groups
        if GROUPS[group].title
        for city, words in CITIES.items()
        if any(GROUPS[group].compared(row["arm"]) for row in rows if row["city"] == city and int(row["steps"]) == steps)
    )


def table(rows: Sequence[dict[str, str]], steps: int, group: str = "sampling", city: str = "ambiguous") -> str:
    """Means over seeds and paired differences of one group of arms in one city, in Markdown."""
    runs, gaps = grouped(rows, steps, GROUPS[group], city)
    heads = ["all sensors"]
    if not GROUPS[group].complete:
        heads += ["mean of incomplete", "worst", *(f"expected at {p:g}" for p in FAILURES)]
    heads += [f"IoU of {name}" for name in RARE] * GROUPS[group].rare
    heads += ["gap regained"] * gaps
    lines = [" | ".join(["arm", "seeds", *heads]), " | ".join(["---"] * (2 + len(heads)))]
    for arm in (name for name in ARMS if name in runs):
        values = np.array([runs[arm][seed] for seed in sorted(runs[arm])])
        cells = [f"{column[~np.isnan(column)].mean():.1f}" if (column == column).any() else "" for column in values.T]
        against = GROUPS[group].partners.get(arm, GROUPS[group].against)
        common = sorted(runs[arm].keys() & runs.get(against, {}).keys())
        if arm != against and len(common) >= FEWEST:
            paired = np.array([runs[arm][seed] - runs[against][seed] for seed in common])
            cells = [f"{cell} ({one})" for cell, one in zip(cells, map(difference, paired.T), strict=True)]
        lines.append(" | ".join([f"{arm}: {ARMS[arm].words}", str(len(values)), *cells]))
    shown = "\n".join(f"| {line} |" for line in lines)
    return (
        f"{shown}\n\nmIoU in per cent, means over seeds; in brackets the paired difference to "
        f"{GROUPS[group].to or GROUPS[group].against}, 95 % interval."
    )


def frontier(rows: Sequence[dict[str, str]], steps: int, city: str = "ambiguous") -> "Figure":
    """What each way to train has with all sensors, and what it has left without some: a dot a seed, a mark a mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs, _ = grouped(rows, steps, GROUPS["sampling"], city)
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
    figure.legend(fontsize=8, frameon=False, loc="outside right center")
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
    parser.add_argument("--groups", nargs="*", choices=list(GROUPS), default=[], help="all arms of these")
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=[], help="and these")
    parser.add_argument("--cities", nargs="+", choices=list(CITIES), default=["ambiguous"])
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(8)))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path, default=Path("experiments/results/claims.csv"))
    parser.add_argument("--figure", type=Path, help="PNG to draw: all sensors against incomplete scenarios")
    parser.add_argument("--readme", type=Path, help="file to write the first group's tables into")
    parser.add_argument("--page", type=Path, help="file to write all tables into")
    options = parser.parse_args()
    if options.steps < EPOCHS or options.steps % (2 * EPOCHS):
        parser.error(f"--steps {options.steps}: give a multiple of {2 * EPOCHS}, twice the number of epochs")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    os.environ["OMP_NUM_THREADS"] = "1"  # a process a core
    arms = [*options.arms, *(arm for group in options.groups for arm in GROUPS[group].arms)]
    if options.seeds:
        for city in options.cities:
            prepare(city)
    done = {(row["city"], row["arm"], int(row["seed"]), int(row["steps"])) for row in read(options.results)}
    # all arms of one seed before the next seed, so that pairs are complete whenever it is stopped
    wanted = [
        (city, arm, seed, options.steps) for seed in options.seeds for city in options.cities for arm in in_order(arms)
    ]
    left = [job for job in wanted if job not in done]
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        for number, future in enumerate(as_completed([pool.submit(trained, *job) for job in left]), 1):
            rows = future.result()
            add(options.results, rows)
            of = f"{rows[0]['arm']}, seed {rows[0]['seed']}, {rows[0]['city']}"
            print(f"{number} of {len(left)}: {of}", file=sys.stderr, flush=True)
    rows = read(options.results)
    print(tables(rows, options.steps))
    if options.figure:
        frontier(rows, options.steps).savefig(options.figure, dpi=150)
    if options.readme:
        options.readme.write_text(with_table(options.readme.read_text(), tables(rows, options.steps, ["sampling"])))
    if options.page:
        options.page.write_text(with_table(options.page.read_text(), tables(rows, options.steps)))


def in_order(arms: Sequence[str]) -> list[str]:
    """Each once, those first that others start from."""
    return sorted(dict.fromkeys(arms), key=lambda arm: ARMS[arm].start is not None)


def with_table(text: str, shown: str) -> str:
    """A text with another table between its two comments."""
    before, behind = text.split(BEGIN)
    return f"{before}{BEGIN}\n{shown}\n{END}{behind.split(END)[1]}"


def prepare(city: str) -> None:
    """Draw a city and prepare its tiles, once."""
    from mobanet.data.datamodule import RasterDataModule
    from mobanet.synthetic import synthesize

    folder, part = WORK / city, WORK / f"{city}.part"
    if not folder.is_dir():
        # Hunan's tiles are 256 pixels
        size = (TILES, TILE_SIZE) if layout_of(city) == "potsdam" else (4 * TILES, 256)
        synthesize(layout_of(city), part, *size, seed=CITY_SEED)
        if city == "redundant":
            tint(part)
        part.rename(folder)
    RasterDataModule(str(folder), layout_of(city), modalities=modalities_of(city)).prepare_data()


def tint(folder: Path) -> None:
    """Give the classes colours of their own, on top of their materials', so that one sensor tells what another does."""
    import rasterio

    for label_path in sorted((folder / "5_Labels_all").glob("*.tif")):
        with rasterio.open(label_path) as file:
            label = file.read()
        added = np.zeros((4, *label.shape[1:]), np.int16)
        for colour, tints in TINTS.items():
            here = (label == np.array(colour, np.uint8)[:, None, None]).all(0)
            added[:, here] = np.array(tints, np.int16)[:, None]
        for name, bands in BANDS.items():
            path = folder / name / label_path.name.replace("label", name.split("_")[-1])
            with rasterio.open(path) as file:
                pixels, profile = file.read(), file.profile
            with rasterio.open(path, "w", **profile) as file:
                file.write(np.clip(pixels.astype(np.int16) + added[list(bands)], 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
