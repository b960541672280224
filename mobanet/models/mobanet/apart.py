"""Samples of a batch by two ways that do not see each other: those with every sensor, and those that lack one."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from mobanet.models.draws import sent

Way = Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]
"""From inputs by modality, (n, C_m, H, W), and availability, (n, M) bool, to tensors by name, (n, ...) each."""


def apart(inputs: dict[str, Tensor], available: Tensor, complete: Way, incomplete: Way) -> dict[str, Tensor]:
    """What two ways give of their samples, in the order of the batch.

    A graph that is exported cannot part rows by what they hold: there both ways take all samples, at twice the cost,
    and each sample is given what its own way made of it.

    Args:
        inputs: by modality, (B, C_m, H, W).
        available: (B, M) bool; on the CPU it is read there, and nothing waits for the device that the inputs are on.
        complete: of samples that have everything.
        incomplete: of the others.

    Returns:
        By name, (B, ...); of the names that both ways give.
    """
    whole, device = available.all(1), next(iter(inputs.values())).device
    if torch.compiler.is_exporting():
        both = complete(inputs, available), incomplete(inputs, available)
        return {name: torch.where(whole.view(-1, *[1] * (x.ndim - 1)), x, both[1][name]) for name, x in both[0].items()}
    # numbers of rows, not masks: indexing by a mask on a GPU waits to learn how many rows there are
    rows = whole.nonzero()[:, 0], whole.logical_not().nonzero()[:, 0]
    there = sent(available, device)
    if not len(rows[1]):
        return complete(inputs, there)
    if not len(rows[0]):
        return incomplete(inputs, there)
    first, second = (
        way({name: x[own] for name, x in inputs.items()}, there[own])
        for way, own in zip((complete, incomplete), (sent(own, device) for own in rows), strict=True)
    )
    # the rows, one part behind the other, are a permutation of the batch: its inverse puts them back
    back = sent(torch.cat(rows).argsort(), device)
    return {name: torch.cat((x, second[name]))[back] for name, x in first.items()}


def touched(x: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """The same numbers, of which every parameter has a gradient, be it zero.

    DistributedDataParallel waits for the gradient of each parameter on every rank, and a batch may lack the samples
    that some of them are for.
    """
    # one number of each: the gradient is of the whole parameter, and a sum could overflow in half precision
    one = [parameter.flatten()[0].to(x.dtype) for parameter in parameters if parameter.requires_grad]
    return x + 0 * torch.stack(one).sum() if one else x
