"""The authors' CBC and CBC-SLP, converted, give the authors' numbers."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mobanet.errors import UserError
from mobanet.models.cbc.convert import cbc_from_authors
from mobanet.models.cbc.network import CBC, CBCSettings
from mobanet.scenarios.distortion import DistortionMeter
from mobanet.scenarios.scenario import scenario_masks, scenarios_of
from tests.models.authors_cbc import (
    ConvolveByPlanes,
    authors_lora_shapes,
    authors_shapes,
    authors_state,
    convolve_by_planes,
    manifest_hash,
    uniform,
)

# Mean, population standard deviation, first and last of the latent by mask.
LATENTS = {
    "100": (0.067959062, 1.167917967, 0.862065538, 1.461002140),
    "011": (-0.017997215, 1.757468692, -0.121811772, 0.598371927),
    "111": (0.076289105, 2.123852261, 1.038266028, 1.754633369),
}
# Mean and population standard deviation of the map, and its values at (0, 0), (112, 112), (223, 223).
MAPS = {
    "cbc 011": (0.589398367, 0.174247087, 0.781379588, 0.553929681, 0.367224259),
    "slp 100": (0.528622313, 0.186566258, 0.717136772, 0.757305577, 0.617593518),
    "slp 011": (0.581761576, 0.175024579, 0.896171255, 0.530236211, 0.481280139),
    "slp 111": (0.567447815, 0.180137470, 0.494845699, 0.496510050, 0.625301592),
}
DISTORTIONS = {
    "z": (3.867852447, 4.098615433, 3.212013162, 2.778598351, 1.835576878, 1.907046280, 0),
    "shared": (3.725026198, 3.714017534, 3.243731743, 2.450469847, 1.972145662, 1.758137784, 0),
}
LIVE = 85_343_883  # of 85,479,624 in the release: the others never get a gradient there, and do not exist here


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Of CBC-SLP; CBC's is part of it."""
    return authors_state(slp=True)


@pytest.fixture(scope="module")
def slp(state) -> CBC:
    return cbc_from_authors(state)


@pytest.fixture(scope="module")
def cbc(state) -> CBC:
    return cbc_from_authors({name: state[name] for name in authors_shapes(slp=False)})


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    images = torch.from_numpy(uniform("input", (1, 3, 3, 224, 224)))
    return {name: images[:, index] for index, name in enumerate(("rgb", "nir", "swir"))}


def abstract_state(slp: bool = False) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in authors_shapes(slp).items()}


@pytest.mark.parametrize(
    ("slp", "count", "digest"),
    [
        (False, 1140, "40dedcd956aa9638579d5b3e833428ab9a17e99e9ea7ec48dd3e0e84a1424783"),
        (True, 1148, "acd548254370840f284f7cb321a6df1a0afb3642df21d1a1baa9fe1ba33192d5"),
    ],
)
def test_names_and_shapes_are_the_releases(slp, count, digest):
    shapes = authors_shapes(slp)
    assert len(shapes) == count
    assert manifest_hash(shapes) == digest


def test_the_rule_behind_all_values():
    np.testing.assert_allclose(uniform("input", (3,)), (0.99511419, -0.30040534, 0.55908852), atol=1e-8)


@pytest.mark.parametrize(("slp", "count"), [(False, LIVE), (True, LIVE + 67_776)])
def test_parameters_are_the_releases_that_learn(slp, count):
    with torch.device("meta"):
        model = CBC({"rgb": 3, "nir": 3, "swir": 3}, 3, slp=slp)  # the release's last layer has three channels
    assert sum(p.numel() for p in model.parameters()) == count
    one = cbc_from_authors(abstract_state(slp))
    assert sum(p.numel() for p in one.parameters()) == count - 2 * 9  # of eight weights and a bias each


def test_the_release_has_as_many_parameters_as_said():
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for slp, count in ((False, 85_479_624), (True, 85_547_400)):
        parameters = [shape for name, shape in authors_shapes(slp).items() if not name.endswith(statistics)]
        assert sum(int(np.prod(shape)) for shape in parameters) == count


def test_convolutions_by_planes_are_convolutions():
    volume, weight, bias = torch.randn(1, 3, 6, 5, 4), torch.randn(2, 3, 3, 3, 3), torch.randn(2)
    for options in ({}, {"padding": 1}, {"stride": (3, 1, 1)}):
        expected = torch.nn.functional.conv3d(volume, weight, bias, **options)
        torch.testing.assert_close(convolve_by_planes(volume, weight, bias, **options), expected)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "masks"), [("cbc", ["011"]), pytest.param("slp", ["100", "011", "111"], marks=pytest.mark.long)]
)
def test_converted_release_gives_the_releases_latents_and_maps(name, masks, inputs, request):
    model = request.getfixturevalue(name)
    assert not model.training
    patterns = [torch.tensor([[available == "1" for available in mask]]) for mask in masks]
    with ConvolveByPlanes():
        outputs = list(model.forward_each(inputs, patterns))
    for mask, output in zip(masks, outputs, strict=True):
        z, y = output.latent, output.logits.sigmoid()
        assert z.shape == (1, 192, 8, 64)
        assert y.shape == (1, 1, 224, 224)
        found = (z.mean(), z.std(correction=0), z.flatten()[0], z.flatten()[-1])
        np.testing.assert_allclose(found, LATENTS[mask], rtol=0, atol=1e-8)
        found = (y.mean(), y.std(correction=0), *(y[0, 0, pixel, pixel] for pixel in (0, 112, 223)))
        np.testing.assert_allclose(found, MAPS[f"{name} {mask}"], rtol=0, atol=1e-8)


@pytest.mark.long
def test_distortions_are_the_releases_for_either_latent(slp, inputs):
    masks = scenario_masks(scenarios_of(list(inputs)))
    for latent, expected in DISTORTIONS.items():
        slp.settings.latent = latent
        meter = DistortionMeter(masks)
        meter.add(slp, inputs, torch.ones(1, 3, dtype=torch.bool))
        np.testing.assert_allclose(meter.result().mean, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("slp", [False, True])
def test_wrapped_checkpoints_are_recognised(slp):
    state = abstract_state(slp)
    parallel = {f"module.{name}": value for name, value in state.items()}
    for given in (state, {"state_dict": state, "epoch": 3}, {"model_state_dict": state}, {"state_dict": parallel}):
        model = cbc_from_authors(given)
        assert model.slp == slp
        assert model.modalities == {"rgb": 3, "nir": 3, "swir": 3}
    used = {name: value for name, value in state.items() if "seg_" not in name and "fusion5" not in name}
    assert cbc_from_authors(used).slp == slp


@pytest.mark.parametrize(
    ("slp", "digest"),
    [
        (False, "c7a66a1d7589baf3042f8a071413287698968d9b91edfd0d7d72c7f04bc0927c"),
        (True, "ae8a85ab0a45aaa0b4cd8b7562e518245077f5384df1be54f73db9d2e995e682"),
    ],
)
def test_checkpoints_with_lora_are_merged(slp, digest):
    shapes = authors_lora_shapes(slp)
    assert manifest_hash(shapes) == digest
    generator = torch.Generator().manual_seed(1)
    adapted = {name: shape for name, shape in shapes.items() if ".base." in name or ".lora_" in name}
    state = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    state |= {name: torch.randn(shape, generator=generator) for name, shape in adapted.items()}
    model = cbc_from_authors(state)
    assert model.slp == slp

    def additions(layer):
        return (state[f"{layer}.{part}.weight"].flatten(1) for part in ("base", "lora_B", "lora_A"))

    base, up, down = additions("multimodal_transformer.cross_attention_list.0.fn.fn.qkv")
    torch.testing.assert_close(model.fusion.multimodal.attention.qkv.weight, base + up @ down)
    base, up, down = additions("fusion6.conv")
    torch.testing.assert_close(model.fusion.early[4].conv.weight.flatten(1), base + up @ down)
    torch.testing.assert_close(model.fusion.early[4].conv.bias, state["fusion6.conv.base.bias"])
    with pytest.raises(UserError, match=r"it lacks lora_A, lora_B or base of fusion6\.conv"):
        cbc_from_authors({name: value for name, value in state.items() if name != "fusion6.conv.lora_A.weight"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RGB_pos": None}, "lacks RGB_pos"),
        ({"shared_conv.bias": torch.empty(96)}, "unknown shared_conv.bias"),
        ({"shared_conv.weight": torch.empty(96, 192, 1, 1, 1)}, "lacks nir_private_conv.bias, .* swir_private"),
        ({"RGB_decode_conv2.weight": torch.empty(1)}, "unknown RGB_decode_conv2.weight"),
        ({"fused6_pos": torch.empty(1, 216, 512)}, r"fused6_pos is \(1, 216, 512\) where \(1, 512, 512\)"),
        ({"qkv_NIR.weight": torch.empty(512, 1536, 1, 1, 1)}, r"qkv_NIR.weight is \(512, 1536, 1, 1, 1\)"),
        ({"decoder_fuse.final_conv.bias": torch.empty(5)}, r"final_conv.bias is \(5,\)"),
    ],
)
def test_other_checkpoints_are_refused(change, message):
    state = {**abstract_state(), **change}
    with pytest.raises(UserError, match=message):
        cbc_from_authors({name: value for name, value in state.items() if value is not None})
    with pytest.raises(UserError, match=r"lacks .*RGB_pos"):
        cbc_from_authors({"epoch": 3})


def test_settings_are_the_releases():
    model = cbc_from_authors(abstract_state())
    assert model.settings == CBCSettings()
