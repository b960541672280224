"""What a model is made of, for the run summary: parameters by part, trained and frozen, and the weights' licence."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class PartSize:
    """Number of parameters of one part of a model.

    Attributes:
        part: name of the attribute that holds it; `total` for the sum.
        trainable: parameters that ask for gradients.
        frozen: the others.
    """

    part: str
    trainable: int
    frozen: int


def count_parameters(model: nn.Module) -> list[PartSize]:
    """Sizes of a model's direct parts that have parameters, in order, then their total; shared tensors count once."""
    sizes: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        counts = sizes.setdefault(name.partition(".")[0], [0, 0])
        counts[0 if parameter.requires_grad else 1] += parameter.numel()
    parts = [PartSize(part, *counts) for part, counts in sizes.items()]
    return [*parts, PartSize("total", sum(p.trainable for p in parts), sum(p.frozen for p in parts))]
