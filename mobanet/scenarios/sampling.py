"""Which scenario each training sample sees: the strategies and the draws (arXiv 2605.20372)."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from mobanet.errors import UserError
from mobanet.scenarios.draws import sent
from mobanet.scenarios.scenario import lowered
from mobanet.scenarios.scores import ScoreSettings

Strategy = Literal["full", "uniform", "latent", "fixed"]


@dataclass
class ScenarioSettings(ScoreSettings):
    """Missing modalities in training and evaluation."""

    strategy: Strategy = "full"
    """Which scenario a training sample sees: always the full one, each alike, by latent distortion, or as given."""

    probabilities: str | dict[str, float] | list[float] | None = None
    """Of the strategy fixed: a JSON file that mobanet.scores wrote, or numbers by scenario, such as {rgb+dsm: 1}."""

    warmup_epochs: int = 0
    """Epochs on the full scenario before the strategy begins."""

    every_n_epochs: int | None = 1
    """Epochs from one recomputation of latent's probabilities to the next; null computes them once."""

    num_windows: int | Literal["auto"] = 192
    """Training windows that distortion is measured on; auto: until its standard error is under a tenth of it."""

    evaluate: str | list[str] = "auto"
    """Scenarios that a test reports: all, full, or names such as rgb,rgb+dsm; auto: all of up to five modalities, of
    more the single ones, all but one, and all."""

    validate: str | list[str] = "auto"
    """Scenarios that are evaluated after each epoch, as with evaluate; auto: full where strategy is, otherwise those of
    a test, which costs as many validations as there are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strategy not in get_args(Strategy):
            raise UserError(f"--scenarios.strategy is {self.strategy}; choose one of {', '.join(get_args(Strategy))}.")
        if (self.strategy == "fixed") != (self.probabilities is not None):
            raise UserError(
                "--scenarios.strategy fixed and --scenarios.probabilities go together; give a JSON file that "
                "mobanet.scores wrote, or numbers by scenario."
            )
        if isinstance(self.warmup_epochs, bool) or self.warmup_epochs < 0:
            raise UserError(f"--scenarios.warmup_epochs is {self.warmup_epochs}; give a number of at least 0.")
        if self.every_n_epochs is not None and self.every_n_epochs < 1:
            raise UserError(
                f"--scenarios.every_n_epochs is {self.every_n_epochs}; give at least 1, or null to compute them once."
            )
        if self.num_windows != "auto" and (isinstance(self.num_windows, str) or self.num_windows < 2):
            raise UserError(f"--scenarios.num_windows is {self.num_windows}; give a number of at least 2, or auto.")

    @property
    def validated(self) -> str | list[str]:
        """What `validate` comes to."""
        return "full" if self.validate == "auto" and self.strategy == "full" else self.validate

    def monitor(self, scenarios: int) -> str:
        """The figure that the best epoch is kept by unless another is asked for: of what training samples.

        Args:
            scenarios: number of those that are validated.
        """
        return "val/miou" if self.strategy == "full" or scenarios == 1 else "val/scenarios/mean_miou"


def draw_availability(probabilities: Tensor, masks: Tensor, available: Tensor, generator: torch.Generator) -> Tensor:
    """What is left of each sample's modalities in a scenario drawn for it.

    Args:
        probabilities: (S,), of the scenarios; not necessarily summing to one exactly.
        masks: (S, M) bool, the scenarios' availability.
        available: (B, M) bool, what the data has.
        generator: on the CPU; all draws come from it, so that they are the same on every device.

    Returns:
        (B, M) bool; a sample whose scenario leaves it nothing keeps all that its data has.
    """
    u = sent(torch.rand(len(available), generator=generator, dtype=torch.float32), probabilities.device)
    bounds = probabilities.float().cumsum(0)
    # u < 1, and the last bound is exactly 1: a scenario of probability 0 is never drawn
    drawn = torch.searchsorted(bounds / bounds[-1], u, right=True)  # (B,)
    return lowered(available, masks[drawn])
