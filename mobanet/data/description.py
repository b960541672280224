"""What a model has to know of the data it was made for; it travels in the checkpoint."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from mobanet.datasets.scalings import Scaling
from mobanet.plain.schema import MismatchError, check_value, to_plain
from mobanet.plain.typed import build
from mobanet.rasters.contents import IGNORE_INDEX, MOST_RATIO, Classes, Modality

MOST_MODALITIES, MOST_BANDS = 12, 1024
"""Of one model; there are 2^M - 1 scenarios of M modalities."""

_NAME = re.compile(r"\w[\w-]*")  # names become parts of files, options and metrics


@dataclass(frozen=True)
class DataDescription:
    """The modalities of a batch and the classes of its label.

    Attributes:
        modalities: in the order of the columns of `available`.
        scaling: by modality, how stored values are scaled (`mobanet.data.scaling`).
    """

    layout: str
    modalities: tuple[Modality, ...]
    scaling: dict[str, Scaling]
    classes: Classes

    def to_plain(self) -> dict[str, Any]:
        """Lists, dicts, strings and numbers only, as checkpoints may hold."""
        return to_plain({**asdict(self), "modalities": [modality.to_plain() for modality in self.modalities]})

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "DataDescription":
        """The inverse of `to_plain`."""
        return build(cls, plain)


def check_description(plain: Any) -> None:
    """Refuse a plain description, of a file, that describes no data.

    Raises:
        MismatchError: naming the entry.
    """
    check_value(plain, DataDescription, "data")
    modalities, classes = plain["modalities"], plain["classes"]
    names = [modality["name"] for modality in modalities]
    if not 0 < len(set(names)) == len(names) <= MOST_MODALITIES:
        raise MismatchError("data.modalities", f"holds {len(names)}, not 1 to {MOST_MODALITIES} of different names")
    for number, modality in enumerate(modalities):
        where = f"data.modalities[{number}]"
        if not _NAME.fullmatch(modality["name"]):
            raise MismatchError(f"{where}.name", f"is {modality['name']!r}, no word")
        # may be absent, as it has a default
        maximum = modality.get("maximum")
        if not 1 <= modality.get("pixel_ratio", 1) <= MOST_RATIO:
            raise MismatchError(f"{where}.pixel_ratio", f"is {modality['pixel_ratio']}, not 1 to {MOST_RATIO}")
        if not 0 < len(modality["bands"]) <= MOST_BANDS or (maximum is not None and maximum <= 0):
            raise MismatchError(where, f"has {len(modality['bands'])} bands and the maximum {modality.get('maximum')}")
    if set(plain["scaling"]) != set(names):
        raise MismatchError("data.scaling", f"is not one of {', '.join(get_args(Scaling))} for each modality")
    _check_classes(classes)


def _check_classes(classes: Mapping[str, Any]) -> None:
    names, colours = classes["names"], classes["colours"]
    # 255 stands for an ignored pixel, and labels are bytes
    if not 0 < len(set(names)) == len(names) <= IGNORE_INDEX:
        raise MismatchError("data.classes", f"holds {len(names)}, not 1 to {IGNORE_INDEX} of different names")
    if len(colours) != len(names) or not all(0 <= channel <= 255 for colour in colours for channel in colour):
        raise MismatchError("data.classes.colours", "are not one of 0 to 255 for each class")
    # a mean over no class would be NaN
    if not classes["averaged"] or not set(classes["averaged"]) <= set(names):
        raise MismatchError("data.classes.averaged", "names no class, or one that is not there")
