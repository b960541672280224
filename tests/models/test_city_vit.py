"""The small backbone in the package: found by name, whole, described truly, and left out of checkpoints."""

import re
import socket

import pytest
import torch
from safetensors import safe_open

from mobanet.checkpoints.frozen import LEFT_OUT
from mobanet.data.datamodule import RasterDataModule
from mobanet.errors import UserError
from mobanet.loading.module import load_module
from mobanet.models.backbones.city_vit import WEIGHTS
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.backbones.weights import licence
from mobanet.training.module import SegmentationModule
from tests.conftest import same

NAME = "vit_city_patch6_120.mobanet"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Whoever asks the network fails."""

    def refuse(*args, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)


def test_it_is_found_by_name_with_and_without_its_tag():
    backbones = [build_backbone(BackboneSettings(name)) for name in (NAME, NAME.partition(".")[0])]
    first, second = backbones
    assert first.fingerprint() == second.fingerprint()
    assert (first.width, first.depth, first.patch_size, first.num_prefix_tokens) == (128, 4, 6, 1)
    assert first.mean == first.std == (0.5, 0.5, 0.5)
    assert not any(parameter.requires_grad for parameter in first.parameters())
    random = build_backbone(BackboneSettings(NAME, pretrained=False))
    assert random.fingerprint() != first.fingerprint()
    assert licence(NAME) == "MIT"


def test_its_card_says_what_the_file_is():
    card, file = (WEIGHTS / "README.md").read_text(), WEIGHTS / f"{NAME}.safetensors"
    assert file.stat().st_size < 5e6
    backbone = build_backbone(BackboneSettings(NAME))
    (stated,) = re.findall(r"\b[0-9a-f]{64}\b", card)
    assert stated == backbone.fingerprint()
    assert f"{sum(p.numel() for p in backbone.parameters()):,} parameters" in card
    with safe_open(file, "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}  # noqa: SIM118


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"img_size": 60}, "sets img_size, which published weights come with"),
        ({"depth": 8}, "does not hold the weights of this model"),
        ({"embed_dim": 64}, "holds another architecture or size"),
    ],
)
def test_other_sizes_than_its_own_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        build_backbone(BackboneSettings(NAME, options=options))


def test_a_checkpoint_leaves_it_out_and_has_it_again(tmp_path):
    data = RasterDataModule("nowhere", modalities=["rgb", "ir", "dsm"])
    module = SegmentationModule(data.description, backbone=BackboneSettings(NAME))
    checkpoint = {
        "state_dict": dict(module.state_dict()),
        "hyper_parameters": dict(module.hparams),
        "epoch": 0,
        "global_step": 0,
    }
    module.on_save_checkpoint(checkpoint)
    assert not any(name.startswith("network.backbone") for name in checkpoint["state_dict"])
    assert checkpoint[LEFT_OUT]["name"] == NAME
    torch.save(checkpoint, tmp_path / "light.ckpt")
    again = load_module(tmp_path / "light.ckpt").module.state_dict()
    assert all(same(value, again[name]) for name, value in module.state_dict().items())
