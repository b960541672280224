import pytest
import torch

from mobanet.data.description import DataDescription
from mobanet.rasters.contents import Classes, Modality
from mobanet.reporting.model import model_facts
from mobanet.training.module import SegmentationModule

DATA = DataDescription(
    "toy",
    (Modality("rgb", ("red", "green", "blue")), Modality("dsm", ("height",), "elevation")),
    {},
    Classes(("a", "b", "c", "d", "e", "f"), ((0, 0, 0),) * 6, ("a",)),
)


def test_the_published_model_is_counted_without_its_weights():
    backbone = {"name": "vit_small_patch14_dinov2.lvd142m", "pretrained": True, "freeze": True}
    facts = model_facts({"data": DATA.to_plain(), "backbone": backbone, "restored": "trained"})
    assert facts.parts[-1].trainable == 3_251_456
    assert facts.parts[-1].frozen > 20_000_000
    assert facts.pretrained == "vit_small_patch14_dinov2.lvd142m, frozen, published weights, licence Apache-2.0"
    assert facts.streams == {"optical": ("rgb",), "elevation": ("dsm",)}


@pytest.mark.parametrize("architecture", ["cmx", "cbc", "cbc_slp"])
def test_every_architecture_is_counted_as_its_module_counts(architecture):
    small = {"cmx": {"encoder": "cnn", "pretrained": False}, "cbc": {"width": 2, "token_width": 8, "encoder_width": 8}}
    settings = {"data": DATA.to_plain(), "architecture": architecture, **small}
    facts = model_facts(settings)
    with torch.device("cpu"):
        network = SegmentationModule(**settings, restored=True).network
    assert facts.architecture == architecture
    assert facts.parts[-1].trainable == sum(p.numel() for p in network.parameters() if p.requires_grad)


def test_mit_encoders_are_counted_too():
    facts = model_facts({"data": DATA.to_plain(), "architecture": "cmx", "cmx": {"encoder": "mit_b0"}})
    assert facts.parts[-1].trainable > 3_000_000
    assert facts.pretrained.startswith("mit_b0, two encoders, published weights, licence ")
