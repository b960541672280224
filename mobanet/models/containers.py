"""torch's containers of modules with the class of what they hold, which torch's own do not tell a type checker."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import nn

Part = TypeVar("Part", bound=nn.Module)


class ListOf(nn.ModuleList, Generic[Part]):
    """An `nn.ModuleList` of modules of one class."""

    if TYPE_CHECKING:

        def __init__(self, modules: Iterable[Part] = ()) -> None: ...

        def __getitem__(self, number: int) -> Part: ...  # type: ignore[override] # torch's takes slices, too

        def __iter__(self) -> Iterator[Part]: ...


class DictOf(nn.ModuleDict, Generic[Part]):
    """An `nn.ModuleDict` of modules of one class."""

    if TYPE_CHECKING:

        def __getitem__(self, key: str) -> Part: ...
