"""Scenarios: which subsets of the modalities can be there (arXiv 2605.20372)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from mobanet.errors import UserError
from mobanet.plain.wording import did_you_mean

MOST = 31
"""Scenarios that are all taken without being asked for: those of five modalities."""


@dataclass(frozen=True)
class Scenario:
    """A non-empty subset of the modalities that is available.

    Attributes:
        name: its modalities joined by a plus, in the order of the data: `rgb+dsm`.
        available: one bool a modality, in the order of the data.
    """

    name: str
    available: tuple[bool, ...]

    @property
    def full(self) -> bool:
        """Whether nothing is missing."""
        return all(self.available)


def scenarios_of(modalities: Sequence[str]) -> tuple[Scenario, ...]:
    """All 2^M - 1 scenarios, by size and then by the order of the modalities; the last is the full one.

    Args:
        modalities: names, in the order of the data.
    """
    return _of_sizes(modalities, range(1, len(modalities) + 1))


def usual_scenarios(modalities: Sequence[str]) -> tuple[Scenario, ...]:
    """What is sampled, measured and tested unless more is asked for, in the order of `scenarios_of`.

    All scenarios of up to five modalities, of which there are at most `MOST`; of more, whose number doubles with each
    modality, the single modalities, all but one, and the full one.

    Args:
        modalities: names, in the order of the data.
    """
    sizes: Sequence[int] = range(1, len(modalities) + 1)
    if 2 ** len(modalities) - 1 > MOST:
        # a sensor alone, one sensor lost, and nothing lost: what users ask about first, and 2 M + 1 of them
        sizes = (1, len(modalities) - 1, len(modalities))
    return _of_sizes(modalities, sizes)


def scenarios_with(names: Iterable[str], modalities: Sequence[str]) -> tuple[Scenario, ...]:
    """The usual scenarios, or all of them where one of `names` is another."""
    usual = usual_scenarios(modalities)
    return usual if {scenario.name for scenario in usual}.issuperset(names) else scenarios_of(modalities)


def _of_sizes(modalities: Sequence[str], sizes: Iterable[int]) -> tuple[Scenario, ...]:
    return tuple(
        Scenario("+".join(subset), tuple(name in subset for name in modalities))
        for size in sizes
        for subset in combinations(modalities, size)
    )


def modalities_in(name: str) -> frozenset[str]:
    """The modalities of a scenario's name, in any order; none, which is no scenario, where one is named twice."""
    parts = name.replace(" ", "").split("+")
    return frozenset(parts) if len(set(parts)) == len(parts) else frozenset()


def chosen_scenarios(given: str | Sequence[str], modalities: Sequence[str], option: str) -> tuple[Scenario, ...]:
    """The scenarios that a user names, in the usual order.

    Args:
        given: `auto` (the usual ones), `all`, `full`, `single` (one modality each), `all_but_one`, or names, as a list
            or joined by commas; the modalities in a name may come in any order.
        modalities: of the data, in order.
        option: what the user typed them behind, for messages.

    Raises:
        UserError: for a name that is no scenario of these modalities, or none at all.
    """
    usual, most = usual_scenarios(modalities), len(modalities)
    sizes = {"all": range(1, most + 1), "full": [most], "single": [1], "all_but_one": [most - 1]}
    wanted: set[Scenario] = set()
    names = given.split(",") if isinstance(given, str) else given
    for name in (name.replace(" ", "") for name in names):
        there = modalities_in(name)
        if name == "auto":
            wanted.update(usual)
        # a modality may be called `all` or `single`; of one modality, `all_but_one` would be nothing
        elif name in sizes and name not in modalities and min(sizes[name]):
            wanted.update(_of_sizes(modalities, sizes[name]))
        elif there and there.issubset(modalities):
            available = tuple(modality in there for modality in modalities)
            wanted.add(Scenario("+".join(modality for modality in modalities if modality in there), available))
        else:
            hint = did_you_mean(name, [s.name for s in usual])
            raise UserError(
                f"{option} names {name or 'nothing'}, which is no scenario of {', '.join(modalities)}{hint}; write "
                f"auto, all, full, single, all_but_one, or modalities joined by a plus, such as {usual[-1].name}."
            )
    if not wanted:
        raise UserError(
            f"{option} names no scenario; write auto, all, full, single, all_but_one, or modalities joined by a plus."
        )
    # a set has no order, and files and tables have that of `scenarios_of`
    return tuple(sorted(wanted, key=_order))


def _order(scenario: Scenario) -> tuple[int, list[int]]:
    places = [place for place, there in enumerate(scenario.available) if there]
    return len(places), places


def typed_pairs(text: str) -> dict[str, str]:
    """A mapping typed without the blanks that YAML wants behind its colons: `{rgb:0.5,rgb+dsm:0.5}`."""
    pairs = [pair.partition(":") for pair in text.strip().strip("{}").split(",")]
    return {name.strip(): value.strip() for name, _, value in pairs}


def scenario_masks(scenarios: Sequence[Scenario]) -> Tensor:
    """The scenarios' availability, (S, M) bool."""
    return torch.tensor([scenario.available for scenario in scenarios])


def lowered(available: Tensor, scenario: Tensor) -> Tensor:
    """What is available of what the data has, in a scenario; a sample that would have nothing keeps all it has.

    Args:
        available: (B, M) bool, what the data has.
        scenario: (M,) or (B, M) bool.

    Returns:
        (B, M) bool.
    """
    left = available & scenario
    # of nothing at all no network could tell anything, and no loss could be learnt from
    return torch.where(left.any(dim=1, keepdim=True), left, available)
