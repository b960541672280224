"""What training makes small: a loss by its name, a sum of losses, or one of the user's own by its import path."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from mobanet.errors import SettingError, UserError, check_setting
from mobanet.plain.import_paths import import_path_of, is_import_path
from mobanet.plain.schema import shown
from mobanet.plain.wording import did_you_mean
from mobanet.training.binary_loss import binary_loss
from mobanet.training.losses import PixelLoss, segmentation_loss
from mobanet.training.made import checked_arguments
from mobanet.training.own_loss import FIELD, OwnLoss
from mobanet.training.pixel_losses import boundary_cross_entropy, focal_loss
from mobanet.training.region_losses import dice_loss, lovasz_loss, tversky_loss

LossSettings = dict[str, Any] | str
"""A name or an import path; or a mapping of them to weights, or to a mapping with `weight` and options; or the mapping
of `class_path` and `init_args`. From Python, also what is to be called."""

LOSSES: dict[str, PixelLoss] = {
    "cross_entropy": segmentation_loss,
    "bce": binary_loss,
    "bce_on_probabilities": partial(binary_loss, twice=True),
    "dice": dice_loss,
    "focal": focal_loss,
    "lovasz": lovasz_loss,
    "tversky": tversky_loss,
    "boundary_cross_entropy": boundary_cross_entropy,
}

_OPTIONS: dict[str, dict[str, tuple[float, float]]] = {
    "cross_entropy": {"smoothing": (0, 1)},
    "focal": {"gamma": (0, 10)},
    "tversky": {"alpha": (0, 100), "beta": (0.001, 100)},  # with beta 0, what is missed would cost nothing
    "boundary_cross_entropy": {"pixels": (1, 100), "factor": (0, 1000)},
}
"""By loss, what can be set of it, with the least and the highest value; whole numbers of pixels."""

_CROSS_ENTROPIES = ("cross_entropy", "bce", "bce_on_probabilities")
_MOST = 1e6
_SHOWN = "{cross_entropy: 1, dice: 0.5}"


@dataclass(frozen=True)
class _Part:
    """A term of the sum.

    Attributes:
        name: of a loss, or an import path.
        weight: that it is multiplied by.
        options: of the loss, by name; of the user's own, what it is made of.
    """

    name: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        return self.name not in LOSSES

    @property
    def described(self) -> str:
        given = ", ".join(f"{key} {value}" for key, value in self.options.items())
        return ("" if self.weight == 1 else f"{self.weight:g} ") + self.name + (f" ({given})" if given else "")


class Objective:
    """A weighted sum of losses, each of logits (B, K, H, W), label (B, H, W) and class weights (K,) or None.

    Args:
        settings: as in `LossSettings`.
        bring: import what is the user's own. A checkpoint may come from anybody, and is not to choose what is imported;
            without, `bring` has to be called before anything is computed.

    Raises:
        UserError: for settings that make no sense, with the nearest name; and what `bring` raises.
    """

    def __init__(self, settings: Any, bring: bool = True) -> None:
        given = callable(settings)
        self.settings: LossSettings = import_path_of(settings) if given else settings
        self._parts = [_Part(self.settings)] if given else _parts(settings)
        self._functions: dict[str, PixelLoss] = {}
        if given:
            self._functions = {self.settings: OwnLoss(settings, self.settings)}
        elif bring or self.path is None:
            self.bring()

    @property
    def path(self) -> str | None:
        """The import path of the first loss that is the user's own; None where there is none."""
        return next((part.name for part in self._parts if part.own), None)

    @property
    def at_hand(self) -> bool:
        """Whether everything is imported that is needed to compute it."""
        return bool(self._functions)

    @property
    def described(self) -> str:
        """In words, such as `cross_entropy + 0.5 dice`."""
        return " + ".join(part.described for part in self._parts)

    @property
    def names(self) -> list[str]:
        """What the terms are logged as; a binary cross-entropy by itself as `cross_entropy`."""
        if len(self._parts) == 1 and self._parts[0].name in _CROSS_ENTROPIES:
            return ["cross_entropy"]
        short = [part.name.rpartition(".")[2] for part in self._parts]
        unclear = {"loss", *(name for name in short if short.count(name) > 1)}  # `train/loss` is the whole
        return [
            part.name.replace(".", "_") if name in unclear else name
            for part, name in zip(self._parts, short, strict=True)
        ]

    def bring(self) -> None:
        """Import what is the user's own.

        Raises:
            UserError: when it is not there, or is no loss.
        """
        if not self.at_hand:
            self._functions = {part.name: _function(part) for part in self._parts}

    def terms(self, logits: Tensor, label: Tensor, weight: Tensor | None = None) -> list[Tensor]:
        """The terms of the sum in the order of `names`, each without its own weight.

        Raises:
            UserError: where the user's own loss is not at hand.
        """
        if not self.at_hand:
            raise UserError(
                f"the loss {self.path} is code of your own, which a checkpoint does not choose: go on with mobanet.fit "
                "--ckpt_path, or give it from Python, loss=MyLoss()."
            )
        return [self._functions[part.name](logits, label, weight) for part in self._parts]

    def total(self, terms: list[Tensor]) -> Tensor:
        """The sum, of `terms`."""
        first, *others = (_times(part.weight, term) for part, term in zip(self._parts, terms, strict=True))
        return sum(others, first)  # not from 0 on, which would be one more tensor operation

    def __call__(self, logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """The sum.

        Returns:
            A scalar; of the package's own losses exactly 0, and attached to the logits' graph, where no pixel counts.
        """
        return self.total(self.terms(logits, label, weight))


def _times(weight: float, term: Tensor) -> Tensor:
    return term if weight == 1 else weight * term


def _function(part: _Part) -> PixelLoss:
    if part.own:
        return OwnLoss.of(part.name, part.options)
    function: Callable[..., Tensor] = LOSSES[part.name]
    return partial(function, **part.options) if part.options else function


def _parts(settings: Any) -> list[_Part]:
    """The terms that settings ask for, checked."""
    if isinstance(settings, str):
        return [_Part(_known(settings))]
    some = isinstance(settings, Mapping) and len(settings) > 0
    check_setting(some, FIELD, f"is {settings}; give a name such as dice, or a sum such as {_SHOWN}.")
    if "class_path" in settings:
        return [_by_class_path(settings)]
    # of the weight 0 a loss would be computed for nothing, and its NaN still count
    parts = [part for name, given in settings.items() if (part := _part(_known(name), given)).weight]
    check_setting(bool(parts), FIELD, "has the weight 0 for all its losses; give one of them a weight above 0.")
    return parts


def _known(name: Any) -> str:
    """A name of a loss, or an import path."""
    if isinstance(name, str) and (name in LOSSES or is_import_path(name)):
        return name
    hint = did_you_mean(name, LOSSES)
    raise SettingError(
        FIELD,
        f"names {name}, which is no loss{hint}; choose one of {', '.join(LOSSES)}, or give the import path of your "
        "own, such as my_package.MyLoss.",
    )


def _by_class_path(settings: Mapping[str, Any]) -> _Part:
    if others := [key for key in settings if key not in ("class_path", "init_args")]:
        raise SettingError(
            FIELD, f"has {others[0]} beside class_path; give class_path and init_args, or a sum: {_SHOWN}."
        )
    return _part(_known(settings["class_path"]), {"init_args": settings.get("init_args")})


def _part(name: str, given: Any) -> _Part:
    """A term, of its weight or of a mapping with it."""
    options = dict(given) if isinstance(given, Mapping) else {"weight": given}
    field = f"{FIELD}.{name}"
    weight = _number(field, options.pop("weight", 1.0), 0, _MOST)
    if name not in LOSSES:
        arguments, unknown = options.pop("init_args", None), next(iter(options), None)
        check_setting(
            not options, field, f"has no option {unknown}; give weight, and under init_args what it is made of."
        )
        return _Part(name, weight, checked_arguments(arguments, field, "{gamma: 2}"))
    known = _OPTIONS.get(name, {})
    for key, value in options.items():
        if key not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise SettingError(field, f"has no option {key}; {has}, beside weight.")
        options[key] = _number(f"{field}.{key}", value, *known[key], whole=key == "pixels")
    return _Part(name, weight, options)


def _number(field: str, value: Any, low: float, high: float, whole: bool = False) -> Any:
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    kind = "a whole number" if whole else "a number"
    fits = number and low <= value <= high
    check_setting(fits, field, f"is {shown(value)}; give {kind} from {low:g} to {high:g}.")
    return value
