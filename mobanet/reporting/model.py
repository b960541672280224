"""What a run's network is made of, without its weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mobanet.models.summary import PartSize, count_parameters


@dataclass(frozen=True)
class ModelFacts:
    """A network described.

    Attributes:
        architecture: mobanet, cmx, cbc or cbc_slp.
        pretrained: the pretrained part, where its weights come from and their licence, in a line.
        streams: modalities by stream.
        parts: sizes of the network's parts, the last the total.
    """

    architecture: str
    pretrained: str
    streams: Mapping[str, tuple[str, ...]]
    parts: list[PartSize]


def model_facts(hyper_parameters: Mapping[str, Any]) -> ModelFacts:
    """Build the network of a checkpoint's hyper-parameters, and count."""
    import torch

    from mobanet.training.module import SegmentationModule

    # a large transformer takes many seconds to fill with numbers nobody looks at; the encoders of segmentation_models_
    # pytorch (cmx) cannot be built without memory
    device = "cpu" if hyper_parameters.get("architecture") == "cmx" else "meta"
    with torch.device(device):
        module = SegmentationModule(**{**hyper_parameters, "restored": True})  # fetches no weights
    return ModelFacts(
        architecture=module.settings.architecture,
        pretrained=module.settings.described(),
        streams={name: tuple(members) for name, members in module.streams.items()},
        parts=count_parameters(module.network),
    )
