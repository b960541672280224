"""What an evaluation, and what is made of its figures, asks of the module that is evaluated."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from mobanet.data.description import DataDescription
from mobanet.models.base import SegmentationModel
from mobanet.models.inputs import ModelBatch
from mobanet.models.registry import NetworkSettings
from mobanet.scenarios.scenario import Scenario

# `evaluation` imports this module: at run time they would go in a circle
if TYPE_CHECKING:
    from mobanet.evaluation.evaluation import Evaluation


class Loss(Protocol):
    """A loss of logits (B, K, H, W), label (B, H, W) and class weights (K,) or None."""

    @property
    def at_hand(self) -> bool:
        """Whether it can be computed."""

    def __call__(self, logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, a scalar."""


# properties: attributes of a protocol could be set, and mypy asks of them the very type, not a subclass
class Evaluated(Protocol):
    """A LightningModule that has an `Evaluation`."""

    @property
    def network(self) -> SegmentationModel:
        """The model."""

    @property
    def data(self) -> DataDescription:
        """Modalities and classes."""

    @property
    def settings(self) -> NetworkSettings:
        """Of the network."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """Those of the data that are sampled, the last the full one (`usual_scenarios`)."""

    @property
    def evaluation(self) -> "Evaluation":
        """Scenarios by stage, and what was found in them."""

    @property
    def pixel_loss(self) -> Loss:
        """That is trained with."""

    @property
    def temperatures(self) -> Tensor:
        """One for each of `scenarios`, (S,); NaN where none was fitted."""

    @property
    def known_temperatures(self) -> dict[str, float]:
        """Those that were fitted, by name of the scenario."""

    @property
    def trainer(self) -> Trainer:
        """That evaluates."""

    @property
    def device(self) -> torch.device:
        """That the module is on."""

    @property
    def log(self) -> Callable[..., None]:
        """As Lightning's."""

    def predict_scenarios(self, batch: ModelBatch, scenarios: Sequence[Scenario]) -> Iterator[Tensor]:
        """Logits of a batch in each scenario, one after the other."""


def evaluated(module: LightningModule) -> Evaluated:
    """What a hook is handed, by what it has: Lightning's hooks name the base, and nothing else is trained here."""
    return cast(Evaluated, module)
