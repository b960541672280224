"""AdamW or Adam in two groups; warm-up, then a cosine (MoBaNet's recipe) or steps (the scenario paper's).

Others, by their import path, are in `mobanet.training.own_optimizer`.
"""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mobanet.errors import check_setting
from mobanet.plain.import_paths import is_import_path
from mobanet.training.groups import BACKBONE_GROUP, BACKBONES, HEAD_GROUP, UNDECAYED

OptimizerSettings = dict[str, Any] | str
"""`adamw`, `adam`, the import path of a class, or the mapping of `class_path` and `init_args`. From Python, also the
class."""

SHAPES = ("cosine", "steps")


@dataclass
class ScheduleSettings:
    """How the learning rate moves.

    Attributes:
        shape: what follows the warm-up: a `cosine` over the rest of the run, `steps`, each a `factor` lower, or a
            schedule by its import path, such as torch.optim.lr_scheduler.ExponentialLR.
        init_args: of a schedule by its import path, by name; its epochs, or steps, count from the warm-up's end.
        warmup_epochs: epochs of linear rise.
        min_lr: what the cosine ends at.
        step_epochs: epochs from one of the steps to the next.
        factor: of the learning rate at each of the steps.
        every: move along the schedule after each `epoch`, as MoBaNet's authors do, or after each `step`.
    """

    shape: str = "cosine"
    warmup_epochs: float = 5.0
    min_lr: float = 1e-6
    step_epochs: float = 5.0
    factor: float = 0.9
    every: Literal["epoch", "step"] = "epoch"
    init_args: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_setting(
            self.shape in SHAPES or is_import_path(self.shape),
            "schedule.shape",
            f"is {self.shape}; choose one of {', '.join(SHAPES)}, or give the import path of a class, such as "
            "torch.optim.lr_scheduler.ExponentialLR.",
        )
        check_setting(
            self.own or not self.init_args,
            "schedule.init_args",
            f"are for a schedule by its import path, and the shape is {self.shape}: leave them out.",
        )
        warmup, step, factor = self.warmup_epochs, self.step_epochs, self.factor
        check_setting(0 <= warmup < math.inf, "schedule.warmup_epochs", f"is {warmup}; give 0 or more.")
        # below 0 the cosine would end with steps up the gradient
        check_setting(0 <= self.min_lr < math.inf, "schedule.min_lr", f"is {self.min_lr}; give 0 or more.")
        check_setting(0 < step < math.inf, "schedule.step_epochs", f"is {step}; give a number above 0.")
        check_setting(0 < factor <= 1, "schedule.factor", f"is {factor}; give a number above 0 and up to 1.")

    @property
    def own(self) -> bool:
        """Whether it is none of the package's."""
        return self.shape not in SHAPES


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    lr: float,
    backbone_lr: float,
    weight_decay: float,
    undecayed: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Trainable parameters by learning rate and weight decay; biases and other 1-D parameters do not decay.

    Args:
        parameters: names and parameters; those of the backbone are named `backbone.…` or `encoders.…`.
        lr: of what is not the backbone.
        backbone_lr: of the backbone.
        weight_decay: of parameters with more than one dimension.
        undecayed: names of those that do not decay all the same.
    """
    # by two flags, and sorted by them below: optimisers' states are matched by the order of groups alone
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not name.endswith(".bias") and name not in undecayed
            groups.setdefault((name.split(".")[0] in BACKBONES, decays), []).append(parameter)
    return [
        {
            "params": members,
            "lr": backbone_lr if backbone else lr,
            "weight_decay": weight_decay if decays else 0.0,
            "name": f"{BACKBONE_GROUP if backbone else HEAD_GROUP}{'' if decays else UNDECAYED}",
        }
        for (backbone, decays), members in sorted(groups.items())
    ]


OPTIMIZERS: dict[str, type[Adam]] = {"adamw": AdamW, "adam": Adam}
"""Of the package: AdamW is MoBaNet's; Adam, whose weight decay is part of the gradient, the scenario paper's."""


def build_optimizer(
    name: str, groups: Iterable[dict[str, Any]], dtype: torch.dtype = torch.float32, fused: bool = False
) -> Optimizer:
    """One of `OPTIMIZERS`, with the betas that both recipes have."""
    # in float16 1e-8 is 0, as is the square of most gradients, and steps would be 0 / 0; there it is what it resolves
    eps = torch.finfo(dtype).eps if dtype == torch.float16 else 1e-8
    # not fused=False, which would switch torch's foreach implementation off, too
    return OPTIMIZERS[name](list(groups), betas=(0.9, 0.999), eps=eps, fused=fused or None)


def scheduled(
    optimizer: Optimizer,
    settings: ScheduleSettings,
    warmup: float,
    total: float,
    epoch: float,
    turn: float | None = None,
) -> LambdaLR:
    """The schedule of an optimiser.

    Args:
        optimizer: to schedule.
        settings: its shape.
        warmup: length of the rise, in units of the schedule's steps.
        total: length of the whole.
        epoch: length of an epoch.
        turn: where the second of two stages begins, each of which has the whole schedule, rise included, in its own
            length: one set of parts has learnt, and another begins. None for a single stage.
    """
    if settings.shape == "cosine":
        schedule = warmup_cosine(optimizer, warmup, total, settings.min_lr)
    else:
        # `step_epochs` are epochs, also of a schedule that moves by steps
        schedule = warmup_steps(optimizer, warmup, settings.step_epochs * epoch, settings.factor)
    if turn is not None:
        factors: list[Any] = [*schedule.lr_lambdas]  # torch says that they take whole numbers; ours take any
        schedule = LambdaLR(optimizer, [in_stages(factor, turn, total) for factor in factors])
    return schedule


def in_stages(factor: Callable[[float], float], turn: float, total: float) -> Callable[[float], float]:
    """A schedule's factor that goes through all of it twice: once up to the turn, and once from there to the end.

    Args:
        factor: of the learning rate at a step of one long stage.
        turn: above 0 and below `total`.
        total: length of the whole.
    """

    def staged(step: float) -> float:
        if step < turn:
            return factor(step * total / turn)
        # a step behind the end is behind the end there, too
        return factor((step - turn) * total / (total - turn))

    return staged


def rise(step: float, warmup: float) -> float:
    """The share of the learning rate within a linear warm-up, whose first step is already above 0."""
    # the last step of a warm-up that is no whole number of them would be above the learning rate
    return min((step + 1) / warmup, 1.0)


def warmup_cosine(optimizer: Optimizer, warmup: float, total: float, min_lr: float) -> LambdaLR:
    """Linear warm-up, then a cosine down to `min_lr`.

    Args:
        optimizer: to schedule.
        warmup: length of the rise, in units of the schedule's steps; its first step is already above 0.
        total: length of the whole.
        min_lr: the end, which no group goes below (unless its own rate is smaller).
    """

    def factor(base: float, step: float) -> float:
        if step < warmup:
            return rise(step, warmup)
        # a warm-up may be all there is, which would be 0 / 0
        done = min((step - warmup) / max(total - warmup, 1e-9), 1.0)
        # LambdaLR multiplies each group's own rate, and min_lr is the same for all
        floor = min(min_lr / base, 1.0) if base > 0 else 1.0
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    # a function for each: a lambda within the comprehension would see the last rate alone
    def of(base: float) -> Callable[[float], float]:
        return lambda step: factor(base, step)

    return LambdaLR(optimizer, [of(group["lr"]) for group in optimizer.param_groups])


def warmup_steps(optimizer: Optimizer, warmup: float, length: float, share: float) -> LambdaLR:
    """Linear warm-up, then the whole learning rate, `share` of it after `length`, `share` squared after twice that.

    Args:
        optimizer: to schedule.
        warmup: length of the rise, in units of the schedule's steps; its first step is already above 0.
        length: of each level.
        share: of a level in the one before it.
    """

    def factor(step: float) -> float:
        if step < warmup:
            return rise(step, warmup)
        return share ** math.floor((step - warmup) / length + 1e-9)  # whole epochs may be sums of thirds of a step

    return LambdaLR(optimizer, factor)
