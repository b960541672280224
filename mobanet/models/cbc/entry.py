"""The entries of CBC and CBC-SLP in the registry of networks."""

from mobanet.models.base import NetworkInputs
from mobanet.models.cbc.network import CBC, CBCSettings
from mobanet.models.entry import Network, weights_source


def _entry(title: str, slp: bool) -> Network:
    def build(inputs: NetworkInputs, cbc: CBCSettings) -> CBC:
        return CBC(inputs.modalities, inputs.num_classes, cbc, slp=slp)

    return Network(
        title,
        ("cbc",),
        build,
        lambda cbc: f"3-D ResNet, one a modality, {weights_source(cbc.pretrained)}",
        pretrained=lambda cbc: cbc.pretrained,
    )


CBC_ENTRY, CBC_SLP = _entry("CBC", slp=False), _entry("CBC-SLP", slp=True)
