"""Which scenario each training sample sees: the strategies and the draws (arXiv 2605.20372)."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mobanet.errors import SettingError, check_setting, option_of
from mobanet.models.draws import rounding, sent
from mobanet.scenarios.failure import USUAL
from mobanet.scenarios.scenario import Scenario, chosen_scenarios, lowered
from mobanet.scenarios.scores import ScoreSettings

Strategy = Literal["full", "uniform", "latent", "fixed"]

_OFF = 2.0**-13
"""How far, in samples, places stay away from whole numbers of them, where float32 could put them on either side."""


@dataclass
class ScenarioSettings(ScoreSettings):
    """Missing modalities in training and evaluation."""

    strategy: Strategy = "full"
    """Which scenario a training sample sees: always the full one, each alike, by latent distortion, or as given."""

    probabilities: str | dict[str, float] | list[float] | None = None
    """Of the strategy fixed: a JSON file that mobanet.scores wrote, or numbers by scenario, such as {rgb+dsm: 1}."""

    sampled: str | list[str] = "auto"
    """Scenarios that uniform and latent draw from: all, full, single (one sensor each), all_but_one, or names such as
    rgb,rgb+dsm; auto: those of a test."""

    full_share: float | None = None
    """Share of every batch, to whole samples up or down, that sees all its data has; the rest is drawn from the
    incomplete scenarios by the strategy. With --model.network.incomplete own, or normalization scenario, it is a share
    of the batches; with own, these are complete or have no complete sample, and of 0, what sees complete samples learns
    in the warm-up and then stays as it is, and the learning rate goes through its schedule in either stage. null draws
    every sample by itself, as the paper does, or with normalization scenario every batch."""

    warmup_epochs: float = 0
    """Epochs on the full scenario before the strategy begins; below 1, their share of the run's epochs."""

    every_n_epochs: int | None = 1
    """Epochs from one recomputation of latent's probabilities to the next; null computes them once."""

    num_windows: int | Literal["auto"] = 192
    """Training windows that distortion is measured on; auto: until its standard error is under a tenth of it."""

    num_scenarios: int | None = 16
    """Incomplete scenarios that distortion is measured in on each of these windows, all in turn, so that a refresh of
    five modalities (30 of them) costs about as much as one of four (14); null: all."""

    evaluate: str | list[str] = "auto"
    """Scenarios that a test reports: all, full, single, all_but_one, or names such as rgb,rgb+dsm; auto: all of up to
    five modalities, of more single,all_but_one,full."""

    validate: str | list[str] = "auto"
    """Scenarios that are evaluated after each epoch, as with evaluate; auto: full where strategy is, otherwise those of
    a test, which costs as many validations as there are."""

    failure: float | list[float] | dict[str, float] | str = field(default_factory=lambda: [*USUAL])
    """Probability that a sensor fails, whatever the others do, at which the expected mIoU is told: one, several such as
    [0.05, 0.1], or one a sensor such as {rgb: 0.01, dsm: 0.2}."""

    specialists: dict[str, str] | str | None = None
    """Tests to compare a test with, run folders or JSON files by scenario: under full a model trained with all sensors
    there, under others, such as rgb, one trained for that scenario alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        strategies, given = get_args(Strategy), self.strategy
        check_setting(given in strategies, "scenarios.strategy", f"is {given}; choose one of {', '.join(strategies)}.")
        check_setting(
            (given == "fixed") == (self.probabilities is not None),
            "scenarios.strategy",
            "fixed and `scenarios.probabilities` go together; give a JSON file that mobanet.scores wrote, or numbers "
            "by scenario.",
        )
        check_setting(
            self.sampled == "auto" or given in ("uniform", "latent"),
            "scenarios.sampled",
            f"is for the strategies uniform and latent, and `scenarios.strategy` is {given}: choose one of them, or "
            "leave sampled out.",
        )
        if (share := self.full_share) is not None:
            sensible = not isinstance(share, bool) and 0 <= share <= 1
            check_setting(sensible, "scenarios.full_share", f"is {share}; give a share from 0 to 1, or null for none.")
            check_setting(
                given != "full",
                "scenarios.full_share",
                f"is {share} and `scenarios.strategy` full, with which every sample sees all; choose uniform, latent "
                "or fixed for the rest.",
            )
        # 1 is an epoch, not all of the run; a bool would pass as 0 or 1
        warmup = self.warmup_epochs
        check_setting(
            not isinstance(warmup, bool) and 0 <= warmup < math.inf and (warmup <= 1 or warmup == int(warmup)),
            "scenarios.warmup_epochs",
            f"is {warmup}; give a whole number of epochs, or a share of the run below 1.",
        )
        check_setting(
            self.every_n_epochs is None or self.every_n_epochs >= 1,
            "scenarios.every_n_epochs",
            f"is {self.every_n_epochs}; give at least 1, or null to compute them once.",
        )
        windows = self.num_windows
        check_setting(
            windows == "auto" or (not isinstance(windows, str) and windows >= 2),
            "scenarios.num_windows",
            f"is {windows}; give a number of at least 2, or auto.",
        )
        check_setting(
            self.num_scenarios is None or self.num_scenarios >= 1,
            "scenarios.num_scenarios",
            f"is {self.num_scenarios}; give a number of at least 1, or null for all.",
        )

    def warmup(self, epochs: int | None) -> int:
        """Whole epochs on the full scenario before the strategy begins.

        Args:
            epochs: of the run; None where it has no end.

        Raises:
            UserError: for a share of a run without an end.
        """
        if not 0 < self.warmup_epochs < 1:
            return int(self.warmup_epochs)
        if epochs is None:
            raise SettingError(
                "scenarios.warmup_epochs",
                f"is {self.warmup_epochs}, a share of a run without an end: give a number of epochs, or "
                "`trainer.max_epochs`.",
            )
        # of a short run at least one, as a share above 0 asks for some
        return max(1, round(self.warmup_epochs * epochs))

    def drawn(self, scenarios: Sequence[Scenario]) -> list[int]:
        """Which of the scenarios the strategies uniform and latent draw from, in order.

        Args:
            scenarios: that training knows, in the usual order.

        Raises:
            UserError: for a name that is none of them, or none but the full one.
        """
        field = "scenarios.sampled"
        modalities, places = scenarios[-1].name.split("+"), {s.name: place for place, s in enumerate(scenarios)}
        # of more than five modalities a name may be of a scenario that training does not know
        names = [scenario.name for scenario in chosen_scenarios(self.sampled, modalities, option_of(field))]
        for name in names:
            if name not in places:
                raise SettingError(
                    field,
                    f"names {name}, and of {len(modalities)} modalities training knows single ones, all but one, and "
                    "all: leave it out, or put modalities that fail together into one.",
                )
        if len(scenarios) > 1 and names == [scenarios[-1].name]:
            raise SettingError(field, "names the full scenario alone: set `scenarios.strategy` full, or name others.")
        return [places[name] for name in names]

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


def with_full_share(probabilities: np.ndarray, scenarios: Sequence[Scenario], share: float | None) -> np.ndarray:
    """Probabilities of which the full scenario has a given one, and the others what they have of the rest.

    Args:
        probabilities: (S,), summing to 1.
        scenarios: all, in the usual order.
        share: of the full scenario; None leaves the probabilities as they are.

    Raises:
        UserError: where no incomplete scenario has a probability that the rest could be dealt out by.
    """
    full = np.array([scenario.full for scenario in scenarios])
    if share is None or full.all():
        return probabilities
    rest = probabilities[~full].sum()
    if share < 1 and rest == 0:
        raise SettingError(
            "scenarios.probabilities",
            f"gives no incomplete scenario a probability above 0, and `scenarios.full_share` {share} leaves them "
            f"{1 - share:g}: give some, or leave full_share out.",
        )
    # the smallest number instead of 0, which a share of 1 may leave: 0 / 0 would warn
    return np.where(full, share, (1 - share) * probabilities / max(rest, sys.float_info.min))


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


def share_availability(
    probabilities: Tensor, masks: Tensor, available: Tensor, generator: torch.Generator, at: float
) -> Tensor:
    """What is left of each sample's modalities where a batch is shared out to the scenarios.

    A scenario of probability p gets p B of the B samples, rounded up or down (systematic sampling): where half of the
    samples see everything, no batch happens to see less. With `rounding` for `at` that holds over steps, too: after n
    of them it has had p B n samples to within a few.

    Args:
        probabilities: (S,), of the scenarios; not necessarily summing to one exactly.
        masks: (S, M) bool, the scenarios' availability.
        available: (B, M) bool, what the data has.
        generator: on the CPU; which sample gets which share comes from it.
        at: from 0 to below 1, of `rounding`.

    Returns:
        (B, M) bool; a sample whose scenario leaves it nothing keeps all that its data has.
    """
    batch = len(available)
    order = torch.randperm(batch, generator=generator)
    # off the borders: a bound such as a half of the batch, in float32, may fall to either side of a place exactly on it
    places = (order + (_OFF + (1 - 2 * _OFF) * at)) / batch  # (B,)
    # the full scenario comes last in order; first here, so that its bound is its probability and no sum of others
    bounds = probabilities.flip(0).float().cumsum(0)
    drawn = torch.searchsorted(bounds / bounds[-1], sent(places.float(), bounds.device), right=True)
    return lowered(available, masks.flip(0)[drawn])


def draw_for_batch(probabilities: Tensor, masks: Tensor, available: Tensor, at: float) -> Tensor:
    """What is left of each sample's modalities in one scenario that is drawn for all of them.

    With `rounding` for `at` a scenario of probability p has had p n of n batches, to within a few.

    Args:
        probabilities: (S,), of the scenarios; not necessarily summing to one exactly.
        masks: (S, M) bool, the scenarios' availability.
        available: (B, M) bool, what the data has.
        at: from 0 to below 1, of `rounding`.

    Returns:
        (B, M) bool; a sample whose scenario leaves it nothing keeps all that its data has.
    """
    bounds = probabilities.double().cumsum(0)
    # the last bound is exactly 1, so that a scenario of probability 0 is never drawn
    drawn = torch.searchsorted(bounds / bounds[-1], at, right=True)
    return lowered(available, masks[drawn].expand(len(available), -1))


def share_batches(
    probabilities: Tensor,
    masks: Tensor,
    available: Tensor,
    generator: torch.Generator,
    seed: int,
    step: int,
    own: int,
    one_scenario: bool = False,
) -> Tensor:
    """What is left of each sample's modalities where whole batches are complete, and others have no complete sample.

    For networks that see incomplete samples with parts of their own: each set of parts then takes its steps on batches
    of the usual size, rather than on the few samples of each that are its own. Of n batches p n are complete, to one
    up or down, evenly spread; samples of the others are shared out as `share_availability` does.

    Args:
        probabilities: (S,), of the scenarios, the last of them the full one, which has the share p of the batches.
        masks: (S, M) bool, the scenarios' availability.
        available: (B, M) bool, what the data has.
        generator: on the CPU; which sample of an incomplete batch gets which share comes from it.
        seed: of an epoch, the same on every rank, as all of them see a complete batch at the same time.
        step: within the epoch.
        own: seed of an epoch and a rank, for how shares of incomplete batches are rounded.
        one_scenario: whether an incomplete batch is of one scenario, by `draw_for_batch`, rather than shared out.

    Returns:
        (B, M) bool; a sample whose scenario leaves it nothing keeps all that its data has.
    """
    shares = probabilities.double().cpu()
    p, start = float(shares[-1] / shares.sum()), rounding(seed, 0)
    # a batch is complete where the count goes up: p of them in any stretch, and no draw a step
    before, behind = (math.floor(start + n * p) for n in (step, step + 1))  # complete batches so far
    if behind > before or not shares[:-1].any():
        return available
    # the full one stays in its place, with nothing: `masks` goes by places
    rest = torch.cat([probabilities[:-1], probabilities.new_zeros(1)])
    # counted among incomplete batches: places of every other step alone would round the same shares up each time
    at = rounding(own, step - before)
    if one_scenario:
        return draw_for_batch(rest, masks, available, at)
    return share_availability(rest, masks, available, generator, at)
