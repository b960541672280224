"""Encoders of CMX: what goes in, their published sizes, and the weights they start from."""

import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from mobanet.errors import UserError
from mobanet.models.cbc.network import CBC, CBCSettings
from mobanet.models.cmx.convert import STREAMS
from mobanet.models.cmx.encoders import StreamInput, licence
from mobanet.models.cmx.network import CMX, CMXSettings
from tests.models.tiny import TWO_STREAMS, tiny_mobanet

PUBLISHED_STREAMS = {"rgb": {"rgb": 3}, "x": {"depth": 3}}


@torch.no_grad()
def test_three_bands_alone_are_taken_as_they_are():
    part = StreamInput({"rgb": 3}, as_colours=True, missing_tokens=False)
    assert list(part.parameters()) == []
    image = torch.randn(2, 3, 4, 4)
    assert torch.equal(part({"rgb": image}, None), image)


@torch.no_grad()
@pytest.mark.parametrize("as_colours", [True, False])
def test_one_band_starts_as_a_grey_image(as_colours):
    part = StreamInput({"dsm": 1}, as_colours, missing_tokens=False)
    image = torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(part({"dsm": image}, None), image.expand(-1, 3, -1, -1))
    assert part.projection.weight.requires_grad


@torch.no_grad()
def test_further_bands_start_as_more_colours_where_an_encoder_has_seen_colours():
    part = StreamInput({"rgb": 3, "ir": 1}, as_colours=True, missing_tokens=False)
    rgb, ir = torch.randn(2, 3, 4, 4), torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(part({"rgb": rgb, "ir": ir}, None), rgb + ir / 3)
    plain = StreamInput({"nir": 3, "swir": 3}, as_colours=False, missing_tokens=False).projection.weight
    assert plain.abs().max() <= 6**-0.5
    assert plain.unique().numel() == 18


class OnMeta(TorchFunctionMode):
    """Lets Mix-Transformers be built without memory: they read numbers off one tensor, which stays on the CPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}), **({"device": "cpu"} if func is torch.linspace else {}))


def published_cmx(encoder: str) -> CMX:
    with torch.device("meta"), OnMeta():
        return CMX(PUBLISHED_STREAMS, 40, CMXSettings(encoder, pretrained=False))


def count(part: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


@pytest.mark.parametrize(
    ("encoder", "total", "depths"),
    [
        ("mit_b0", 12_130_544, [2, 2, 2, 2]),
        ("mit_b2", 66_581_424, [3, 4, 6, 3]),
        pytest.param("mit_b4", 139_874_224, [3, 8, 27, 3], marks=pytest.mark.long),
        pytest.param("mit_b5", 181_074_864, [3, 6, 40, 3], marks=pytest.mark.long),
    ],
)
def test_parameters_of_the_published_networks(encoder, total, depths):
    model = published_cmx(encoder)
    assert count(model) == total
    assert [len(stage[1]) for stage in model.encoders[1].stages] == depths
    if encoder == "mit_b2":
        assert count(model.decoder) == 1_596_968
        assert (count(model.rectifications), count(model.fusions)) == (10_019_848, 6_572_032)


@pytest.mark.parametrize(
    ("encoder", "depths"), [("mit_b1", [2, 2, 2, 2]), pytest.param("mit_b3", [3, 4, 18, 3], marks=pytest.mark.long)]
)
def test_b1_and_b3_are_themselves(encoder, depths):
    model = published_cmx(encoder)
    for stream in model.encoders:
        assert [len(stage[1]) for stage in stream.stages] == depths
        assert [stage[0].proj.out_channels for stage in stream.stages] == [64, 128, 320, 512]


def test_parameters_of_the_three_modality_network():
    with torch.device("meta"):
        model = CMX(STREAMS, 1, CMXSettings("cnn"))
    assert count(model) == 28_042_139
    assert [count(part) for part in model.rectifications] == [107_074, 427_138, 2_665_282, 6_820_354]
    assert [count(part) for part in model.fusions] == [71_296, 281_856, 1_749_120, 4_469_760]
    assert count(model.encoders) == 10_923_904
    assert (count(model.decoder), count(model.inputs)) == (526_337, 18)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of MiT-B0 weights as SegFormer's authors name them, classifier included."""
    from segmentation_models_pytorch.encoders import get_encoder

    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("weights") / "mit_b0.safetensors"
    state = get_encoder("mit_b0", weights=None).state_dict()
    save_file({**state, "head.weight": torch.zeros(1000, 256), "head.bias": torch.zeros(1000)}, file)
    return file


@torch.no_grad()
def test_both_encoders_start_from_a_local_file_and_are_separate(weights):
    model = CMX(TWO_STREAMS, 4, CMXSettings("mit_b0", checkpoint=str(weights)))
    first, second = (dict(encoder.named_parameters()) for encoder in model.encoders)
    assert all(torch.equal(first[name], second[name]) and first[name] is not second[name] for name in first)
    state = load_file(weights)
    assert torch.equal(first["stages.2.0.proj.weight"], state["patch_embed3.proj.weight"])
    assert torch.equal(second["stages.3.1.1.mlp.dwconv.dwconv.bias"], state["block4.1.mlp.dwconv.dwconv.bias"])
    assert torch.equal(second["stages.0.1.0.attn.kv.weight"], state["block1.0.attn.kv.weight"])


def test_mix_transformers_want_standardised_colours_however_their_weights_come():
    found = CMX(TWO_STREAMS, 4, CMXSettings("mit_b0", pretrained=False)).standardization
    assert found.keys() == {"rgb", "ir"}
    assert found["rgb"].mean == (0.485, 0.456, 0.406)
    assert found["ir"].std == pytest.approx((0.226,))
    assert CMX(TWO_STREAMS, 4, CMXSettings("cnn")).standardization == {}


@pytest.mark.parametrize(
    "value", [3, torch.full((32,), torch.nan), torch.zeros(32, dtype=torch.complex64)], ids=["whole", "nan", "complex"]
)
def test_files_whose_weights_are_no_numbers_are_refused(value, weights, tmp_path):
    torch.save({**load_file(weights), "norm1.bias": value}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth holds norm1\.bias (as|with).*give an"):
        CMX(TWO_STREAMS, 4, CMXSettings("mit_b0", checkpoint=str(tmp_path / "w.pth")))


def test_other_files_are_refused(weights, tmp_path):
    with pytest.raises(
        UserError, match=r"does not hold the weights of this encoder: it has patch_embed1\.proj\.weight"
    ):
        CMX(TWO_STREAMS, 4, CMXSettings("mit_b1", checkpoint=str(weights)))
    with pytest.raises(UserError, match=r"checkpoint .*none\.pth is not a file"):
        CMX(TWO_STREAMS, 4, CMXSettings("mit_b0", checkpoint=str(tmp_path / "none.pth")))
    torch.save({"patch_embed1.proj.weight": torch.zeros(1)}, tmp_path / "small.pth")
    with pytest.raises(UserError, match=r"it lacks block1\.0\.attn\.kv\.bias, .* more and has patch_embed1"):
        CMX(TWO_STREAMS, 4, CMXSettings("mit_b0", checkpoint=str(tmp_path / "small.pth")))


@pytest.fixture
def without_extra(monkeypatch):
    """As if segmentation-models-pytorch were not installed."""
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)


def test_mix_transformers_need_the_extra(without_extra, weights):
    sentence = (
        r"^cmx\.encoder mit_b0 needs the package segmentation-models-pytorch, .* non-commercial use only; "
        r"install it with pip install 'mobanet\[cmx\]'\."
    )
    for start in ({"pretrained": False}, {"pretrained": True}, {"checkpoint": str(weights)}):
        with pytest.raises(UserError, match=sentence):
            CMX(TWO_STREAMS, 4, CMXSettings("mit_b0", **start))


def test_no_other_network_needs_the_extra(without_extra):
    small = CBCSettings(width=2, token_width=16, grid=2, heads=2, encoder_depths=(1, 1, 1, 1), encoder_width=4)
    assert count(tiny_mobanet())
    assert count(CMX(TWO_STREAMS, 4, CMXSettings("cnn", decoder_channels=8)))
    assert all(count(CBC({"rgb": 3, "ir": 1}, 4, small, slp=slp)) for slp in (False, True))


def test_weights_that_cannot_be_had_are_never_left_out_in_silence(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"mit_b0\.imagenet/model\.safetensors cannot be downloaded .*d` false"):
        CMX(TWO_STREAMS, 4, CMXSettings("mit_b0"))


def test_licences():
    assert "NON-COMMERCIAL" in licence("mit_b2")
    assert "NON-COMMERCIAL" not in licence("cnn")
