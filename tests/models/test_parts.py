"""What each trained part computes, against the formulas of the paper."""

import pytest
import torch
import torch.nn.functional as F

from mobanet.models.mobanet.cpia import CPIA, AdapterCPIA
from mobanet.models.mobanet.dgfm import DGFM, MeanFusion, SEFusion, build_fusion
from mobanet.models.mobanet.pyramid import StreamScales
from mobanet.models.patches import StreamEmbedding, initial_kernel
from mobanet.models.upernet import UPerNet, norm_of
from tests.models.tiny import PAPER_STREAMS, random_inputs, tiny_mobanet


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_cpia_is_one_prompt_scaled_and_shifted_for_each_stream():
    cpia = CPIA(8, 0.25)
    first, second = torch.randn(2, 3, 5, 8)
    a, b = cpia.reduce[0](first), cpia.reduce[1](second)
    assert a.shape[-1] == 2
    u = cpia.expand(cpia.mix(torch.cat((a, b), -1)))
    for stream, prompt in enumerate(cpia(first, second)):
        torch.testing.assert_close(prompt, u + (cpia.gammas[stream] * u + cpia.betas[stream]))


def test_adapters_add_nothing_before_training_and_use_the_prompt_after():
    part = AdapterCPIA(32, 0.25, 1 / 16, 0.1).eval()
    first, second = torch.randn(2, 3, 5, 32)
    assert part(first, second).abs().max() == 0
    adapter = part.adapters[1]
    torch.nn.init.normal_(adapter.expand.weight)
    hidden = F.relu(adapter.reduce(second) + adapter.reduce_prompt(part.cpia(first, second)[1]))
    torch.testing.assert_close(part(first, second)[1], adapter.expand(hidden))


def test_dgfm_starts_as_the_normalised_mean():
    fusion = DGFM(16)
    first, second = torch.randn(2, 3, 6, 16)
    torch.testing.assert_close(fusion(first, second), F.layer_norm((first + second) / 2, (16,)))


def test_dgfm_gate_is_the_papers():
    fusion = DGFM(16)
    torch.nn.init.normal_(fusion.gate_out.weight)
    torch.nn.init.normal_(fusion.gate_norm.weight)
    first, second = torch.randn(2, 3, 6, 16)
    a, b = fusion.reduce[0](first), fusion.reduce[1](second)
    hidden = fusion.gate_in(torch.cat((a, b, (a - b).abs()), -1)).transpose(1, 2)  # as a map, (B, hidden, N)
    gate = fusion.gate_out(F.gelu(fusion.gate_norm(hidden).transpose(1, 2))).sigmoid()
    torch.testing.assert_close(fusion(first, second), fusion.norm(gate * first + (1 - gate) * second))


def test_other_fusions():
    first, second = torch.randn(2, 3, 6, 32)
    torch.testing.assert_close(MeanFusion()(first, second), (first + second) / 2)
    fusion = SEFusion(32)
    for part in fusion.streams:
        torch.nn.init.zeros_(part.excite.weight)
        torch.nn.init.zeros_(part.excite.bias)
    torch.testing.assert_close(fusion(first, second), (first + second) / 2)  # sigmoid(0) of each
    assert isinstance(build_fusion("dgfm", 8, 1), torch.nn.LayerNorm)
    assert isinstance(build_fusion("se", 8, 1), torch.nn.Identity)


def test_one_band_alone_answers_as_three_equal_channels():
    kernel, bias = torch.randn(8, 3, 14, 14), torch.randn(8)
    part = StreamEmbedding({"dsm": 1}, None, kernel, bias)
    image = torch.randn(2, 1, 28, 42)
    expected = F.conv2d(image.expand(-1, 3, -1, -1), kernel, bias, stride=14).permute(0, 2, 3, 1)
    torch.testing.assert_close(part({"dsm": image}, kernel, bias), expected, rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in part.parameters()) == 8 * 3 * 14 * 14 + 8


def test_modalities_of_a_stream_add_up_with_one_bias():
    kernel, bias = torch.randn(8, 3, 14, 14), torch.randn(8)
    part = StreamEmbedding({"rgb": 3, "ir": 1, "swir": 2}, "rgb", kernel, bias)
    images = {"rgb": torch.randn(2, 3, 28, 14), "ir": torch.randn(2, 1, 28, 14), "swir": torch.randn(2, 2, 28, 14)}
    expected = F.conv2d(images["rgb"], kernel, bias, stride=14)
    expected = expected + F.conv2d(images["ir"], kernel.mean(1, keepdim=True), stride=14)
    expected = expected + F.conv2d(images["swir"], kernel[:, :2], stride=14)
    found = part(images, kernel, bias).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert dict(part.named_parameters()).keys() == {"kernel_ir", "kernel_swir"}


def test_equal_bands_answer_like_a_grey_image():
    kernel = torch.randn(8, 3, 14, 14)
    for bands in (3, 6):
        assert initial_kernel(kernel, bands, alone=True).shape == (8, bands, 14, 14)
        torch.testing.assert_close(initial_kernel(kernel, bands, alone=True).sum(1), kernel.sum(1))
    torch.testing.assert_close(initial_kernel(kernel, 3, alone=False), kernel)


def test_the_papers_streams_start_from_one_kernel():
    model = tiny_mobanet(streams=PAPER_STREAMS)
    optical, elevation = model.embeddings
    assert dict(optical.named_parameters()) == {}
    torch.testing.assert_close(elevation.kernel_dsm, model.backbone.patch_kernel, rtol=0, atol=0)
    torch.testing.assert_close(elevation.bias, model.backbone.patch_bias, rtol=0, atol=0)
    assert elevation.kernel_dsm.requires_grad
    assert not model.backbone.patch_kernel.requires_grad


@torch.no_grad()
def test_no_interaction_keeps_the_streams_apart():
    inputs = random_inputs(tiny_mobanet(streams=PAPER_STREAMS), 1, 28, 28)
    other = {**inputs, "dsm": inputs["dsm"] + 1}
    for placement, apart in (("none", True), ("stage", False)):
        model = tiny_mobanet(streams=PAPER_STREAMS, placement=placement).eval()
        a, b = model.encode(inputs).streams["optical"], model.encode(other).streams["optical"]
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True)) == apart


def test_scales_keep_odd_sizes():
    scales = StreamScales(4, torch.nn.Identity())
    assert [tuple(x.shape[2:]) for x in scales(torch.randn(1, 4, 5, 3))] == [(20, 12), (10, 6), (5, 3), (3, 2)]


def test_upernet_takes_maps_of_equal_or_different_sizes():
    decoder = UPerNet(16, 8, 5, 0.1).eval()
    assert decoder([torch.randn(2, 16, 6, 9)] * 4).shape == (2, 5, 6, 9)
    assert decoder([torch.randn(2, 16, *s) for s in ((20, 12), (10, 6), (5, 3), (3, 2))]).shape == (2, 5, 20, 12)


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (40, 8), (32, 8), (16, 4), (18, 2), (8, 2), (6, 1), (1, 1)])
def test_groups_have_four_channels_where_there_are_as_many(channels, groups):
    norm = norm_of("group", channels)
    assert norm.num_groups == groups
    maps = 5 + 3 * torch.randn(2, channels, 4, 6)
    grouped = norm(maps).unflatten(1, (groups, -1)).flatten(2)
    torch.testing.assert_close(grouped.mean(2), torch.zeros(2, groups), atol=1e-5, rtol=0)
    torch.testing.assert_close(grouped.std(2, correction=0), torch.ones(2, groups), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "settings", [{}, {"family": "sam", "fusion": "se", "pyramid": "scaled"}], ids=["plain", "scaled"]
)
def test_without_batch_statistics_a_sample_trains_the_same_in_any_company(settings):
    """The gradients of a batch are the sum of those of its samples, whatever sensors each has."""
    model = tiny_mobanet(normalization="group", adapter_dropout=0.0, decoder_dropout=0.0, **settings).train()
    inputs = random_inputs(model, 3, 56, 56)
    available = torch.tensor([[True, True, True], [True, False, False], [False, False, True]])

    def gradients(which):
        model.zero_grad()
        given = {name: x[which] for name, x in inputs.items()}
        model(given, available[which]).logits.square().sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    together = gradients([0, 1, 2])
    alone = [sum(parts) for parts in zip(*(gradients([k]) for k in range(3)), strict=True)]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(one.abs().max()) + 1e-6)
