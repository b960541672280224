"""Modalities coarser than the grid: what a network makes of them is what it makes of the same images on the grid."""

import pytest
import torch

from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.base import NetworkInputs, SegmentationModel, SegmentationOutput
from mobanet.models.cbc.network import CBCSettings
from mobanet.models.cmx.network import CMXSettings
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings
from mobanet.models.own_pixels import finer, pooled_kernel
from mobanet.models.patches import StreamEmbedding
from mobanet.models.registry import NetworkSettings
from mobanet.scenarios.masking import mask_streams
from tests.models.test_cbc import SMALL
from tests.models.tiny import PAPER_STREAMS, THREE_STREAMS, awaken, every_pattern, tiny_backbone

PATCH = 16


@pytest.mark.parametrize("ratio", [2, 4, 8, 16, 32, 48, 3, 10, 24])
def test_tokens_are_those_of_the_image_repeated_to_the_grid(ratio):
    rng = torch.Generator().manual_seed(0)
    kernel, bias = torch.randn(8, 3, PATCH, PATCH, generator=rng), torch.randn(8, generator=rng)
    scale = torch.gcd(torch.tensor(ratio), torch.tensor(PATCH)).item()
    side = 240 if 240 % ratio == 0 else 96
    coarse = torch.randn(2, 2, side // ratio, side // ratio, generator=rng)
    fine = torch.randn(2, 3, side, side, generator=rng)
    own = StreamEmbedding({"rgb": 3, "x": 2}, "rgb", kernel, bias, scales={"x": scale})
    grid = StreamEmbedding({"rgb": 3, "x": 2}, "rgb", kernel, bias)
    assert own.kernel_x.shape == (8, 2, PATCH // scale, PATCH // scale)
    found = own({"rgb": fine, "x": finer(coarse, ratio // scale)}, kernel, bias)
    torch.testing.assert_close(
        found, grid({"rgb": fine, "x": finer(coarse, ratio)}, kernel, bias), atol=1e-4, rtol=1e-4
    )


def test_a_pixel_is_repeated_and_a_kernel_pooled():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert torch.equal(finer(x, 2), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert finer(x, 1) is x
    assert torch.equal(pooled_kernel(torch.ones(1, 1, 4, 4), 2), torch.full((1, 1, 2, 2), 4.0))


def three(family="dinov2", ratios=None, **settings) -> MoBaNet:
    torch.manual_seed(0)
    sizes = MoBaNetSettings(decoder_channels=8, projection_channels=16, **settings)
    return awaken(MoBaNet(THREE_STREAMS, 4, tiny_backbone(family), sizes, pixel_ratios=ratios or {})).eval()


def inputs_of(model, size=112, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(3, bands, *[size // model.pixel_ratios.get(name, 1)] * 2, generator=rng)
        for name, bands in model.modalities.items()
    }


@torch.no_grad()
@pytest.mark.parametrize(
    ("family", "ratios"),
    [
        ("dinov2", {"dsm": 2, "s1": 7}),
        ("dinov2", {"rgb": 4, "s1": 8}),
        ("swin", {"rgb": 4, "s1": 8}),
        ("convnext_overlap", {"dsm": 2, "s1": 7}),
    ],
)
def test_a_network_gives_what_it_gives_of_images_on_the_grid(family, ratios):
    """Of kernels that are pooled; elsewhere of the images themselves."""
    own, grid = three(family, ratios), three(family)
    state = own.state_dict()
    for name, value in grid.state_dict().items():
        if state[name].shape == value.shape:
            state[name] = value
        else:  # a kernel of coarser patches
            state[name] = pooled_kernel(value, value.shape[-1] // state[name].shape[-1])
    own.load_state_dict(state)
    inputs = inputs_of(own, size=56)
    repeated = {name: finer(x, ratios.get(name, 1)) for name, x in inputs.items()}
    patterns = [row.expand(3, -1) for row in every_pattern(own)[[1, 4, 6]]]
    mixed = every_pattern(own)[[0, 5, 6]]
    torch.testing.assert_close(own(inputs, mixed).logits, grid(repeated, mixed).logits, atol=2e-4, rtol=1e-3)
    for one, other in zip(own.forward_each(inputs, patterns), grid.forward_each(repeated, patterns), strict=True):
        torch.testing.assert_close(one.logits, other.logits, atol=2e-4, rtol=1e-3)


@torch.no_grad()
def test_parts_for_incomplete_samples_and_odd_sizes_take_them_too():
    model = three(ratios={"s1": 5}, incomplete="own", absent="left_out", missing="token")
    inputs = inputs_of(model, size=75)  # 5 patches and a part, of 14
    mixed = every_pattern(model)[[6, 2, 4]]
    output = model(inputs, mixed, auxiliary=True)
    assert output.logits.shape == (3, 4, 75, 75)
    assert {x.shape for x in output.auxiliary.values()} == {(3, 4, 75, 75)}
    (each,) = model.forward_each(inputs, [mixed])
    torch.testing.assert_close(each.logits, output.logits, atol=1e-5, rtol=1e-4)


class Sums(SegmentationModel):
    """Of a user's, which knows nothing of other pixels."""

    def __init__(self, inputs: NetworkInputs) -> None:
        super().__init__(inputs)
        self.head = torch.nn.Conv2d(sum(inputs.modalities.values()), inputs.num_classes, 1)

    def segment(self, inputs, available, auxiliary):
        joined = torch.cat(list(inputs.values()), 1)
        return SegmentationOutput(self.head(joined), joined)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["cmx", "cbc", f"{__name__}.Sums"])
def test_other_networks_get_them_on_the_grid(architecture):
    def built(ratios):
        torch.manual_seed(0)
        small = CMXSettings(encoder="cnn", decoder_channels=8), CBCSettings(**SMALL)
        settings = NetworkSettings(architecture, tiny_backbone(), MoBaNetSettings(), *small)
        return settings.build(PAPER_STREAMS, {"rgb": 3, "dsm": 1}, 4, ratios).eval()

    own, grid = built({"dsm": 4}), built({})
    inputs = inputs_of(own, size=32)
    repeated = {name: finer(x, {"dsm": 4}.get(name, 1)) for name, x in inputs.items()}
    patterns = [row.expand(3, -1) for row in every_pattern(own)]
    for pattern in patterns:
        assert torch.equal(own(inputs, pattern).logits, grid(repeated, pattern).logits)
    for one, other in zip(own.forward_each(inputs, patterns), grid.forward_each(repeated, patterns), strict=True):
        assert torch.equal(one.logits, other.logits)


def test_sizes_that_show_other_ground_are_refused():
    model = three(ratios={"s1": 8})
    inputs = inputs_of(model)
    inputs["s1"] = inputs["s1"][..., :-1]
    with pytest.raises(ValueError, match=r"height and width in pixels of the ratios \{'rgb': 1, 'dsm': 1, 's1': 8\}"):
        model(inputs)


def test_every_parameter_trains():
    model = three(ratios={"dsm": 2, "s1": 28}).train()
    model(inputs_of(model)).logits.square().mean().backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None and "heads" not in n]
    assert idle == []
    assert model.embeddings[1].kernel_dsm.shape[-1] == 7
    assert model.embeddings[2].kernel_s1.shape[-1] == 1


def test_a_block_is_lost_where_it_covers_half_of_a_coarse_pixel():
    masks = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    masks[0, 1, :3, :6] = True
    inputs = {"rgb": torch.ones(1, 3, 8, 8), "s1": torch.ones(1, 2, 2, 2)}
    out = mask_streams(inputs, masks, {"optical": ["rgb"], "radar": ["s1"]})
    assert torch.equal(out["rgb"], inputs["rgb"])
    assert out["s1"][0, 0].tolist() == [[0, 1], [1, 1]]  # of 16 pixels each, 12 and 6 are covered, and none


def test_the_default_backbone_keeps_what_it_is():
    """Without ratios nothing has another shape or name."""
    plain, named = three(), three(ratios={"rgb": 1, "dsm": 1, "s1": 1})
    assert {n: p.shape for n, p in plain.state_dict().items()} == {n: p.shape for n, p in named.state_dict().items()}
    assert isinstance(tiny_backbone(), BackboneSettings)
