"""From a module and its trainer to scenario scores: what the callback and `mobanet.scores` share."""

import io
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mobanet.data.attached import data_of
from mobanet.errors import UserError
from mobanet.scenarios.distortion import Distortion
from mobanet.scenarios.history import ScoreRecord
from mobanet.scenarios.host import Sampled
from mobanet.scenarios.refresh import measure_distortion
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.scenarios.scores import ScenarioScores

COLUMNS = ("scenario", "distortion", "standard error", "score", "probability")


def score_module(
    trainer: Trainer,
    module: Sampled,
    settings: ScenarioSettings,
    epoch: int,
    among: Sequence[int] | None = None,
) -> tuple[ScoreRecord, ScenarioScores]:
    """Measure latent distortion with a module as it is, and score it.

    Args:
        trainer: whose strategy the module is on, with a data module that has `probe_windows`.
        module: with `network`, `scenarios`, `scenario_masks` and Lightning's transfer hooks.
        settings: number of windows, and those of the scores.
        epoch: that the weights are of.
        among: indices of the scenarios that are measured and scored, in order; None: all.

    Raises:
        UserError: when the model has diverged; on every rank.
    """
    begun = time.monotonic()
    places = [*range(len(module.scenarios))] if among is None else [*among]
    distortion = _distortion(trainer, module, settings, places)
    if not np.isfinite(distortion.mean).all():
        raise UserError(
            "the latents of training windows are not finite: training has diverged; lower --model.lr, or go on from an "
            "earlier checkpoint."
        )
    scores = settings.score(distortion.mean)
    record = ScoreRecord(
        epoch=epoch,
        scenarios=tuple(module.scenarios[place].name for place in places),
        distortion=tuple(distortion.mean.tolist()),
        standard_error=tuple(distortion.standard_error.tolist()),
        scores=tuple(scores.scores.tolist()),
        probabilities=tuple(scores.probabilities.tolist()),
        num_windows=distortion.num_windows,
        seconds=time.monotonic() - begun,
        settings=settings,
    )
    return record, scores


def _distortion(trainer: Trainer, module: Sampled, settings: ScenarioSettings, places: list[int]) -> Distortion:
    """Of the scenarios in these places, (S,) each; against the full one, whether it is among them or not."""

    def reduce(sums: Tensor) -> Tensor:
        if trainer.world_size == 1:  # the device need not have float64
            return sums
        return trainer.strategy.reduce(sums.to(module.device), reduce_op="sum").cpu()

    full = len(module.scenarios) - 1
    # Lightning enters it around its own steps only, and this runs between them
    with trainer.precision_plugin.val_step_context():
        found = measure_distortion(
            module.network,
            module.scenario_masks[places if full in places else [*places, full]],
            data_of(trainer).probe_windows(),
            settings.num_windows,
            trainer.strategy.batch_to_device,
            trainer.global_rank,
            trainer.world_size,
            reduce,
            settings.num_scenarios,
        )
    # without the full one, where it was added only to be compared with
    count = len(places)
    return replace(found, mean=found.mean[:count], standard_error=found.standard_error[:count])


def record_rows(record: ScoreRecord) -> list[list[Any]]:
    """One row a scenario, in the order of `COLUMNS`."""
    columns = (record.scenarios, record.distortion, record.standard_error, record.scores, record.probabilities)
    return [list(row) for row in zip(*columns, strict=True)]


def record_table(record: ScoreRecord) -> str:
    """The scenarios' distortion, scores and probabilities, for people."""
    shown = Table()
    shown.add_column(COLUMNS[0])
    for column in COLUMNS[1:]:
        shown.add_column(column, justify="right")
    for name, *numbers in record_rows(record):
        shown.add_row(name, *(f"{number:.4g}" for number in numbers))
    out = io.StringIO()
    # rich takes 80 where there is no terminal, such as in a log, and folds what is wider
    console = Console(file=out, width=100)
    console.print(shown)
    console.print(f"{record.num_windows} training windows, {record.seconds:.1f} s", highlight=False)
    return "\n" + out.getvalue().rstrip()
