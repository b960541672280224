"""Numbers that a device computes, read when they are there instead of being waited for."""

import torch
from torch import Tensor


class DeferredNumber:
    """A number on its way from the device, and from all ranks, to this process.

    Asking a GPU for a number holds this process up until all that was given to the GPU before is done, and asking the
    other ranks for theirs until they have come as far. Both are begun here and waited for in `read`: a step later, when
    there is nothing left to wait for.

    Args:
        value: a tensor with one number, which nothing else changes from now on.
        ranks: take the largest over all ranks; each of them has to do so.
    """

    def __init__(self, value: Tensor, ranks: bool = False) -> None:
        self._value = value.clone()  # all_reduce writes into it
        maximum = torch.distributed.ReduceOp.MAX  # of flags it is whether any rank has one
        self._work = torch.distributed.all_reduce(self._value, maximum, async_op=True) if ranks else None
        self._copied: torch.cuda.Event | None = None
        if self._value.is_cuda:
            self._copy_aside()

    def read(self) -> float:
        """The number; waits for it where it is not there yet."""
        if self._copied is not None:
            self._copied.synchronize()  # the event alone: the device has got further work since
        elif self._work is not None:
            self._work.wait()
        return float(self._value)

    def _copy_aside(self) -> None:
        """Copy on a stream of its own, so that neither the copy nor the ranks hold up what comes next on the GPU."""
        stream = torch.cuda.Stream(self._value.device)
        # the value may not be computed yet
        stream.wait_stream(torch.cuda.current_stream(self._value.device))
        with torch.cuda.stream(stream):
            if self._work is not None:
                self._work.wait()  # of this stream for the other one, not of this process
            # or its memory might be given to others before it is copied, as nothing holds it from the last line on
            self._value.record_stream(stream)
            host = torch.empty_like(self._value, device="cpu", pin_memory=True)  # into other memory a copy blocks
            host.copy_(self._value, non_blocking=True)
            self._copied = stream.record_event()
        self._value = host
