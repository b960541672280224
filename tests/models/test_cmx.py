"""CMX: the contract, in both variants."""

import copy
from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from mobanet.errors import UserError
from mobanet.models.cmx.network import CMX, CMXSettings
from mobanet.models.cmx.parts import FFM, MLPDecoder
from mobanet.models.upernet import resize
from tests.models.tiny import TWO_STREAMS, awaken, every_pattern, random_inputs

ODD = (45, 37)  # two positions each way in the last stage, and no multiple of anything
VARIANTS = {
    "cnn": {"encoder": "cnn"},
    "mit": {"encoder": "mit_b0"},
    "cnn-tokens": {"encoder": "cnn", "missing": "token"},
    "mit-tokens": {"encoder": "mit_b0", "missing": "token"},
}


def small_cmx(encoder: str = "mit_b0", streams=TWO_STREAMS, order=None, **settings) -> CMX:
    torch.manual_seed(0)
    given = {"encoder": encoder, "pretrained": False, "decoder_channels": 16, **settings}
    return CMX(streams, 4, CMXSettings(**given), order)


@torch.no_grad()
def settle(model: CMX) -> CMX:
    """Give batch normalisation the statistics of a batch: without, a random CNN hardly passes anything on."""
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()(random_inputs(model, 7, 32, 64), every_pattern(model))
    for norm in norms:
        norm.momentum = 0.1
    return model


def exact(model: CMX, batch: int, height: int, width: int) -> dict[str, torch.Tensor]:
    """Turns a model to double precision, in which rounding hides nothing, and gives inputs for it."""
    model.double()
    return {name: x.double() for name, x in random_inputs(model, batch, height, width).items()}


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=VARIANTS.keys())
def settled(request) -> CMX:
    return settle(awaken(small_cmx(**request.param))).eval()


@pytest.fixture
def model(settled) -> CMX:
    """A copy, which takes less long than to fill millions of weights with numbers."""
    return copy.deepcopy(settled)


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["cnn", "mit_b0"])
@pytest.mark.parametrize("size", [ODD, (64, 64), (33, 97), (1, 3)])
def test_logits_have_the_size_of_any_image(encoder, size):
    model = small_cmx(encoder).eval()
    output = model(random_inputs(model, 2, *size), auxiliary=True)
    assert output.logits.shape == (2, 4, *size)
    assert output.logits.dtype == torch.float32
    assert output.latent.shape == (2, 512 if encoder == "cnn" else 256, *(-(-side // 32) for side in size))
    assert output.auxiliary == {}
    assert (output.logits < 0).any()  # no probabilities


@torch.no_grad()
def test_images_too_small_for_a_mix_transformer_are_padded():
    model = settle(small_cmx()).eval()
    inputs = exact(model, 2, 20, 45)
    padded = {name: F.pad(x, (0, 0, 0, 12)) for name, x in inputs.items()}
    torch.testing.assert_close(model(inputs).logits, model(padded).logits[..., :20, :])


@torch.no_grad()
def test_a_sample_depends_on_neither_its_batch_nor_what_its_neighbours_lack(model):
    available = every_pattern(model)
    inputs = exact(model, len(available), *ODD)
    whole = model(inputs, available)
    for i in range(len(available)):
        alone = model({name: x[i : i + 1] for name, x in inputs.items()}, available[i : i + 1])
        torch.testing.assert_close(whole.logits[i : i + 1], alone.logits)
        torch.testing.assert_close(whole.latent[i : i + 1], alone.latent)


@torch.no_grad()
def test_each_pattern_gives_what_forward_gives(model):
    every = every_pattern(model)
    inputs = exact(model, 2, *ODD)
    patterns = [every[rows] for rows in ([0, 0], [1, 1], [3, 3], [6, 6], [0, 5], [6, 1], [0, 5])]
    outputs, latents = list(model.forward_each(inputs, patterns)), list(model.latents(inputs, patterns))
    for pattern, output, latent in zip(patterns, outputs, latents, strict=True):
        expected = model(inputs, pattern)
        torch.testing.assert_close(output.logits, expected.logits)
        torch.testing.assert_close(output.latent, expected.latent)
        torch.testing.assert_close(latent, expected.latent)
    assert outputs[6] is outputs[4]
    assert (latents[0] - latents[1]).abs().max() > 0.1  # absence does something here


@torch.no_grad()
@pytest.mark.parametrize("order", [None, ["dsm", "rgb", "ir"], ["ir", "dsm", "rgb"]])
def test_patterns_share_first_stages_and_latents_run_nothing_but_the_last_fusion(order):
    model = small_cmx("cnn", order=order).eval()
    inputs, counts = random_inputs(model, 2, 64, 64), Counter()
    watched = {f"start {i}": encoder.stages[0] for i, encoder in enumerate(model.encoders)}
    watched |= {f"fusion {i}": fusion for i, fusion in enumerate(model.fusions)} | {"decoder": model.decoder}
    for name, part in watched.items():
        part.register_forward_hook(lambda *_, name=name: counts.update([name]))
    patterns = [row.expand(2, -1) for row in every_pattern(model)]
    assert len(list(model.latents(inputs, patterns))) == 7
    # Optical: rgb, ir, both, neither; elevation: dsm or not.
    assert counts == {"start 0": 4, "start 1": 2, "fusion 3": 7}
    counts.clear()
    assert len(list(model.forward_each(inputs, patterns))) == 7
    assert counts == {"start 0": 4, "start 1": 2, "decoder": 7, **{f"fusion {i}": 7 for i in range(4)}}


@torch.no_grad()
def test_order_changes_the_columns_of_availability_and_nothing_else():
    usual, other = small_cmx(missing="token").eval(), small_cmx(missing="token", order=["dsm", "rgb", "ir"]).eval()
    settle(awaken(usual)).eval()
    other.load_state_dict(usual.state_dict())
    inputs, available = random_inputs(usual, 2, 64, 64), torch.tensor([[True, False, True], [False, True, False]])
    expected = usual(inputs, available).logits
    torch.testing.assert_close(other(inputs, available[:, [2, 0, 1]]).logits, expected)


def test_nan_in_a_missing_modality_spreads_to_neither_logits_nor_gradients(model):
    inputs = random_inputs(model, 2, 64, 64)
    inputs["ir"][0] = inputs["dsm"][1] = torch.nan
    available = torch.tensor([[True, False, True], [True, True, False]])
    output = model.train()(inputs, available)
    output.logits.sum().backward()
    assert output.logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("available", [[[True, False, False], [False, False, True]], [[True] * 3] * 2, None])
def test_every_parameter_gets_a_gradient_whatever_is_missing(model, available):
    available = None if available is None else torch.tensor(available)
    output = model.train()(random_inputs(model, 2, 64, 64), available)
    output.logits.square().mean().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    # Where nothing is missing, tokens are in the graph all the same, with gradients of zero.
    moved = {name for name, parameter in model.named_parameters() if "missing_" in name and parameter.grad.any()}
    tokens = {name for name, _ in model.named_parameters() if "missing_" in name}
    assert moved == (tokens if available is not None and not available.all() else set())


def test_runs_under_autocast(model):
    inputs, patterns = random_inputs(model, 2, 64, 64), every_pattern(model)[[0, 6]]
    expected = model(inputs, patterns)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(inputs, patterns)
    assert output.logits.dtype == torch.float32
    off = (output.logits - expected.logits).square().mean().sqrt()
    assert off < 0.05 * expected.logits.std()  # 2 to 3 % with and without vector units; single pixels differ by more
    output.logits.sum().backward()


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["cnn", "mit_b0"])
def test_new_tokens_change_nothing(encoder):
    zero = settle(small_cmx(encoder)).eval()
    token = small_cmx(encoder, missing="token").eval()
    token.load_state_dict(zero.state_dict(), strict=False)
    inputs, available = random_inputs(zero, 7, *ODD), every_pattern(zero)
    for given in (available, None):
        assert torch.equal(token(inputs, given).logits, zero(inputs, given).logits)
    names = {"inputs.0.missing_rgb": (3,), "inputs.0.missing_ir": (1,), "inputs.1.missing_dsm": (1,)}
    added = token.state_dict().keys() - zero.state_dict().keys()
    assert {name: tuple(token.get_parameter(name).shape) for name in added} == names


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["cnn", "mit_b0"])
def test_a_missing_modality_is_an_image_of_its_token(encoder):
    model = settle(awaken(small_cmx(encoder, missing="token"))).eval()
    inputs, available = exact(model, 7, 64, 64), every_pattern(model)
    filled = {}
    for column, (stream, name) in enumerate([(0, "rgb"), (0, "ir"), (1, "dsm")]):
        token = model.get_parameter(f"inputs.{stream}.missing_{name}")[:, None, None]
        filled[name] = torch.where(available[:, column, None, None, None], inputs[name], token)
        inputs[name][~available[:, column]] = torch.nan
    torch.testing.assert_close(model(inputs, available).logits, model(filled).logits)


@torch.no_grad()
def test_the_decoder_is_that_of_the_stack_of_all_maps_coarsest_first():
    decoder = MLPDecoder((3, 4, 5, 6), 8, 2, dropout=0.1, eps=1e-3).eval()
    maps = [torch.randn(2, width, 16 // 2**i, 12 // 2**i) for i, width in enumerate((3, 4, 5, 6))]
    narrowed = [F.conv2d(x, to.weight[:, :, None, None], to.bias) for x, to in zip(maps, decoder.linears, strict=True)]
    stacked = torch.cat([resize(x, (16, 12)) for x in narrowed[::-1]], dim=1)
    expected = decoder.classifier(F.relu(decoder.norm(decoder.fuse(stacked))))
    torch.testing.assert_close(decoder(maps), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_parts_start_as_published():
    torch.manual_seed(0)
    fusion, mit, cnn = FFM(64, 8), small_cmx(), small_cmx("cnn")
    assert fusion.enter[0].weight.std() == pytest.approx(0.02, rel=0.05)
    assert fusion.mix[1].weight.std() == pytest.approx((2 / 9) ** 0.5, rel=0.1)
    assert not fusion.mix[1].bias.any()
    assert mit.rectifications[3].channel[0].weight.std() == pytest.approx(0.02, rel=0.05)
    assert mit.rectifications[3].spatial[0].weight.std() == pytest.approx((2 / 256) ** 0.5, rel=0.05)
    assert cnn.rectifications[3].channel[0].weight.abs().max() == pytest.approx(2048**-0.5, rel=0.01)
    assert mit.decoder.fuse.weight.std() == pytest.approx((2 / 64) ** 0.5, rel=0.1)
    assert (mit.decoder.norm.eps, cnn.decoder.norm.eps) == (1e-3, 1e-5)
    assert {part.norm.eps for part in (*mit.fusions, *cnn.fusions)} == {1e-5}
    assert [part.heads for part in mit.fusions] == [1, 2, 5, 8]
    assert [part.heads for part in cnn.fusions] == [8, 8, 8, 8]
    assert [part.heads for part in small_cmx(heads=[2, 2, 2, 2]).fusions] == [2, 2, 2, 2]


def test_layer_norms_of_mix_transformers_are_segformers():
    stages = small_cmx().encoders[0].stages
    assert {eps for stage in stages for eps in (stage[1][0].norm1.eps, stage[1][0].norm2.eps, stage[2].eps)} == {1e-6}
    assert {stage[0].norm.eps for stage in stages} | {stage[1][0].attn.norm.eps for stage in stages[:3]} == {1e-5}


def test_stochastic_depth_grows_over_all_blocks_of_both_encoders():
    for encoder in small_cmx().encoders:
        rates = [getattr(block.drop_path, "drop_prob", 0) for stage in encoder.stages for block in stage[1]]
        assert rates == pytest.approx([0.1 * i / 7 for i in range(8)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "mit_b6"}, r"^cmx\.encoder is 'mit_b6': choose one of cnn, mit_b0"),
        ({"missing": "tokens"}, r"^cmx\.missing is 'tokens': choose one of zero, token"),
        ({"encoder": "cnn", "checkpoint": "a.pth"}, r"^cmx\.checkpoint is a\.pth, but"),
        ({"decoder_channels": 0}, r"^cmx\.decoder_channels is 0"),
        ({"decoder_dropout": 1.0}, r"^cmx\.decoder_dropout is 1\.0"),
        ({"heads": [1, 2, 5]}, r"^cmx\.heads is \[1, 2, 5\]"),
        ({"heads": [1, 2, 7, 8]}, "that divide the 64, 128, 320, 512 channels of mit_b2"),
        ({"heads": [0, 2, 5, 8]}, r"^cmx\.heads is \[0"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(UserError, match=message) as error:
        CMXSettings(**changes)
    told = error.value.told()  # as the command line says it
    assert told.startswith("--model.cmx.")
    assert "`" not in told
    assert ("--model.cmx.encoder cnn" in told) == ("checkpoint" in changes)


def test_bad_arguments_are_refused():
    settings = CMXSettings("cnn")
    with pytest.raises(UserError, match=r"names 1 \(optical\), and CMX has two streams"):
        CMX({"optical": {"rgb": 3}}, 4, settings)
    with pytest.raises(UserError, match=r"names 3 \(a, b, c\), and CMX has two streams"):
        CMX({"a": {"x": 1}, "b": {"y": 1}, "c": {"z": 1}}, 4, settings)
    with pytest.raises(UserError, match="num_classes is 0"):
        CMX(TWO_STREAMS, 0, settings)


@pytest.mark.parametrize("encoder", ["cnn", "mit_b0"])
def test_a_single_position_cannot_be_trained_on(encoder):
    model = small_cmx(encoder).train()
    with pytest.raises(UserError, match="batch_size is 1 and"):
        model(random_inputs(model, 1, 32, 32))
    assert model(random_inputs(model, 1, 32, 33)).logits.shape == (1, 4, 32, 33)
    assert model(random_inputs(model, 2, 20, 32)).logits.shape == (2, 4, 20, 32)
