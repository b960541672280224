"""Batches from worker processes to the main process through shared memory that is used again and again.

PyTorch gives every tensor of every batch shared memory of its own. Mapping its pages costs a worker more than reading
and augmenting the crops in it, and passing it on takes several exchanges between the processes. Here each worker has
one piece of shared memory, and what goes through the queue is a note of what lies where in it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

Allocate = Callable[..., Tensor]
"""Called as `torch.empty` is, with a shape and a `dtype`."""

_ALIGNMENT = 64  # bytes; the first ones of a ring hold the number of the last batch that was copied out of it


class _Place(NamedTuple):
    """Where a ring holds a tensor."""

    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Parcel(NamedTuple):
    """What goes through the queue.

    Attributes:
        worker: that sent it.
        number: counts the worker's batches, from 1.
        ring: the worker's shared memory, until the receiver is known to have it.
        contents: the batch, with a `_Place` for each tensor that lies in the ring.
    """

    worker: int
    number: int
    ring: Tensor | None
    contents: Any

    def pin_memory(self) -> "_Parcel":
        """Itself: a `DataLoader` with `pin_memory` would put copies in place of the tensors, the ring among them."""
        return self


class Handover:
    """The `collate_fn` of a `HandoverLoader`: lays batches into a worker's ring, and takes them out of it.

    A ring has one writer and one reader, and needs no lock. Batches are taken out in the order in which they were made,
    so that the number of the last one frees its slot and those of all before it, which may have been dropped: that
    happens when an epoch is broken off. Neither side sees the other's memory out of order: on the way there the
    queue's system calls are barriers; on the way back the number is stored after the copies were read (x86 keeps that
    order by itself, other processors because atomic reference counts change in between), and whether the worker
    writes to a slot depends on the number it read.

    Args:
        collate: makes a batch (tensors, dicts of them, anything else) of samples and an `Allocate` for its tensors.
        slots: batches in a ring; one more than the loader's `prefetch_factor`, because a worker is told to go on just
            before its batch is copied.
        pin_memory: whether to copy into pinned memory; the loader's own option does nothing here.
    """

    def __init__(self, collate: Callable[..., Any], slots: int = 3, pin_memory: bool = False) -> None:
        self.collate = collate
        self.pin_memory = pin_memory
        self._ring: Tensor | None = None
        self._holds = [0] * slots  # the number of the batch in each slot
        self._number = 0

    def __call__(self, samples: Sequence[Any]) -> Any:
        """A parcel; a batch as it is where there are no workers."""
        worker = get_worker_info()
        if worker is None:
            return self.collate(samples, torch.empty)
        self._number += 1
        if self._ring is None:  # the first batch tells the size
            contents = self.collate(samples, torch.empty)
            self._ring = torch.zeros(_ALIGNMENT + len(self._holds) * _size(contents), dtype=torch.uint8).share_memory_()
            return _Parcel(worker.id, self._number, self._ring, contents)
        copied = int(_last_copied(self._ring))
        slot = next((slot for slot, number in enumerate(self._holds) if number <= copied), None)
        contents = self.collate(samples, torch.empty) if slot is None else self._lay(samples, slot)
        return _Parcel(worker.id, self._number, None if copied else self._ring, contents)

    def _lay(self, samples: Sequence[Any], slot: int) -> Any:
        self._holds[slot] = self._number
        ring = self._ring
        size = (len(ring) - _ALIGNMENT) // len(self._holds)
        start = _ALIGNMENT + slot * size
        end = start + size

        def allocate(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
            nonlocal start
            place, count = start, dtype.itemsize * torch.Size(shape).numel()
            if place + count > end:
                return torch.empty(shape, dtype=dtype)  # larger than the first batch: travels as it would without us
            start = place + _padded(count)
            return ring[place : place + count].view(dtype).view(shape)

        def note(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or leaf.untyped_storage().data_ptr() != ring.untyped_storage().data_ptr():
                return leaf
            return _Place(leaf.storage_offset() * leaf.element_size(), leaf.dtype, tuple(leaf.shape), leaf.stride())

        return _each(self.collate(samples, allocate), note)

    def receive(self, batch: Any, rings: dict[int, Tensor]) -> Any:
        """A batch in memory of its own.

        Args:
            batch: as it came out of the queue.
            rings: of the workers heard of so far; kept as long as the workers live.
        """
        if not isinstance(batch, _Parcel):
            return _each(batch, self._own)
        ring = rings.setdefault(batch.worker, batch.ring)

        def unpack(leaf: Any) -> Any:
            if not isinstance(leaf, _Place):
                return self._own(leaf)
            lying = ring[leaf.offset :].view(leaf.dtype).as_strided(leaf.shape, leaf.stride)
            return torch.empty_like(lying, pin_memory=self.pin_memory).copy_(lying)

        contents = _each(batch.contents, unpack)
        _last_copied(ring).fill_(batch.number)
        return contents

    def _own(self, leaf: Any) -> Any:
        return leaf.pin_memory() if self.pin_memory and isinstance(leaf, Tensor) else leaf


class HandoverLoader(DataLoader):
    """A `DataLoader` with a `Handover` as its `collate_fn`; hands out batches that are the receiver's own."""

    def __iter__(self) -> Iterator[Any]:
        """The batches of an epoch, from the moment the first is asked for.

        Lightning makes the iterator before it has restored a checkpoint's progress; workers would begin on the first
        epoch at once.
        """
        batches = super().__iter__()
        rings = vars(batches).setdefault("_handover_rings", {})  # there, because it lives as long as its workers
        for batch in batches:
            yield self.collate_fn.receive(batch, rings)


def _last_copied(ring: Tensor) -> Tensor:
    return ring[:8].view(torch.int64)


def _size(batch: Any) -> int:
    sizes = [0]
    _each(batch, lambda leaf: sizes.append(_padded(leaf.nbytes)) if isinstance(leaf, Tensor) else None)
    return sum(sizes)


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _each(batch: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(batch, dict):
        return {name: _each(value, change) for name, value in batch.items()}
    return change(batch)
