"""The converted release of the authors gives the authors' numbers."""

import numpy as np
import pytest
import torch

from mobanet.errors import UserError
from mobanet.models.mobanet.convert import mobanet_from_authors, mobanet_sam_from_authors
from tests.models.golden_rule import Golden, load_golden


def measure(model, golden: Golden) -> dict[str, np.ndarray]:
    batch = len(golden.inputs["rgb"])
    with torch.inference_mode():
        output = model(golden.inputs, auxiliary=True)
        stages = model.encode(golden.inputs)
        found = {
            "logits": output.logits[..., ::7, ::7],
            "logits_optical": output.auxiliary["optical"][..., ::7, ::7],
            "logits_dsm": output.auxiliary["elevation"][..., ::7, ::7],
        }
        for absent, available in (("optical", [False, True]), ("dsm", [True, False])):
            if f"logits_zero_{absent}" in golden.expected:
                logits = model(golden.inputs, torch.tensor([available] * batch)).logits
                found[f"logits_zero_{absent}"] = logits[..., ::7, ::7]
    for stage in range(4):
        found[f"fused_stage{stage}"] = stages.fused[stage][:, ::32]
        found[f"optical_stage{stage}"] = stages.streams["optical"][stage][:, ::32]
        found[f"dsm_stage{stage}"] = stages.streams["elevation"][stage][:, ::32]
    # Of the scaled pyramid, the third scale is the neck's output itself.
    found["neck_optical"] = stages.streams["optical"][2][:, ::8]
    found["neck_dsm"] = stages.streams["elevation"][2][:, ::8]
    return {name: value.numpy() for name, value in found.items()}


@pytest.fixture(scope="module")
def dinov2() -> Golden:
    return load_golden("mobanet_dinov2_vits14")


@pytest.fixture(scope="module")
def sam() -> Golden:
    return load_golden("mobanet_sam_vitb")


@pytest.mark.parametrize(
    ("release", "convert", "tolerance"),
    [("dinov2", mobanet_from_authors, 2e-5), ("sam", mobanet_sam_from_authors, 2e-4)],
)
def test_converted_release_reproduces_every_golden_array(release, convert, tolerance, request):
    golden = request.getfixturevalue(release)
    model = convert(golden.state)
    found = measure(model, golden)
    for name, expected in golden.expected.items():
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=tolerance, err_msg=name)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == golden.trainable
    assert not model.training


def test_release_input_conventions(dinov2, sam):
    assert mobanet_from_authors(dinov2.state).standardization.keys() == {"rgb"}
    assert mobanet_sam_from_authors(sam.state).standardization == {}


@pytest.mark.parametrize(("release", "convert"), [("dinov2", mobanet_from_authors), ("sam", mobanet_sam_from_authors)])
def test_missing_and_unknown_names_are_refused_by_name(release, convert, request):
    state = dict(request.getfixturevalue(release).state)
    weight = state.pop("decoder.ppm.bottleneck.0.weight")
    state["decoder.ppm.extra"] = weight
    with pytest.raises(
        UserError, match=r"lacks decoder\.ppm\.bottleneck\.0\.weight and has unknown decoder\.ppm\.extra"
    ):
        convert(state)


def test_wrong_shapes_and_other_files_are_refused(dinov2, sam):
    name = "image_encoder.dual_proj_layers.0.weight"
    with pytest.raises(UserError, match=r"dual_proj_layers\.0\.weight is \(256, 383, 1, 1\) where \(256, 384\)"):
        mobanet_from_authors({**dinov2.state, name: dinov2.state[name][:, 1:]})
    with pytest.raises(UserError, match=r"lacks image_encoder\.extra_patch_embed"):
        mobanet_from_authors({"weight": torch.zeros(1)})
    with pytest.raises(UserError, match="its width 384 is none of 768"):
        mobanet_sam_from_authors(dinov2.state)
    with pytest.raises(UserError, match="has unknown"):
        mobanet_from_authors(sam.state)
