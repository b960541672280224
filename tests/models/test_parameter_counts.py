"""Published sizes of the DINOv2 release, and what the summary says about a model."""

import pytest
import torch

from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings
from mobanet.models.summary import PartSize, count_parameters
from tests.models.tiny import PAPER_STREAMS, tiny_mobanet


@pytest.mark.parametrize(
    ("size", "width", "trainable", "total"),
    [
        ("small", 384, 3_251_456, 25_308_032),
        ("base", 768, 6_179_456, 92_759_936),
        ("large", 1024, 8_981_376, 313_350_016),
    ],
)
def test_published_sizes(size, width, trainable, total):
    backbone = BackboneSettings(f"vit_{size}_patch14_dinov2.lvd142m", pretrained=False)
    with torch.device("meta"):
        model = MoBaNet(PAPER_STREAMS, 6, backbone)
    whole = count_parameters(model)[-1]
    assert whole.trainable == trainable
    # The release also counts DINOv2's mask token, which only its own training uses.
    assert whole.trainable + whole.frozen == total - width


def test_parts_add_up():
    parts = count_parameters(tiny_mobanet())
    assert [part.part for part in parts] == [
        "backbone",
        "embeddings",
        "interactions",
        "pyramid",
        "decoder",
        "heads",
        "total",
    ]
    assert parts[0].trainable == 0
    assert parts[-1] == PartSize("total", sum(p.trainable for p in parts[1:-1]), parts[0].frozen)


def test_switches_change_what_is_trained():
    def trained(**settings) -> int:
        return count_parameters(tiny_mobanet(**settings))[-1].trainable

    assert trained(placement="none") < trained(placement="stage") < trained(placement="block")
    assert trained(fusion="mean") < trained(fusion="se") < trained(fusion="dgfm")
    assert trained(auxiliary_heads=False) < trained()
    assert MoBaNetSettings() == MoBaNetSettings(placement="stage", fusion="dgfm", pyramid="plain")
