"""Checkpoints of the three-modality CMX of Latent Space Guided Scenario Sampling as models of this package.

Source: names and shapes in the public release of arXiv 2605.20372. Its modalities are `rgb`, `nir` and `swir` of three
bands each, intensities minus the training mean of each band. The published CMX (arXiv 2203.04838) is not covered.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mobanet.models.authors import Release
from mobanet.models.cmx.network import CMX, CMXSettings

STREAMS = {"rgb": {"rgb": 3}, "x": {"nir": 3, "swir": 3}}
CLASSIFIER = "core.decode_head.linear_pred.weight"
RULES = (
    (r"^inputs\.1\.projection\.", "modal_proj."),
    (r"^encoders\.0\.stages\.0\.0\.", "core.backbone.rgb_stem.block."),
    (r"^encoders\.1\.stages\.0\.0\.", "core.backbone.mod_stem.block."),
    # their stem and s1 are our first stage; s1 to s4 get the names of their streams further down
    (r"^encoders\.(\d)\.stages\.0\.1\.", r"encoders.\1.s1."),
    (r"^encoders\.(\d)\.stages\.1\.0\.", r"encoders.\1.s2."),
    (r"^encoders\.(\d)\.stages\.2\.0\.", r"encoders.\1.s3."),
    (r"^encoders\.(\d)\.stages\.3\.0\.", r"encoders.\1.s4."),
    (r"^encoders\.0\.(s\d)\.", r"core.backbone.rgb_\1.block."),
    (r"^encoders\.1\.(s\d)\.", r"core.backbone.mod_\1.block."),
    (r"^rectifications\.(\d)\.(channel|spatial)\.", r"core.backbone.frm.\1.\2_weights.mlp."),
    (r"^fusions\.", "core.backbone.ffm."),
    (r"(ffm\.\d)\.enter\.0\.", r"\1.cross.channel_proj1."),
    (r"(ffm\.\d)\.enter\.1\.", r"\1.cross.channel_proj2."),
    (r"(ffm\.\d)\.context\.0\.", r"\1.cross.cross_attn.kv1."),
    (r"(ffm\.\d)\.context\.1\.", r"\1.cross.cross_attn.kv2."),
    (r"(ffm\.\d)\.leave\.0\.", r"\1.cross.end_proj1."),
    (r"(ffm\.\d)\.leave\.1\.", r"\1.cross.end_proj2."),
    (r"(ffm\.\d)\.norms\.0\.", r"\1.cross.norm1."),
    (r"(ffm\.\d)\.norms\.1\.", r"\1.cross.norm2."),
    (r"(ffm\.\d)\.residual\.", r"\1.channel_emb.residual."),
    (r"(ffm\.\d)\.mix\.", r"\1.channel_emb.channel_embed."),
    (r"(ffm\.\d)\.norm\.", r"\1.channel_emb.norm."),
    (r"^decoder\.linears\.0\.", "core.decode_head.linear_c1.proj."),
    (r"^decoder\.linears\.1\.", "core.decode_head.linear_c2.proj."),
    (r"^decoder\.linears\.2\.", "core.decode_head.linear_c3.proj."),
    (r"^decoder\.linears\.3\.", "core.decode_head.linear_c4.proj."),
    (r"^decoder\.fuse\.", "core.decode_head.linear_fuse.0."),
    (r"^decoder\.norm\.", "core.decode_head.linear_fuse.1."),
    (r"^decoder\.classifier\.", "core.decode_head.linear_pred."),
)


RELEASE = Release("three-modality CMX", RULES)


def cmx_from_authors(state_dict: Mapping[str, Tensor]) -> CMX:
    """The authors' three-modality CMX as a model in eval mode; their probabilities are the sigmoid of its logits.

    Args:
        state_dict: theirs, bare or as `state_dict` or `model_state_dict` inside a checkpoint, with or without the
            prefix `module.`; tensors are taken over, not copied.

    Raises:
        UserError: when names or shapes are not those of the release.
    """
    state = RELEASE.unwrapped(state_dict)
    if CLASSIFIER not in state:
        raise RELEASE.refusal(f"it lacks {CLASSIFIER}")
    with torch.device("meta"):
        model = CMX(STREAMS, len(state[CLASSIFIER]), CMXSettings(encoder="cnn"))
    wanted = model.state_dict()
    theirs = RELEASE.matched(wanted, state)
    converted = {ours: RELEASE.fitting(name, state[name], wanted[ours]) for ours, name in theirs.items()}
    model.load_state_dict(converted, strict=True, assign=True)
    return model.eval()
