"""A number that all ranks agree on, asked for at one point of a step and read at a later one."""

import torch

from mobanet.training.deferred import DeferredNumber


class Agreement:
    """The largest of the ranks' numbers, found while they go on computing.

    All ranks ask and read at the same points, so that they read the same answer there.

    Args:
        device: of the process group's tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._answer: DeferredNumber | None = None

    @property
    def asked(self) -> bool:
        """Whether an answer is under way."""
        return self._answer is not None

    def ask(self, number: int) -> None:
        """Send this rank's number; where an answer is under way, that one is to be read first."""
        if not self.asked:
            # of a signal's number the largest will do: any that has come is one to stop for
            self._answer = DeferredNumber(torch.full((), number, device=self.device), ranks=True)

    def read(self) -> int:
        """The largest number that was sent; 0 where nothing was asked."""
        answer, self._answer = self._answer, None
        return 0 if answer is None else int(answer.read())

    def now(self, number: int) -> int:
        """Ask and wait; an answer that is under way counts as well."""
        before = self.read()
        self.ask(number)
        return max(before, self.read())
