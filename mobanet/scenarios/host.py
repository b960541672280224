"""What the sampling of scenarios asks of the module that it is for."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from mobanet.models.base import SegmentationModel
from mobanet.scenarios.scenario import Scenario


class Sampled(Protocol):
    """A LightningModule whose training step draws scenarios.

    Attributes:
        exact_scenario_shares: whether each batch sees scenarios in these very shares.
        has_learnt: whether its weights come from a training, its own or a checkpoint's.
        complete_rests: whether what complete samples are seen with stays as it is.
    """

    exact_scenario_shares: bool
    has_learnt: bool
    complete_rests: bool

    @property
    def network(self) -> SegmentationModel:
        """The model."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """Those that are drawn from, the last the full one."""

    @property
    def scenario_masks(self) -> Tensor:
        """Their availability, (S, M) bool."""

    @property
    def scenario_probabilities(self) -> Tensor:
        """With which each is drawn, (S,)."""

    @property
    def device(self) -> torch.device:
        """That the module is on."""

    @property
    def log_dict(self) -> Callable[..., None]:
        """As Lightning's."""
