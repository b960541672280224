"""Making, filling and running timm transformers."""

import inspect
import math
import re
import socket
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from mobanet.errors import UserError
from mobanet.models.backbones.kinds import KINDS, build_backbone
from mobanet.models.backbones.positions import distances, relative_bias, resample_dinov2, resample_sam
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.backbones.weights import licence
from mobanet.models.mobanet.convert import DINOV2_BY_WIDTH, SAM_BY_WIDTH
from tests.models.tiny import FURTHER, NAMES, STAGED, tiny_backbone


@pytest.mark.parametrize("family", [*NAMES, *FURTHER])
@torch.no_grad()
def test_blocks_run_as_in_timm(family):
    torch.manual_seed(0)
    backbone = build_backbone(tiny_backbone(family))
    side = 4 * backbone.patch_size  # DINOv2's own resampling does nothing at this size
    image = torch.randn(2, 3, side, side)
    patches = F.conv2d(image, backbone.patch_kernel, backbone.patch_bias, stride=backbone.patch_size)
    tokens, geometry = backbone.embed(patches.permute(0, 2, 3, 1))
    for stage in backbone.stages:
        for index in stage:
            tokens = backbone.block(index, tokens, geometry)
    if family == "sam":
        found, expected = backbone.neck(tokens, geometry), backbone.vit.forward_features(image)
    elif family == "sam_without_neck":
        expected = backbone.vit.forward_features(image)
        found = backbone.normalize(tokens).unflatten(1, geometry.grid).permute(0, 3, 1, 2)
    else:
        expected = backbone.vit.forward_features(image)
        if isinstance(backbone.vit.norm, torch.nn.Identity):
            expected = backbone.vit.fc_norm(expected)
        found = backbone.normalize(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_page_names_the_families_that_are_tested():
    page = (Path(__file__).parents[2] / "docs/networks.md").read_text()
    table = page.partition("### Families of backbones")[2].partition("###")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ") and "`" in line]
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row[2])} == {*KINDS}
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row[3])}
    assert named == {name for name, _ in {**NAMES, **FURTHER, **STAGED}.values()}


def test_what_a_backbone_publishes():
    backbone = build_backbone(tiny_backbone("dinov3"))
    assert (backbone.patch_size, backbone.width, backbone.depth, backbone.num_prefix_tokens) == (16, 32, 4, 5)
    assert backbone.stages == [range(0, 1), range(1, 2), range(2, 3), range(3, 4)]
    options = NAMES["dinov3"][1]
    satellite = build_backbone(BackboneSettings("vit_large_patch16_dinov3.sat493m", pretrained=False, options=options))
    assert satellite.mean == (0.43, 0.411, 0.296)
    assert satellite.std == (0.213, 0.156, 0.143)


def test_licences():
    assert licence("vit_small_patch14_dinov2.lvd142m") == "Apache-2.0"
    assert licence("samvit_base_patch16.sa1b") == "Apache-2.0"
    assert licence("vit_small_patch16_dinov3.lvd1689m").startswith("DINOv3 License")


def test_fingerprint_tells_weights_apart():
    torch.manual_seed(0)
    first = build_backbone(tiny_backbone())
    torch.manual_seed(0)
    assert build_backbone(tiny_backbone()).fingerprint() == first.fingerprint()
    before = first.fingerprint()
    with torch.no_grad():
        first.vit.blocks[2].mlp.fc1.bias[0] += 1e-6
    assert first.fingerprint() != before


def test_position_embedding_of_dinov2():
    embedding = torch.randn(1, 1 + 37 * 37, 8)
    assert resample_dinov2(embedding, (37, 37)) is embedding
    found = resample_dinov2(embedding, (18, 25))
    maps = embedding[:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    factors = (18.1 / 37, 25.1 / 37)
    expected = F.interpolate(maps, scale_factor=factors, mode="bicubic", antialias=False, align_corners=False)
    torch.testing.assert_close(found[:, 1:], expected.flatten(2).transpose(1, 2))
    assert torch.equal(found[:, :1], embedding[:, :1])
    by_size = F.interpolate(maps, size=(18, 25), mode="bicubic").flatten(2).transpose(1, 2)
    assert (found[:, 1:] - by_size).abs().max() > 1e-3


@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (19, 37), (37, 36), (74, 20)])
def test_position_embeddings_at_any_grid(grid):
    assert resample_dinov2(torch.randn(1, 1 + 37 * 37, 4), grid).shape == (1, 1 + grid[0] * grid[1], 4)
    assert resample_sam(torch.randn(1, 16, 16, 4), grid).shape == (1, *grid, 4)


def test_biases_by_distance_at_other_grids():
    table = torch.randn(7 * 9 + 3, 2)
    native = relative_bias(table, distances((4, 5), (4, 5), table))[0]
    known = table[:-3].reshape(7, 9, 2)
    for first, second in ((0, 0), (3, 17), (19, 0), (8, 12)):
        row, column = first // 5 - second // 5, first % 5 - second % 5
        assert torch.equal(native[:, 1 + first, 1 + second], known[3 + row, 4 + column])
    to_patch, to_token, itself = table[-3:]
    assert torch.equal(native[:, 0, 0], itself)
    assert torch.equal(native[:, 0, 1:], to_patch[:, None].expand(2, 20))
    assert torch.equal(native[:, 1:, 0], to_token[:, None].expand(2, 20))
    small = relative_bias(table, distances((4, 5), (2, 3), table))[0]
    assert torch.equal(small[:, 1, 6], known[3 - 1, 4 - 2])  # as near as there: the same
    large = relative_bias(table, distances((4, 5), (12, 5), table))[0]
    torch.testing.assert_close(large[:, 1, 1 + 55], known[0, 4])  # the farthest is the farthest
    torch.testing.assert_close(large[:, 1, 1 + 5], known[2, 4], atol=0.5, rtol=0)
    shares = distances((4, 5), (12, 5), table).rows
    torch.testing.assert_close(shares.sum(1), torch.ones(23))
    assert (shares @ torch.arange(-3.0, 4)).diff().gt(0).all()  # farther stays farther


@torch.no_grad()
def test_relative_positions_at_another_grid_as_in_a_model_of_timm_with_such_a_table():
    torch.manual_seed(0)
    backbone = build_backbone(tiny_backbone("beit"))
    for block in backbone.vit.blocks:
        block.attn.relative_position_bias_table.normal_()
    name, options = NAMES["beit"]
    original = timm.create_model(name, num_classes=0, **{**options, "img_size": (96, 48)}).eval()
    apart = distances((4, 4), (6, 3), torch.zeros(1))
    state = dict(backbone.vit.state_dict())
    for key, table in state.items():
        if key.endswith("relative_position_bias_table"):
            known = table[:-3].T.unflatten(1, (7, 7))
            state[key] = torch.cat(((apart.rows @ known @ apart.columns.T).flatten(1).T, table[-3:]))
    original.load_state_dict(state)
    image = torch.randn(2, 3, 96, 48)
    patches = F.conv2d(image, backbone.patch_kernel, backbone.patch_bias, stride=16).permute(0, 2, 3, 1)
    tokens, geometry = backbone.embed(patches)
    for index in range(backbone.depth):
        tokens = backbone.block(index, tokens, geometry)
    torch.testing.assert_close(tokens, original.forward_features(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_small_patch14_dinov", "did you mean vit_small_patch14_dinov2"),
        ("vit_small_patch14_dinov2.lvd", r"did you mean vit_small_patch14_dinov2\.lvd142m"),
        ("resnet18", r"of a family that does not work here: choose .*\(DINOv2, .*HieraDet \(SAM 2\)"),
        ("mvitv2_tiny", r"one with stages of class SwinTransformer, .*ConvNeXt"),
        (
            "deit_tiny_distilled_patch16_224",
            "does not work here: choose a plain transformer of class",
        ),
    ],
)
def test_names_are_checked(name, message):
    with pytest.raises(UserError, match=message):
        build_backbone(BackboneSettings(name, pretrained=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 6}, "has 6 blocks, which four equal stages cannot share"),
        ({"reg_token": 4}, r"must not set 'reg_token' \(did you mean reg_tokens\?\): it may set .*depth"),
        ({"num_reg_tokens": 4}, "unexpected keyword argument 'num_reg_tokens'"),
        ({"depth": 100000}, "depth is '100000': give a whole number from 1 to 128"),
        ({"depth": True}, "depth is 'True': give a whole number"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio is 'nan': give a number from 0.01 to 64"),
        ({"qkv_bias": 1}, "qkv_bias is '1': give true or false"),
        ({"pos_embed": "x.pth"}, "pos_embed is 'x.pth': give one of 'learn'"),
        ({"embed_dim": 30, "num_heads": 4}, "do not fit"),
        ({"num_classes": 3}, "must not set 'num_classes'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(UserError, match=message):
        build_backbone(BackboneSettings("vit_small_patch14_dinov2", pretrained=False, options=options))


@pytest.mark.parametrize(
    "options",
    [
        {"no_embed_class": True},
        {"pos_embed": "none"},
        {"class_token": False, "global_pool": "avg"},
    ],
)
@torch.no_grad()
def test_options_may_take_class_token_and_positions_off_a_dinov2(options):
    settings = tiny_backbone("dinov2")
    settings.options = {**settings.options, **options}
    backbone = build_backbone(settings)
    side = 3 * backbone.patch_size
    image = torch.randn(1, 3, side, side)
    patches = F.conv2d(image, backbone.patch_kernel, backbone.patch_bias, stride=backbone.patch_size)
    tokens, _ = backbone.embed(patches.permute(0, 2, 3, 1))
    expected = backbone.vit.norm_pre(backbone.vit._pos_embed(backbone.vit.patch_embed(image)))
    torch.testing.assert_close(tokens, expected)


@pytest.mark.parametrize("family", [*NAMES, *FURTHER])
def test_positions_of_a_trained_backbone_drop_out_where_they_are_told_to(family):
    settings = tiny_backbone(family)
    settings.freeze, settings.options = False, {**settings.options, "pos_drop_rate": 0.5}
    backbone = build_backbone(settings)
    patches = torch.randn(1, 4, 4, backbone.width)
    trained, again, evaluated = (backbone.train(mode).embed(patches)[0] for mode in (True, True, False))
    assert not torch.isclose(trained, again).all()
    torch.testing.assert_close(evaluated, backbone.embed(patches)[0])


TIMM_S_OWN = (
    *list(inspect.signature(timm.create_model).parameters)[1:-1],
    *("features_only", "pruned", "pretrained_strict", "pretrained_filter_fn", "kwargs_filter", "model_cfg"),
    *("feature_cfg", "feature_cls", "out_indices", "use_naflex", "norm_layer", "act_layer", "embed_layer"),
    *("block_fn", "mlp_layer", "attn_layer", "embed_norm_layer", "device", "dtype", "weight_init", "distilled"),
)


@pytest.mark.parametrize("name", TIMM_S_OWN)
def test_options_open_no_file_and_choose_no_class(name, tmp_path):
    with pytest.raises(UserError, match=f"must not set '{name}'"):
        BackboneSettings("vit_small_patch14_dinov2", pretrained=False, options={name: str(tmp_path / "w.pth")})
    settings = tiny_backbone()
    settings.options = {**settings.options, name: "x"}  # behind the settings' own look at them
    with pytest.raises(UserError, match=f"must not set '{name}'"):
        build_backbone(settings)


@pytest.mark.parametrize("scheme", ["hf-hub:", "hf_hub:", "local-dir:", "timm/", "./", "C:"])
def test_names_fetch_and_open_nothing(scheme, tmp_path, monkeypatch):
    for module in (socket, huggingface_hub):
        for name in ("create_connection", "hf_hub_download", "snapshot_download"):
            monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("asked the network"), raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "vit_tiny_patch16_224"}')
    for place in ("vit_tiny_patch16_224", str(tmp_path), "vit_tiny_patch16_224.augreg_in21k@main"):
        with pytest.raises(UserError, match="is not a model of timm"):
            build_backbone(BackboneSettings(f"{scheme}{place}", pretrained=False))


def test_published_weights_keep_their_own_sizes():
    with pytest.raises(UserError, match="sets img_size, which published weights come with"):
        build_backbone(BackboneSettings(options={"img_size": 224}))


@pytest.mark.parametrize("offline", [True, False])
def test_without_network_the_message_names_the_ways_out(offline, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    if not offline:  # a port where nobody listens
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"`backbone\.checkpoint` FILE.*`backbone\.pretrained` false"):
        build_backbone(BackboneSettings())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_local_weights_are_read(suffix, tmp_path):
    source = build_backbone(tiny_backbone())
    weights = {**source.vit.state_dict(), "head.weight": torch.zeros(3, 32), "head.bias": torch.zeros(3)}
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(weights, file)
    else:
        torch.save({"model": weights}, file)
    loaded = build_backbone(tiny_backbone(checkpoint=str(file)))
    assert loaded.fingerprint() == source.fingerprint()


def test_published_weights_come_from_the_cache_and_must_fit(tmp_path, monkeypatch):
    name, options = "vit_small_patch16_dinov3.lvd1689m", NAMES["dinov3"][1]
    source = build_backbone(BackboneSettings(name, pretrained=False, options=options))
    save_file(source.vit.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "model.safetensors"))
    assert build_backbone(BackboneSettings(name, options=options)).fingerprint() == source.fingerprint()
    with pytest.raises(UserError, match="does not hold the weights of this model: it has unknown blocks"):
        build_backbone(BackboneSettings(name, options={**options, "depth": 1}))


def test_files_of_dinov2_itself_are_read(tmp_path):
    source = build_backbone(tiny_backbone("dinov2_registers"))
    weights = source.vit.state_dict()
    weights["register_tokens"] = weights.pop("reg_token")
    prefix = torch.randn(1, 1, 32)  # in the original the class token has a position, which timm adds to it
    weights["pos_embed"] = torch.cat((prefix, weights["pos_embed"]), dim=1)
    weights["cls_token"] = weights["cls_token"] - prefix
    torch.save({**weights, "mask_token": torch.zeros(1, 32)}, tmp_path / "official.pth")
    loaded = build_backbone(tiny_backbone("dinov2_registers", checkpoint=str(tmp_path / "official.pth")))
    torch.testing.assert_close(loaded.vit.state_dict(), source.vit.state_dict())


def test_files_that_do_not_fit_are_refused(tmp_path):
    weights = build_backbone(tiny_backbone()).vit.state_dict()

    def refuse(match: str, **changes) -> None:
        with pytest.raises(UserError, match=match):
            build_backbone(tiny_backbone(**{"checkpoint": str(tmp_path / "w.pth"), **changes}))

    refuse("is not a file")
    (tmp_path / "w.pth").write_bytes(b"no weights")
    refuse("cannot be read as weights")
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    refuse("cannot be read as weights", checkpoint=str(tmp_path / "w.safetensors"))
    torch.save([1, 2], tmp_path / "w.pth")
    refuse("holds no dictionary of weights but a list")
    torch.save({**weights, "model": object}, tmp_path / "w.pth")
    refuse("cannot be read as weights")
    torch.save({k: v for k, v in weights.items() if k != "norm.bias"}, tmp_path / "w.pth")
    refuse(r"lacks norm\.bias")
    torch.save({**weights, "adapter": torch.zeros(1)}, tmp_path / "w.pth")
    refuse("has unknown adapter")
    torch.save({**weights, "norm.bias": torch.zeros(3)}, tmp_path / "w.pth")
    refuse(r"norm\.bias is \(3,\) there and \(32,\)")
    torch.save({**weights, "pos_embed": torch.zeros(1, 50, 32)}, tmp_path / "w.pth")
    refuse(r"pos_embed is \(1, 50, 32\) there and \(1, 17, 32\)")
    torch.save({**weights, "patch_embed.proj.weight": torch.zeros(32, 3, 16, 16)}, tmp_path / "w.pth")
    refuse(r"patch_embed\.proj\.weight is \(32, 3, 16, 16\)")


@pytest.mark.parametrize("name", [*DINOV2_BY_WIDTH.values(), *SAM_BY_WIDTH.values()])
def test_backbones_of_the_release_are_known_to_timm(name):
    assert timm.is_model(name)


@pytest.mark.parametrize("value", [3, [1.0], torch.tensor(1.0), math.nan, math.inf, 1j], ids=str)
@pytest.mark.parametrize("family", ["dinov2", "sam", "eva02", "beit"])
def test_files_whose_weights_are_no_numbers_are_refused(family, value, tmp_path):
    state = build_backbone(tiny_backbone(family)).vit.state_dict()
    file = tmp_path / "w.pth"
    for name in ("patch_embed.proj.weight", "pos_embed", "blocks.0.norm1.bias"):
        if name in state:
            scaled = isinstance(value, float | complex)
            torch.save({**state, name: state[name] * value if scaled else value}, file)
            with pytest.raises(UserError, match=r"w\.pth (holds|does not hold) .*give|let `backbone"):
                build_backbone(tiny_backbone(family, checkpoint=str(file)))
    torch.save({**state, 5: torch.zeros(1)}, file)
    with pytest.raises(UserError, match=r"w\.pth does not hold the weights of this model"):
        build_backbone(tiny_backbone(family, checkpoint=str(file)))
