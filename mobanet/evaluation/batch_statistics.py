"""Batch statistics of each scenario, taken anew from windows, with all weights as they are."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from mobanet.models.mobanet.network import MoBaNet
from mobanet.models.upernet import BatchNorm
from mobanet.scenarios.refresh import WindowSource, undisturbed
from mobanet.scenarios.scenario import Scenario, lowered

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
) -> BatchStatistics:
    """Run the same windows in each scenario, with batch normalisation as in training and everything else as in a test.

    The network is left as it was. A window counts in a scenario if it has all of it: of tiles that lack a file or a
    part there may be fewer. Scenarios that no batch has two windows of are left out.

    Args:
        network: that has no statistics of scenarios yet.
        scenarios: incomplete ones.
        windows: in a fixed order; the first `count` are taken.
        count: how many, at most all.
        batch_size: windows that are normalised together; shared out evenly where it does not divide their number.
        prepare: brings a batch to the device, normalised; gives an object with `inputs` and `available`.
    """
    norms = network.scenario_norms()
    # float64: hundreds of batches are added up, whose means hardly differ
    sums = {name: torch.zeros(2, len(scenarios), norm.num_features).double() for name, norm in norms.items()}
    batches, seen = [0] * len(scenarios), [0] * len(scenarios)
    # normalisations are set by hand, since network.train() would let dropout draw and frozen statistics move, too
    with undisturbed(network), torch.no_grad(), _of_each_batch(norms.values()):
        for first, last in _shares(min(count, len(windows)), batch_size):
            batch = prepare(windows.read(first, last))
            for k, scenario in enumerate(scenarios):
                wanted = batch.available.new_tensor(scenario.available)
                pattern = lowered(batch.available, wanted)
                # windows that lack a part of the scenario are of a smaller one, with other statistics
                rows = (pattern == wanted).all(1)
                if (there := int(rows.sum())) < _LEAST:
                    continue
                network({name: x[rows] for name, x in batch.inputs.items()}, pattern[rows], auxiliary=False)
                # the forward pass is there for what it leaves in the running statistics; its logits are of no use
                batches[k], seen[k] = batches[k] + 1, seen[k] + there
                for name, norm in norms.items():
                    mean, var = norm.running_mean, norm.running_var
                    assert mean is not None  # it tracks them
                    assert var is not None
                    sums[name][:, k] += torch.stack([mean, var]).cpu().double()
    found = [k for k, number in enumerate(batches) if number]
    # (S, 1), to divide (2, S, C): each scenario by its own number of batches
    each = torch.tensor([batches[k] for k in found])[:, None]
    means = {name: values[:, found] / each for name, values in sums.items()}
    return BatchStatistics(tuple(scenarios[k] for k in found), means, tuple(seen[k] for k in found))


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
