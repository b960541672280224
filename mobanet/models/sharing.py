"""Results that several availability patterns share: computed once, held until their last use."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
PatternKey = tuple[int, bytes]


class SharedResults(Generic[T]):
    """Results by key, each forgotten once it has been taken as often as announced.

    Args:
        keys: what will be taken, one entry a time.
    """

    def __init__(self, keys: Iterable[Hashable]) -> None:
        self._uses = Counter(keys)
        self._results: dict[Hashable, T] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._results

    def put(self, key: Hashable, result: T) -> None:
        """Keep a result."""
        self._results[key] = result

    def take(self, key: Hashable) -> T:
        """The result of a key, for one of its announced uses."""
        self._uses[key] -= 1
        # gone with its last use: of seven scenarios a GPU would otherwise hold all encoded streams until the end
        return self._results[key] if self._uses[key] else self._results.pop(key)


def pattern_keys(patterns: Sequence[Tensor], groups: Sequence[Sequence[int]]) -> list[tuple[PatternKey, ...]]:
    """What tells patterns apart in groups of their columns, found on the host in one transfer.

    Args:
        patterns: (B, M) bool each.
        groups: columns of each group.

    Returns:
        By pattern, one key a group; equal keys mean equal columns.
    """
    if not patterns:
        return []
    host = torch.stack(list(patterns)).cpu()  # (S, B, M)
    return [
        # with the group's number, or streams of equal columns would be one; bytes, since tensors are keys by identity
        tuple((group, pattern[:, list(columns)].numpy().tobytes()) for group, columns in enumerate(groups))
        for pattern in host
    ]


def each_once(patterns: Sequence[Tensor], compute: Callable[[list[Tensor]], Iterator[T]]) -> Iterator[T]:
    """The result of each pattern, one after the other; equal patterns get the same object.

    Args:
        patterns: (B, M) bool each.
        compute: gives the results of distinct patterns, in their order. A result is asked for when its turn comes,
            and held only while an equal pattern is still to come.
    """
    keys = pattern_keys(patterns, [range(patterns[0].shape[1])]) if patterns else []
    distinct: dict[Hashable, Tensor] = {}
    for key, pattern in zip(keys, patterns, strict=True):
        # scenarios that the data lowers to the same pattern, as with a file that is absent, are computed once
        distinct.setdefault(key, pattern)
    results, held = compute(list(distinct.values())), SharedResults[T](keys)
    for key in keys:
        if key not in held:
            held.put(key, next(results))
        yield held.take(key)
