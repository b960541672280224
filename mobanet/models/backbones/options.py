"""Which arguments of timm a backbone may be given, and within what: sizes and switches of its architecture alone.

Others of timm's arguments name files to load, replace the data sheet of the weights or choose classes. Options travel
in checkpoints, which may come from a stranger.
"""

from collections.abc import Mapping
from typing import Any

from mobanet.errors import SettingError
from mobanet.plain.wording import did_you_mean

# beyond every published model; files choose these, too, and none is to ask for a model without end
_SIZES: dict[str, tuple[int, int]] = {
    "depth": (1, 128),
    "embed_dim": (1, 16384),
    "num_heads": (1, 256),
    "patch_size": (1, 256),
    "img_size": (1, 8192),
    "reg_tokens": (0, 256),
    "num_reg_tokens": (0, 256),
    "window_size": (0, 1024),  # of SAM: 0 attends to everything
    "neck_chans": (0, 16384),
}
_BY_STAGE: dict[str, tuple[int, int]] = {
    "depths": (1, 128),
    "dims": (1, 16384),
    "stages": (1, 128),
}
"""Of backbones with four stages of their own, a number for each; num_heads may be so, too."""
_STAGES = 4
_NUMBERS: dict[str, tuple[float, float]] = {
    "mlp_ratio": (0.01, 64),
    "init_values": (0, 10),
    "pos_drop_rate": (0, 0.99),
    "proj_drop_rate": (0, 0.99),
    "attn_drop_rate": (0, 0.99),
    "drop_path_rate": (0, 0.99),
    "rope_temperature": (0.01, 1e9),
    "rope_grid_offset": (-1, 1),
}
# fmt: off
_SWITCHES = (
    "qkv_bias", "qkv_fused", "qk_norm", "proj_bias", "scale_attn_norm", "scale_mlp_norm", "scale_attn_inner",
    "scale_mlp", "swiglu_mlp", "class_token", "no_embed_class", "pre_norm", "final_norm", "use_post_norm",
    "use_pre_transformer_norm", "use_abs_pos", "use_rel_pos", "use_rope", "use_abs_pos_emb", "use_rot_pos_emb",
    "conv_mlp", "use_grn", "rope_rotate_half",
)
# fmt: on
_WORDS: dict[str, tuple[str, ...]] = {
    "pos_embed": ("learn", "none", ""),
    "global_pool": ("token", "avg", "avgmax", "max", "map", ""),
    "rope_type": ("cat", "mixed", "dinov3", "none"),
    "rope_grid_indexing": ("ij", "xy"),
}
ALLOWED = tuple(sorted((*_SIZES, *_BY_STAGE, *_NUMBERS, *_SWITCHES, *_WORDS)))
"""Of all supported classes together; which of them takes what, timm says."""


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse arguments that are not on the list, and values out of their range.

    Raises:
        UserError: naming the first of them.
    """
    for name, value in options.items():
        if name not in ALLOWED:
            # cut, here and below: what a file calls an option may be a text of any length
            hint = did_you_mean(str(name)[:40], ALLOWED)
            raise SettingError(
                "backbone.options", f"must not set {str(name)[:40]!r}{hint}: it may set {', '.join(ALLOWED)}."
            )
        if (wanted := _wanted(name, value)) is not None:
            raise SettingError(f"backbone.options.{name}", f"is {str(value)[:40]!r}: give {wanted}.")


def _wanted(name: str, value: Any) -> str | None:
    """What an option should be instead; None where its value will do."""
    if name in _SWITCHES:
        return None if isinstance(value, bool) else "true or false"
    if name in _WORDS:
        return None if value in _WORDS[name] else f"one of {', '.join(map(repr, _WORDS[name]))}"
    if name in _BY_STAGE or (name == "num_heads" and isinstance(value, list | tuple)):
        least, most = _BY_STAGE.get(name) or _SIZES[name]
        fits = isinstance(value, list | tuple) and len(value) == _STAGES and all(_whole(x, least, most) for x in value)
        return None if fits else f"a list of {_STAGES} whole numbers from {least} to {most}"
    whole = name in _SIZES
    low, high = _SIZES[name] if whole else _NUMBERS[name]
    number = _whole(value, low, high) if whole else _number(value, low, high)
    return None if number else f"a {'whole ' if whole else ''}number from {low} to {high}"


def _whole(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int) and _number(value, low, high)


def _number(value: Any, low: float, high: float) -> bool:
    # a bool is an int to Python; NaN is neither above `low` nor below `high`
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
