"""Under which terms the weights that a model started from stand, in words and for the hub."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from mobanet.models.backbones.weights import LICENCES, licence
from mobanet.models.cbc.pretrained import REPOSITORY
from mobanet.models.cmx.encoders import licence as encoder_licence
from mobanet.models.registry import NetworkSettings

_DINOV3 = "dinov3-license"
_NVIDIA = "https://github.com/NVlabs/SegFormer/blob/master/LICENSE"


@dataclass(frozen=True)
class Terms:
    """Of pretrained weights: a sentence for the card, and entries of its front matter.

    Those are terms that also bind what is derived, and the base model.
    """

    text: str
    hub: dict[str, str] = field(default_factory=dict)


def published(settings: NetworkSettings) -> NetworkSettings:
    """Settings to be read by others: of a file with weights its name, not where it lay."""
    backbone, cmx = settings.backbone, settings.cmx
    if backbone.checkpoint is not None:
        backbone = replace(backbone, checkpoint=Path(backbone.checkpoint).name)
    if cmx.checkpoint is not None:
        cmx = replace(cmx, checkpoint=Path(cmx.checkpoint).name)
    return replace(settings, backbone=backbone, cmx=cmx)


def weight_terms(settings: NetworkSettings) -> Terms:
    """The terms of what a network starts from."""
    groups = settings.entry.groups
    if "arguments" in groups:
        own = f"The network {settings.title} is {settings.described()}"
        return Terms(f"{own}; this card does not know where its weights started from.")
    if "backbone" in groups:
        return _backbone_terms(settings)
    if "cmx" in groups:
        if settings.cmx.encoder == "cnn":
            return Terms("All weights started from random ones.")
        hub = {"license": "other", "license_name": "nvidia-source-code-license-segformer", "license_link": _NVIDIA}
        return Terms(f"The encoders, {settings.cmx.encoder}: {encoder_licence(settings.cmx.encoder)}.", hub)
    if settings.cbc.pretrained:
        text = f"The encoders started from {REPOSITORY}, torchvision's weights, BSD-3-Clause."
        return Terms(text, {"base_model": REPOSITORY})
    return Terms("All weights started from random ones.")


def _backbone_terms(settings: NetworkSettings) -> Terms:
    import timm

    backbone = settings.backbone
    if backbone.checkpoint:
        return Terms(f"The backbone {backbone.name} started from a local file, whose licence this card does not know.")
    if not backbone.pretrained:
        return Terms("All weights started from random ones.")
    stated = licence(backbone.name)
    hub: dict[str, str] = {}
    if stated == LICENCES[_DINOV3]:
        # `LICENCES` has it in brackets at the end
        link = stated.split(": ")[-1].rstrip(")")
        hub = {"license": "other", "license_name": _DINOV3, "license_link": link}
    config = timm.get_pretrained_cfg(backbone.name, allow_unregistered=True)
    if config is not None and config.hf_hub_id:
        hub["base_model"] = config.hf_hub_id
    return Terms(f"The published weights of the backbone {backbone.name}: {stated}.", hub)
