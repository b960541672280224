"""A few lines at the start of a run: what it trains, on what, in which precision, with which weights."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.data.attached import data_of
from mobanet.models.precision import CHECKPOINT_KEY, explained, remark, trained_precision
from mobanet.models.registry import NETWORKS
from mobanet.models.summary import count_parameters
from mobanet.training.handed import segmentation


class RunSummary(Callback):
    """Says which modalities go into which stream, which backbone is used, and how many parameters are trained.

    Also whose grid tiles have, and in which precision, which checkpoints keep: a run that goes on in another says so.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print, once, before the first step."""
        # a validation by itself is a part of other commands, which have words of their own
        if stage not in ("fit", "test"):
            return
        module = segmentation(pl_module)
        *parts, total = count_parameters(module.network)
        trained = ", ".join(f"{part.part} {part.trainable:,}" for part in parts if part.trainable)
        streams = "; ".join(f"{stream}: {', '.join(members)}" for stream, members in module.streams.items())
        kind, precision = trainer.strategy.root_device.type, str(trainer.precision)
        if protocol := getattr(data_of(trainer), "protocol", None):  # data of another kind has none
            rank_zero_info(f"grid        {protocol('validation' if stage == 'fit' else 'test').get('grid')}")
        rank_zero_info(f"streams     {streams}")
        if stage == "fit" and module.masking.ratio and len(module.streams) == 1:
            rank_zero_info("masking     none: a block of the only stream is all that its pixels have")
        own = module.settings.architecture not in NETWORKS
        network = f"network     {module.settings.architecture}, " if own else "backbone    "
        rank_zero_info(f"{network}{module.settings.described()}")
        if stage == "fit" and module.pixel_loss.described != "cross_entropy":
            rank_zero_info(f"loss        {module.pixel_loss.described}")
        rank_zero_info(f"parameters  {total.trainable:,} trained ({trained}), {total.frozen:,} frozen")
        rank_zero_info(f"precision   {explained(precision, getattr(trainer, 'asked_precision', None), kind)}")
        if note := remark(precision, kind):
            rank_zero_info(f"precision   {note}")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what `auto` became here."""
        checkpoint[CHECKPOINT_KEY] = str(trainer.precision)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say where training goes on in another precision: on other hardware, or because another was asked for."""
        before, now = trained_precision(checkpoint), str(trainer.precision)
        if trainer.training and before not in (None, now):
            rank_zero_info(f"resuming in {now} (the checkpoint was trained in {before})")
