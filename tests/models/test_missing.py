"""What stands in for a missing modality: zeros or learned tokens; and what a stream without any counts for."""

import pytest
import torch
import torch.nn.functional as F

from mobanet.models.patches import StreamEmbedding
from tests.models.tiny import ODD, PAPER_STREAMS, awaken, every_pattern, random_inputs, tiny_mobanet

PATTERNS = torch.tensor([[True, True, True], [True, False, True], [False, False, True], [True, True, False]])


def tokens_of(model) -> dict[str, torch.nn.Parameter]:
    """By modality."""
    return {
        name.rpartition("missing_")[2]: parameter for name, parameter in model.named_parameters() if "missing_" in name
    }


@torch.no_grad()
@pytest.mark.parametrize("family", ["dinov2", "dinov3", "sam"])
@pytest.mark.parametrize("autocast", [False, True])
def test_new_tokens_change_nothing(family, autocast):
    zero, token = (tiny_mobanet(family, missing=missing).eval() for missing in ("zero", "token"))
    inputs, available = random_inputs(zero, len(PATTERNS), *ODD), PATTERNS
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        for given in (available, None):
            expected, found = zero(inputs, given, auxiliary=True), token(inputs, given, auxiliary=True)
            assert torch.equal(found.logits, expected.logits)
            assert torch.equal(found.latent, expected.latent)
            assert found.latent.dtype == expected.latent.dtype
            assert all(torch.equal(found.auxiliary[name], logits) for name, logits in expected.auxiliary.items())


def test_tokens_are_one_vector_a_modality_and_zeros_have_none():
    zero, token = (tiny_mobanet(missing=missing) for missing in ("zero", "token"))
    names = {"embeddings.0.missing_rgb", "embeddings.0.missing_ir", "embeddings.1.missing_dsm"}
    assert token.state_dict().keys() - zero.state_dict().keys() == names
    assert zero.state_dict().keys() - token.state_dict().keys() == set()
    assert tokens_of(zero) == {}
    # One dimension: weight decay leaves them alone.
    assert {name: tuple(parameter.shape) for name, parameter in tokens_of(token).items()} == {
        "rgb": (32,),
        "ir": (32,),
        "dsm": (32,),
    }
    embedding = tiny_mobanet(streams=PAPER_STREAMS).embeddings[1]
    assert embedding.state_dict().keys() == {"kernel_dsm", "bias"}


@torch.no_grad()
def test_a_token_is_added_to_all_patches_of_the_samples_that_lack_its_modality():
    kernel, bias = torch.randn(8, 3, 14, 14), torch.randn(8)
    part = StreamEmbedding({"rgb": 3, "ir": 1}, "rgb", kernel, bias, missing_tokens=True)
    for parameter in (part.missing_rgb, part.missing_ir):
        torch.nn.init.normal_(parameter)
    images = {"rgb": torch.randn(3, 3, 28, 14), "ir": torch.randn(3, 1, 28, 14)}
    images["ir"][1:] = images["rgb"][2] = 0
    available = {"rgb": torch.tensor([True, True, False]), "ir": torch.tensor([True, False, False])}
    found = part(images, kernel, bias, available)
    plain = F.conv2d(images["rgb"], kernel, bias, stride=14)
    plain = plain + F.conv2d(images["ir"], kernel.mean(1, keepdim=True), stride=14)
    added = torch.stack([torch.zeros(8), part.missing_ir, part.missing_rgb + part.missing_ir])
    torch.testing.assert_close(found, plain.permute(0, 2, 3, 1) + added[:, None, None], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_token_changes_the_samples_that_lack_its_modality_and_no_others():
    model = tiny_mobanet(missing="token").eval()
    inputs = random_inputs(model, len(PATTERNS), 56, 56)
    before = model(inputs, PATTERNS).logits
    for column, token in enumerate(tokens_of(model).values()):
        torch.nn.init.normal_(token)
        after = model(inputs, PATTERNS).logits
        changed = (after - before).abs().amax((1, 2, 3)) > 1e-4
        assert changed.tolist() == (~PATTERNS[:, column]).tolist()
        torch.nn.init.zeros_(token)


@torch.no_grad()
def test_a_missing_modality_is_its_token_whatever_its_input():
    model = awaken(tiny_mobanet(missing="token")).eval()
    inputs = random_inputs(model, len(PATTERNS), 56, 56)
    expected = model(inputs, PATTERNS).logits
    for column, name in enumerate(model.modalities):
        inputs[name][~PATTERNS[:, column]] = torch.nan
    assert torch.equal(model(inputs, PATTERNS).logits, expected)


@pytest.mark.parametrize("freeze", [True, False])
def test_gradients_come_from_the_samples_that_lack_the_modality(freeze):
    model = awaken(tiny_mobanet(missing="token", freeze=freeze)).eval()
    inputs = random_inputs(model, len(PATTERNS), 56, 56)

    def gradients(weight: torch.Tensor) -> dict[str, torch.Tensor]:
        model.zero_grad()
        loss = model(inputs, PATTERNS).logits.square().mean((1, 2, 3))
        (loss * weight).sum().backward()
        return {name: token.grad.clone() for name, token in tokens_of(model).items()}

    for sample, pattern in enumerate(PATTERNS):
        found = gradients(F.one_hot(torch.tensor(sample), len(PATTERNS)))
        assert [bool(grad.any()) for grad in found.values()] == (~pattern).tolist()


@pytest.mark.parametrize("available", [torch.ones(2, 3, dtype=torch.bool), None], ids=["all", "none-given"])
def test_tokens_stay_in_the_graph_when_nothing_is_missing(available):
    model = tiny_mobanet(missing="token").train()
    output = model(random_inputs(model, 2, 56, 56), available)
    (output.logits.sum() + sum(x.sum() for x in output.auxiliary.values())).backward()
    grads = [token.grad for token in tokens_of(model).values()]
    assert len(grads) == 3
    assert all(grad is not None and not grad.any() for grad in grads)


@torch.no_grad()
@pytest.mark.parametrize("missing", ["zero", "token"])
@pytest.mark.parametrize("family", ["dinov2", "dinov3", "sam"])
def test_no_availability_means_that_everything_is_there(family, missing):
    model = awaken(tiny_mobanet(family, missing=missing)).eval()
    inputs = random_inputs(model, 2, *ODD)
    everything = model(inputs, torch.ones(2, 3, dtype=torch.bool))
    assert torch.equal(model(inputs).logits, everything.logits)


@torch.no_grad()
@pytest.mark.parametrize("missing", ["zero", "token"])
@pytest.mark.parametrize("placement", ["stage", "block", "none"])
@pytest.mark.parametrize("family", ["dinov2", "dinov3", "sam"])
def test_a_sample_does_not_depend_on_what_its_neighbours_lack(family, placement, missing):
    model = awaken(tiny_mobanet(family, placement=placement, missing=missing)).eval()
    available = every_pattern(model)
    inputs = random_inputs(model, len(available), *ODD)
    whole = model(inputs, available)
    for i in range(len(available)):
        alone = model({name: x[i : i + 1] for name, x in inputs.items()}, available[i : i + 1])
        torch.testing.assert_close(whole.logits[i : i + 1], alone.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(whole.latent[i : i + 1], alone.latent, rtol=1e-4, atol=1e-5)


LEFT_OUT = {
    "stage-dgfm": {},
    "block-dgfm": {"placement": "block"},
    "none-mean": {"placement": "none", "fusion": "mean"},
    "se-plain": {"fusion": "se"},
    "sam": {"family": "sam", "placement": "block", "fusion": "se", "pyramid": "scaled"},
    "dgfm-scaled": {"pyramid": "scaled"},
}


@torch.no_grad()
@pytest.mark.parametrize("kind", LEFT_OUT.values(), ids=LEFT_OUT.keys())
@pytest.mark.parametrize("lacks", ["elevation", "optical"])
def test_a_stream_that_is_left_out_has_no_part_in_anything(kind, lacks):
    """Whatever its kernels, bias and reductions are, the logits are those of the other stream alone."""
    model = awaken(tiny_mobanet(absent="left_out", **kind)).eval()
    inputs = random_inputs(model, 2, 56, 56)
    available = torch.tensor([[lacks == "elevation"] * 2 + [lacks == "optical"]] * 2)  # rgb, ir, dsm
    whole, before = model(inputs).logits, model(inputs, available).logits
    column = list(model.streams).index(lacks)
    embedding = model.embeddings[column]
    for name, parameter in embedding.named_parameters():
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    for interaction in model.interactions:
        cpia = getattr(interaction, "cpia", interaction)
        cpia.reduce[column].weight.mul_(-2)
    torch.testing.assert_close(model(inputs, available).logits, before)
    assert (model(inputs).logits - whole).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("kind", LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_leaving_out_changes_nothing_where_every_stream_has_something(kind):
    zero, left_out = (awaken(tiny_mobanet(absent=absent, **kind)).eval() for absent in ("zero", "left_out"))
    inputs = random_inputs(zero, 3, *ODD)
    both = torch.tensor([[True, False, True], [False, True, True], [True, True, True]])
    alone = torch.tensor([[True, True, False], [False, False, True], [True, False, False]])
    for available in (None, both):
        assert torch.equal(left_out(inputs, available).logits, zero(inputs, available).logits)
    assert (left_out(inputs, alone).logits - zero(inputs, alone).logits).abs().amax((1, 2, 3)).min() > 1e-4
