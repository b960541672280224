"""Maps of every scenario from the same windows: one confusion matrix and one stitcher each."""

from collections.abc import Sequence

from torch import Tensor, nn

from mobanet.inference.windows import Stitcher, Strip
from mobanet.scenarios.scenario import Scenario
from mobanet.training.inputs import ModelBatch
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
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        for confusion, stitcher in zip(self.confusions, self.stitchers, strict=True):
            confusion.reset()
            stitcher.reset()
        self.windows = 0
        """Windows seen by this rank."""
        self.kept = [0] * len(self.scenarios)
        """By scenario, those that have nothing of it and were evaluated with all they have."""

    def note(self, batch: ModelBatch) -> None:
        """Count windows, and those that have nothing of a scenario."""
        has = batch.available[[bool(tile) for tile in batch.tiles]].cpu()
        self.windows += len(has)
        for k, scenario in enumerate(self.scenarios):
            left = has & has.new_tensor(scenario.available)
            self.kept[k] += int((has.any(1) & ~left.any(1)).sum())

    def add(self, k: int, batch: ModelBatch, logits: Tensor) -> list[Strip]:
        """Take the logits of scenario `k`, (B, K, H, W); the rows that they finish come back, counted."""
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

    def _count(self, k: int, strips: Sequence[Strip]) -> None:
        for strip in strips:
            self.confusions[k].update(strip.prediction, strip.label)
