"""Whether the optimiser takes its step in one kernel over all parameters, and where that does not go."""

from typing import Literal

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.errors import SettingError, as_options, check_setting

Fused = bool | Literal["auto"]
"""What the setting `fused` takes."""

_DEVICES = ("cuda", "cpu", "mps", "xpu")  # torch has the list only in private (torch.utils._foreach_utils)
"""Types of devices that torch has fused Adam and AdamW for."""


def takes_fused_steps(asked: Fused, trainer: Trainer) -> bool:
    """Whether the optimiser is to be a fused one.

    With `auto` it is on CUDA GPUs; on CPUs steps are those of earlier versions, to the last bit. A fused optimiser
    could take a scale off the gradients within its step, so that nothing may clip them before: Lightning refuses to in
    all mixed precisions, in bf16-mixed, too, which has no scale (its issue 21435).

    Raises:
        UserError: where it is asked for and does not go.
    """
    device = trainer.strategy.root_device.type
    if asked is False or (asked == "auto" and device != "cuda"):
        return False
    check_setting(device in _DEVICES, "fused", f"true: torch has no fused optimiser for {device}; leave it out.")
    if not (trainer.gradient_clip_val and isinstance(trainer.precision_plugin, MixedPrecision)):
        return True
    why = (
        f"in {trainer.precision} Lightning leaves gradients to a fused optimiser's step, too late for "
        f"`trainer.gradient_clip_val` {trainer.gradient_clip_val:g}"
    )
    if asked == "auto":
        rank_zero_info(f"{as_options(why)}: the optimiser is not fused")
        return False
    raise SettingError("fused", f"true: {why}; leave one of them out, or set `trainer.precision` bf16-true.")
