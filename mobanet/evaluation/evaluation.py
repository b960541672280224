"""The evaluation that a module has: every scenario from the same windows, and all figures of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn

from mobanet.data.attached import data_of
from mobanet.data.description import DataDescription
from mobanet.errors import AgreedError
from mobanet.evaluation.calibration import Reliability
from mobanet.evaluation.details import DetailScores, DetailSettings, Measures
from mobanet.evaluation.host import Evaluated, evaluated
from mobanet.evaluation.jaccard import SoftScores
from mobanet.evaluation.maps import ScenarioEvaluation, overflow_words, unlabelled_words
from mobanet.evaluation.metrics import Scores, scores
from mobanet.evaluation.scenario_summary import figures_to_log
from mobanet.evaluation.specialists import Specialists
from mobanet.evaluation.tile_matrices import stacked
from mobanet.lightning_internals import averaged_modules
from mobanet.models.base import SegmentationModel
from mobanet.models.containers import DictOf
from mobanet.models.inputs import ModelBatch
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.scenarios.failure import usual_failures
from mobanet.scenarios.scenario import Scenario, chosen_scenarios, lowered
from mobanet.stitching.windows import Strip

_PREFIX = {"validation": "val", "test": "test"}
"""Of metrics, by stage."""


@dataclass(frozen=True)
class Found:
    """What the latest evaluation of a stage has found, by scenario.

    Attributes:
        scores: figures.
        matrices: confusion matrices, (K, K).
        tiles: likewise of each tile, (T, K, K).
        tile_names: ids of these T tiles.
        reliability: how far probabilities are right.
        calibrated: the same at their temperatures, of the scenarios that have one.
        details: boundaries and objects; empty where they were not measured.
        soft: soft figures of binary targets; empty for more classes.
        windows: number of windows.
        unmasked: of these, those that have nothing of the scenario and were evaluated with all they have.
    """

    scores: dict[str, Scores]
    matrices: dict[str, Tensor]
    tiles: dict[str, Tensor]
    tile_names: list[str]
    reliability: dict[str, Reliability]
    calibrated: dict[str, Reliability]
    details: dict[str, DetailScores] = field(default_factory=dict)
    soft: dict[str, SoftScores] = field(default_factory=dict)
    windows: int = 0
    unmasked: dict[str, int] = field(default_factory=dict)


class Evaluation(nn.Module):
    """Evaluates a network by sliding windows, in as many scenarios as asked for.

    It has no weights, and nothing of it is in a state dict. It is a module because its counts have to be where the
    network is, and because an average of weights is kept in a copy of the whole module.

    Args:
        data: modalities and classes.
        compiled: whether the network's forward pass is compiled.

    Attributes:
        stages: `validation` and `test`, each with its scenarios and what is counted in them.
        found: what the latest evaluations have found, by stage.
        failures: of sensors, at which the expected mIoU is told.
        specialists: tests that a test is compared with; None for none.
        asked_details: what a test measures beside its confusion matrices; nothing unless it is set.
    """

    def __init__(self, data: DataDescription, compiled: bool = False) -> None:
        super().__init__()
        self.data, self.compiled = data, compiled
        self.stages: DictOf[ScenarioEvaluation] = DictOf()
        self.choose(validation="full", test="auto")
        self.found: dict[str, Found] = {}
        self.failures = usual_failures([m.name for m in data.modalities])
        self.specialists: Specialists | None = None
        self.asked_details = DetailSettings()
        self._measures: Measures | None = None
        self._said_unlabelled: set[str] = set()
        self._most_samples = 0  # of a batch that was evaluated

    def choose(self, **stages: str | Sequence[str]) -> None:
        """Choose the scenarios that stages evaluate: `auto`, `all`, `full`, or scenarios' names.

        Raises:
            UserError: for a name that is no scenario of the data.
        """
        options = {"validation": "--scenarios.validate", "test": "--scenarios.evaluate"}
        for stage, given in stages.items():
            chosen = chosen_scenarios(given, [m.name for m in self.data.modalities], options[stage])
            fit = stage == "validation"
            self.stages[stage] = ScenarioEvaluation(chosen, len(self.data.classes), fit)

    @property
    def asks_details(self) -> bool:
        """Whether a test measures boundaries or objects."""
        return bool(self.asked_details.distances or self.asked_details.objects)

    def begin(self, stage: str, module: Evaluated) -> None:
        """Start empty confusion matrices on equal weights everywhere."""
        evaluation = self.stages[stage]
        # what an earlier evaluation has left that was broken off
        evaluation.reset()
        self._measures = None
        if stage == "test" and self.asks_details:
            self._measures = self.asked_details.on(data_of(module.trainer).tiles("test"), self.data.classes)
        evaluation.measure(self._measures)
        # counts of details were made anew on the CPU, and stages may be chosen after the module was moved
        evaluation.to(module.device)
        if stage == "test":  # a validation fits temperatures, and has none of its own weights before
            evaluation.calibrate(module.known_temperatures)
        if module.trainer.world_size > 1:
            for buffer in module.network.buffers():  # running statistics of ranks drift apart within an epoch
                torch.distributed.broadcast(buffer, 0)

    def take(self, batch: ModelBatch, stage: str, module: Evaluated) -> list[Strip]:
        """Sum the logits of a batch over windows and count finished rows; those of the fullest scenario come back."""
        evaluation = self.stages[stage]
        evaluation.note(batch)
        strips: list[Strip] = []
        # the loop leaves behind logits and strips of the last scenario, which is the fullest
        for k, logits in enumerate(module.predict_scenarios(batch, evaluation.scenarios)):
            strips = evaluation.add(k, batch, logits)
        # logged by every rank, also one that has nothing but windows that count nowhere: the mean is over all ranks
        if module.pixel_loss.at_hand:  # of a checkpoint the user's own is not, and figures do not need it
            loss = module.pixel_loss(logits, batch.label, None)
            counted = int((batch.label != IGNORE_INDEX).flatten(1).any(1).sum())  # others have no loss, which is not 0
            module.log(f"{_PREFIX[stage]}/loss", loss, on_epoch=True, sync_dist=True, batch_size=counted)
        return strips

    def predict(self, network: SegmentationModel, batch: ModelBatch, scenarios: Sequence[Scenario]) -> Iterator[Tensor]:
        """Logits (B, K, H, W), float32, of a batch in each scenario, one after the other.

        A sample that has nothing of a scenario is predicted with all it has.
        """
        patterns = [lowered(batch.available, batch.available.new_tensor(s.available)) for s in scenarios]
        if not self.compiled:
            return (output.logits.float() for output in network.forward_each(batch.inputs, patterns))
        count = len(batch.available)
        self._most_samples = max(self._most_samples, count)
        # what is compiled is the plain forward pass, of as many samples as ever: another number would be another graph
        inputs = {name: _filled(x, self._most_samples) for name, x in batch.inputs.items()}
        outputs = (network(inputs, _filled(p, self._most_samples), auxiliary=False) for p in patterns)
        return (output.logits[:count].float() for output in outputs)

    def conclude(self, stage: str, module: Evaluated) -> None:
        """Keep and log the figures, and the temperatures that a validation has fitted.

        Raises:
            AgreedError: where a checkpoint is evaluated, and logits are not finite.
        """
        evaluation, trainer = self.stages[stage], module.trainer
        by_tile = evaluation.finish()
        each = stacked(by_tile, evaluation.tiles.shape)  # (T, S, K, K)
        tiles = {scenario.name: each[:, k] for k, scenario in enumerate(evaluation.scenarios)}
        matrices = {name: tile.sum(0) for name, tile in tiles.items()}
        # in one tensor: ranks talk once
        own = [evaluation.windows, *evaluation.unmasked, *map(int, evaluation.overflown)]
        counts = trainer.strategy.reduce(torch.tensor(own, device=module.device), reduce_op="sum").tolist()
        windows, unmasked, overflown = counts[0], counts[1 : 1 + len(matrices)], counts[1 + len(matrices) :]
        unusable = [name for name, count in zip(matrices, overflown, strict=True) if count]
        self._say_unusable(stage, module, matrices, unusable, (max(overflown), windows))
        for name in unusable:
            # NaN has a highest class as well: what was counted of it would pass for figures
            matrices[name], tiles[name] = torch.zeros_like(matrices[name]), torch.zeros_like(tiles[name])
        # a few windows are too few to fit to
        if stage == "validation" and not trainer.sanity_checking:
            fitted = {name: x for name, x in evaluation.temperatures().items() if name not in unusable}
            _take_temperatures(fitted, module)
        found = self.found[stage] = Found(
            scores={name: scores(matrix, self.data.classes) for name, matrix in matrices.items()},
            matrices=matrices,
            tiles=tiles,
            tile_names=list(by_tile),
            reliability=_or_absent(evaluation.reliability(), unusable),
            calibrated=_or_absent(evaluation.calibrated_reliability(), unusable),
            details=self._details(evaluation, unusable),
            soft={n: SoftScores.absent() if n in unusable else x for n, x in evaluation.soft_scores().items()},
            windows=windows,
            unmasked=dict(zip(matrices, unmasked, strict=True)),
        )
        self._log(stage, found, module)
        # memory of the maps is not to be held while the training goes on
        evaluation.reset()
        evaluation.measure(None)

    def _details(self, evaluation: ScenarioEvaluation, unusable: Sequence[str]) -> dict[str, DetailScores]:
        measures = self._measures
        if measures is None:
            return {}
        return {
            name: measures.scores(torch.zeros_like(counts) if name in unusable else counts)
            for name, counts in evaluation.detail_counts().items()
        }

    def _log(self, stage: str, found: Found, module: Evaluated) -> None:
        errors, calibrated = (
            {name: each.error for name, each in of.items()} for of in (found.reliability, found.calibrated)
        )
        measured = {name: each.figures() for name, each in found.details.items()}
        figures = figures_to_log(found.scores, self.data.classes, errors, self.failures, calibrated, measured)
        for name, figure in figures.items():
            # without sync_dist: counts are summed over ranks already
            module.log(f"{_PREFIX[stage]}/{name}", figure, prog_bar=name == "miou")
        # none unless targets are binary
        for fullest in list(found.soft.values())[-1:]:
            module.log(f"{_PREFIX[stage]}/soft_jaccard", fullest.jaccard)

    def _say_unusable(
        self,
        stage: str,
        module: Evaluated,
        matrices: Mapping[str, Tensor],
        unusable: Sequence[str],
        windows: tuple[int, int],
    ) -> None:
        """Say which figures there are not, and why; a run goes on without them.

        Raises:
            AgreedError: where a checkpoint is evaluated, whose figures they would be.
        """
        overflown, total = windows
        if module.trainer.sanity_checking:  # a few windows, and no figures
            return
        if unusable:
            what = overflow_words(stage, unusable, overflown, total)
            # a training goes on: float16 may overflow for a while, and a validation later be finite again
            if module.trainer.state.fn != TrainerFn.FITTING:
                half = str(module.trainer.precision).startswith("16")
                remedy = "set --trainer.precision bf16-mixed or 32-true" if half else "take another checkpoint"
                # all ranks have the same sums, and raise together
                raise AgreedError(f"{what}; {remedy}.")
            rank_zero_info(f"warning: {what}")
        # said once, not after every epoch of a run
        elif not any(int(matrix.sum()) for matrix in matrices.values()) and stage not in self._said_unlabelled:
            self._said_unlabelled.add(stage)
            rank_zero_info(f"warning: {unlabelled_words(stage, total)}")


def _or_absent(found: Mapping[str, Reliability], unusable: Sequence[str]) -> dict[str, Reliability]:
    return {name: Reliability.absent() if name in unusable else each for name, each in found.items()}


def _take_temperatures(fitted: Mapping[str, float], module: Evaluated) -> None:
    """Keep what a validation has fitted; that of earlier weights says nothing of these."""
    values = torch.tensor([fitted.get(scenario.name, math.nan) for scenario in module.scenarios])
    # an average has buffers of its own, which Lightning swaps with the module's around each validation
    for each in (module, *map(evaluated, averaged_modules(module.trainer))):
        each.temperatures.copy_(values)


def _filled(x: Tensor, count: int) -> Tensor:
    """As many samples as a whole batch has, the last one repeated: (b, ...) -> (count, ...)."""
    filled = x.new_empty((count, *x.shape[1:]))  # a graph is of strides, too, which a concatenation chooses for itself
    filled[: len(x)], filled[len(x) :] = x, x[-1:]
    return filled
