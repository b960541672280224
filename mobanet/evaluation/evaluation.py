"""The evaluation half of the LightningModule: every scenario from the same windows, and all figures of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from mobanet.checkpoints.averaging import averaged_modules
from mobanet.data.description import DataDescription
from mobanet.errors import AgreedError
from mobanet.evaluation.calibration import Reliability
from mobanet.evaluation.details import DetailScores, DetailSettings, Measures
from mobanet.evaluation.jaccard import SoftScores
from mobanet.evaluation.maps import ScenarioEvaluation, overflow_words, unlabelled_words
from mobanet.evaluation.metrics import Scores, scores
from mobanet.evaluation.scenario_summary import figures_to_log
from mobanet.evaluation.specialists import Specialists
from mobanet.evaluation.temperature import TEMPERATURES, known_temperatures
from mobanet.evaluation.tile_matrices import stacked
from mobanet.lightning_internals import data_of, segmentation
from mobanet.models.base import SegmentationModel
from mobanet.models.containers import DictOf
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.scenarios.failure import usual_failures
from mobanet.scenarios.scenario import Scenario, chosen_scenarios, lowered, usual_scenarios
from mobanet.stitching.windows import Strip
from mobanet.training.inputs import ModelBatch
from mobanet.training.objective import Objective

_PREFIX = {"validation": "val", "test": "test"}
"""Of metrics, by stage."""


class EvaluatedModule(LightningModule):
    """Evaluates a network by sliding windows, in as many scenarios as asked for.

    Attributes:
        network: the model.
        data: modalities and classes.
        compile_network: whether the network's forward pass is compiled.
        pixel_loss: that is trained with.
        scenarios: those of the data that are sampled, the last the full one (`usual_scenarios`).
        scores: latest figures, by stage (`validation`, `test`) and scenario.
        matrices: latest confusion matrices, (K, K), by stage and scenario.
        tiles: likewise of each tile, (T, K, K), by stage and scenario.
        tile_names: ids of these T tiles, by stage.
        temperatures: by which probabilities are calibrated, (S,), one for each of `scenarios`, fitted at the latest
            validation of the weights at hand; NaN where there was none. Part of every checkpoint.
        reliability: how far the latest probabilities are right, by stage and scenario.
        calibrated: the same at their temperatures, of the scenarios that have one.
        failures: of sensors, at which the expected mIoU is told.
        specialists: tests that a test is compared with; None for none.
        asked_details: what a test measures beside its confusion matrices; nothing unless it is set.
        details: what the latest test has measured so, by stage and scenario; empty where nothing was.
        soft: latest soft figures of binary targets, by stage and scenario; empty for more classes.
        windows: number of windows of the latest evaluation, by stage.
        kept: of these, by stage and scenario, those that have nothing of the scenario and were evaluated with all they
            have.
    """

    network: SegmentationModel
    data: DataDescription
    compile_network: bool
    scenarios: tuple[Scenario, ...]
    pixel_loss: Objective
    temperatures: Tensor

    def prepare_evaluation(self, data: DataDescription) -> None:
        """Validate on the full scenario and test the usual ones, until `evaluate_on` says otherwise."""
        self.scenarios = usual_scenarios([m.name for m in data.modalities])
        self.evaluations: DictOf[ScenarioEvaluation] = DictOf()
        self.evaluate_on(validation="full", test="auto")
        self.scores: dict[str, dict[str, Scores]] = {}
        self.matrices: dict[str, dict[str, Tensor]] = {}
        self.tiles: dict[str, dict[str, Tensor]] = {}
        self.tile_names: dict[str, list[str]] = {}
        self.reliability: dict[str, dict[str, Reliability]] = {}
        self.calibrated: dict[str, dict[str, Reliability]] = {}
        self.register_buffer(TEMPERATURES, torch.full((len(self.scenarios),), math.nan))
        self.failures = usual_failures([m.name for m in data.modalities])
        self.specialists: Specialists | None = None
        self.asked_details = DetailSettings()
        self._measures: Measures | None = None
        self.details: dict[str, dict[str, DetailScores]] = {}
        self.soft: dict[str, dict[str, SoftScores]] = {}
        self.windows: dict[str, int] = {}
        self.kept: dict[str, dict[str, int]] = {}
        self._said_unlabelled: set[str] = set()
        self._most_samples = 0  # of a batch that was evaluated

    def evaluate_on(self, **stages: str | Sequence[str]) -> None:
        """Choose the scenarios that a stage evaluates.

        Args:
            stages: `validation` and `test`, each `auto`, `all`, `full`, or scenarios' names.

        Raises:
            UserError: for a name that is no scenario of the data.
        """
        options = {"validation": "--scenarios.validate", "test": "--scenarios.evaluate"}
        for stage, given in stages.items():
            chosen = chosen_scenarios(given, [m.name for m in self.data.modalities], options[stage])
            fit = stage == "validation"
            self.evaluations[stage] = ScenarioEvaluation(chosen, len(self.data.classes), fit)

    @property
    def known_temperatures(self) -> dict[str, float]:
        """Those of `temperatures` that were fitted, by name of the scenario."""
        return known_temperatures(self.temperatures, [scenario.name for scenario in self.scenarios])

    @property
    def asks_details(self) -> bool:
        """Whether a test measures boundaries or objects."""
        return bool(self.asked_details.distances or self.asked_details.objects)

    def on_validation_epoch_start(self) -> None:
        """Start empty confusion matrices on equal weights everywhere."""
        self._begin("validation")

    def on_test_epoch_start(self) -> None:
        """Start empty confusion matrices on equal weights everywhere."""
        self._begin("test")

    # Lightning hands on whatever a step returns, and names less
    def validation_step(self, batch: ModelBatch, batch_idx: int) -> Any:
        """Sum logits over windows and count finished rows, which come back as a list of `Strip`."""
        return self._evaluate(batch, "validation")

    def test_step(self, batch: ModelBatch, batch_idx: int) -> Any:
        """Sum logits over windows and count finished rows, which come back as a list of `Strip`."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: ModelBatch, batch_idx: int) -> dict[str, Any]:
        """Logits of the test tiles' windows, for `Trainer.predict`; whole maps are `mobanet.predict`'s.

        Returns:
            `tile`: ids; `window`: (B, 4) top, left, height, width in pixels; `logits`: (B, K, H, W) float32, each
            sample with all it has. Lightning keeps all of it in memory unless told `return_predictions=False`.
        """
        (logits,) = self.predict_scenarios(batch, self.scenarios[-1:])
        there = [bool(tile) for tile in batch.tiles]  # windows that make the ranks' shares equally long are not
        return {"tile": [*filter(None, batch.tiles)], "window": batch.windows[there], "logits": logits[there]}

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the validation tiles."""
        self._conclude("validation")

    def on_test_epoch_end(self) -> None:
        """Log the figures of the test tiles."""
        self._conclude("test")

    def _begin(self, stage: str) -> None:
        self.evaluations[stage].reset()
        self._measures = None
        if stage == "test" and self.asks_details:
            self._measures = self.asked_details.on(data_of(self.trainer).tiles("test"), self.data.classes)
        self.evaluations[stage].measure(self._measures)
        self.evaluations[stage].to(self.device)
        if stage == "test":  # a validation fits temperatures, and has none of its own weights before
            self.evaluations[stage].calibrate(self.known_temperatures)
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():  # running statistics of ranks drift apart within an epoch
                torch.distributed.broadcast(buffer, 0)

    def _evaluate(self, batch: ModelBatch, stage: str) -> list[Strip]:
        """The finished rows of the fullest scenario."""
        evaluation = self.evaluations[stage]
        evaluation.note(batch)
        strips: list[Strip] = []
        for k, logits in enumerate(self.predict_scenarios(batch, evaluation.scenarios)):
            strips = evaluation.add(k, batch, logits)
        # logged by every rank, also one that has nothing but windows that count nowhere: the mean is over all ranks
        if self.pixel_loss.at_hand:  # of a checkpoint the user's own is not, and figures do not need it
            loss = self.pixel_loss(logits, batch.label, None)
            counted = int((batch.label != IGNORE_INDEX).flatten(1).any(1).sum())  # others have no loss, which is not 0
            self.log(f"{_PREFIX[stage]}/loss", loss, on_epoch=True, sync_dist=True, batch_size=counted)
        return strips

    def predict_scenarios(self, batch: ModelBatch, scenarios: Sequence[Scenario]) -> Iterator[Tensor]:
        """Logits (B, K, H, W), float32, of a batch in each scenario, one after the other.

        A sample that has nothing of a scenario is predicted with all it has.

        Args:
            batch: on this module's device.
            scenarios: of the module's own.
        """
        patterns = [lowered(batch.available, batch.available.new_tensor(s.available)) for s in scenarios]
        if not self.compile_network:
            return (output.logits.float() for output in self.network.forward_each(batch.inputs, patterns))
        count = len(batch.available)
        self._most_samples = max(self._most_samples, count)
        # what is compiled is the plain forward pass, of as many samples as ever: another number would be another graph
        inputs = {name: _filled(x, self._most_samples) for name, x in batch.inputs.items()}
        outputs = (self.network(inputs, _filled(p, self._most_samples), auxiliary=False) for p in patterns)
        return (output.logits[:count].float() for output in outputs)

    def _conclude(self, stage: str) -> None:
        evaluation = self.evaluations[stage]
        by_tile = evaluation.finish()
        each = stacked(by_tile, evaluation.tiles.shape)  # (T, S, K, K)
        tiles = {scenario.name: each[:, k] for k, scenario in enumerate(evaluation.scenarios)}
        matrices = {name: tile.sum(0) for name, tile in tiles.items()}
        own = [evaluation.windows, *evaluation.kept, *map(int, evaluation.overflown)]
        counts = self.trainer.strategy.reduce(torch.tensor(own, device=self.device), reduce_op="sum").tolist()
        self.windows[stage], kept, overflown = counts[0], counts[1 : 1 + len(matrices)], counts[1 + len(matrices) :]
        self.kept[stage] = dict(zip(matrices, kept, strict=True))
        unusable = [name for name, count in zip(matrices, overflown, strict=True) if count]
        self._say_unusable(stage, matrices, unusable, max(overflown))
        for name in unusable:
            matrices[name], tiles[name] = torch.zeros_like(matrices[name]), torch.zeros_like(tiles[name])
        self.matrices[stage], self.tiles[stage], self.tile_names[stage] = matrices, tiles, list(by_tile)
        found = evaluation.reliability()
        self.reliability[stage] = {name: Reliability.absent() if name in unusable else x for name, x in found.items()}
        self.scores[stage] = {name: scores(matrix, self.data.classes) for name, matrix in matrices.items()}
        self.calibrated[stage] = {
            name: Reliability.absent() if name in unusable else x
            for name, x in evaluation.calibrated_reliability().items()
        }
        if stage == "validation" and not self.trainer.sanity_checking:
            fitted = evaluation.temperatures()
            self._take_temperatures({name: x for name, x in fitted.items() if name not in unusable})
        measures = self._measures
        self.details[stage] = (
            {}
            if measures is None
            else {
                name: measures.scores(torch.zeros_like(counts) if name in unusable else counts)
                for name, counts in evaluation.detail_counts().items()
            }
        )
        errors, calibrated = (
            {name: each.error for name, each in of[stage].items()} for of in (self.reliability, self.calibrated)
        )
        measured = {name: each.figures() for name, each in self.details[stage].items()}
        figures = figures_to_log(self.scores[stage], self.data.classes, errors, self.failures, calibrated, measured)
        for name, figure in figures.items():
            self.log(f"{_PREFIX[stage]}/{name}", figure, prog_bar=name == "miou")
        soft = evaluation.soft_scores()
        self.soft[stage] = {name: SoftScores.absent() if name in unusable else x for name, x in soft.items()}
        for fullest in list(self.soft[stage].values())[-1:]:
            self.log(f"{_PREFIX[stage]}/soft_jaccard", fullest.jaccard)
        evaluation.reset()
        evaluation.measure(None)

    def _take_temperatures(self, found: Mapping[str, float]) -> None:
        """Keep what a validation has fitted; that of earlier weights says nothing of these."""
        values = torch.tensor([found.get(scenario.name, math.nan) for scenario in self.scenarios])
        for module in (self, *map(segmentation, averaged_modules(self.trainer))):
            module.temperatures.copy_(values)

    def _say_unusable(self, stage: str, matrices: Mapping[str, Tensor], unusable: Sequence[str], windows: int) -> None:
        """Say which figures there are not, and why; a run goes on without them.

        Raises:
            AgreedError: where a checkpoint is evaluated, whose figures they would be.
        """
        if self.trainer.sanity_checking:  # a few windows, and no figures
            return
        if unusable:
            what = overflow_words(stage, unusable, windows, self.windows[stage])
            if self.trainer.state.fn != TrainerFn.FITTING:
                half = str(self.trainer.precision).startswith("16")
                remedy = "set --trainer.precision bf16-mixed or 32-true" if half else "take another checkpoint"
                raise AgreedError(f"{what}; {remedy}.")
            rank_zero_info(f"warning: {what}")
        elif not any(int(matrix.sum()) for matrix in matrices.values()) and stage not in self._said_unlabelled:
            self._said_unlabelled.add(stage)
            rank_zero_info(f"warning: {unlabelled_words(stage, self.windows[stage])}")


def _filled(x: Tensor, count: int) -> Tensor:
    """As many samples as a whole batch has, the last one repeated: (b, ...) -> (count, ...)."""
    filled = x.new_empty((count, *x.shape[1:]))  # a graph is of strides, too, which a concatenation chooses for itself
    filled[: len(x)], filled[len(x) :] = x, x[-1:]
    return filled
