"""Measuring latent distortion with a model as it stands, leaving no trace in it, on any number of ranks."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from mobanet.models.base import SegmentationModel
from mobanet.scenarios.distortion import Distortion, DistortionMeter

_BATCH = 8
"""Windows a forward pass: few, so that many ranks get a share; no gradients are kept, so memory is no matter."""

_CHUNK = 64
"""Windows between two looks at the standard error."""

_SETTLED = 0.1
"""Standard error as a share of the distortion that is good enough."""


class WindowSource(Protocol):
    """Where windows come from (`mobanet.data.probe_windows.ProbeWindows`)."""

    def __len__(self) -> int:
        """Number of windows there are."""

    def read(self, first: int, last: int) -> dict[str, Any]:
        """A batch of the windows `first` to `last` (excluded)."""


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluate within; every part goes back to its own mode afterwards."""
    # flags, since `train()` passes its own on to parts below, and parts of one module may be in different modes
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Evaluate within, on every rank with the running statistics of rank zero; all is as before afterwards."""
    buffers = dict(module.named_buffers())
    # clones, as what is broadcast below replaces the ranks' own statistics
    kept = {name: buffer.clone() for name, buffer in buffers.items()}
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for buffer in buffers.values():  # statistics of ranks drift apart within an epoch
            torch.distributed.broadcast(buffer, 0)
    try:
        with eval_mode(module):
            yield
    finally:
        for name, buffer in buffers.items():
            buffer.copy_(kept[name])


def measure_distortion(
    encoder: SegmentationModel,
    masks: Tensor,
    windows: WindowSource,
    num_windows: int | Literal["auto"],
    prepare: Callable[[dict[str, Any]], Any],
    rank: int = 0,
    world_size: int = 1,
    reduce: Callable[[Tensor], Tensor] = lambda sums: sums,
    num_scenarios: int | None = None,
) -> Distortion:
    """Latent distortion of every scenario; the same for any number of ranks, up to the rounding of sums.

    Batches are made of the same windows however many ranks share them.

    Args:
        encoder: the network.
        masks: (S, M) bool, the scenarios' availability, the last the full one.
        windows: to measure on, in order.
        num_windows: how many; `auto` goes on until every standard error is under a tenth of its distortion, or there
            are no windows left.
        prepare: brings a batch to the device, normalised; gives an object with `inputs` and `available`.
        rank: of this process.
        world_size: number of processes.
        reduce: sums a tensor over the ranks.
        num_scenarios: incomplete ones that a batch of windows is measured in, all in turn, and at least as many as it
            takes for each to have its turn; None: all.
    """
    # no window twice: it would say nothing new, and count as if it did
    wanted = len(windows) if num_windows == "auto" else min(num_windows, len(windows))
    chunk = _CHUNK if num_windows == "auto" else wanted
    meter, incomplete = DistortionMeter(masks), len(masks) - 1
    turn = (
        incomplete if num_scenarios is None else max(num_scenarios, math.ceil(incomplete * _BATCH / min(chunk, wanted)))
    )
    with undisturbed(encoder), torch.no_grad():
        for start in range(0, wanted, chunk):
            stop = min(start + chunk, wanted)
            for number in range(rank, math.ceil((stop - start) / _BATCH), world_size):
                first = start + number * _BATCH
                batch = prepare(windows.read(first, min(first + _BATCH, stop)))
                meter.add(encoder, batch.inputs, batch.available, in_turn(first // _BATCH, turn, incomplete))
            # a clone, since reducing in place would count other ranks' sums again in the next chunk
            distortion = meter.result(reduce(meter.sums.clone()))
            if num_windows == "auto" and distortion.settled(_SETTLED):
                break
    return distortion


def in_turn(number: int, turn: int, count: int) -> list[int]:
    """Which of `count` scenarios the batch of this number is measured in: the next `turn`, from the first again."""
    if turn >= count:
        return [*range(count)]
    return sorted((number * turn + place) % count for place in range(turn))
