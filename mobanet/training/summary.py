"""A few lines at the start of a run: what it trains, on what, with which weights."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.models.summary import count_parameters


class RunSummary(Callback):
    """Says which modalities go into which stream, which backbone is used, and how many parameters are trained."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print, once, before the first step."""
        if stage not in ("fit", "test"):
            return
        *parts, total = count_parameters(pl_module.network)
        trained = ", ".join(f"{part.part} {part.trainable:,}" for part in parts if part.trainable)
        streams = "; ".join(f"{stream}: {', '.join(members)}" for stream, members in pl_module.streams.items())
        rank_zero_info(f"streams     {streams}")
        if stage == "fit" and pl_module.masking.ratio and len(pl_module.streams) == 1:
            rank_zero_info("masking     none: a block of the only stream is all that its pixels have")
        rank_zero_info(f"backbone    {pl_module.settings.described()}")
        rank_zero_info(f"parameters  {total.trainable:,} trained ({trained}), {total.frozen:,} frozen")
