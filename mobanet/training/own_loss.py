"""A loss of the user's own: a function, or an object of a class of theirs, found by its import path."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mobanet.errors import UserError
from mobanet.plain.import_paths import imported
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.training.counted import exact


class OwnLoss:
    """Calls a loss of the user's own as one of the package's.

    It gets logits (B, K, H, W) in float32 or better, label (B, H, W) int64 with `IGNORE_INDEX`, and class weights (K,)
    or None; one that takes two arguments gets the first two. Where no pixel counts it is not asked, as most losses have
    no answer to that, and the loss is 0. A module moves to the logits' device; it is no part of the network, of
    checkpoints, or of what is trained.

    Args:
        function: of these arguments.
        name: for messages.
        option: where the user gave it.

    Raises:
        UserError: when it cannot be called so, or has parameters that would have to be trained.
    """

    def __init__(self, function: Callable[..., Any], name: str, option: str) -> None:
        self.function, self.name, self.option = function, name, option
        if not callable(function):
            raise UserError(f"{option} names {name}, which is no function and no class; give one of these.")
        self.weighted = _arguments(function) != 2
        trained = [key for key, _ in function.named_parameters()] if isinstance(function, nn.Module) else []
        if trained:
            raise UserError(
                f"{option} names {name}, which has parameters ({', '.join(trained[:3])}), and a loss is not trained; "
                "make them buffers."
            )

    @classmethod
    def of(cls, path: str, arguments: Mapping[str, Any] | None, option: str) -> "OwnLoss":
        """Import it, and make an object of a class.

        Args:
            path: where Python finds it.
            arguments: of the class, or of the function behind the first three.
            option: where the user gave it.

        Raises:
            UserError: when it is not there, or does not take them.
        """
        found, given = imported(path, option), dict(arguments or {})
        if not inspect.isclass(found):
            return cls(partial(found, **given) if given and callable(found) else found, path, option)
        try:
            return cls(found(**given), path, option)
        except UserError:
            raise
        except Exception as error:  # of code that is not ours
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UserError(
                f"{option} names {path}, which cannot be made of {given} ({reason}); give other init_args."
            ) from error

    def __call__(self, logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss.

        Raises:
            UserError: when it is no single number that the logits can be moved by, or weights go nowhere.
        """
        if weight is not None and not self.weighted:
            raise UserError(
                f"{self.option} names {self.name}, which takes logits and label alone; leave --model.class_weights out."
            )
        scores = exact(logits)
        if not bool((label != IGNORE_INDEX).any()):
            return scores.sum() * 0
        if isinstance(self.function, nn.Module):
            self.function.to(scores.device)
        loss = self.function(*((scores, label, weight) if self.weighted else (scores, label)))
        if not isinstance(loss, Tensor) or loss.ndim:
            what = f"a tensor of the shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UserError(f"{self.option} names {self.name}, which gives {what}; a loss is a tensor of no dimension.")
        if torch.is_grad_enabled() and scores.requires_grad and not loss.requires_grad:
            raise UserError(
                f"{self.option} names {self.name}, whose result does not depend on the logits in a way that can be "
                "learnt by; leave out .detach(), .argmax() and comparisons."
            )
        return loss


def _arguments(function: Callable[..., Any]) -> int | None:
    """How many arguments a function takes by their place; None where nobody can tell, or any number."""
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind == parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    return sum(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters
    )
