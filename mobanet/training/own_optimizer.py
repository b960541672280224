"""Optimisers and schedules of the user's own, or of torch and other packages, found by their import path."""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau, SequentialLR

from mobanet.errors import SettingError, UserError, check_setting, option_of
from mobanet.plain.import_paths import import_path_of, imported, is_import_path
from mobanet.training.made import checked_arguments, made
from mobanet.training.optim import OPTIMIZERS, OptimizerSettings, ScheduleSettings, build_optimizer, rise, scheduled

OPTIMIZER, SHAPE = "optimizer", "schedule.shape"
"""The settings that name them."""
_OURS = {"lr": "`lr`", "weight_decay": "`weight_decay`", "params": "the groups of parameters"}
"""What an optimiser is given beside its `init_args`."""


@dataclass
class OptimizerChoice:
    """An optimiser by its name, or a class by its import path.

    Args:
        settings: as in `OptimizerSettings`.
        bring_now: import what is the user's own. A checkpoint may come from anybody, and is not to choose what is
            imported; without, `bring` has to be called before anything is trained.

    Raises:
        UserError: for settings that make no sense; and what `bring` raises.
    """

    settings: OptimizerSettings
    bring_now: bool = True
    name: str = field(init=False)
    arguments: dict[str, Any] = field(init=False, default_factory=dict)
    _found: type[Optimizer] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Sort out what was given."""
        if isinstance(self.settings, type):
            path = import_path_of(self.settings)
            self._found, self.settings = _checked(self.settings, path, OPTIMIZER, Optimizer, "optimiser"), path
        self.name, self.arguments = _named(self.settings)
        if given := [key for key in _OURS if key in self.arguments]:
            raise SettingError(OPTIMIZER, f"sets {given[0]} among its init_args; leave it to {_OURS[given[0]]}.")
        if self.bring_now:
            self.bring()

    @property
    def own(self) -> bool:
        """Whether it is none of the package's."""
        return self.name not in OPTIMIZERS

    def bring(self) -> None:
        """Import what is the user's own.

        Raises:
            UserError: when it is not there, or is no optimiser.
        """
        if self.own and self._found is None:
            found = imported(self.name, option_of(OPTIMIZER))
            self._found = _checked(found, self.name, OPTIMIZER, Optimizer, "optimiser")

    def check_fused(self, fused: bool | str) -> None:
        """Refuse `--model.fused true`, which is of the package's own.

        Raises:
            UserError: where it is asked for, and the optimiser another.
        """
        check_setting(
            not self.own or fused is not True,
            "fused",
            f"true is for {' and '.join(OPTIMIZERS)}, and `{OPTIMIZER}` is {self.name}: leave it out, or give what "
            "that takes under init_args.",
        )

    def make(self, groups: Sequence[dict[str, Any]], dtype: torch.dtype = torch.float32, fused: bool = False) -> Any:
        """The optimiser of groups of parameters, each with its learning rate and weight decay.

        Args:
            groups: of `mobanet.training.optim.parameter_groups`.
            dtype: that they are trained in.
            fused: take a step in one kernel; of the package's own alone.

        Raises:
            UserError: where the user's own is not at hand, cannot be made of its arguments, or knows no weight decay.
        """
        if not self.own:
            return build_optimizer(self.name, groups, dtype, fused)
        if self._found is None:
            raise UserError(
                f"the optimiser {self.name} is code of its own, which a checkpoint does not choose: go on with "
                "mobanet.fit --ckpt_path, or give it from Python, optimizer=MyOptimizer."
            )
        # of other packages' optimisers lr may have no default, or not be there
        takes_rate = "lr" in inspect.signature(self._found).parameters
        rate = {"lr": max(group["lr"] for group in groups)} if takes_rate else {}  # each group has its own
        # without weight decay: what knows none would refuse it, and each group has its own
        optimizer = made(self._found, self.name, OPTIMIZER, self.arguments, list(groups), **rate)
        for key in ("lr", "weight_decay"):
            # torch keeps keys of groups that an optimiser does not know, and says nothing
            check_setting(
                key in optimizer.defaults or not any(group[key] for group in groups),
                OPTIMIZER,
                f"is {self.name}, which knows no {key}: set `{key}` to 0, or take another.",
            )
        return optimizer


@dataclass
class ScheduleChoice:
    """A schedule by the name of its shape, or a class by its import path behind the warm-up.

    Args:
        settings: of the schedule.
        bring_now: as of `OptimizerChoice`.

    Raises:
        UserError: as `bring`.
    """

    settings: ScheduleSettings
    bring_now: bool = True
    _found: type[LRScheduler] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Import it, if it may be."""
        if self.bring_now:
            self.bring()

    def bring(self) -> None:
        """Import what is the user's own.

        Raises:
            UserError: when it is not there, or is no schedule that goes by epochs or steps alone.
        """
        if not self.settings.own or self._found is not None:
            return
        found = imported(self.settings.shape, option_of(SHAPE))
        # an LRScheduler since torch 2.0, but its step() wants a metric
        if isinstance(found, type) and issubclass(found, ReduceLROnPlateau):
            raise SettingError(
                SHAPE,
                f"is {self.settings.shape}, which waits for a metric; take one that goes by epochs or steps, or a "
                "subclass of SegmentationModule with configure_optimizers.",
            )
        self._found = _checked(found, self.settings.shape, SHAPE, LRScheduler, "schedule")

    def make(
        self, optimizer: Optimizer, warmup: float, total: float, epoch: float, turn: float | None = None
    ) -> LRScheduler:
        """The schedule of an optimiser.

        Args:
            optimizer: to schedule.
            warmup: length of the rise, in units of the schedule's steps; behind it a schedule of the user's own begins,
                at the first whole step.
            total: length of the whole.
            epoch: length of an epoch.
            turn: as of `scheduled`.

        Raises:
            UserError: where the user's own is not at hand, cannot be made of its arguments, or would have to go
                through two stages.
        """
        settings = self.settings
        if not settings.own:
            return scheduled(optimizer, settings, warmup, total, epoch, turn)
        check_setting(
            turn is None,
            SHAPE,
            f"is {settings.shape}, which cannot begin anew where parts for incomplete samples go on alone "
            "(`scenarios.full_share` 0): choose cosine or steps, or give `scenarios.full_share` 0.5.",
        )
        if self._found is None:
            raise UserError(
                f"the schedule {settings.shape} is code of its own, which a checkpoint does not choose: go on with "
                "mobanet.fit --ckpt_path."
            )
        own = made(self._found, settings.shape, SHAPE, settings.init_args, optimizer)
        first = math.ceil(warmup)  # SequentialLR begins the next one where its count equals this
        if not first:
            return own
        return SequentialLR(optimizer, [LambdaLR(optimizer, lambda step: rise(step, warmup)), own], [first])


def _named(settings: Any) -> tuple[str, dict[str, Any]]:
    """Name, or import path, and arguments of an optimiser."""
    if isinstance(settings, Mapping):
        others = [key for key in settings if key not in ("class_path", "init_args")]
        name, arguments = settings.get("class_path"), settings.get("init_args") or {}
        if others or not isinstance(name, str):
            what = f"has {others[0]} beside class_path" if others else "has no class_path"
            raise SettingError(OPTIMIZER, f"{what}; give a name, or class_path and init_args.")
    else:
        name, arguments = settings, {}
    arguments = checked_arguments(arguments, OPTIMIZER, "{momentum: 0.9}")
    if not isinstance(name, str) or (name not in OPTIMIZERS and not is_import_path(name)):
        raise SettingError(
            OPTIMIZER,
            f"is {name}; choose one of {', '.join(OPTIMIZERS)}, or give the import path of a class, such as "
            "torch.optim.SGD.",
        )
    if name in OPTIMIZERS:
        check_setting(not arguments, OPTIMIZER, f"is {name}, which takes no init_args; leave them out.")
    return name, arguments


def _checked(found: Any, name: str, field: str, kind: type, what: str) -> Any:
    fits = isinstance(found, type) and issubclass(found, kind)
    path = f"{kind.__module__}.{kind.__name__}"
    check_setting(fits, field, f"names {name}, which is no {what}; give a subclass of {path}.")
    return found
