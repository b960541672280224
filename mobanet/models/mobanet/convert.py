"""The authors' MoBaNet checkpoints as models of this package.

Source: names and shapes in the public release of MoBaNet (arXiv 2603.17705) for DINOv2 and for SAM. The release's
modalities are a three-band optical image and a one-band surface model; here they are `rgb` and `dsm`.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mobanet.models.authors import Release, Rules
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings

STREAMS = {"optical": {"rgb": 3}, "elevation": {"dsm": 1}}
# by the width, since a state dict does not name its model
DINOV2_BY_WIDTH = {
    384: "vit_small_patch14_dinov2",
    768: "vit_base_patch14_dinov2",
    1024: "vit_large_patch14_dinov2",
    1536: "vit_giant_patch14_dinov2",
}
SAM_BY_WIDTH = {768: "samvit_base_patch16", 1024: "samvit_large_patch16", 1280: "samvit_huge_patch16"}

PATCH_KERNEL = "image_encoder.extra_patch_embed.proj.weight"
CLASSIFIER = "decoder.classifier.1.0.weight"
# A mask token is in the authors' files, and of no use outside DINOv2's own training.
RELEASE = Release("release", (), ignored=r"image_encoder\.backbone\.mask_token$")

# From our names to the authors': each rule is applied, in turn, to what the rules before have left.
DINOV2_RULES: Rules = (
    (r"^backbone\.vit\.", "image_encoder.backbone."),
    (r"^interactions\.", "image_encoder.peft_cpia_blocks."),
    # before the next rule, which would take the norms for parts of the blocks
    (r"^pyramid\.fusions\.(\d)\.norm\.", r"image_encoder.peft_fuse_norms.\1."),
    (r"^pyramid\.fusions\.", "image_encoder.peft_dgfm_blocks."),
    (r"^pyramid\.projections\.", "image_encoder.dual_proj_layers."),
    (r"(dgfm_blocks\.\d)\.reduce\.0\.", r"\1.rgb_reduce."),
    (r"(dgfm_blocks\.\d)\.reduce\.1\.", r"\1.dsm_reduce."),
    (r"(dgfm_blocks\.\d)\.gate_in\.", r"\1.gate_net.0."),
    (r"(dgfm_blocks\.\d)\.gate_norm\.", r"\1.gate_net.1."),
    (r"(dgfm_blocks\.\d)\.gate_out\.", r"\1.gate_net.3."),
)
# The giant model's gated MLP has other names in DINOv2's own code, which the release builds on.
DINOV2_GIANT_RULES: Rules = ((r"\.mlp\.fc1\.", ".mlp.w12."), (r"\.mlp\.fc2\.", ".mlp.w3."))
SAM_RULES: Rules = (
    (r"^backbone\.vit\.", "image_encoder."),
    (r"\.rel_pos_([hw])$", r".rel_\1"),
    (r"\.mlp\.fc([12])\.", r".mlp.lin\1."),
    (r"^interactions\.(\d+)\.cpia\.", r"image_encoder.blocks.\1.peft_cpia."),
    (r"^interactions\.(\d+)\.adapters\.0\.", r"image_encoder.blocks.\1.peft_adapter_x."),
    (r"^interactions\.(\d+)\.adapters\.1\.", r"image_encoder.blocks.\1.peft_adapter_y."),
    (r"(peft_adapter_[xy])\.reduce\.", r"\1.D_fc1."),
    (r"(peft_adapter_[xy])\.reduce_prompt\.", r"\1.D_fc_prompt."),
    (r"(peft_adapter_[xy])\.expand\.", r"\1.D_fc2."),
    # before the next rule: theirs wraps the channel LayerNorm in a module, and has no such thing around the BatchNorm
    (r"^pyramid\.scales\.0\.up4\.1\.", "fpn1x.1.ln."),
    (r"^pyramid\.scales\.0\.up4\.", "fpn1x."),
    (r"^pyramid\.scales\.1\.up4\.", "fpn1y."),
    (r"^pyramid\.scales\.0\.up2\.", "fpn2x.0."),
    (r"^pyramid\.scales\.1\.up2\.", "fpn2y.0."),
    (r"^pyramid\.fusions\.0\.", "fusion1."),
    (r"^pyramid\.fusions\.1\.", "fusion2."),
    (r"^pyramid\.fusions\.2\.", "fusion3."),
    (r"^pyramid\.fusions\.3\.", "fusion4."),
    (r"^(fusion\d)\.streams\.0\.", r"\1.se_rgb."),
    (r"^(fusion\d)\.streams\.1\.", r"\1.se_dsm."),
    (r"^(fusion\d\.se_\w+)\.squeeze\.", r"\1.fc.0."),
    (r"^(fusion\d\.se_\w+)\.excite\.", r"\1.fc.2."),
)
SHARED_RULES: Rules = (
    (r"^embeddings\.1\.kernel_dsm$", PATCH_KERNEL),
    (r"^embeddings\.1\.bias$", "image_encoder.extra_patch_embed.proj.bias"),
    (r"(peft_cpia\S*)\.reduce\.0\.", r"\1.D_fc1."),
    (r"(peft_cpia\S*)\.reduce\.1\.", r"\1.D_fc2."),
    (r"(peft_cpia\S*)\.mix\.", r"\1.P_fc2."),
    (r"(peft_cpia\S*)\.expand\.", r"\1.U_fc1."),
    (r"(peft_cpia\S*)\.(gamma|beta)s\.0$", r"\1.tfts_\2_rgb"),
    (r"(peft_cpia\S*)\.(gamma|beta)s\.1$", r"\1.tfts_\2_dsm"),
    (r"^decoder\.pooling\.branches\.(\d)\.", r"decoder.ppm.stages.\1.1."),
    (r"^decoder\.pooling\.merge\.", "decoder.ppm.bottleneck."),
    (r"^decoder\.laterals\.", "decoder.lateral_convs."),
    (r"^decoder\.smooth\.", "decoder.fpn_convs."),
    (r"^decoder\.merge\.", "decoder.fpn_bottleneck."),
    (r"^decoder\.classifier\.weight$", CLASSIFIER),
    (r"^heads\.0\.", "aux_head_rgb."),
    (r"^heads\.1\.", "aux_head_dsm."),
    (r"^(aux_head_\w+)\.classifier\.", r"\1.conv_out.0."),
)


def mobanet_from_authors(state: Mapping[str, Tensor]) -> MoBaNet:
    """The authors' DINOv2 release (mobanet.md, section 2) as a model in eval mode.

    Args:
        state: their state dictionary, of a ViT-S, B, L or g; tensors are taken over, not copied.

    Raises:
        UserError: when names or shapes are not those of the release.
    """
    width = _size_of(state, DINOV2_BY_WIDTH)
    rules = (*DINOV2_RULES, *(DINOV2_GIANT_RULES if width == 1536 else ()), *SHARED_RULES)
    backbone = BackboneSettings(name=DINOV2_BY_WIDTH[width], pretrained=False)
    return _fill(state, backbone, MoBaNetSettings(), rules)


def mobanet_sam_from_authors(state: Mapping[str, Tensor]) -> MoBaNet:
    """The authors' SAM release (mobanet.md, section 3) as a model in eval mode.

    Its optical input is scaled to 0..1 and not standardised. The image size it was trained at follows from its
    position embedding; the model takes any.

    Args:
        state: their state dictionary, of a ViT-B, L or H; tensors are taken over, not copied.

    Raises:
        UserError: when names or shapes are not those of the release.
    """
    width = _size_of(state, SAM_BY_WIDTH)
    positions = state.get("image_encoder.pos_embed")
    if positions is None or positions.ndim != 4:
        raise RELEASE.refusal("it lacks image_encoder.pos_embed of shape (1, rows, columns, channels)")
    options: dict[str, int | float | bool | str | list[int]] = {
        # SAM keeps its positions as a grid, (1, rows, columns, C), of square images
        "img_size": positions.shape[1] * state[PATCH_KERNEL].shape[-1]
    }
    backbone = BackboneSettings(name=SAM_BY_WIDTH[width], pretrained=False, standardize=False, options=options)
    settings = MoBaNetSettings(placement="block", fusion="se", pyramid="scaled")
    return _fill(state, backbone, settings, (*SAM_RULES, *SHARED_RULES))


def _size_of(state: Mapping[str, Tensor], known: Mapping[int, str]) -> int:
    """Width of the backbone, from the patch embedding that both releases have."""
    for name in (PATCH_KERNEL, CLASSIFIER):
        if name not in state:
            raise RELEASE.refusal(f"it lacks {name}")
    width = state[PATCH_KERNEL].shape[0]
    if width not in known:
        raise RELEASE.refusal(f"its width {width} is none of {', '.join(map(str, known))}")
    return width


def _fill(state: Mapping[str, Tensor], backbone: BackboneSettings, settings: MoBaNetSettings, rules: Rules) -> MoBaNet:
    """Build a model without memory of its own and hand it the authors' tensors under our names."""
    with torch.device("meta"):
        model = MoBaNet(STREAMS, state[CLASSIFIER].shape[0], backbone, settings)
    wanted, converted = model.state_dict(), {}
    for ours, name in replace(RELEASE, rules=rules).matched(wanted, state).items():
        # Their 1x1 convolutions are our linear layers on tokens: (out, in, 1, 1) -> (out, in).
        flat = state[name].shape == (*wanted[ours].shape, 1, 1)
        converted[ours] = RELEASE.fitting(name, state[name].flatten(1) if flat else state[name], wanted[ours])
    # assign: the model's own parameters are on `meta`, where nothing could be copied to
    model.load_state_dict(converted, strict=True, assign=True)
    return model.eval()
