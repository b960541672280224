"""The contract, for every family of backbone and every choice around it."""

import pytest
import torch

from mobanet.errors import UserError
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings
from tests.models.tiny import (
    ODD,
    ONE_STREAM,
    PAPER_STREAMS,
    TWO_STREAMS,
    VARIANTS,
    every_pattern,
    random_inputs,
    tiny_backbone,
    tiny_mobanet,
)


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request) -> MoBaNet:
    return tiny_mobanet(**request.param)


def test_shapes_at_odd_sizes(model):
    inputs = random_inputs(model, 2, *ODD)
    output = model.eval()(inputs, auxiliary=True)
    assert output.logits.shape == (2, 4, *ODD)
    assert output.logits.dtype == torch.float32
    assert output.latent.ndim == 4
    assert set(output.auxiliary) == (set(model.streams) if model.settings.auxiliary_heads else set())
    assert all(logits.shape == (2, 4, *ODD) for logits in output.auxiliary.values())
    assert model(inputs).auxiliary == {}
    assert len(model.train()(inputs).auxiliary) == len(model.heads)


@torch.no_grad()
def test_a_sample_does_not_depend_on_its_batch(model):
    model.eval()
    available = every_pattern(model)
    inputs = random_inputs(model, len(available), *ODD)
    whole = model(inputs, available, auxiliary=True)
    for i in range(len(available)):
        alone = model({name: x[i : i + 1] for name, x in inputs.items()}, available[i : i + 1], auxiliary=True)
        torch.testing.assert_close(whole.logits[i : i + 1], alone.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(whole.latent[i : i + 1], alone.latent, rtol=1e-4, atol=1e-5)
        for stream, logits in whole.auxiliary.items():
            torch.testing.assert_close(logits[i : i + 1], alone.auxiliary[stream], rtol=1e-4, atol=1e-5)


def test_every_trained_parameter_gets_a_gradient_with_one_modality(model):
    model.train()
    for column in range(len(model.modalities)):
        model.zero_grad()
        available = torch.zeros(2, len(model.modalities), dtype=torch.bool)
        available[:, column] = True
        output = model(random_inputs(model, 2, 56, 56), available)
        (output.logits.square().mean() + sum(x.square().mean() for x in output.auxiliary.values())).backward()
        without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert without == []


def test_nan_in_a_missing_modality_does_not_spread():
    model = tiny_mobanet()
    inputs = random_inputs(model, 2, 56, 56)
    inputs["ir"][0] = inputs["dsm"][1] = torch.nan
    available = torch.tensor([[True, False, True], [True, True, False]])
    output = model.train()(inputs, available)
    output.logits.sum().backward()
    assert output.logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_frozen_backbone_stays_in_eval_mode_and_unchanged():
    model = tiny_mobanet().train()
    assert not any(module.training for module in model.backbone.modules())
    assert model.decoder.training
    before = model.backbone.fingerprint()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(random_inputs(model, 2, 56, 56)).logits.sum().backward()
    optimizer.step()
    assert model.backbone.fingerprint() == before
    assert tiny_mobanet(freeze=False).train().backbone.training


@torch.no_grad()
@pytest.mark.parametrize("family", ["dinov2", "dinov3", "sam"])
def test_a_stream_beside_another_equals_a_model_of_its_own(family):
    both = tiny_mobanet(family, streams=PAPER_STREAMS, placement="none", fusion="mean").eval()
    alone = tiny_mobanet(family, streams=ONE_STREAM, fusion="mean").eval()
    for part in ("backbone", "pyramid"):
        getattr(alone, part).load_state_dict(getattr(both, part).state_dict())
    alone.embeddings[0].load_state_dict(both.embeddings[1].state_dict())
    inputs = random_inputs(both, 2, *ODD)
    found = both.encode(inputs).streams["elevation"]
    torch.testing.assert_close(found, alone.encode({"dsm": inputs["dsm"]}).fused, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["dinov2", "dinov3", "sam"])
def test_padding_inside_equals_padding_outside(family):
    model = tiny_mobanet(family).eval()
    inputs = random_inputs(model, 1, *ODD)
    size = model.backbone.patch_size
    padding = (0, -ODD[1] % size, 0, -ODD[0] % size)
    padded = {name: torch.nn.functional.pad(x, padding) for name, x in inputs.items()}
    torch.testing.assert_close(model(inputs).logits, model(padded).logits[..., : ODD[0], : ODD[1]])


@torch.no_grad()
def test_the_smallest_images():
    for variant in ({}, {"family": "sam", "placement": "block", "fusion": "se", "pyramid": "scaled"}):
        model = tiny_mobanet(**variant).eval()
        assert model(random_inputs(model, 1, 1, 3)).logits.shape == (1, 4, 1, 3)


def test_runs_under_autocast():
    model = tiny_mobanet().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(random_inputs(model, 2, 56, 56))
    assert output.logits.dtype == torch.float32
    output.logits.sum().backward()


def test_wrong_inputs_are_refused():
    model = tiny_mobanet()
    inputs = random_inputs(model, 2, 56, 56)
    with pytest.raises(ValueError, match="takes the modalities"):
        model({"rgb": inputs["rgb"]})
    with pytest.raises(ValueError, match="dsm has 1 bands"):
        model({**inputs, "dsm": inputs["rgb"]})
    with pytest.raises(ValueError, match="one batch size, height and width"):
        model({**inputs, "dsm": inputs["dsm"][..., 1:]})
    with pytest.raises(UserError, match="batch_size is 1"):
        model.train()({name: x[:1] for name, x in inputs.items()})


def test_order_of_modalities():
    backbone = tiny_backbone()
    settings = MoBaNetSettings(projection_channels=16)
    assert list(MoBaNet(TWO_STREAMS, 4, backbone, settings).modalities) == ["rgb", "ir", "dsm"]
    assert list(MoBaNet(TWO_STREAMS, 4, backbone, settings, order=["dsm", "rgb", "ir"]).modalities) == [
        "dsm",
        "rgb",
        "ir",
    ]


def test_standardization_is_the_backbones():
    streams = {"optical": {"irrg": 3, "pan": 1, "swir": 2}, "elevation": {"dsm": 1}}
    found = tiny_mobanet(streams=streams).standardization
    assert found.keys() == {"irrg", "pan", "swir"}
    assert found["irrg"].mean == (0.485, 0.456, 0.406)
    assert found["irrg"].std == (0.229, 0.224, 0.225)
    assert found["pan"].mean == pytest.approx((0.449,))
    assert found["swir"].std == pytest.approx((0.226, 0.226))
    assert MoBaNet(streams, 4, tiny_backbone(standardize=False)).standardization == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"streams": {}}, "names no stream"),
        ({"streams": {f"s{k}": {f"m{k}": 1} for k in range(9)}}, "names 9 streams, and there may be 8"),
        ({"streams": {"a": {}}}, r"streams\.a has no modality"),
        ({"streams": {"a": {"x": 1}, "b": {"x": 1}}}, "modality x twice"),
        ({"streams": {"a": {"x": 0}}}, "at least one band"),
        ({"streams": {"a": {"x.y": 1}}}, "without a dot"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"order": ["rgb", "dsm"]}, r"order is \['rgb', 'dsm'\]"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    arguments = {"streams": TWO_STREAMS, "num_classes": 4, "backbone": tiny_backbone(), **changes}
    with pytest.raises(UserError, match=message):
        MoBaNet(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"placement": "blocks"}, "placement is 'blocks': choose one of stage, block, none"),
        ({"fusion": "sum"}, "fusion is 'sum': choose one of dgfm, se, mean"),
        ({"pyramid": "fpn"}, "pyramid is 'fpn': choose one of plain, scaled"),
        ({"missing": "tokens"}, "missing is 'tokens': choose one of zero, token"),
        ({"cpia_ratio": 0.0}, r"cpia_ratio is 0\.0"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        MoBaNetSettings(**changes)


def test_a_neck_of_other_channels_is_refused():
    with pytest.raises(UserError, match="neck of samvit_base_patch16 has 16 channels"):
        tiny_mobanet("sam", pyramid="scaled", projection_channels=32)
