"""A loss of the user's own: a function, or an object of a class of theirs, found by its import path."""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mobanet.errors import SettingError, check_setting, option_of
from mobanet.plain.import_paths import imported
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.training.counted import exact
from mobanet.training.made import made

FIELD = "loss"
"""The setting that names it."""


class OwnLoss:
    """Calls a loss of the user's own as one of the package's.

    It gets logits (B, K, H, W) in float32 or better, label (B, H, W) int64 with `IGNORE_INDEX`, and class weights (K,)
    or None; one that takes two arguments gets the first two. Where no pixel counts it is not asked, as most losses have
    no answer to that, and the loss is 0. A module moves to the logits' device; it is no part of the network, of
    checkpoints, or of what is trained.

    Args:
        function: of these arguments.
        name: for messages.

    Raises:
        UserError: when it cannot be called so, or has parameters that would have to be trained.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name = function, name
        self._check(callable(function), "is no function and no class; give one of these.")
        least, most = _arguments(function)
        # counted now, as the first batch would tell it only once all data are prepared
        number = f"{least} arguments" if least > 3 else "1 argument" if most else "no argument"
        self._check(
            least <= 3 and most >= 2,
            f"takes {number}; a loss takes logits, label and class weights, or the first two alone.",
        )
        self.weighted = most > 2
        trained = [key for key, _ in function.named_parameters()] if isinstance(function, nn.Module) else []
        self._check(
            not trained,
            f"has parameters ({', '.join(trained[:3])}), and a loss is not trained; make them buffers.",
        )

    @classmethod
    def of(cls, path: str, arguments: Mapping[str, Any]) -> "OwnLoss":
        """Import it, and make an object of a class.

        Args:
            path: where Python finds it.
            arguments: of the class, or of the function behind the first three.

        Raises:
            UserError: when it is not there, or does not take them.
        """
        found = imported(path, option_of(FIELD))
        if inspect.isclass(found):
            return cls(made(found, path, FIELD, arguments), path)
        return cls(partial(found, **arguments) if arguments and callable(found) else found, path)

    def __call__(self, logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss.

        Raises:
            UserError: when it is no single number that the logits can be moved by, or weights go nowhere.
        """
        self._check(weight is None or self.weighted, "takes logits and label alone; leave `class_weights` out.")
        scores = exact(logits)
        if not bool((label != IGNORE_INDEX).any()):
            # not 0 times the sum, which is NaN where a logit is infinite
            return scores.flatten()[:0].sum()  # 0, and attached
        if isinstance(self.function, nn.Module):
            self.function.to(scores.device)  # it is no part of the module that Lightning moves
        # by place: users and libraries name these arguments in their own ways
        loss = self.function(*((scores, label, weight) if self.weighted else (scores, label)))
        what = f"a tensor of the shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        self._check(isinstance(loss, Tensor) and not loss.ndim, f"gives {what}; a loss is a tensor of no dimension.")
        if torch.is_grad_enabled() and scores.requires_grad and not loss.requires_grad:
            raise SettingError(
                FIELD,
                f"names {self.name}, whose result does not depend on the logits in a way that can be learnt by; leave "
                "out .detach(), .argmax() and comparisons.",
            )
        return loss

    def _check(self, holds: bool, what: str) -> None:
        check_setting(holds, FIELD, f"names {self.name}, which {what}")


def _arguments(function: Callable[..., Any]) -> tuple[float, float]:
    """How many arguments a function takes by their place, at least and at most; where nobody can tell, any number."""
    # a module's own signature is that of __call__, which takes anything
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):
        return 0, math.inf
    placed = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    most = math.inf if any(each.kind == each.VAR_POSITIONAL for each in parameters) else len(placed)
    return sum(each.default is each.empty for each in placed), most
