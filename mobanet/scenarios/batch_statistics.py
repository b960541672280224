"""Batch statistics of each scenario, taken anew from windows, with all weights as they are."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn

from mobanet.data.attached import data_of
from mobanet.models.mobanet.network import MoBaNet
from mobanet.models.upernet import BatchNorm
from mobanet.scenarios.refresh import WindowSource, in_turn, summed, undisturbed
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.scenarios.scenario import Scenario, lowered, scenarios_of

_LEAST = 2
"""Samples of a batch that has statistics: of one alone, a pool of one cell would have a variance of nothing."""


@dataclass(frozen=True)
class BatchStatistics:
    """What the batch normalisations of a network see in each of several scenarios.

    Attributes:
        scenarios: S of them, those that windows were found of.
        by_norm: by name of the normalisation, (2, S, C) float64 on the CPU: means, and variances as torch counts them
            (of n values divided by n - 1), each the mean over batches of equal weight.
        windows: by scenario, how many it was taken from.
    """

    scenarios: tuple[Scenario, ...]
    by_norm: Mapping[str, Tensor]
    windows: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """Of the scenarios."""
        return [scenario.name for scenario in self.scenarios]

    def of(self, names: Sequence[str]) -> "BatchStatistics":
        """Those of some of the scenarios, in the order that they have here."""
        rows = [place for place, name in enumerate(self.names) if name in names]
        return BatchStatistics(
            tuple(self.scenarios[row] for row in rows),
            {name: values[:, rows] for name, values in self.by_norm.items()},
            tuple(self.windows[row] for row in rows),
        )

    def give_to(self, network: MoBaNet) -> None:
        """Let a network normalise samples of these scenarios by them."""
        network.know_scenarios(self.names)
        for name, norm in network.scenario_norms().items():
            # in place, and so in the buffers' own type and device
            norm.scenario_mean.copy_(self.by_norm[name][0])
            norm.scenario_var.copy_(self.by_norm[name][1])

    def move(self, network: MoBaNet) -> None:
        """Put them in the place of those that a network has learnt of these scenarios (`normalization: scenario`)."""
        assert network.with_statistics is not None  # it learns them
        rows = [network.with_statistics.tolist().index([*scenario.available]) for scenario in self.scenarios]
        for name, norm in network.scenario_norms().items():
            for kept, values in zip((norm.scenario_mean, norm.scenario_var), self.by_norm[name], strict=True):
                kept[rows] = values.to(kept)

    def tensors(self, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """As weights of a checkpoint, in the type that its running statistics have, under the network's prefix."""
        found = {}
        for name, (mean, var) in self.by_norm.items():
            found[f"{prefix}{name}.scenario_mean"] = mean.to(state[f"{prefix}{name}.running_mean"].dtype)
            found[f"{prefix}{name}.scenario_var"] = var.to(state[f"{prefix}{name}.running_var"].dtype)
        return found


def measure_statistics(
    network: MoBaNet,
    scenarios: Sequence[Scenario],
    windows: WindowSource,
    count: int,
    batch_size: int,
    prepare: Callable[[dict[str, Any]], Any],
    num_scenarios: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    reduce: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> BatchStatistics:
    """Run the same windows in each scenario, with batch normalisation as in training and everything else as in a test.

    The network is left as it was. A window counts in a scenario if it has all of it: of tiles that lack a file or a
    part there may be fewer. Scenarios that no batch has two windows of are left out.

    Args:
        network: that has no statistics of scenarios yet, or learns them.
        scenarios: incomplete ones, or any of those that it learns.
        windows: in a fixed order; the first `count` are taken.
        count: how many, at most all.
        batch_size: windows that are normalised together; shared out evenly where it does not divide their number.
        prepare: brings a batch to the device, normalised; gives an object with `inputs` and `available`.
        num_scenarios: that a batch of windows is measured in, all in turn, and at least as many as it takes for each to
            have its turn; None: all.
        rank: of this process.
        world_size: number of processes, which share the batches.
        reduce: sums a tensor of float64 over the ranks.
    """
    norms = network.scenario_norms()
    # float64: hundreds of batches are added up, whose means hardly differ
    sums = {name: torch.zeros(2, len(scenarios), norm.num_features).double() for name, norm in norms.items()}
    numbers = torch.zeros(2, len(scenarios)).double()  # of batches, and of windows
    shares = [*_shares(min(count, len(windows)), batch_size)]
    turn = len(scenarios) if num_scenarios is None else max(num_scenarios, math.ceil(len(scenarios) / len(shares)))
    # normalisations are set by hand, since network.train() would let dropout draw and frozen statistics move, too
    with undisturbed(network), torch.no_grad(), _of_each_batch(norms.values()):
        for place in range(rank, len(shares), world_size):
            batch = prepare(windows.read(*shares[place]))
            for k in in_turn(place, turn, len(scenarios)):
                wanted = batch.available.new_tensor(scenarios[k].available)
                pattern = lowered(batch.available, wanted)
                # windows that lack a part of the scenario are of a smaller one, with other statistics
                rows = (pattern == wanted).all(1)
                if (there := int(rows.sum())) < _LEAST:
                    continue
                network.pass_through({name: x[rows] for name, x in batch.inputs.items()}, pattern[rows])
                numbers[:, k] += torch.tensor([1, there])
                for name, norm in norms.items():
                    mean, var = norm.running_mean, norm.running_var
                    assert mean is not None  # it tracks them
                    assert var is not None
                    sums[name][:, k] += torch.stack([mean, var]).cpu().double()
    batches, seen = reduce(numbers)
    found = batches.nonzero()[:, 0].tolist()
    # (S, 1), to divide (2, S, C): each scenario by its own number of batches
    means = {name: reduce(values)[:, found] / batches[found, None] for name, values in sums.items()}
    return BatchStatistics(tuple(scenarios[k] for k in found), means, tuple(int(seen[k]) for k in found))


def take_statistics(trainer: Trainer, network: nn.Module, settings: ScenarioSettings) -> None:
    """Take anew the batch statistics of all scenarios that training has met, with all weights as they are now.

    Running statistics lag behind weights that move, and are of batches with dropout and masked regions (precise batch
    normalisation, arXiv 2105.07576, section 3). Ranks share the windows, and have the same statistics afterwards.

    Args:
        trainer: whose strategy the network is on. Without a data module that has `probe_windows` nothing changes.
        network: that may learn statistics by scenario; of another nothing changes.
        settings: how many windows, and scenarios on each of them.
    """
    data = data_of(trainer)
    if not isinstance(network, MoBaNet) or not network.one_scenario_a_batch or not hasattr(data, "probe_windows"):
        return
    assert network.with_statistics is not None  # as it learns them
    # which ranks have met differs, and all have to measure the same
    met = summed(trainer, network.scenarios_met().cpu().double()) > 0
    masks = {tuple(mask) for mask in network.with_statistics.cpu()[met].tolist()}
    scenarios = [scenario for scenario in scenarios_of(list(network.modalities)) if scenario.available in masks]
    if not scenarios:
        return
    begun, windows = time.monotonic(), data.probe_windows()
    # Lightning enters it around its own steps only, and this runs between them
    with trainer.precision_plugin.val_step_context():
        measure_statistics(
            network,
            scenarios,
            windows,
            settings.statistics_windows,
            data.batch_size,
            trainer.strategy.batch_to_device,
            settings.num_scenarios,
            trainer.global_rank,
            trainer.world_size,
            partial(summed, trainer),
        ).move(network)
    taken = min(settings.statistics_windows, len(windows))
    rank_zero_info(f"statistics  of {len(scenarios)} scenarios; {taken} windows, {time.monotonic() - begun:.1f} s")


@contextmanager
def _of_each_batch(norms: Iterable[BatchNorm]) -> Iterator[None]:
    """Within, normalise each batch by its own statistics and leave these, and no others, in the running ones."""
    kept = [(norm, norm.momentum, norm.training) for norm in norms]
    try:
        for norm, *_ in kept:
            # of momentum 1 torch's running statistics are those of the latest batch alone
            norm.momentum, norm.training = 1.0, True
        yield
    finally:
        for norm, momentum, training in kept:
            norm.momentum, norm.training = momentum, training


def _shares(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Borders of about count / size batches, whose numbers of windows differ by one at most."""
    # evenly, as each batch has the same weight, and a last one of two windows would have as much as one of 24
    number = max(1, round(count / size))
    return pairwise(count * place // number for place in range(number + 1))
