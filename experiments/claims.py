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
FILE` all tables, that of the first group in shorter or longer runs included; the suite checks that they are those of
the rows.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from claims_design import ARMS, CITIES, EXTRAS, GROUPS, SIZES, layout_of, modalities_of
from claims_tables import RARE, add, all_tables, frontier, read, tables, with_table

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from mobanet.scenarios.callback import ScenarioSampling
    from mobanet.training.module import SegmentationModule

WORK = Path("runs/claims")
"""Cities, and weights that other arms start from."""
TILES, TILE_SIZE, CITY_SEED = 24, 512, 11
TINTS = {  # label colour: what is added to red, green, blue and infrared in the redundant city, of 255
    (0, 0, 255): (45, -10, -25, -40),  # building
    (0, 255, 255): (-10, 25, -10, 20),  # low vegetation
    (0, 255, 0): (-40, 0, -30, -25),  # tree
    (255, 255, 0): (-20, -20, 50, 60),  # car
    (255, 0, 0): (25, -35, 35, 35),  # clutter
}
BANDS = {"2_Ortho_RGB": (0, 1, 2), "3_Ortho_IRRG": (3, 0, 1), "4_Ortho_RGBIR": (0, 1, 2, 3)}
CROP, BATCH, EPOCHS = 60, 8, 10


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
            test_stride=CROP,
            # as many windows as are quickest on a core: more leave its cache sooner, and figures are the same
            batch_size=24 if "cmx" in arm.module else 12,
            labels="eroded" if layout_of(city) == "potsdam" else "full",
        ),
        num_workers=0,
        seed=seed,
        # what an arm says itself wins
        **{"sampling": "area", **arm.data},
    )
    kinds = {"masking": MaskingSettings, "lora": LoRASettings, "cmx": CMXSettings}
    options = {name: kinds[name](**value) if name in kinds else value for name, value in arm.module.items()}
    # right before the weights are drawn, so that nothing an arm has drawn before changes them
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
    # a third of the usual windows, as an epoch has but some forty steps
    sampling = ScenarioSampling(ScenarioSettings(**arm.scenarios, num_windows=64))
    trainer = Trainer(
        max_epochs=EPOCHS,
        # nothing is chosen by a validation: the last step is tested
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
        part = path.with_suffix(f".{os.getpid()}.part")  # a file of the other name is whole
        path.parent.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(part, weights_only=True)
        part.rename(path)
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
        # the mean over all samples, of which complete ones are nothing apart
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
    # results are written while runs go on, and change no run
    return head + "+" * any(not line.endswith(".csv") for line in changed)


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
        # a folder of this name is whole, also where an earlier attempt was ended
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
                # 16 bit in between, as sums of bytes would begin anew at 256
                file.write(np.clip(pixels.astype(np.int16) + added[list(bands)], 0, 255).astype(np.uint8))


def in_order(arms: Sequence[str]) -> list[str]:
    """Each once, those first that others start from."""
    return sorted(dict.fromkeys(arms), key=lambda arm: ARMS[arm].start is not None)


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
    # by twice, since arms that go on from another train half as many
    if options.steps < EPOCHS or options.steps % (2 * EPOCHS):
        parser.error(f"--steps {options.steps}: give a multiple of {2 * EPOCHS}, twice the number of epochs")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    os.environ["OMP_NUM_THREADS"] = "1"  # a process a core
    arms = [*options.arms, *(arm for group in options.groups for arm in GROUPS[group].arms)]
    done = {(row["city"], row["arm"], int(row["seed"]), int(row["steps"])) for row in read(options.results)}
    # all arms of one seed before the next seed, so that pairs are complete whenever it is stopped
    wanted = [
        (city, arm, seed, options.steps) for seed in options.seeds for city in options.cities for arm in in_order(arms)
    ]
    left = [job for job in wanted if job not in done]
    # now rather than after an hour of other arms
    for arm in dict.fromkeys(arm for _, arm, *_ in left):
        extra = ARMS[arm].extra
        if extra and find_spec(EXTRAS[extra]) is None:
            parser.error(f"the arm {arm} needs the extra {extra}: install it with pip install -e '.[{extra}]'")
    for city in dict.fromkeys(city for city, *_ in left):
        prepare(city)
    begun = time.monotonic()
    # as by Ctrl-C, so that workers end with it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # spawned: a fork of a process in which torch and OpenCV have run threads may wait for one of these for ever
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        try:
            for number, future in enumerate(as_completed([pool.submit(trained, *job) for job in left]), 1):
                rows = future.result()
                add(options.results, rows)
                of = f"{rows[0]['arm']}, seed {rows[0]['seed']}, {rows[0]['city']}"
                minutes = (time.monotonic() - begun) / 60
                print(f"{number} of {len(left)} in {minutes:.0f} min: {of}", file=sys.stderr, flush=True)
        except BaseException:
            # else all other runs would be begun and waited for: a worker that Ctrl-C reaches ends one run by it
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in active_children():
                worker.kill()
                worker.join()
            raise
    rows = read(options.results)
    print(tables(rows, options.steps))
    if options.figure:
        frontier(rows, options.steps).savefig(options.figure, dpi=150)
    if options.readme:
        options.readme.write_text(with_table(options.readme.read_text(), tables(rows, options.steps, ["sampling"])))
    if options.page:
        options.page.write_text(with_table(options.page.read_text(), all_tables(rows, options.steps)))


if __name__ == "__main__":
    main()
