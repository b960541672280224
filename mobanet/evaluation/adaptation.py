"""A checkpoint with batch statistics of its own for scenarios: when there can be one, what is kept, what it says."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mobanet
from mobanet.errors import UserError
from mobanet.evaluation.batch_statistics import BatchStatistics
from mobanet.evaluation.metrics import Scores
from mobanet.evaluation.scenario_summary import summarise
from mobanet.evaluation.scenario_table import INCOMPLETE, MEAN, expected_label
from mobanet.evaluation.temperature import TEMPERATURES
from mobanet.models.mobanet.network import MoBaNet
from mobanet.plain.schema import MismatchError, check_value
from mobanet.plain.text_tables import as_text, fitted, none_if_absent, percent
from mobanet.scenarios.failure import Failure

ADAPTED = "adapted"
"""Where a checkpoint says how it was adapted."""

_VARIANCES = ".scenario_var"
_STATISTICS = (".scenario_mean", _VARIANCES)
"""Endings of the names of statistics by scenario among weights."""

# the last is the weights that trained on, which Lightning keeps beside an average of them
_LEFT = ("optimizer_states", "lr_schedulers", "loops", "callbacks", "current_model_state")
"""Of a checkpoint, what training goes on with; an adapted one is for use."""


@dataclass(frozen=True)
class Adaptation:
    """How a checkpoint was adapted.

    Attributes:
        checkpoint: name of the file that it was made of.
        version: of this package.
        seed: of the order of training windows.
        batch_size: windows that were normalised together, about.
        windows: by incomplete scenario, training windows that its statistics were taken from.
        validation: what the validation tiles are.
        before: by scenario, mIoU on them (0..1, None where absent) with the statistics of training.
        own: the same with statistics of each incomplete scenario's own.
        kept: incomplete scenarios whose own were better and are in the checkpoint.
    """

    checkpoint: str
    version: str
    seed: int
    batch_size: int
    windows: dict[str, int]
    validation: str
    before: dict[str, float | None]
    own: dict[str, float | None]
    kept: list[str]

    @property
    def described(self) -> str:
        """In a line."""
        return (
            f"{', '.join(self.kept)} normalised by batch statistics of their own (mobanet.adapt of {self.checkpoint}, "
            f"{max(self.windows.values(), default=0)} training windows)"
        )


def adaptation(checkpoint: Mapping[str, Any]) -> Adaptation | None:
    """How a checkpoint was adapted; None where it was not."""
    found = checkpoint.get(ADAPTED)
    return None if found is None else Adaptation(**found)


def check_adaptation(checkpoint: Mapping[str, Any]) -> None:
    """Refuse a record that is not one, or speaks of other scenarios than the network.

    Raises:
        MismatchError: naming the entry.
    """
    if ADAPTED not in checkpoint:
        return
    check_value(checkpoint[ADAPTED], Adaptation, ADAPTED)
    if checkpoint[ADAPTED]["kept"] != adapted_scenarios(checkpoint):
        raise MismatchError(f"{ADAPTED}.kept", "names other scenarios than network.scenario_statistics")


def adapted_scenarios(checkpoint: Mapping[str, Any]) -> list[str]:
    """Scenarios of which a checkpoint's network has batch statistics of their own."""
    return list(checkpoint["hyper_parameters"]["network"].get("scenario_statistics", []))


def variance_trouble(state: Mapping[str, Tensor]) -> str | None:
    """What is wrong with statistics of scenarios, as a clause; None for none."""
    for name, value in state.items():
        if name.endswith(_VARIANCES) and bool((value < 0).any()):
            return f"{name} holds a variance below 0"
    return None


def without_statistics(
    settings: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Hyper-parameters and weights of an adapted checkpoint as they were before, but for its temperatures."""
    left = {name: value for name, value in state.items() if not name.endswith(_STATISTICS)}
    return {**settings, "network": {**settings["network"], "scenario_statistics": []}}, left


def check_resumes(checkpoint: Mapping[str, Any], path: str) -> None:
    """Refuse to train on from an adapted checkpoint, which has no state of a training.

    Raises:
        UserError: naming the one that it was made of.
    """
    if (record := adaptation(checkpoint)) is not None or adapted_scenarios(checkpoint):
        source = f"from {record.checkpoint}, which it was made of" if record else "from the one that it was made of"
        raise UserError(
            f"--ckpt_path {path} was adapted by mobanet.adapt and has no state of a training: go on {source}, or begin "
            "a new run with --init_from, which leaves the statistics of scenarios behind."
        )


def check_output(path: Path, checkpoint: Path) -> None:
    """Refuse a place for the adapted checkpoint where something is, or nothing can be.

    Raises:
        UserError: naming it.
    """
    if path.exists():
        # resolved: a link to the checkpoint is the checkpoint
        what = "the checkpoint itself" if path.resolve() == checkpoint.resolve() else "there already"
        raise UserError(f"{path} is {what}; name another file with --output.")
    # folders are made at the end only, and whether that will do is to be known before minutes of measuring
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"{path} cannot be written; name a file in a writable folder with --output.")


def check_adaptable(network: nn.Module, checkpoint: Mapping[str, Any], architecture: str, batch_size: int) -> None:
    """Refuse what has no batch statistics that could be taken anew.

    Raises:
        UserError: saying why.
    """
    remedy = "train it with --scenarios.strategy uniform or latent to do without a sensor"
    if not isinstance(network, MoBaNet):
        raise UserError(
            f"--model.architecture is {architecture}, whose normalisation knows no scenarios; mobanet.adapt is for "
            f"mobanet: {remedy}."
        )
    if len(network.modalities) == 1:
        raise UserError(f"the model has one modality, {next(iter(network.modalities))}, without which it has nothing.")
    if network.incomplete is not None:
        raise UserError(
            "--model.network.incomplete is own: samples that lack a sensor are seen by parts of their own, with batch "
            "statistics of their own from training; there is nothing to adapt."
        )
    if adapted_scenarios(checkpoint):
        record = adaptation(checkpoint)
        source = f"the one that it was made of, {record.checkpoint}" if record else "the one that it was made of"
        raise UserError(f"the checkpoint is adapted already; give {source}.")
    if network.one_scenario_a_batch:
        raise UserError(
            "--model.network.normalization is scenario: each scenario has batch statistics of its own from training; "
            "there is nothing to adapt."
        )
    if not network.scenario_norms():
        raise UserError(
            f"--model.network.normalization is {network.settings.normalization}: the decoder has no batch statistics "
            f"to take anew; {remedy}."
        )
    if batch_size < 2:
        raise UserError("--data.batch_size is 1, and one window has no batch statistics: set it to 2 or more.")


@dataclass(frozen=True)
class Comparison:
    """Validation figures with the statistics of training, and with each scenario's own.

    Attributes:
        before: by scenario, the last the full one.
        own: the same with own statistics of the incomplete ones.
        failures: of sensors, at which figures are expected.
    """

    before: Mapping[str, Scores]
    own: Mapping[str, Scores]
    failures: Sequence[Failure] = ()

    @property
    def full(self) -> str:
        """Name of the full scenario."""
        return list(self.before)[-1]

    @property
    def kept(self) -> list[str]:
        """Incomplete scenarios that are better with their own statistics."""
        # strictly better: of equals the statistics of training stay, and NaN on either side keeps them, too
        return [n for n, b in self.before.items() if n != self.full and self.own[n].mean_iou > b.mean_iou]

    @property
    def after(self) -> dict[str, Scores]:
        """What is left when every scenario has the better of the two."""
        return {name: self.own[name] if name in self.kept else scores for name, scores in self.before.items()}

    def check_gain(self, trained_full: bool) -> None:
        """Refuse to go on where there is nothing to be gained.

        Args:
            trained_full: whether the model saw nothing but complete samples in training.

        Raises:
            UserError: with the means.
        """
        before, own = (self._summed(figures)[INCOMPLETE] for figures in (self.before, self.own))
        if not self.kept:
            raise UserError(
                "in no incomplete scenario is the validation mIoU better with its own batch statistics; nothing was "
                "written: use the checkpoint as it is."
            )
        # statistics of a training with incomplete samples fit already: what single scenarios gain may be chance
        if not trained_full and not own > before:  # and not own <= before: NaN, of no figure, is no gain
            raise UserError(
                f"the model saw samples that lack sensors in training, and own batch statistics make their mean mIoU "
                f"no better ({percent(before)} per cent before, {percent(own)} after); nothing was written: use the "
                "checkpoint as it is."
            )

    def table(self) -> str:
        """Both, and what is kept, in per cent."""
        columns = [
            {name: scores.mean_iou for name, scores in figures.items()} | self._summed(figures)
            for figures in (self.before, self.own, self.after)
        ]
        labels = list(columns[0])
        kept = ["yes" if name in self.kept else "" for name in self.before] + [""] * (len(labels) - len(self.before))
        heads = ("before", "own\nstatistics", "after", "own\nkept")
        words = [[*map(percent, column.values())] for column in columns]
        rows = list(zip(heads, (*words, kept), strict=True))
        return as_text(
            fitted("scenario", labels, len(self.before), rows, [], 10_000),  # so wide that nothing is split
            ["validation mIoU, per cent; after: with own statistics where these are better"],
        )

    def _summed(self, figures: Mapping[str, Scores]) -> dict[str, float]:
        """The mIoU of each row behind the scenarios; NaN where there is none."""
        summary = summarise(figures, self.full, self.failures)
        rows = {MEAN: summary.mean, "worst": summary.worst, INCOMPLETE: summary.incomplete}
        rows |= {expected_label(failure): scores for failure, scores in summary.expected}
        return {label: math.nan if scores is None else scores.mean_iou for label, scores in rows.items()}


def adapted_checkpoint(
    checkpoint: Mapping[str, Any],
    statistics: BatchStatistics,
    record: Adaptation,
    temperatures: Mapping[str, float],
    scenarios: Sequence[str],
) -> dict[str, Any]:
    """The content of an adapted checkpoint: the old one's, but for what training goes on with.

    Args:
        checkpoint: the old one's.
        statistics: of the scenarios that are kept.
        record: how it came about.
        temperatures: of these scenarios, fitted with their own statistics.
        scenarios: names of all that have a temperature, in order.
    """
    state = {**checkpoint["state_dict"], **statistics.tensors(checkpoint["state_dict"], "network.")}
    fitted_anew = [temperatures.get(name, math.nan) if name in record.kept else math.nan for name in scenarios]
    # where nothing was fitted anew there is NaN, as the old temperature is of other logits
    new = torch.tensor(fitted_anew, dtype=state[TEMPERATURES].dtype)
    own = torch.tensor([name in record.kept for name in scenarios])
    state[TEMPERATURES] = torch.where(own, new, state[TEMPERATURES])
    settings = checkpoint["hyper_parameters"]
    network = {**settings["network"], "scenario_statistics": record.kept}
    return {
        **{key: value for key, value in checkpoint.items() if key not in _LEFT},
        "state_dict": state,
        "hyper_parameters": {**settings, "network": network},
        ADAPTED: asdict(record),
    }


def recorded(comparison: Comparison, statistics: BatchStatistics, **facts: Any) -> Adaptation:
    """The record of an adaptation.

    Args:
        comparison: its figures.
        statistics: of all incomplete scenarios that had windows.
        facts: `checkpoint`, `seed`, `batch_size` and `validation`.
    """
    before, own = (
        {name: none_if_absent(scores.mean_iou) for name, scores in figures.items()}
        for figures in (comparison.before, comparison.own)
    )
    windows = dict(zip(statistics.names, statistics.windows, strict=True))
    about: dict[str, Any] = {"windows": windows, "before": before, "own": own, "kept": comparison.kept}
    return Adaptation(version=mobanet.__version__, **facts, **about)
