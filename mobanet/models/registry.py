"""Every network by its name, from the settings of all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.backbones.weights import licence as backbone_licence
from mobanet.models.base import SegmentationModel
from mobanet.models.cbc.network import CBC, CBCSettings
from mobanet.models.cmx.encoders import licence as encoder_licence
from mobanet.models.cmx.network import CMX, CMXSettings
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings

Architecture = Literal["mobanet", "cmx", "cbc", "cbc_slp"]

SETTINGS_OF: dict[str, tuple[str, ...]] = {
    "mobanet": ("streams", "backbone", "network"),
    "cmx": ("streams", "cmx"),
    "cbc": ("cbc",),
    "cbc_slp": ("cbc",),
}
"""By architecture, the settings that decide which weights it has and what they mean."""


@dataclass(frozen=True)
class NetworkSettings:
    """What a network is built from; of the groups of other architectures nothing is used.

    Attributes:
        architecture: which network.
        backbone: MoBaNet's transformer.
        network: MoBaNet's trained parts.
        cmx: CMX.
        cbc: CBC and CBC-SLP.
    """

    architecture: Architecture
    backbone: BackboneSettings
    network: MoBaNetSettings
    cmx: CMXSettings
    cbc: CBCSettings

    def restored(self) -> "NetworkSettings":
        """The same without a look for pretrained weights, as those of a checkpoint follow."""
        return replace(
            self,
            backbone=replace(self.backbone, pretrained=False, checkpoint=None),
            cmx=replace(self.cmx, pretrained=False, checkpoint=None),
            cbc=replace(self.cbc, pretrained=False),
        )

    def build(
        self, streams: Mapping[str, Mapping[str, int]], modalities: Mapping[str, int], num_classes: int
    ) -> SegmentationModel:
        """Make the network.

        Args:
            streams: number of bands by modality, by stream.
            modalities: number of bands by modality, in the order of the data.
            num_classes: K.

        Raises:
            UserError: for settings that do not fit the data or each other, and weights that cannot be had.
        """
        if self.architecture == "mobanet":
            return MoBaNet(streams, num_classes, self.backbone, self.network, tuple(modalities))
        if self.architecture == "cmx":
            return CMX(streams, num_classes, self.cmx, tuple(modalities))
        return CBC(modalities, num_classes, self.cbc, slp=self.architecture == "cbc_slp")

    def described(self) -> str:
        """The pretrained part and where its weights come from, in a line."""
        if self.architecture == "mobanet":
            backbone = self.backbone
            published = backbone.pretrained and not backbone.checkpoint
            terms = f", licence {backbone_licence(backbone.name)}" if published else ""
            state = "frozen" if backbone.freeze else "trained"
            return f"{backbone.name}, {state}, {_weights(backbone.pretrained, backbone.checkpoint)}{terms}"
        if self.architecture == "cmx":
            terms = "" if self.cmx.encoder == "cnn" else f", licence {encoder_licence(self.cmx.encoder)}"
            weights = _weights(self.cmx.pretrained and self.cmx.encoder != "cnn", self.cmx.checkpoint)
            return f"{self.cmx.encoder}, two encoders, {weights}{terms}"
        return f"3-D ResNet, one a modality, {_weights(self.cbc.pretrained, None)}"


def _weights(pretrained: bool, checkpoint: str | None) -> str:
    return checkpoint or ("published weights" if pretrained else "from random weights")
