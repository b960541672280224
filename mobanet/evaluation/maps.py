"""Maps of every scenario from the same windows: one stitcher each, and what is counted of their pixels."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mobanet.evaluation.boundary import SharedTruths
from mobanet.evaluation.calibration import Calibration, Reliability
from mobanet.evaluation.details import DetailCounts, Measures
from mobanet.evaluation.jaccard import SoftJaccard, SoftScores
from mobanet.evaluation.temperature import SAMPLED, TemperatureFit
from mobanet.evaluation.tile_matrices import TileMatrices
from mobanet.models.containers import ListOf
from mobanet.models.inputs import ModelBatch
from mobanet.scenarios.scenario import Scenario
from mobanet.stitching.windows import Stitcher, Strip


class ScenarioEvaluation(nn.Module):
    """Collects what a network says of windows in each of several scenarios.

    Args:
        scenarios: to evaluate, in the usual order.
        num_classes: K.
        fit: whether to fit a temperature to each scenario.
    """

    def __init__(self, scenarios: Sequence[Scenario], num_classes: int, fit: bool = False) -> None:
        super().__init__()
        self.scenarios = tuple(scenarios)
        self.tiles = TileMatrices(len(self.scenarios), num_classes)
        self.calibrations: ListOf[Calibration] = ListOf(Calibration() for _ in scenarios)
        # one a scenario, too: which of them have a temperature is known when an evaluation begins (`calibrate`)
        self.calibrated: ListOf[Calibration] = ListOf(Calibration() for _ in scenarios)
        self.fits: ListOf[TemperatureFit] = ListOf(TemperatureFit() for _ in (scenarios if fit else ()))
        # a plain list: no modules, whose rows lie where the logits are
        self.stitchers = [Stitcher(num_classes, SAMPLED if fit else None) for _ in scenarios]
        self.soft: ListOf[SoftJaccard] = ListOf(SoftJaccard() for _ in (scenarios if num_classes == 2 else ()))
        self.details: ListOf[DetailCounts] = ListOf()
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.tiles.reset()
        for part in (*self.stitchers, *self.calibrations, *self.calibrated, *self.fits, *self.soft, *self.details):
            part.reset()
        self.windows = 0
        """Windows seen by this rank."""
        self.unmasked = [0] * len(self.scenarios)
        """By scenario, those that have nothing of it and were evaluated with all they have."""
        self.overflown: list[int | Tensor] = [0] * len(self.scenarios)
        """By scenario, those whose logits are NaN or infinite; stays on the device until it is asked for."""

    def calibrate(self, temperatures: Mapping[str, float]) -> None:
        """Count how far probabilities are right at temperatures, too, by name of the scenarios that have one."""
        for scenario, stitcher in zip(self.scenarios, self.stitchers, strict=True):
            stitcher.temperature = temperatures.get(scenario.name)

    def measure(self, measures: Measures | None) -> None:
        """Count boundaries and objects, too; None for neither."""
        truths = SharedTruths(len(self.scenarios))
        counts = [] if measures is None else [DetailCounts(measures, truths) for _ in self.scenarios]
        # made anew, as distances in pixels are those of the tiles at hand
        self.details = ListOf(counts)

    def note(self, batch: ModelBatch) -> None:
        """Count windows, and those that have nothing of a scenario."""
        # a window without a tile fills up the share of a rank, and counts nowhere
        has = batch.available[[bool(tile) for tile in batch.tiles]].cpu()
        self.windows += len(has)
        for k, scenario in enumerate(self.scenarios):
            left = has & has.new_tensor(scenario.available)
            self.unmasked[k] += int((has.any(1) & ~left.any(1)).sum())

    def add(self, k: int, batch: ModelBatch, logits: Tensor) -> list[Strip]:
        """Take the logits of scenario `k`, (B, K, H, W); the rows that they finish come back, counted."""
        there = [bool(tile) for tile in batch.tiles]
        if len(self.soft):
            self.soft[k].update(logits[there], batch.label[there])
        counted = torch.tensor(there, device=logits.device)
        # added up on the device: int() would wait for it in every batch
        self.overflown[k] += (counted & ~torch.isfinite(logits).flatten(1).all(1)).sum()
        windows, extents = batch.windows.tolist(), batch.extents.tolist()
        strips = []
        for i, tile in enumerate(batch.tiles):
            if tile:
                window, extent = tuple(windows[i]), tuple(extents[i])
                strips += self.stitchers[k].add(tile, extent, window, logits[i], batch.label[i])
        self._count(k, strips)
        return strips

    def finish(self) -> dict[str, Tensor]:
        """The confusion matrices of every tile, (S, K, K) on the CPU, of the tiles of all ranks."""
        for k, stitcher in enumerate(self.stitchers):
            self._count(k, stitcher.finish())
        for counts in self.details:
            counts.update(None)
        return self.tiles.gathered()

    def reliability(self) -> dict[str, Reliability]:
        """How far the probabilities of each scenario are right, over all ranks; once all is finished."""
        return {
            s.name: Reliability.of(each.compute()) for s, each in zip(self.scenarios, self.calibrations, strict=True)
        }

    def calibrated_reliability(self) -> dict[str, Reliability]:
        """The same at their temperatures, of the scenarios that have one."""
        each = zip(self.scenarios, self.stitchers, self.calibrated, strict=True)
        return {s.name: Reliability.of(c.compute()) for s, stitcher, c in each if stitcher.temperature is not None}

    def temperatures(self) -> dict[str, float]:
        """What is fitted to each scenario, over all ranks, NaN without a labelled pixel; once all is finished."""
        return {s.name: fit.compute() for s, fit in zip(self.scenarios, self.fits, strict=False)}  # no fits in a test

    def soft_scores(self) -> dict[str, SoftScores]:
        """Of binary targets, the scenario paper's figures of each scenario; empty otherwise."""
        return {s.name: soft.compute() for s, soft in zip(self.scenarios, self.soft, strict=False)}

    def detail_counts(self) -> dict[str, Tensor]:
        """What was counted of boundaries and objects in each scenario, over all ranks; empty unless asked for."""
        return {s.name: counts.compute() for s, counts in zip(self.scenarios, self.details, strict=False)}

    def _count(self, k: int, strips: Sequence[Strip]) -> None:
        for strip in strips:
            self.tiles.add(strip.tile, k, strip.prediction, strip.label)
            self.calibrations[k].update(strip.confidence, strip.prediction, strip.label)
            if strip.calibrated is not None:
                self.calibrated[k].update(strip.calibrated, strip.prediction, strip.label)
            if strip.sample is not None:
                self.fits[k].update(*strip.sample)
            if len(self.details):
                self.details[k].update(strip)


def overflow_words(stage: str, scenarios: Sequence[str], windows: int, total: int) -> str:
    """That so many windows of a stage have no figures in some scenarios, as their logits are not finite."""
    shown = f"{', '.join(scenarios[:3])}{', …' if len(scenarios) > 3 else ''}"
    return (
        f"the logits of {windows} of the {total} {stage} windows are NaN or infinite in {shown}, so that there are no "
        "figures of that"
    )


def unlabelled_words(stage: str, total: int) -> str:
    """That there are no figures, as none of the windows of a stage has a labelled pixel."""
    kept = " and no best.ckpt" if stage == "validation" else ""
    return (
        f"none of the {total} {stage} windows has a labelled pixel, so that there are no figures{kept}; look at the "
        "labels of these tiles, or choose others with --data.split"
    )
