"""A recipe that fits data and machine: the recommended experiment, with sizes and a backbone chosen for them."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobanet.datasets.cells import count_along
from mobanet.errors import UserError
from mobanet.own_data.looks import ModalityLook
from mobanet.plain.wording import shorten
from mobanet.plain.yaml_files import read_yaml
from mobanet.shipped import experiment_folder

RECOMMENDED = "potsdam_irrgb_dsm"
SMALL = "synthetic_irrgb_dsm"
"""Experiments that recipes are taken from: on a GPU, and without one."""

COARSE = 2.0
"""Metres a pixel, from which on half the crop shows as much ground as is of use."""

TILES = 20
"""Into at least so many a mosaic is cut."""

LARGEST, SMALLEST = 4096, 64
"""Pixels a side of the tiles that a mosaic is cut into."""

_ROUNDED = 256
"""Pixels from which on tiles have round numbers of them."""

_PATCH = {RECOMMENDED: 14, SMALL: 6}
_MEMORY = ((36.0, 1), (18.0, 2), (0.0, 4))
"""GB of a GPU, and over how many steps the recipe's batch is spread."""

_STEPS, _EPOCHS = {RECOMMENDED: 1000, SMALL: 100}, {RECOMMENDED: 50, SMALL: 10}
_FEWEST_STEPS = 20
_HELD_OUT = 0.15


@dataclass(frozen=True)
class Machine:
    """What the experiment is to run on.

    Attributes:
        memory: GB of its GPU; infinite where that is not known, None for no GPU.
        name: of the GPU; empty where there is none, or it is another machine's.
    """

    memory: float | None
    name: str = ""


@dataclass(frozen=True)
class Chosen:
    """A setting and why it is so; the reason is empty where the recipe's own comment says enough."""

    value: Any
    why: str = ""


@dataclass(frozen=True)
class TrainingRecipe:
    """Settings of an experiment beside those of the data set itself, by their key."""

    base: str
    trainer: dict[str, Chosen]
    data: dict[str, Chosen]
    scenarios: Chosen
    model: dict[str, Chosen]


def choose_recipe(looks: Sequence[ModalityLook], smallest: int, ground: int, machine: Machine) -> TrainingRecipe:
    """The recipe; tiles that are too small to train on are refused.

    Args:
        looks: of the modalities, the one that sets the grid first.
        smallest: pixels of the shortest side of any tile.
        ground: pixels of the training tiles, together.
        machine: that it is for.
    """
    base = RECOMMENDED if machine.memory is not None else SMALL
    own = read_yaml(experiment_folder() / f"{base}.yaml", "an experiment")
    # augmentation is of the recommended one on any machine: the small one is fitted to cities that are drawn
    recommended = read_yaml(experiment_folder() / f"{RECOMMENDED}.yaml", "an experiment")
    crop = _crop(looks[0], base, own["data"]["crop"], smallest)
    batch, spread = _batch(own["data"]["batch_size"], machine)
    few = "" if base == RECOMMENDED else "few, since there is no GPU: for a first look"
    every = Chosen(2, "each validates all scenarios" if len(looks) > 1 else "")
    trainer = {"max_epochs": Chosen(_EPOCHS[base], few), "check_val_every_n_epoch": every}
    if spread > 1:
        trainer["accumulate_grad_batches"] = Chosen(spread, f"steps of {batch.value * spread} crops, as in the recipe")
    trainer["precision"] = Chosen("auto", "bf16-mixed where the hardware computes in it")
    optical = any(look.kind == "optical" for look in looks)
    augmentation = dict(recommended["data"]["augmentation"])
    if not optical:
        augmentation.pop("colour", None)
    data = {
        "crop": crop,
        "batch_size": batch,
        "steps_per_epoch": _steps(base, ground, crop.value, batch.value),
        "sampling": Chosen("area", "every square metre counts the same"),
        "augmentation": Chosen(augmentation, "seen from above there is no up" + ("; light differs" if optical else "")),
        "train_labels": Chosen("full"),
        "evaluation": Chosen(
            {"labels": "full"}, "windows of a crop, without overlap in validation, by half in the test"
        ),
    }
    return TrainingRecipe(base, trainer, data, _scenarios(own, looks), _model(own, base, looks))


def tile_size(shapes: Sequence[tuple[int, int]]) -> int:
    """Pixels a side of the tiles that rasters of such heights and widths are cut into, at least `TILES` of them.

    Raises:
        UserError: for rasters of which no tiles can be made that are worth it; the sentence has no subject.
    """
    total = sum(height * width for height, width in shapes)
    # the side of a square with a twentieth of the ground, so that the loop is short
    size = min(LARGEST, math.isqrt(total // TILES), *(min(shape) for shape in shapes))
    while size >= SMALLEST and sum(count_along(high, size) * count_along(wide, size) for high, wide in shapes) < TILES:
        # one by one, since the number of tiles goes up and down with how each raster's rest is rounded
        size -= 1
    if size < SMALLEST:
        words = shorten([f"{width} x {height}" for height, width in shapes], 3)
        raise UserError(
            f"has {words} pixels, of which {TILES} tiles of {SMALLEST} x {SMALLEST} cannot be cut; give larger rasters."
        )
    return size if size < _ROUNDED else size // 64 * 64  # whole squares of the store


def drawn_split(tiles: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Tiles, at least three, drawn for training, validation and test."""
    # a generator of its own: the draw is the seed's alone, whatever was drawn before
    order = np.random.default_rng(seed).permutation(len(tiles)).tolist()
    held = max(1, round(_HELD_OUT * len(tiles)))
    chosen = {"validation": order[:held], "test": order[held : 2 * held], "train": order[2 * held :]}
    return {part: [tiles[number] for number in sorted(chosen[part])] for part in ("train", "validation", "test")}


def _crop(reference: ModalityLook, base: str, usual: int, smallest: int) -> Chosen:
    patch, side = _PATCH[base], reference.side
    wanted, why = usual, f"a multiple of the backbone's {patch} pixels; windows and strides of evaluation follow"
    if side is not None and side >= COARSE:
        # down to whole patches, which half of a crop need not be
        wanted = usual // 2 // patch * patch
        why = (
            f"half the recipe's: at {side:.3g} m a pixel that is {wanted * side:.0f} m of ground; a multiple of {patch}"
        )
    if wanted > smallest:
        wanted = smallest // patch * patch
        why = f"the largest multiple of the backbone's {patch} pixels that the smallest tile of {smallest} holds"
    if wanted < 2 * patch or wanted < 16:
        least = max(2 * patch, 16)
        raise UserError(
            f"{reference.first.path} is of tiles as small as {smallest} pixels, where a crop needs {least}; give "
            "larger rasters."
        )
    return Chosen(wanted, why)


def _batch(usual: int, machine: Machine) -> tuple[Chosen, int]:
    if machine.memory is None:
        return Chosen(usual, "few, since there is no GPU"), 1
    spread = next(steps for least, steps in _MEMORY if machine.memory >= least)
    of = f"{machine.name} with {machine.memory:.0f} GB" if machine.name else f"a GPU of {_MEMORY[0][0]:.0f} GB or more"
    return Chosen(usual // spread, f"crops a step, for {of}"), spread


def _steps(base: str, ground: int, crop: int, batch: int) -> Chosen:
    """Steps in which an epoch sees about twice the ground that there is."""
    fitting = 2 * ground / (crop * crop * batch)
    # to tens, as the figure is an estimate, and is there to be read
    steps = int(min(_STEPS[base], max(_FEWEST_STEPS, 10 * math.ceil(fitting / 10))))
    why = "of an epoch, in which the training ground is seen about twice"
    if fitting > steps:
        why = f"of an epoch; about {fitting / 2:.0f} would see all of the training ground once"
    elif steps == _FEWEST_STEPS:
        why = "of an epoch, which sees the little training ground several times"
    return Chosen(steps, why)


def _scenarios(own: Mapping[str, Any], looks: Sequence[ModalityLook]) -> Chosen:
    if len(looks) == 1:
        return Chosen({"strategy": "full"}, "with a single modality there is none that could be missing")
    why = "works without some of the modalities, too (docs/missing-sensors.md); --variant full trains for all"
    return Chosen(dict(own["scenarios"]), why)


def _model(own: Mapping[str, Any], base: str, looks: Sequence[ModalityLook]) -> dict[str, Chosen]:
    # weights are of the recipe's own classes, and streams of its own sensors
    model = {key: value for key, value in deepcopy(own["model"]).items() if key not in ("class_weights", "streams")}
    optical = [look.name for look in looks if look.kind == "optical"]
    others = [look.name for look in looks if look.kind != "optical"]
    streams = {name: of for name, of in (("optical", optical), ("elevation", others)) if of}
    out = {"streams": Chosen(streams, "modalities of a kind share a stream")}
    if base == RECOMMENDED:
        why = "fetched once from the hub; --backbone FILE takes a file"
    else:
        why = (
            "small, in the package, and made for synthetic cities: for a first look without a GPU; for one, run "
            "mobanet.init with --accelerator gpu"
        )
    out["backbone"] = Chosen(model.pop("backbone"), why)
    network = model.pop("network")
    if len(looks) == 1:
        # own parts and normalisation by scenario are for samples that lack a sensor, and of one sensor none can lack
        network |= {"incomplete": "shared", "normalization": "batch"}
        model.pop("masking", None)
    out["network"] = Chosen(network)
    if len(looks) == 1 or len(streams) == 1:
        # masking takes from samples with several streams alone (`MaskingSettings`), and so would do nothing
        model["masking"] = {"ratio": 0}
    return out | {key: Chosen(value) for key, value in model.items()}
