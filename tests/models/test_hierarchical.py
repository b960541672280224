"""Backbones with stages of their own widths and strides: as timm runs them, and all of MoBaNet around them."""

import re

import huggingface_hub
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from mobanet.errors import UserError
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.lora import LoRASettings, add_lora
from mobanet.models.mobanet.network import MoBaNet
from tests.models.tiny import (
    ODD,
    ONE_STREAM,
    STAGED,
    THREE_STREAMS,
    awaken,
    every_pattern,
    random_inputs,
    tiny_backbone,
    tiny_mobanet,
)

VARIANTS = {
    **{family: {"family": family} for family in STAGED},
    **{f"{family}-block": {"family": family, "placement": "block"} for family in STAGED},
    "swin-none-mean": {"family": "swin", "placement": "none", "fusion": "mean"},
    "convnext-se-tokens": {"family": "convnext", "fusion": "se", "missing": "token"},
    "hiera-own-left-out": {"family": "hiera", "incomplete": "own", "absent": "left_out", "missing": "token"},
    "sam2-three-left-out": {"family": "sam2", "streams": THREE_STREAMS, "absent": "left_out"},
    "swinv2-three-group": {"family": "swinv2", "streams": THREE_STREAMS, "normalization": "group"},
    "convnext-one-stream": {"family": "convnext_dinov3", "streams": ONE_STREAM},
    **{f"{family}-trained": {"family": family, "freeze": False} for family in STAGED},
    "swin-one-stream-trained": {"family": "swin", "streams": ONE_STREAM, "freeze": False},
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request) -> MoBaNet:
    return awaken(tiny_mobanet(**request.param))


def features(backbone, image):
    """Maps after each stage, (B, C, h, w)."""
    stem = backbone.stem
    patches = F.conv2d(image, stem.weight, stem.bias, stem.stride, stem.padding).permute(0, 2, 3, 1)
    tokens, geometry = backbone.embed(patches)
    found = []
    for stage, blocks in enumerate(backbone.stages):
        assert tokens.shape[2] == backbone.entry_widths[stage]
        for index in blocks:
            tokens = backbone.block(index, tokens, geometry)
        maps = backbone.tapped(stage, tokens, geometry).unflatten(1, backbone.grid(stage, geometry))
        found.append(maps.permute(0, 3, 1, 2))
        if stage < 3:
            tokens = backbone.descend(stage, tokens, geometry)
    return found


@pytest.mark.parametrize("family", STAGED)
@torch.no_grad()
def test_stages_run_as_in_timm(family):
    name, options = STAGED[family]
    torch.manual_seed(0)
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    original = timm.create_model(name, pretrained=False, num_classes=0, **lists).eval()
    backbone = build_backbone(tiny_backbone(family))
    wanted = backbone.vit.state_dict().keys()
    backbone.vit.load_state_dict({n: x for n, x in original.state_dict().items() if n in wanted})
    image = torch.randn(2, 3, 64, 64)
    expected = original.forward_intermediates(image, intermediates_only=True)
    found = features(backbone, image)
    assert [x.shape[1] for x in found] == backbone.stage_widths
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["hiera_abswin", "sam2", "swin", "swinv2"])
def test_other_sizes_run_as_a_model_of_timm_of_that_size(family):
    name, options = STAGED[family]
    torch.manual_seed(0)
    backbone = build_backbone(tiny_backbone(family))
    image = torch.randn(2, 3, 96, 160)
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    size = {"sam2": {}, "hiera_abswin": {"img_size": (96, 160)}}.get(family, {"strict_img_size": False})
    original = timm.create_model(name, pretrained=False, num_classes=0, **{**lists, **size}).eval()
    original.load_state_dict(backbone.vit.state_dict(), strict=False)
    for ours, theirs in zip(
        features(backbone, image), original.forward_intermediates(image, intermediates_only=True), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("patch", [8, 16])
def test_a_convnext_whose_stages_do_not_halve_is_refused(patch):
    settings = tiny_backbone("convnext")
    settings.options = {**settings.options, "patch_size": patch}
    with pytest.raises(UserError, match=rf"strides of {patch}, .*32, 32 pixels.*leave patch_size out"):
        build_backbone(settings)


@pytest.mark.parametrize("family", STAGED)
def test_lora_adapts_what_attends(family):
    model = tiny_mobanet(family).eval()
    inputs = random_inputs(model, 2, 64, 64)
    before = model(inputs).logits
    targets = {}
    if family.startswith("convnext"):
        with pytest.raises(
            UserError, match=r"has no attention, and its frozen linear layers are backbone\.vit\.stages"
        ):
            add_lora(model, LoRASettings())
        targets = {"targets": r".*mlp\.fc[12]"}
    layers = add_lora(model, LoRASettings(rank=2, **targets))
    assert len(layers) == 2 * model.backbone.depth
    torch.testing.assert_close(before, model(inputs).logits)
    model.train()(inputs).logits.square().mean().backward()
    additions = {name: p.grad for name, p in model.named_parameters() if ".lora_" in name}
    assert len(additions) == 2 * len(layers)
    assert all(grad is not None for grad in additions.values())


def test_what_a_backbone_publishes():
    backbone = build_backbone(tiny_backbone("hiera"))
    assert (backbone.patch_size, backbone.width, backbone.depth, backbone.num_prefix_tokens) == (32, 64, 5, 0)
    assert backbone.stages == [range(0, 1), range(1, 2), range(2, 4), range(4, 5)]
    assert backbone.stage_widths == [8, 16, 32, 64]
    assert backbone.entry_widths == [8, 8, 16, 32]
    satellite = BackboneSettings("convnext_tiny.dinov3_lvd1689m", pretrained=False, options=STAGED["convnext"][1])
    assert build_backbone(satellite).mean == (0.485, 0.456, 0.406)


def test_shapes_at_odd_sizes(model):
    inputs = random_inputs(model, 2, *ODD)
    output = model.eval()(inputs, auxiliary=True)
    assert output.logits.shape == (2, 4, *ODD)
    assert output.latent.shape[2:] == (3, 2)
    assert all(logits.shape == (2, 4, *ODD) for logits in output.auxiliary.values())
    stages = model.encode(inputs)
    assert [tuple(x.shape[2:]) for x in stages.fused] == [(24, 16), (12, 8), (6, 4), (3, 2)]
    assert all([x.shape for x in maps] == [x.shape for x in stages.fused] for maps in stages.streams.values())


@torch.no_grad()
def test_a_sample_does_not_depend_on_its_batch_and_scenarios_share(model):
    model.eval()
    available = every_pattern(model)
    inputs = random_inputs(model, len(available), *ODD)
    whole = model(inputs, available)
    each = [*model.forward_each(inputs, [row.expand(len(available), -1) for row in available])]
    for i in range(len(available)):
        alone = model({name: x[i : i + 1] for name, x in inputs.items()}, available[i : i + 1])
        torch.testing.assert_close(whole.logits[i : i + 1], alone.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(whole.latent[i : i + 1], alone.latent, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(each[i].logits[i : i + 1], alone.logits, rtol=1e-4, atol=1e-5)


def test_every_trained_parameter_gets_a_gradient_with_one_modality(model):
    model.train()
    for column in range(len(model.modalities)):
        model.zero_grad()
        available = torch.zeros(2, len(model.modalities), dtype=torch.bool)
        available[:, column] = True
        output = model(random_inputs(model, 2, 64, 64), available)
        (output.logits.square().mean() + sum(x.square().mean() for x in output.auxiliary.values())).backward()
        without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert without == []


@pytest.mark.parametrize("family", [*STAGED, "beit"])
def test_recomputed_blocks_give_the_same_gradients(family):
    model = awaken(tiny_mobanet(family)).train()
    inputs, found = random_inputs(model, 2, 64, 64), []
    for recomputes in (False, True):
        model.backbone.recomputes = recomputes
        model.zero_grad()
        torch.manual_seed(0)
        model(inputs).logits.square().mean().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@torch.no_grad()
@pytest.mark.parametrize(
    "family", ["swin", *(pytest.param(name, marks=pytest.mark.long) for name in ("convnext", "hiera", "sam2", "beit"))]
)
def test_it_compiles_as_one_graph(family):
    model = awaken(tiny_mobanet(family)).eval()
    inputs, available = random_inputs(model, 2, 64, 64), torch.tensor([[True, True, True], [True, False, True]])
    expected = model(inputs, available).logits
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(inputs, available).logits, expected)


@torch.no_grad()
@pytest.mark.parametrize("family", STAGED)
def test_padding_inside_equals_padding_outside(family):
    model = awaken(tiny_mobanet(family)).eval()
    inputs = random_inputs(model, 1, *ODD)
    padded = {name: F.pad(x, (0, 96 - 70, 0, 96 - 70)) for name, x in random_inputs(model, 1, 70, 70).items()}
    assert model(padded).logits.shape == (1, 4, 96, 96)
    size = model.backbone.patch_size
    padded = {name: F.pad(x, (0, -ODD[1] % size, 0, -ODD[0] % size)) for name, x in inputs.items()}
    torch.testing.assert_close(model(inputs).logits, model(padded).logits[..., : ODD[0], : ODD[1]])
    assert model(random_inputs(model, 1, 1, 3)).logits.shape == (1, 4, 1, 3)


@pytest.mark.parametrize("family", STAGED)
def test_local_weights_are_read_whole_or_refused(family, tmp_path):
    name, options = STAGED[family]
    torch.manual_seed(0)
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    original = timm.create_model(name, pretrained=False, num_classes=3, **lists)
    weights = original.state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    loaded = build_backbone(tiny_backbone(family, checkpoint=str(tmp_path / "w.safetensors")))
    assert loaded.vit.state_dict().keys() <= weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in loaded.vit.state_dict().items())
    kernel = next(name for name in weights if name.startswith(("patch_embed.proj", "stem.0")))
    state = {n: x for n, x in weights.items() if n != kernel}
    save_file(state, tmp_path / "lacking.safetensors")
    with pytest.raises(UserError, match="does not hold the weights of this model"):
        build_backbone(tiny_backbone(family, checkpoint=str(tmp_path / "lacking.safetensors")))
    save_file({"nonsense.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="does not hold the weights of this model"):
        build_backbone(tiny_backbone(family, checkpoint=str(tmp_path / "other.safetensors")))


@pytest.mark.parametrize("family", STAGED)
def test_weights_of_a_backbone_alone_are_read(family, tmp_path):
    source = build_backbone(tiny_backbone(family))
    save_file(source.vit.state_dict(), tmp_path / "w.safetensors")
    loaded = build_backbone(tiny_backbone(family, checkpoint=str(tmp_path / "w.safetensors")))
    assert loaded.fingerprint() == source.fingerprint()


def test_published_weights_come_from_the_cache_and_must_fit(tmp_path, monkeypatch):
    name, options = STAGED["convnext_dinov3"]
    lists = {key: tuple(value) for key, value in options.items()}
    original = timm.create_model(name, pretrained=False, num_classes=0, **lists)
    save_file(original.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "model.safetensors"))
    loaded = build_backbone(BackboneSettings(name, options=options))
    assert torch.equal(loaded.vit.stages[3].blocks[0].gamma, original.stages[3].blocks[0].gamma)
    assert torch.equal(loaded.patch_kernel, original.stem[0].weight)
    with pytest.raises(UserError, match="does not hold the weights of this model"):
        build_backbone(BackboneSettings(name, options={**options, "depths": [1, 1, 1, 1]}))


def test_files_of_dinov3_itself_are_read(tmp_path):
    name, options = STAGED["convnext_dinov3"]
    lists = {key: tuple(value) for key, value in options.items()}
    original = timm.create_model(name, pretrained=False, num_classes=0, **lists)
    words = (
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc", ".pwconv"),
        (r"^head\.norm\.", "norm."),
    )
    state, weights = {}, original.state_dict()
    for key, value in weights.items():
        for pattern, theirs in words:
            key = re.sub(pattern, theirs, key)
        state[key] = value
    torch.save(state, tmp_path / "official.pth")
    loaded = build_backbone(tiny_backbone("convnext_dinov3", checkpoint=str(tmp_path / "official.pth")))
    assert all(torch.equal(value, weights[key]) for key, value in loaded.vit.state_dict().items())


def test_tables_of_other_windows_are_refused_rather_than_resized(tmp_path):
    state = build_backbone(tiny_backbone("swin")).vit.state_dict()
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    save_file({**state, table: torch.zeros(11 * 11, 1)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"relative_position_bias_table is \(121, 1\) there and \(169, 1\)"):
        build_backbone(tiny_backbone("swin", checkpoint=str(tmp_path / "w.safetensors")))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(
        UserError, match=r"pyramid is scaled, .* swin_tiny_patch4_window7_224 has four scales of its own"
    ):
        tiny_mobanet("swin", pyramid="scaled")
    options = {"embed_dim": 8, "stages": [1, 2, 4, 1]}
    with pytest.raises(UserError, match=r"1, 2, 4, 1 blocks, where block 7 of sam2_hiera_tiny .* cannot begin a stage"):
        build_backbone(BackboneSettings("sam2_hiera_tiny", pretrained=False, options=options))
