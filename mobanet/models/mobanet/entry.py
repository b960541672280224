"""MoBaNet's entry in the registry of networks."""

from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.backbones.weights import licence
from mobanet.models.base import NetworkInputs
from mobanet.models.entry import Network, weights_source
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings


def _build(inputs: NetworkInputs, backbone: BackboneSettings, network: MoBaNetSettings) -> MoBaNet:
    order = tuple(inputs.modalities)
    return MoBaNet(inputs.streams, inputs.num_classes, backbone, network, order, inputs.pixel_ratios)


def _described(backbone: BackboneSettings, network: MoBaNetSettings) -> str:
    published = backbone.pretrained and not backbone.checkpoint
    terms = f", licence {licence(backbone.name)}" if published else ""
    state = "frozen" if backbone.freeze else "trained"
    return f"{backbone.name}, {state}, {weights_source(backbone.pretrained, backbone.checkpoint)}{terms}"


MOBANET = Network(
    "MoBaNet",
    ("backbone", "network"),
    _build,
    _described,
    uses_streams=True,
    missing=lambda backbone, network: network.missing,
    pretrained=lambda backbone, network: backbone.pretrained,
)
