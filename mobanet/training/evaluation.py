"""Maps of every scenario from the same windows: one confusion matrix and one stitcher each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mobanet.prediction.windows import Stitcher, Strip
from mobanet.scenarios.scenario import Scenario
from mobanet.training.inputs import ModelBatch
from mobanet.training.jaccard import SoftJaccard, SoftScores
from mobanet.training.metrics import Confusion


class ScenarioEvaluation(nn.Module):
    """Collects what a network says of windows in each of several scenarios.

    Args:
        scenarios: to evaluate, in the usual order.
        num_classes: K.
    """

    def __init__(self, scenarios: Sequence[Scenario], num_classes: int) -> None:
        super().__init__()
        self.scenarios = tuple(scenarios)
        self.confusions = nn.ModuleList(Confusion(num_classes) for _ in scenarios)
        self.stitchers = [Stitcher(num_classes) for _ in scenarios]
        self.soft = nn.ModuleList(SoftJaccard() for _ in scenarios) if num_classes == 2 else nn.ModuleList()
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        for confusion, stitcher in zip(self.confusions, self.stitchers, strict=True):
            confusion.reset()
            stitcher.reset()
        for soft in self.soft:
            soft.reset()
        self.windows = 0
        """Windows seen by this rank."""
        self.kept = [0] * len(self.scenarios)
        """By scenario, those that have nothing of it and were evaluated with all they have."""
        self.overflown: list[int | Tensor] = [0] * len(self.scenarios)
        """By scenario, those whose logits are NaN or infinite; stays on the device until it is asked for."""

    def note(self, batch: ModelBatch) -> None:
        """Count windows, and those that have nothing of a scenario."""
        has = batch.available[[bool(tile) for tile in batch.tiles]].cpu()
        self.windows += len(has)
        for k, scenario in enumerate(self.scenarios):
            left = has & has.new_tensor(scenario.available)
            self.kept[k] += int((has.any(1) & ~left.any(1)).sum())

    def add(self, k: int, batch: ModelBatch, logits: Tensor) -> list[Strip]:
        """Take the logits of scenario `k`, (B, K, H, W); the rows that they finish come back, counted."""
        if len(self.soft):
            counted = [bool(tile) for tile in batch.tiles]
            self.soft[k].update(logits[counted], batch.label[counted])
        counted = torch.tensor([bool(tile) for tile in batch.tiles], device=logits.device)
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
        """The confusion matrix (K, K) of each scenario, summed over all ranks."""
        matrices = {}
        for k, (scenario, confusion) in enumerate(zip(self.scenarios, self.confusions, strict=True)):
            self._count(k, self.stitchers[k].finish())
            matrices[scenario.name] = confusion.compute().cpu()
        return matrices

    def soft_scores(self) -> dict[str, SoftScores]:
        """Of binary targets, the scenario paper's figures of each scenario; empty otherwise."""
        return {s.name: soft.compute() for s, soft in zip(self.scenarios, self.soft, strict=False)}

    def _count(self, k: int, strips: Sequence[Strip]) -> None:
        for strip in strips:
            self.confusions[k].update(strip.prediction, strip.label)


def overflow_words(stage: str, scenarios: Sequence[str], windows: int, total: int) -> str:
    """That there are no figures, as the logits are not finite.

    Args:
        stage: `validation` or `test`.
        scenarios: names of those concerned.
        windows: number of windows with such logits.
        total: number of windows.
    """
    shown = f"{', '.join(scenarios[:3])}{', …' if len(scenarios) > 3 else ''}"
    return (
        f"the logits of {windows} of the {total} {stage} windows are NaN or infinite in {shown}, so that there are no "
        "figures of that"
    )


def unlabelled_words(stage: str, total: int) -> str:
    """That there are no figures, as none of the windows has a labelled pixel.

    Args:
        stage: `validation` or `test`.
        total: number of windows.
    """
    kept = " and no best.ckpt" if stage == "validation" else ""
    return (
        f"none of the {total} {stage} windows has a labelled pixel, so that there are no figures{kept}; look at the "
        "labels of these tiles, or choose others with --data.split"
    )
