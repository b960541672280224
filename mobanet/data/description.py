"""What a model has to know of the data it was made for; it travels in the checkpoint."""

from dataclasses import asdict, dataclass
from typing import Any

from mobanet.data.layout import Classes, Modality


@dataclass(frozen=True)
class DataDescription:
    """The modalities of a batch and the classes of its label.

    Attributes:
        layout: name of the data set's layout.
        modalities: in the order of the columns of `available`.
        scaling: by modality, how stored values are scaled (`mobanet.data.scaling`).
        classes: of the label.
    """

    layout: str
    modalities: tuple[Modality, ...]
    scaling: dict[str, str]
    classes: Classes

    def to_plain(self) -> dict[str, Any]:
        """Lists, dicts, strings and numbers only, as checkpoints may hold."""
        return to_plain(asdict(self))

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "DataDescription":
        """The inverse of `to_plain`."""
        classes = plain["classes"]
        return cls(
            layout=plain["layout"],
            modalities=tuple(Modality(**{**m, "bands": tuple(m["bands"])}) for m in plain["modalities"]),
            scaling=dict(plain["scaling"]),
            classes=Classes(
                names=tuple(classes["names"]),
                colours=tuple(tuple(colour) for colour in classes["colours"]),
                averaged=tuple(classes["averaged"]),
            ),
        )


def to_plain(value: Any) -> Any:
    """Nested dicts, lists and tuples as dicts and lists, as checkpoints may hold."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value
