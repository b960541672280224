"""The authors' CBC and CBC-SLP checkpoints as models of this package.

Source: names and shapes in the public release of arXiv 2605.20372 (classes MMVit5 and MMVit4), whose modalities are
RGB, NIR and SWIR of three bands each, and whose one class is told from background.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mobanet.models.authors import Release, Rules
from mobanet.models.cbc.network import CBC

MODALITIES = {"RGB": "rgb", "NIR": "nir", "SWIR": "swir"}
BANDS = 3
CLASSIFIER = "decoder_fuse.final_conv."
SHARED = "shared_conv.weight"  # only CBC-SLP has it
# In the authors' files, and never used by their networks.
# fusion5 is of level 5, which their forward computes and drops (cmx_cbc.md, 4.3)
IGNORED = r"(RGB|NIR|SWIR)_decode_conv\.|fusion5\.conv\.|decoder_fuse\.seg_(d[1-4]|layer)\."

MODALITY_RULES: Rules = tuple(
    rule
    for index, (theirs, ours) in enumerate(MODALITIES.items())
    for rule in (
        (rf"^encoders\.{index}\.", f"{theirs}_encoder."),
        (rf"^fusion\.tokenizers\.{index}\.", f"{theirs}_encode_conv."),
        (rf"^fusion\.positions\.{index}$", f"{theirs}_pos"),
        (rf"^fusion\.intra\.{index}\.", f"{theirs}_transformer."),
        (rf"^fusion\.correlation\.projections\.{index}\.", f"qkv_{theirs}."),
        (rf"^privates\.{index}\.", f"{ours}_private_conv."),
    )
)
# their e1 is the stem
STAGE_RULES: Rules = tuple((rf"(_encoder)\.stages\.{stage}\.", rf"\1.e{stage + 2}.") for stage in range(4))
ADAPTER_RULES: Rules = tuple((rf"(_encoder)\.adapters\.{index}\.", rf"\1.adapt{index + 1}.") for index in range(5))
# our decoder goes from coarse to fine, and their numbers count from the finest
LEVEL_RULES: Rules = tuple(
    rule
    for index in range(4)
    for rule in (
        (rf"^fusion\.early\.{index}\.", f"fusion{index + 1}."),
        (rf"^decoder\.levels\.{index}\.refine\.", f"decoder_fuse.RFM{4 - index}.fusion_layer."),
        (rf"^decoder\.levels\.{index}\.doubled\.", f"decoder_fuse.d{4 - index}_c1."),
        (rf"^decoder\.levels\.{index}\.join\.", f"decoder_fuse.d{4 - index}_c2."),
        (rf"^decoder\.levels\.{index}\.out\.", f"decoder_fuse.d{4 - index}_out."),
    )
)
OTHER_RULES: Rules = (
    (r"(_encoder)\.stem\.", r"\1.e1_c1."),
    (r"(_encoder)\.stem_norm\.", r"\1.e1_bn."),
    (r"(_encoder)\.gather\.", r"\1.conv6."),
    (r"(_encoder\.e\S*)\.norm(\d)\.", r"\1.bn\2."),
    (r"(_encoder\.e\S*)\.shortcut\.", r"\1.downsample."),
    # our fifth fusion is that of the gathered level, their sixth
    (r"^fusion\.early\.4\.", "fusion6."),
    (r"^fusion\.early_tokenizer\.", "fused6_encode_conv."),
    (r"^fusion\.positions\.3$", "fused6_pos"),
    (r"^fusion\.multimodal\.", "multimodal_transformer."),
    (r"^fusion\.to_latent\.", "multimodal_decode_conv."),
    (r"(_transformer)\.attention_norm\.", r"\1.cross_attention_list.0.fn.norm."),
    (r"(_transformer)\.attention\.", r"\1.cross_attention_list.0.fn.fn."),
    (r"(_transformer)\.feed_norm\.", r"\1.cross_ffn_list.0.fn.norm."),
    (r"(_transformer)\.feed\.", r"\1.cross_ffn_list.0.fn.fn.net."),
    (r"^shared\.", "shared_conv."),
    (r"^decoder\.refine\.", "decoder_fuse.RFM5.fusion_layer."),
    (r"^decoder\.reduce\.", "decoder_fuse.RFM5_reduce."),
    (r"^decoder\.classify\.", CLASSIFIER),
)
RELEASE = Release(
    "CBC or CBC-SLP", (*MODALITY_RULES, *STAGE_RULES, *ADAPTER_RULES, *LEVEL_RULES, *OTHER_RULES), IGNORED
)


def cbc_from_authors(state: Mapping[str, Any]) -> CBC:
    """The authors' CBC or CBC-SLP as a model in eval mode; the sigmoid of its logits is the map that they score.

    Their last layer has three channels, trained alike, of which they score the first: it alone is kept. A model with
    their LoRA becomes one without it, its additions merged into the weights that they belong to.

    Args:
        state: their state dictionary, or a checkpoint with it under `state_dict` or `model_state_dict`; names may
            begin with `module.`; tensors are taken over, not copied.

    Raises:
        UserError: when names or shapes are not those of the release.
    """
    found = _merged(RELEASE.unwrapped(state))
    modalities = dict.fromkeys(MODALITIES.values(), BANDS)
    with torch.device("meta"):
        model = CBC(modalities, num_classes=1, slp=SHARED in found)
    wanted = model.state_dict()
    theirs = RELEASE.matched(wanted, found)
    converted = {ours: _reshape(theirs[ours], found[theirs[ours]], value) for ours, value in wanted.items()}
    model.load_state_dict(converted, strict=True, assign=True)
    return model.eval()


def _merged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without LoRA: a layer y = W x + B (A x), their base, lora_B and lora_A, gets the weight W + B A."""
    out = dict(state)
    for layer in sorted({name.rpartition(".base.")[0] for name in state if ".base." in name}):
        down, up, base = (out.pop(f"{layer}.{name}.weight", None) for name in ("lora_A", "lora_B", "base"))
        if down is None or up is None or base is None:
            raise RELEASE.refusal(f"it lacks lora_A, lora_B or base of {layer}")
        # (out, r, …) times (r, in, …), where the other axes of a convolution are of length one
        out[f"{layer}.weight"] = base + (up.flatten(1) @ down.flatten(1)).reshape(base.shape)
        if f"{layer}.base.bias" in out:
            out[f"{layer}.bias"] = out.pop(f"{layer}.base.bias")
    return out


def _reshape(name: str, found: Tensor, wanted: Tensor) -> Tensor:
    """One of their tensors in our shape: their kernels have axes of length one that ours do without."""
    given = tuple(found.shape)
    if name.startswith(CLASSIFIER) and len(found) == len(MODALITIES):
        # cloned: a view, which load_state_dict assigns as it is, would keep the other channels in memory
        found = found[:1].clone()
    same = found.shape == wanted.shape
    if not same and (found.ndim != 5 or _long_axes(found) != _long_axes(wanted)):
        raise RELEASE.refusal(f"{name} is {given} where {tuple(wanted.shape)} is expected, but for axes of length one")
    return found.reshape(wanted.shape)


def _long_axes(tensor: Tensor) -> list[int]:
    return [length for length in tensor.shape if length != 1]
