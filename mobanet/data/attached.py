"""The data module that a trainer was given, by its own class; Lightning sets the attribute and declares it nowhere."""

from typing import TYPE_CHECKING

from lightning.pytorch import Trainer

if TYPE_CHECKING:
    from mobanet.data.datamodule import RasterDataModule


def data_of(trainer: Trainer) -> "RasterDataModule":
    """The data module that a trainer was given."""
    return trainer.datamodule  # type: ignore[attr-defined] # see above


def give_data(trainer: Trainer, data: "RasterDataModule") -> None:
    """Have a trainer know its data module, as its verbs do at their begin."""
    trainer.datamodule = data  # type: ignore[attr-defined] # as `data_of`
