"""Weights that training has changed have to be numbers before they are written: what is said where they are not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from mobanet.checkpoints.finite import named, not_finite
from mobanet.errors import DIVERGED, AgreedError
from mobanet.lightning_internals import last_saved


class Diverged(AgreedError):
    """The loss or the weights are NaN or infinite; raised by all ranks in the same step."""


def check_trained(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Refuse weights that are not finite; to be called by all ranks.

    Raises:
        Diverged: by all ranks, where one of them has such weights.
    """
    names = not_finite(state)
    # asked of all ranks: one that stopped by itself would leave the others waiting
    if trainer.strategy.reduce_boolean_decision(not names):
        return
    which = f" ({named(names)})" if names else ""
    where = f"after step {trainer.global_step} (epoch {trainer.current_epoch + 1})"
    raise Diverged(sentence(trainer, f"weights{which} are NaN or infinite {where}"))


def sentence(trainer: Trainer, what: str) -> str:
    """What has happened, which checkpoint is the last good one, and how to go on."""
    remedy = "a lower --model.lr, --trainer.gradient_clip_val 1"
    # float16 ends at 65504, where bfloat16 has the range of float32
    remedy += ", or --trainer.precision bf16-mixed or 32-true" if str(trainer.precision).startswith("16") else ""
    good = last_good(trainer)
    if good is None:
        return f"{DIVERGED}: {what}; no checkpoint was written before: begin again with {remedy}."
    return f"{DIVERGED}: {what}; {good} is the last checkpoint from before: go on from it with {remedy}."


def last_good(trainer: Trainer) -> Path | None:
    """The newest checkpoint of the run, or the one it went on from; each was looked at before it was written."""
    told = [*map(last_saved, trainer.checkpoint_callbacks), trainer.ckpt_path or ""]
    there = [Path(path) for path in told if path and Path(path).is_file()]
    # by the file's time: best.ckpt may be many epochs older than last.ckpt
    return max(there, key=lambda path: path.stat().st_mtime, default=None)
