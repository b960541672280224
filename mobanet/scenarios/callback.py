"""The callback that decides, epoch by epoch, with which probability a training sample sees each scenario."""

import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from mobanet.errors import SettingError, check_setting
from mobanet.lightning_internals import (
    added_epochs,
    averaged_modules,
    callbacks_of,
    takes_statistics_anew,
    training_batches,
)
from mobanet.scenarios.history import ScoreRecord, drop_records, write_record
from mobanet.scenarios.host import Sampled
from mobanet.scenarios.probabilities import read_probabilities
from mobanet.scenarios.sampling import ScenarioSettings, with_full_share
from mobanet.scenarios.scenario import Scenario
from mobanet.scenarios.scoring import COLUMNS, record_rows, score_module

HISTORY_FILE = "scenario_scores.jsonl"


class ScenarioSampling(Callback):
    """Sets `module.scenario_probabilities`, from which `training_step` draws a scenario for every sample or batch.

    With the strategy `latent` it measures, at the start of an epoch, how far each scenario moves the model's latent,
    and turns that into probabilities (arXiv 2605.20372). Under DDP each rank measures its share of the windows. The
    model, its running statistics, all random generators and the data loaders are left as they were.

    Args:
        settings: the strategy, and what latent distortion is turned into probabilities with.
        folder: of the run, for the history `scenario_scores.jsonl`; None writes none.
    """

    def __init__(self, settings: ScenarioSettings, folder: str | Path | None = None) -> None:
        self.settings = settings
        self.history = None if folder is None else Path(folder) / HISTORY_FILE
        self._given: np.ndarray | None = None
        self._warmup = 0
        self._begun: int | None = None
        """Epoch that the strategy began in; None before."""
        self._due = True
        """Whether the module's probabilities are not of these settings yet."""

    def check(self, scenarios: tuple[Scenario, ...], network: nn.Module) -> None:
        """Refuse given probabilities that do not fit the data's scenarios, and a network's parts that never learn.

        Raises:
            UserError: naming what is wrong with them.
        """
        if self.settings.strategy == "full" and getattr(network, "incomplete", None) is not None:
            raise SettingError(
                "network.incomplete",
                "is own, and with `scenarios.strategy` full nothing is ever incomplete: set the strategy to uniform or "
                "latent, or incomplete to shared.",
            )
        if self.settings.strategy in ("uniform", "latent"):
            self.settings.drawn(scenarios)
        if self.settings.strategy == "fixed":
            assert self.settings.probabilities is not None  # as the strategy has it
            self._given = read_probabilities(self.settings.probabilities, scenarios)
            with_full_share(self._given, scenarios, self.settings.full_share)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget when the strategy began in another run; what a checkpoint says of this one is read after it."""
        if stage == "fit" and trainer.current_epoch == 0:
            self._begun = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read given probabilities, once, and settle how samples are drawn and when the strategy begins."""
        module = cast(Sampled, pl_module)
        # again, as a trainer from Python has not called it
        self.check(module.scenarios, module.network)
        module.exact_scenario_shares = self.settings.full_share is not None
        epochs = epochs_of(trainer)
        self._warmup = self._warmup_of(trainer)
        if self._warmup < self.settings.warmup(epochs):
            rank_zero_info(
                f"resuming after the warm-up on the full scenario, which ended before epoch {self._warmup + 1}: "
                f"--scenarios.warmup_epochs {self.settings.warmup_epochs:g} begins no other"
            )
        begins = self._warmup == 0 and self._begun is None and not module.has_learnt
        check_setting(
            not (begins and self._in_stages(module.network)),
            "scenarios.full_share",
            "is 0 and there is no warm-up, so that what complete samples are seen with would never learn: set "
            "`scenarios.warmup_epochs`, such as to 0.8, or begin from a trained model (--init_from).",
        )
        if self.settings.strategy != "full" and epochs is not None and self._warmup >= epochs:
            rank_zero_info(
                f"warning: --scenarios.warmup_epochs {self.settings.warmup_epochs:g} takes all of the run ({epochs}), "
                f"so that the strategy {self.settings.strategy} never begins"
            )

    def turn(self, trainer: Trainer, network: nn.Module) -> int | None:
        """The epoch at which complete samples have had their share of the run, and parts for incomplete ones go on.

        None where there is no such turn: the parts are shared, or some batches stay complete to the end.
        """
        turn = self._warmup_of(trainer)
        return turn if self._in_stages(network) and 0 < turn < (epochs_of(trainer) or math.inf) else None

    def _in_stages(self, network: nn.Module) -> bool:
        """Whether own parts for incomplete samples learn alone once the strategy has begun."""
        own = getattr(network, "incomplete", None) is not None
        return own and self.settings.strategy != "full" and self.settings.full_share == 0

    def _warmup_of(self, trainer: Trainer) -> int:
        """Epochs of the warm-up, which a run that is made longer begins no other of.

        A share of more epochs is more of them, and own parts that have parted would start once more.
        """
        warmup = self.settings.warmup(epochs_of(trainer))
        return warmup if self._begun is None else min(self._begun, warmup)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Bring the probabilities up to date before an epoch's first step.

        A run resumed within an epoch goes on with those of its checkpoint. Not `on_train_epoch_start`: Lightning
        leaves that out when it resumes from a checkpoint of an epoch's last step.
        """
        module = cast(Sampled, pl_module)
        # what lacks a sensor by itself, before own parts are there for it, is not lost on those that they will copy
        module.network.joined = trainer.current_epoch < self._warmup
        module.complete_rests = self._in_stages(module.network) and trainer.current_epoch >= self._warmup
        # what is above holds within an epoch, too: a resumed run may begin there
        if batch_idx > 0:
            return
        if trainer.is_global_zero and self.history is not None:
            drop_records(self.history, trainer.current_epoch)  # of an earlier run into the same folder
        settings, epoch = self.settings, trainer.current_epoch - self._warmup
        # before `latent` measures: of parts that have learnt nothing, a distortion says nothing
        if epoch == 0 and self._warmup:
            _part_ways(trainer, module)
        scenarios = module.scenarios
        p: np.ndarray | None = None
        if epoch < 0 or settings.strategy == "full":
            p = np.array([float(scenario.full) for scenario in scenarios])
        elif settings.strategy == "uniform":
            drawn = settings.drawn(scenarios)
            p = np.zeros(len(scenarios))
            p[drawn] = 1 / len(drawn)
        elif settings.strategy == "fixed":
            p = self._given
        elif epoch == 0 or self._due or (settings.every_n_epochs and epoch % settings.every_n_epochs == 0):
            p, self._due = self._refresh(trainer, module), False
        if p is not None and epoch >= 0 and settings.strategy in ("uniform", "fixed"):
            p = with_full_share(p, scenarios, settings.full_share)
        if epoch >= 0 and settings.strategy != "full" and self._begun is None:
            self._begun = trainer.current_epoch
        buffer = module.scenario_probabilities
        if p is not None:
            # in place: the module's copy on the CPU is told a change by it (`HostCopy`)
            buffer.copy_(torch.as_tensor(p, dtype=buffer.dtype))
        if self._in_stages(module.network) and takes_statistics_anew(trainer):
            # with averages of weights (SWA), of those for complete samples as well, which have none to come else
            buffer.copy_(buffer / 2)
            buffer[-1] = 0.5
        if settings.strategy != "full":
            values = {f"scenarios/probability/{s.name}": v for s, v in zip(scenarios, buffer.tolist(), strict=True)}
            # a batch size, for which Lightning would search the batch
            module.log_dict(values, on_step=False, on_epoch=True, batch_size=1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let own parts that have learnt nothing yet be as those of complete samples, which is the best there is.

        They start as a copy anyway: no training changes by it, and a checkpoint of the warm-up does without a sensor
        what a model of all sensors does.
        """
        if trainer.state.fn == TrainerFn.FITTING and trainer.current_epoch < self._warmup:
            _part_ways(trainer, cast(Sampled, pl_module))

    def _refresh(self, trainer: Trainer, module: Sampled) -> np.ndarray:
        places = self.settings.drawn(module.scenarios)
        record, scores = score_module(trainer, module, self.settings, trainer.current_epoch, places)
        module.log_dict(
            {f"scenarios/distortion/{name}": d for name, d in zip(record.scenarios, record.distortion, strict=True)},
            on_step=False,
            on_epoch=True,
            batch_size=1,
        )
        drawn = np.zeros(len(module.scenarios))
        # scenarios that are not drawn from are not scored either, and keep 0
        drawn[places] = scores.probabilities
        drawn = with_full_share(drawn, module.scenarios, self.settings.full_share)
        shown = ", ".join(f"{s.name} {p:.3f}" for s, p in zip(module.scenarios, drawn, strict=True) if p)
        rank_zero_info(f"scenarios   {shown}; {record.num_windows} windows, {record.seconds:.1f} s")
        if trainer.is_global_zero:
            if self.history is not None:
                write_record(self.history, record)
            _log_table(trainer, record)
        return drawn

    def state_dict(self) -> dict[str, Any]:
        """The settings, so that a resumed run can say what has changed, and when the strategy began."""
        return {**asdict(self.settings), "begun": self._begun}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Say which settings are others than those of the checkpoint; the new ones hold from the next epoch's start."""
        self._due = False
        self._begun = state_dict.get("begun")
        for field in fields(self.settings):
            old, new = state_dict.get(field.name), getattr(self.settings, field.name)
            known = field.name in state_dict  # not of an earlier version, which did what the default does
            if known and field.name not in ("evaluate", "validate") and old != new:
                rank_zero_info(f"resuming with --scenarios.{field.name} {new} (the checkpoint has {old})")
                self._due = True


def turn_of(trainer: Trainer) -> int | None:
    """`ScenarioSampling.turn` of a trainer that has one; None where it has none."""
    network = getattr(trainer.lightning_module, "network", None)
    if network is None:
        return None
    turns = (c.turn(trainer, network) for c in callbacks_of(trainer) if isinstance(c, ScenarioSampling))
    return next(turns, None)


def epochs_of(trainer: Trainer) -> int | None:
    """Epochs that a training will have, the last of them perhaps in part; None where it has no end."""
    steps = trainer.estimated_stepping_batches  # of the optimiser; as few as --trainer.max_steps says
    asked = (trainer.max_epochs or -1) - added_epochs(trainer)
    limit = asked if asked > 0 else None
    if math.isinf(steps):
        return limit
    # an epoch that --trainer.max_steps cuts short is one
    taken = math.ceil(steps / steps_per_epoch(trainer))
    return taken if limit is None else min(taken, limit)


def steps_per_epoch(trainer: Trainer) -> float:
    """Steps of the optimiser in an epoch, whose last may be of fewer batches; infinite for data without a length."""
    batches = training_batches(trainer) / trainer.accumulate_grad_batches
    return batches if math.isinf(batches) else max(math.ceil(batches), 1)


def _part_ways(trainer: Trainer, module: Sampled) -> None:
    """Let own parts copy those of complete samples, and averages of own parts what those average: both were one."""
    for each in (module, *(cast(Sampled, average) for average in averaged_modules(trainer))):
        each.network.part_ways()


def _log_table(trainer: Trainer, record: ScoreRecord) -> None:
    for logger in trainer.loggers:
        if hasattr(logger, "log_table"):  # Weights & Biases
            logger.log_table(
                "scenarios/table", columns=list(COLUMNS), data=record_rows(record), step=trainer.global_step
            )
