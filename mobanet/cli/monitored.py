"""Whether the metrics that a run is steered by exist, said before training and not after the first epoch."""

from collections.abc import Sequence

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.cli.trainer_checks import why_unvalidated
from mobanet.errors import UserError
from mobanet.evaluation.metrics import scores
from mobanet.evaluation.scenario_summary import figures_to_log
from mobanet.lightning_internals import callbacks_of
from mobanet.plain.wording import did_you_mean
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.training.groups import learning_rates
from mobanet.training.module import SegmentationModule

_KNOWN_CODE = ("lightning.", "mobanet.")
"""Packages whose callbacks log nothing of their own, but for the rates of Lightning's monitor."""


class MonitorCheck(Callback):
    """Looks for the metric among those of the trial validation before the first step; no others are known by then."""

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a metric that is not logged."""
        known = [name for name in trainer.callback_metrics if name.startswith("val/")]
        # what training logs is not there before its first step
        if known and not self.monitor.startswith("train/"):
            _check(f"--monitor {self.monitor}", self.monitor, known)


def check_monitors(
    trainer: Trainer, module: SegmentationModule, sampling: ScenarioSettings, monitor: str | None
) -> None:
    """Look for what callbacks stop, save or slow down by among what the run will log.

    Nothing is certain of a callback from elsewhere, which may log metrics of its own; then nothing is looked at.

    Args:
        trainer: with all callbacks.
        module: that will be trained.
        sampling: how training samples scenarios.
        monitor: that of the command line; None where no best epoch is kept.
    """
    callbacks: Sequence[Callback] = callbacks_of(trainer)
    if not all(type(callback).__module__.startswith(_KNOWN_CODE) for callback in callbacks):
        return
    unvalidated = why_unvalidated(trainer)
    known = training_names(module, sampling) + ([] if unvalidated else validation_names(module))
    if monitor is not None and unvalidated and monitor.startswith("val/"):
        rank_zero_info(
            f"checkpoints {unvalidated} leaves out {monitor}, by which best.ckpt is kept: there is last.ckpt alone"
        )
    elif monitor is not None:
        _check(f"--monitor {monitor}", monitor, known)
    rates = any(isinstance(callback, LearningRateMonitor) for callback in callbacks)
    for callback in callbacks:
        name = getattr(callback, "monitor", None)
        # the command line's own has been looked at above
        if not isinstance(name, str) or name == monitor or (rates and name.startswith("lr-")):
            continue
        what = f"--trainer.callbacks has {type(callback).__name__} watch {name}, which"
        if unvalidated and name.startswith("val/"):
            raise UserError(f"{what} {unvalidated} leaves out; drop one of them.")
        _check(what, name, known)


def validation_names(module: SegmentationModule) -> list[str]:
    """What each validation logs."""
    evaluation, classes = module.evaluation.stages["validation"], module.data.classes
    # of no pixel: the names of its figures are those of any
    empty = scores(torch.zeros(len(classes), len(classes)), classes)
    names = [scenario.name for scenario in evaluation.scenarios]
    figures = figures_to_log(
        dict.fromkeys(names, empty), classes, dict.fromkeys(names, 0.0), module.evaluation.failures
    )
    soft = ["soft_jaccard"] if len(evaluation.soft) else []
    return [f"val/{name}" for name in ("loss", *figures, *soft)]


def training_names(module: SegmentationModule, sampling: ScenarioSettings) -> list[str]:
    """What each epoch of training logs."""
    auxiliary = [f"auxiliary_{stream}" for stream in module.streams] if getattr(module.network, "heads", None) else []
    rates = learning_rates(module.check_trainable())
    kinds = {"full": (), "latent": ("probability", "distortion")}.get(sampling.strategy, ("probability",))
    return [
        *(f"train/{name}" for name in ("loss", *module.pixel_loss.names, *auxiliary, *rates)),
        *(f"scenarios/{kind}/{scenario.name}" for kind in kinds for scenario in module.scenarios),
    ]


def _check(what: str, name: str, known: Sequence[str]) -> None:
    if name in known:
        return
    hint = did_you_mean(name, known)
    raise UserError(f"{what} is not logged{hint}: choose from {', '.join(known)}.")
