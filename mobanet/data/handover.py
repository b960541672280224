"""Batches from worker processes to the main process through shared memory that is used again and again.

PyTorch gives every tensor of every batch shared memory of its own. Mapping its pages costs a worker more than reading
and augmenting the crops in it, and passing it on takes several exchanges between the processes. Here each worker has
one piece of shared memory, and what goes through the queue is a note of what lies where in it. Where a system has too
little of it (64 MB in a container, unless asked for more), batches go through the queue as they are, and it is said.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
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


class _Copy(NamedTuple):
    """A tensor that goes through the queue's pipe, byte by byte; PyTorch would take shared memory for it."""

    memory: np.ndarray
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, leaf: Tensor) -> "_Copy":
        """Of a tensor, in the order in which it lies in memory."""
        # from the first to the last element, so that channels-last tensors go as they lie
        span = 1 + sum((size - 1) * step for size, step in zip(leaf.shape, leaf.stride(), strict=True))
        if span != leaf.numel():  # it has gaps
            leaf, span = leaf.contiguous(), leaf.numel()
        return cls(leaf.as_strided((span,), (1,)).numpy(), tuple(leaf.shape), leaf.stride())

    def tensor(self) -> Tensor:
        """The tensor, in memory of its own."""
        return torch.from_numpy(self.memory).as_strided(self.shape, self.stride)


class _Parcel(NamedTuple):
    """What goes through the queue.

    Attributes:
        worker: that sent it.
        number: counts the worker's batches, from 1.
        ring: the worker's shared memory, until the receiver is known to have it.
        contents: the batch, with a `_Place` for each tensor that lies in the ring, and a `_Copy` for any other.
        lacking: bytes of the ring that there was no room for; 0 where there is one.
    """

    worker: int
    number: int
    ring: Tensor | None
    contents: Any
    lacking: int = 0

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
        self._lacking = 0
        self._told = False
        self._holds = [0] * slots  # the number of the batch in each slot
        self._number = 0

    def __call__(self, samples: Sequence[Any]) -> Any:
        """A parcel; a batch as it is where there are no workers."""
        worker = get_worker_info()
        if worker is None:
            return self.collate(samples, torch.empty)
        self._number += 1
        if self._ring is None and not self._lacking:
            self._make_ring(_size(self.collate(samples, torch.empty)))  # the first batch tells the size
        if self._ring is None:
            contents = _each(self.collate(samples, torch.empty), _copied)
            return _Parcel(worker.id, self._number, None, contents, self._lacking)
        copied = int(_last_copied(self._ring))
        # free once its batch, or one that was made later, has been copied out
        slot = next((slot for slot, number in enumerate(self._holds) if number <= copied), None)
        if slot is None:
            contents = _each(self.collate(samples, torch.empty), _copied)
        else:
            contents = self._lay(samples, slot, self._ring)
        # passed on until one batch is known to have been copied, and so the ring to have come
        return _Parcel(worker.id, self._number, None if copied else self._ring, contents)

    def _make_ring(self, slot: int) -> None:
        """Take shared memory for batches of `slot` bytes, or note how much there was no room for."""
        size = _ALIGNMENT + len(self._holds) * slot
        try:
            # zeros: no batch has been copied out yet, and no batch has the number 0
            self._ring = torch.zeros(size, dtype=torch.uint8).share_memory_()
        except RuntimeError as error:
            # torch has no error of its own for this
            if "shared memory" not in str(error):
                raise
            self._lacking = size

    def _lay(self, samples: Sequence[Any], slot: int, ring: Tensor) -> Any:
        self._holds[slot] = self._number
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
                return _copied(leaf)
            return _Place(
                int(leaf.storage_offset()) * leaf.element_size(), leaf.dtype, tuple(leaf.shape), leaf.stride()
            )

        return _each(self.collate(samples, allocate), note)

    def receive(self, batch: Any, rings: dict[int, Tensor]) -> Any:
        """A batch in memory of its own.

        Args:
            batch: as it came out of the queue.
            rings: of the workers heard of so far; kept as long as the workers live.
        """
        if not isinstance(batch, _Parcel):
            return _each(batch, self._own)
        if batch.lacking:
            self._tell(batch.lacking)
            return _each(batch.contents, lambda leaf: self._own(leaf.tensor() if isinstance(leaf, _Copy) else leaf))
        if batch.ring is not None:
            rings.setdefault(batch.worker, batch.ring)
        ring = rings[batch.worker]

        def unpack(leaf: Any) -> Any:
            if not isinstance(leaf, _Place):
                return self._own(leaf.tensor() if isinstance(leaf, _Copy) else leaf)
            lying = ring[leaf.offset :].view(leaf.dtype).as_strided(leaf.shape, leaf.stride)
            # pinned at once: to pin afterwards would copy it once more
            return torch.empty_like(lying, pin_memory=self.pin_memory).copy_(lying)

        contents = _each(batch.contents, unpack)
        # behind the copies: from here on the worker may write to the slot
        _last_copied(ring).fill_(batch.number)
        return contents

    def _tell(self, size: int) -> None:
        if not self._told:
            rank_zero_info(
                f"warning: there is no room for the {size / 1e6:.3g} MB of shared memory in which each worker hands "
                "over its batches, so that they take a slower way; start the container with --shm-size 2g (or --ipc "
                "host), or lower --data.num_workers."
            )
        self._told = True

    def _own(self, leaf: Any) -> Any:
        return leaf.pin_memory() if self.pin_memory and isinstance(leaf, Tensor) else leaf


class HandoverLoader(DataLoader[Any]):
    """A `DataLoader` with a `Handover` as its `collate_fn`; hands out batches that are the receiver's own."""

    collate_fn: Handover

    # torch promises an iterator of a class of its own, of which nobody uses more than `next`
    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
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


def _copied(leaf: Any) -> Any:
    return _Copy.of(leaf) if isinstance(leaf, Tensor) else leaf


def _size(batch: Any) -> int:
    sizes = [0]
    _each(batch, lambda leaf: sizes.append(_padded(leaf.nbytes)) if isinstance(leaf, Tensor) else None)
    return sum(sizes)


def _padded(size: int) -> int:
    # so that each tensor begins at a multiple of its type's size, without which torch gives no view
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _each(batch: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(batch, dict):
        return {name: _each(value, change) for name, value in batch.items()}
    return change(batch)
