"""A small vision transformer of our own, whose weights come with this package: the backbone of `make demo`.

`vit_city_patch6_120.mobanet` has four blocks of width 128 on patches of 6 pixels, 0.9 million parameters. It is no
foundation model for real imagery: `experiments/pretraining/pretrain.py` made it, on synthetic cities, and the card
beside its weights (`shipped/README.md`) says what it is good for. It stands where a published backbone would stand, so
that the frozen backbone, its adapters and everything around them can be tried in minutes and without a network.
"""

from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

WEIGHTS = Path(__file__).parent / "shipped"
"""Folder of the weights that come with the package, NAME.safetensors each."""

# timm's register_model looks for a name of the module: this one
default_cfgs = generate_default_cfgs(
    {
        "vit_city_patch6_120.mobanet": {
            "file": str(WEIGHTS / "vit_city_patch6_120.mobanet.safetensors"),
            "input_size": (3, 120, 120),
            "num_classes": 0,
            "mean": (0.5, 0.5, 0.5),  # as pretrain.py gave it its cities
            "std": (0.5, 0.5, 0.5),
            "license": "mit",
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
    }
)


@register_model
def vit_city_patch6_120(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """Four blocks of width 128 on patches of 6 pixels, positions for 20 x 20 of them."""
    size = {"img_size": 120, "patch_size": 6, "embed_dim": 128, "depth": 4, "num_heads": 4}
    return build_model_with_cfg(
        VisionTransformer,
        "vit_city_patch6_120",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        **{**size, **options},
    )
