"""CMX's entry in the registry of networks."""

from mobanet.models.base import NetworkInputs
from mobanet.models.cmx.encoders import licence
from mobanet.models.cmx.network import CMX, CMXSettings
from mobanet.models.entry import Network, weights_source


def _build(inputs: NetworkInputs, cmx: CMXSettings) -> CMX:
    return CMX(inputs.streams, inputs.num_classes, cmx, tuple(inputs.modalities))


def _described(cmx: CMXSettings) -> str:
    terms = "" if cmx.encoder == "cnn" else f", licence {licence(cmx.encoder)}"
    weights = weights_source(cmx.pretrained and cmx.encoder != "cnn", cmx.checkpoint)
    return f"{cmx.encoder}, two encoders, {weights}{terms}"


CMX_ENTRY = Network(
    "CMX",
    ("cmx",),
    _build,
    _described,
    uses_streams=True,
    missing=lambda cmx: cmx.missing,
    pretrained=lambda cmx: cmx.pretrained,
)
