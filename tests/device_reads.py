"""Finds where a step asks a device for what it has computed, without a device: each such place waits for it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

ASKING = {Tensor.cpu, Tensor.item, Tensor.numpy, Tensor.tolist, Tensor.__bool__, Tensor.__float__, Tensor.__int__}
SIZED = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique", "_unique2", "equal", "bincount")
"""Kernels whose result is on the host, or as large as the content of their arguments says."""


class DeviceReads:
    """Tensors that are said to be a device's, and all that is computed of them; and who asks for their content.

    Attributes:
        found: names of what asked, while it was watched.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self._modes = ExitStack()
        self._own: dict[int, object] = {}  # storages, kept, so that no other takes the place of one

    def put(self, values: Iterable) -> None:
        """Say of tensors, and of no others, that they are on the device."""
        self._own = {}
        self.add(values)

    def add(self, values: Iterable) -> None:
        """Say so of these, too."""
        for x in _tensors(values):
            self._own[x.untyped_storage()._cdata] = x.untyped_storage()

    def has(self, values: Iterable) -> bool:
        """Whether one of them is on the device."""
        return any(x.untyped_storage()._cdata in self._own for x in _tensors(values))

    def watch(self) -> None:
        """Look out from here on."""
        self._modes.enter_context(_Kernels(self))
        self._modes.enter_context(_Calls(self))

    def rest(self) -> None:
        """Look out no more."""
        self._modes.close()


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


class _Kernels(TorchDispatchMode):
    def __init__(self, reads: DeviceReads) -> None:
        super().__init__()
        self.reads = reads

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        there, name = self.reads.has([args, kwargs]), func.overloadpacket.__name__
        masks = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            x.dtype in (torch.bool, torch.uint8) for x in _tensors(args[1])
        )
        if there and (name in SIZED or masks):
            self.reads.found.append(f"aten::{name}")
        out = func(*args, **kwargs)
        if there:
            self.reads.add([out])
        return out


class _Calls(TorchFunctionMode):
    def __init__(self, reads: DeviceReads) -> None:
        super().__init__()
        self.reads = reads

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in ASKING and self.reads.has(args[:1]):
            self.reads.found.append(f"Tensor.{func.__name__}")
        return func(*args, **(kwargs or {}))
