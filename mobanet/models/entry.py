"""What the rest of the package knows of a network: its name in texts, its settings, and how it is made."""

from collections.abc import Callable
from dataclasses import dataclass

from mobanet.models.base import SegmentationModel


@dataclass(frozen=True)
class Network:
    """A network that can be chosen by name.

    Attributes:
        title: in texts.
        groups: of settings, by the option behind `--model.`, that decide which weights it has and what they mean; its
            functions take each by keyword.
        build: from what it is made for and these settings.
        described: the pretrained part and where its weights come from, in a line.
        uses_streams: whether modalities are sorted into streams.
        missing: what stands in for a missing modality: `zero`, or `token` for a learned one.
        pretrained: whether weights of others are what it started from.
    """

    title: str
    groups: tuple[str, ...]
    build: Callable[..., SegmentationModel]
    described: Callable[..., str]
    uses_streams: bool = False
    missing: Callable[..., str] = lambda **_: "zero"
    pretrained: Callable[..., bool] = lambda **_: False


def weights_source(pretrained: bool, checkpoint: str | None = None) -> str:
    """Where weights come from, in words."""
    return checkpoint or ("published weights" if pretrained else "from random weights")
