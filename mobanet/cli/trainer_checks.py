"""What the trainer's settings cannot mean here, said before anything is started."""

import os
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy, StrategyRegistry

from mobanet.errors import UserError
from mobanet.runs.folder import TEST_VARIABLE
from mobanet.scenarios.sampling import ScenarioSettings

_SHARDED = (FSDPStrategy, DeepSpeedStrategy, ModelParallelStrategy)


def as_list(callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    """`--trainer.callbacks`, which Lightning takes as one callback, several, or none."""
    return [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())


def shows_progress(callbacks: Sequence[Callback]) -> bool:
    """Whether one of them is a progress bar, beside which no other may stand."""
    return any(isinstance(callback, ProgressBar) for callback in callbacks)


def check_strategy(strategy: Any, scenarios: ScenarioSettings) -> None:
    """Refuse latent sampling where no process has all weights: with FSDP, DeepSpeed and tensor parallelism.

    Args:
        strategy: `--trainer.strategy`, a name or an object.
        scenarios: how training samples them.
    """
    kind = type(strategy)
    if isinstance(strategy, str):
        # by class, as one strategy has many names: fsdp, fsdp_cpu_offload, deepspeed_stage_2 …
        kind = StrategyRegistry[strategy]["strategy"] if strategy in StrategyRegistry else str
    if scenarios.strategy == "latent" and issubclass(kind, _SHARDED):
        name = strategy if isinstance(strategy, str) else kind.__name__
        raise UserError(
            "--scenarios.strategy latent measures with the whole network on every device, and --trainer.strategy "
            f"{name} shares it out; set --trainer.strategy ddp, or another --scenarios.strategy."
        )


def check_overfit(batches: float | None) -> None:
    """Refuse to train on the same batches again and again, which `--trainer.overfit_batches` asks for."""
    if batches:
        raise UserError(
            f"--trainer.overfit_batches is {batches}, but crops are drawn anew in every epoch, so that no batch comes "
            "twice; leave it out, and shorten a trial with --data.steps_per_epoch and --trainer.limit_val_batches."
        )


def check_trains(trainer: Trainer, steps: int) -> None:
    """Refuse settings under which nothing would be trained, in epochs of so many steps."""
    limit = trainer.limit_train_batches
    batches = int(limit * steps) if isinstance(limit, float) else limit
    given = {"max_epochs": trainer.max_epochs, "max_steps": trainer.max_steps, "limit_train_batches": batches and limit}
    for option, value in given.items():
        if value == 0:
            raise UserError(
                f"--trainer.{option} is {limit if option == 'limit_train_batches' else 0}, so that nothing would be "
                "trained; give more, or evaluate a checkpoint with mobanet.test."
            )


def why_unvalidated(trainer: Trainer) -> str | None:
    """The option that leaves out every validation of a run; None where there is one, at the end at the latest."""
    return "--trainer.limit_val_batches 0" if trainer.limit_val_batches == 0 else None


def check_test_follows(trainer: Trainer, checkpointing: bool, monitor: str) -> None:
    """Refuse, before training, a test of a best checkpoint that there will never be.

    Args:
        trainer: as set up.
        checkpointing: whether the run writes checkpoints.
        monitor: metric by which the best epoch is kept.
    """
    if TEST_VARIABLE not in os.environ:
        return
    why = why_unvalidated(trainer) if monitor.startswith("val/") else None
    # without any checkpoint it does not matter whether there is a validation
    why = why if checkpointing else "--trainer.enable_checkpointing false"
    if why:
        raise UserError(f"--test needs the run's best.ckpt, which {why} leaves out; drop one of them.")
