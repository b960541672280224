"""Lightning's Trainer, with a precision that fits the machine."""

from collections.abc import Iterable
from typing import Any

from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch.plugins import Precision as PrecisionPlugin

from mobanet.models.precision import AUTO, Precision, resolved


class Trainer(LightningTrainer):
    """Lightning's Trainer, whose precision may be `auto`.

    Args:
        precision: of the arithmetic; auto is bf16-mixed where the hardware computes in it, else 16-mixed on CUDA GPUs
            and 32-true elsewhere.

    Attributes:
        asked_precision: as given; `precision` is what has become of it.
    """

    def __init__(self, *, precision: Precision | None = None, **kwargs: Any) -> None:
        # Lightning refuses a precision beside a plugin for it
        if precision == AUTO and _has_plugin(kwargs.get("plugins")):
            precision = None  # the plugin decides
        self.asked_precision = precision
        # None is left out, as `resolved` has defaults of its own
        where = {key: kwargs[key] for key in ("accelerator", "devices", "strategy") if kwargs.get(key) is not None}
        super().__init__(precision=resolved(precision, **where), **kwargs)


def _has_plugin(plugins: Any) -> bool:
    given = plugins if isinstance(plugins, Iterable) and not isinstance(plugins, str) else [plugins]
    return any(isinstance(plugin, PrecisionPlugin) for plugin in given)
