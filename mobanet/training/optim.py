"""AdamW in two groups, and warm-up followed by a cosine (MoBaNet's recipe)."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from mobanet.errors import UserError
from mobanet.training.groups import BACKBONE_GROUP, BACKBONES, HEAD_GROUP, UNDECAYED


@dataclass
class ScheduleSettings:
    """How the learning rate moves.

    Attributes:
        warmup_epochs: epochs of linear rise.
        min_lr: what the cosine ends at.
        every: step the schedule after each `epoch`, as MoBaNet's authors do, or after each `step`.
    """

    warmup_epochs: float = 5.0
    min_lr: float = 1e-6
    every: Literal["epoch", "step"] = "epoch"

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        if self.warmup_epochs < 0:
            raise UserError(f"--model.schedule.warmup_epochs is {self.warmup_epochs}; give 0 or more.")


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    lr: float,
    backbone_lr: float,
    weight_decay: float,
    undecayed: Collection[str] = (),
) -> list[dict]:
    """Trainable parameters by learning rate and weight decay; biases and other 1-D parameters do not decay.

    Args:
        parameters: names and parameters; those of the backbone are named `backbone.…` or `encoders.…`.
        lr: of what is not the backbone.
        backbone_lr: of the backbone.
        weight_decay: of parameters with more than one dimension.
        undecayed: names of those that do not decay all the same.
    """
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


def adamw(groups: list[dict]) -> AdamW:
    """AdamW with the recipe's betas."""
    return AdamW(groups, betas=(0.9, 0.999))


def warmup_cosine(optimizer: AdamW, warmup: float, total: float, min_lr: float) -> LambdaLR:
    """Linear warm-up, then a cosine down to `min_lr`.

    Args:
        optimizer: to schedule.
        warmup: length of the rise, in units of the schedule's steps; its first step is already above 0.
        total: length of the whole.
        min_lr: the end, which no group goes below (unless its own rate is smaller).
    """

    def factor(base: float, step: int) -> float:
        if step < warmup:
            return min((step + 1) / warmup, 1.0)
        done = min((step - warmup) / max(total - warmup, 1e-9), 1.0)
        floor = min(min_lr / base, 1.0) if base > 0 else 1.0
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    bases = [group["lr"] for group in optimizer.param_groups]
    return LambdaLR(optimizer, [lambda step, base=base: factor(base, step) for base in bases])
