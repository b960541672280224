"""Which of two sets of parts the samples of a step went through, on any rank, without waiting for the device."""

import torch
from torch import Tensor

from mobanet.models.draws import sent
from mobanet.training.deferred import DeferredNumber


class ReachedParts:
    """Kept from the batches of a step, of which there may be several, until the step is taken."""

    def __init__(self) -> None:
        self._noted: list[tuple[bool | DeferredNumber, bool | DeferredNumber]] = []

    def note(self, known: Tensor, device: torch.device, ranks: bool) -> None:
        """Take note of a batch; where there are several ranks, by all of them.

        Args:
            known: (B, M) bool on the CPU, what each sample has.
            device: that ranks talk to each other from.
            ranks: whether there are several.
        """
        whole = known.all(1)
        seen = bool(whole.any()), not bool(whole.all())
        self._noted.append((_shared(seen[0], device), _shared(seen[1], device)) if ranks else seen)

    def read(self) -> tuple[bool, bool] | None:
        """Whether there were complete samples, and incomplete ones, since the last time; None: nothing was noted."""
        noted, self._noted = self._noted, []
        if not noted:
            return None
        read = [(_read(complete), _read(incomplete)) for complete, incomplete in noted]
        return any(complete for complete, _ in read), any(incomplete for _, incomplete in read)


def _shared(seen: bool, device: torch.device) -> DeferredNumber:
    return DeferredNumber(sent(torch.tensor(int(seen), dtype=torch.int32), device), ranks=True)


def _read(seen: bool | DeferredNumber) -> bool:
    return bool(seen.read()) if isinstance(seen, DeferredNumber) else seen
