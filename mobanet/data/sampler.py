"""Which sample indices a rank takes, epoch by epoch, from wherever a run is resumed."""

from collections.abc import Callable, Iterator, Sequence

from torch.utils.data import DistributedSampler

EPOCH_STRIDE = 2**32  # far more than samples of any epoch, and with epochs well within 64 bits
"""A sample's index is epoch * EPOCH_STRIDE + its place in the epoch: all that its random draws depend on."""


class CropSampler(DistributedSampler[int]):
    """Deals each step's global batch to the ranks, so that 2 ranks of 4 crops see what 1 rank of 8 sees.

    It is a `DistributedSampler` so that Lightning leaves it in place. `steps` and `batch_size` are those of one rank;
    `position` gives the epoch and the number of its batches that are done, asked whenever an epoch begins.
    """

    def __init__(
        self, steps: int, batch_size: int, rank: int, world_size: int, position: Callable[[], tuple[int, int]]
    ) -> None:
        # without the base's own __init__, which deals out the length of a data set
        self.steps = steps
        self.batch_size = batch_size
        self.rank = rank
        self.num_replicas = world_size
        self.position = position

    def __len__(self) -> int:
        """Samples of this rank in a whole epoch."""
        return self.steps * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Ignore Lightning's count: `position` knows the epoch, and where in it a resumed run stands."""

    def __iter__(self) -> Iterator[int]:
        """Indices of this rank, from the current position to the end of the epoch."""
        epoch, done = self.position()
        for step in range(done, self.steps):
            # ranks take turns by whole batches, as places of a step lie side by side
            first = (step * self.num_replicas + self.rank) * self.batch_size
            for place in range(first, first + self.batch_size):
                yield epoch * EPOCH_STRIDE + place


class ShareSampler(DistributedSampler[int]):
    """Gives every rank its own list of indices, made equally long with -1.

    -1 stands for a window that counts nowhere: every rank runs the same number of steps, so that no collective call
    of one rank waits for another that has finished.
    """

    def __init__(self, shares: Sequence[Sequence[int]], rank: int) -> None:
        self.rank = rank
        self.num_replicas = len(shares)
        longest = max(len(share) for share in shares)
        self.indices = [*shares[rank], *[-1] * (longest - len(shares[rank]))]

    def __len__(self) -> int:
        """Indices of each rank."""
        return len(self.indices)

    def set_epoch(self, epoch: int) -> None:
        """Evaluation is the same in every epoch."""

    def __iter__(self) -> Iterator[int]:
        """Indices of this rank, in order."""
        return iter(self.indices)


def balanced_shares(weights: Sequence[int], world_size: int) -> list[list[int]]:
    """Items dealt to the ranks, the heaviest first and each to the least loaded, in ascending order within a rank."""
    shares: list[list[int]] = [[] for _ in range(world_size)]
    load = [0] * world_size
    # every rank computes all shares by itself, so that ties must be broken alike
    for item in sorted(range(len(weights)), key=lambda i: (-weights[i], i)):
        rank = load.index(min(load))
        shares[rank].append(item)
        load[rank] += weights[item]
    return [sorted(share) for share in shares]
