"""LoRA: low-rank additions to frozen linear layers and 1 x 1 convolutions, through huggingface `peft`.

Paper: arXiv 2106.09685. The defaults are those of the scenario paper's baseline (arXiv 2605.20372): rank 4 on the
query, key, value and output projections of attention, additions taken as they are (scale 1), no dropout.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from mobanet.errors import SettingError, check_setting

_BASE = ".base_layer"  # where peft keeps the layer itself
_KINDS = (nn.Linear, nn.Conv2d, nn.Conv3d)
_MOST_RANK, _MOST_REPEATS, _MOST_CHOICES = 4096, 3, 8
_REPEAT = re.compile(r"(?<![\\(])[*+?{]")
_SLOW = re.compile(r"(?<!\\)\)[*+?{]|\\[1-9]|\(\?P=")
"""Of expressions, which travel in checkpoints, too: those that could take for ever to match."""


@dataclass
class LoRASettings:
    """Low-rank adaptation of a network's frozen layers."""

    rank: int = 4
    """Rank of the additions; 0 leaves the network as it is."""

    alpha: float | None = None
    """The additions are scaled by alpha / rank; null for a scale of 1."""

    targets: str = r".*attn\.(qkv|proj)"
    """Regular expression that whole names of the network's layers are matched with."""

    freeze_rest: bool = False
    """Train the additions alone, not the parts around a frozen backbone either; for fine-tuning with --init_from."""

    def __post_init__(self) -> None:
        reason = f"is {self.rank}; give a number of at least 1, at most {_MOST_RANK}, or 0 for none."
        check_setting(0 <= self.rank <= _MOST_RANK, "lora.rank", reason)
        reason = f"is {self.alpha}; give a number above 0, or null for a scale of 1."
        # additions start at 0, which an infinite scale would make NaN
        check_setting(self.alpha is None or 0 < self.alpha < math.inf, "lora.alpha", reason)
        try:
            re.compile(self.targets)
        except re.error as error:
            raise SettingError("lora.targets", f"{self.targets} is no regular expression: {error}.") from error
        repeats, choices = len(_REPEAT.findall(self.targets)), self.targets.count("|")
        check_setting(
            not _SLOW.search(self.targets) and repeats <= _MOST_REPEATS and choices <= _MOST_CHOICES,
            "lora.targets",
            f"{self.targets} could take for ever to match; repeat no group, no more than {_MOST_REPEATS} characters, "
            f"and give no more than {_MOST_CHOICES + 1} choices.",
        )


def add_lora(network: nn.Module, settings: LoRASettings) -> list[str]:
    """Add low-rank layers, in place; the network computes the same as before until they are trained.

    The layers that get one are frozen; whatever else trains goes on training, unless `freeze_rest` is set.

    Returns:
        Names of the layers, as they were.

    Raises:
        UserError: where peft is not installed, no layer matches, or a layer that matches computes past its own forward.
    """
    matches = [name for name, part in network.named_modules() if re.fullmatch(settings.targets, name)]
    layers = [name for name in matches if isinstance(network.get_submodule(name), _KINDS)]
    if not layers:
        kinds = f", but {matches[0]} is no linear layer and no convolution" if matches else ""
        raise SettingError(
            "lora.targets", f"{settings.targets} matches no layer of this model{kinds}; {_examples(network)}."
        )
    for name in layers:
        twin = name.removeprefix("incomplete.")
        # own parts start as a copy of the others, which must have the same layers then
        check_setting(twin in layers, "lora.targets", f"matches {name} and not {twin}, which it copies: match both.")
        owner: Any = network.get_submodule(name.rpartition(".")[0])
        if not name.endswith("qkv") or getattr(owner, "q_bias", None) is None:
            continue
        check_setting(
            hasattr(owner, "qkv_bias_separate"),
            "lora.targets",
            f"matches {name}, whose weight this backbone uses past the layer, so that nothing could be added to it; "
            "choose other layers, such as .*attn\\.proj, or another backbone.",
        )
        owner.qkv_bias_separate = True  # timm's way of running the layer itself, and adding its biases after it
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise SettingError(
            "lora", "needs the package peft; install it with pip install 'mobanet[lora]', or set rank to 0."
        ) from error
    trainable = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    config = LoraConfig(
        r=settings.rank,
        # peft says int, and divides whatever number it is by the rank
        lora_alpha=settings.rank if settings.alpha is None else settings.alpha,  # type: ignore[arg-type]
        target_modules=layers,
        bias="none",
    )
    inject_adapter_in_model(config, network)  # freezes everything but the additions
    if not settings.freeze_rest:
        for name, parameter in network.named_parameters():
            inside = f"{_BASE}." in name
            parameter.requires_grad_(parameter.requires_grad or (not inside and name in trainable))
    # not `layers`: peft adapts longer names that end with one of these, too, such as those of `incomplete.`
    return [name.removesuffix(_BASE) for name, _ in network.named_modules() if name.endswith(_BASE)]


def still_frozen_statistics(network: nn.Module) -> None:
    """Put normalisations whose own parameters are frozen into eval mode; their running statistics would move on."""
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not any(p.requires_grad for p in part.parameters()):
            part.eval()


def with_lora_names(state: dict[str, Any], layers: list[str]) -> dict[str, Any]:
    """A state dict of the network without LoRA under the names that its layers have with it, those of `add_lora`."""
    renamed = {}
    for name, value in state.items():
        layer, _, leaf = name.rpartition(".")
        renamed[f"{layer}{_BASE}.{leaf}" if layer in layers else name] = value
    return renamed


def _examples(network: nn.Module) -> str:
    found = [name for name, part in network.named_modules() if isinstance(part, nn.Linear) and "att" in name]
    lead = "its attention layers are"
    if not found:
        lead = "it has no attention, and its frozen linear layers are"
        found = [name for name, part in network.named_modules() if _is_linear(part) and _is_frozen(part)]
    return f"{lead} {', '.join(found[:2]) or 'none'}" + (f" and {len(found) - 2} more" if len(found) > 2 else "")


def _is_linear(part: nn.Module) -> bool:
    pointwise = isinstance(part, nn.Conv2d | nn.Conv3d) and {*part.kernel_size} == {1}
    return pointwise or isinstance(part, nn.Linear)


def _is_frozen(part: nn.Module) -> bool:
    return not any(parameter.requires_grad for parameter in part.parameters())
