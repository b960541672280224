"""A run that diverges: it is stopped within a step or two, and no checkpoint of it replaces a good one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from mobanet.checkpoints.frozen import backbone_tensors
from mobanet.checkpoints.trained import Diverged, check_trained, sentence
from mobanet.lightning_internals import accumulates
from mobanet.training.deferred import DeferredNumber

_SKIPPED = 5  # each halves the scale: 65536 becomes 2048
"""Steps in a row that may overflow in 16-mixed: its scaler leaves them out, and the weights stay as they are."""


@dataclass(frozen=True)
class _Step:
    """A step whose loss is on its way.

    Attributes:
        epoch: from 1.
        number: of the optimiser's step, from 1.
        overflown: 1 where the loss of any of its batches, on any rank, is not finite.
    """

    epoch: int
    number: int
    overflown: DeferredNumber


class DivergenceStop(Callback):
    """Stops where the loss turns NaN or infinite, or the weights do.

    A step's loss is looked at when the next step is done, so that neither the device nor the other ranks are waited for
    (`DeferredNumber`); all ranks read the same number and stop at the same place. Weights are looked at before a
    validation, and, by the module, before a checkpoint is written: a gradient may break them while the loss is finite
    yet. `SegmentationModule` brings this callback along, whoever makes the trainer.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._awaited: _Step | None = None
        self._bad: Tensor | None = None
        self._in_a_row: list[_Step] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier fit."""
        self._begin()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the step before, and have the loss of this one looked at."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            bad = (~torch.isfinite(loss.detach())).any().to(torch.int32)
            self._bad = bad if self._bad is None else torch.maximum(self._bad, bad)
        # no step was taken: the batch is judged with those that the step will be of
        if accumulates(trainer):
            return
        self._settle(trainer)
        bad = torch.zeros((), dtype=torch.int32, device=pl_module.device) if self._bad is None else self._bad
        number = DeferredNumber(bad, ranks=trainer.world_size > 1)
        self._awaited, self._bad = _Step(trainer.current_epoch + 1, trainer.global_step, number), None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the epoch's last step."""
        self._settle(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at all that was trained before it is validated."""
        # Trainer.validate and the check before the first step come here, too
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._settle(trainer)
            check_trained(trainer, trained_state(pl_module))

    def _settle(self, trainer: Trainer) -> None:
        """Read what was awaited.

        Raises:
            Diverged: when it is not finite, and in 16-mixed several times in a row.
        """
        step, self._awaited = self._awaited, None
        if step is None:
            return
        self._in_a_row = [*self._in_a_row, step] if step.overflown.read() else []
        # 16-mixed begins with a scale of 65536 and finds one that fits by overflowing: that is no divergence
        if len(self._in_a_row) > (_SKIPPED if trainer.precision == "16-mixed" else 0):
            first = self._in_a_row[0]
            since = "" if len(self._in_a_row) == 1 else f", and in the {len(self._in_a_row) - 1} after it"
            where = f"in step {first.number} (epoch {first.epoch}){since}"
            raise Diverged(sentence(trainer, f"the loss is NaN or infinite {where}"))


def trained_state(module: LightningModule) -> dict[str, Tensor]:
    """What training changes: parameters that are not frozen, and running statistics."""
    trained = {name: x for name, x in module.named_parameters() if x.requires_grad}
    # a backbone that trains has no running statistics either: of timm's families here all normalise by layers
    frozen = backbone_tensors(dict(module.named_buffers()))
    return trained | {name: x for name, x in module.named_buffers() if name not in frozen}
