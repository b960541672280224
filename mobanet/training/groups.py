"""Parameter groups: which parameters never decay, what groups are called, and the learning rate of each."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mobanet.errors import check_setting

BACKBONES = ("backbone", "encoders")
"""What a network calls its pretrained part: MoBaNet's transformer, the encoders of CMX and CBC."""

_REGISTERS = ("reg_token", "register_tokens")  # timm's word for them, and that of DINOv2's own code

BACKBONE_GROUP, HEAD_GROUP, UNDECAYED = "backbone", "head", "_no_decay"


def undecayed_parameters(network: nn.Module) -> set[str]:
    """Names of the parameters that the parts of a network want no weight decay on.

    timm's models, and others written like them, say so in `no_weight_decay()`: positions, class and register tokens.
    Releases of timm differ in whether its EVA models name their register tokens, so that these are added.
    """
    names = set()
    for prefix, part in network.named_modules():
        wanted = getattr(part, "no_weight_decay", None)
        if not callable(wanted):
            continue
        # deeper ones are met with the part that they are of
        tokens = {name for name, _ in part.named_parameters(recurse=False) if name in _REGISTERS}
        names |= {f"{prefix}.{name}" if prefix else name for name in (*wanted(), *tokens)}
    return names


def check_backbone_lr(given: float | None, groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a learning rate of the backbone where nothing of it is trained.

    Raises:
        UserError: when it would change nothing.
    """
    check_setting(
        given is None or any(group["name"].startswith(BACKBONE_GROUP) for group in groups),
        "backbone_lr",
        f"is {given}, which changes nothing while the backbone is frozen; leave it out, or set `backbone.freeze` "
        "false.",
    )


def learning_rates(groups: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The learning rate of each group of an optimiser, by the name it is logged under.

    `lr` is that of the parts around the backbone, and `lr_backbone` the backbone's; where nothing but the backbone is
    trained, both are. Groups of another optimiser go by their own names, or by their numbers; `lr` is the last one's.
    """
    names = [str(group.get("name", number)).removesuffix(UNDECAYED) for number, group in enumerate(groups)]
    rates = {name: group["lr"] for name, group in zip(names, groups, strict=True)}
    # popped, so that `lr` is not logged twice, under the name of the group as well
    main = rates.pop(HEAD_GROUP, groups[-1]["lr"])
    return {**({f"lr_{name}": rate for name, rate in rates.items()} if len(groups) > 1 else {}), "lr": main}
