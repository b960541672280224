"""Scenarios: which subsets of the modalities can be there (arXiv 2605.20372)."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from mobanet.errors import UserError


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
    return tuple(
        Scenario("+".join(subset), tuple(name in subset for name in modalities))
        for size in range(1, len(modalities) + 1)
        for subset in combinations(modalities, size)
    )


def modalities_in(name: str) -> frozenset[str]:
    """The modalities of a scenario's name, in any order; none, which is no scenario, where one is named twice."""
    parts = name.replace(" ", "").split("+")
    return frozenset(parts) if len(set(parts)) == len(parts) else frozenset()


def chosen_scenarios(given: str | Sequence[str], modalities: Sequence[str], option: str) -> tuple[Scenario, ...]:
    """The scenarios that a user names, in the usual order.

    Args:
        given: `all`, `full`, or names, as a list or joined by commas; the modalities in a name may come in any order.
        modalities: of the data, in order.
        option: what the user typed them behind, for messages.

    Raises:
        UserError: for a name that is no scenario of these modalities, or none at all.
    """
    known = {modalities_in(scenario.name): scenario for scenario in scenarios_of(modalities)}
    full = known[frozenset(modalities)]
    wanted = set()
    names = given.split(",") if isinstance(given, str) else given
    for name in (name.replace(" ", "") for name in names):
        if name == "all":
            wanted |= set(known.values())
        elif name == "full":
            wanted.add(full)
        elif modalities_in(name) in known:
            wanted.add(known[modalities_in(name)])
        else:
            near = difflib.get_close_matches(name, [s.name for s in known.values()], n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UserError(
                f"{option} names {name or 'nothing'}, which is no scenario of {', '.join(modalities)}{hint}; write "
                f"all, full, or modalities joined by a plus, such as {full.name}."
            )
    if not wanted:
        raise UserError(f"{option} names no scenario; write all, full, or modalities joined by a plus.")
    return tuple(scenario for scenario in known.values() if scenario in wanted)


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
    return torch.where(left.any(dim=1, keepdim=True), left, available)
