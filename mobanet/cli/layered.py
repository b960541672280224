"""Configurations one upon another: what of an experiment names another layout's modalities, tiles or classes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mobanet.cli.parser_errors import configurations
from mobanet.datasets import LAYOUTS
from mobanet.datasets.folder_words import as_words
from mobanet.plain.command_words import take
from mobanet.plain.yaml_files import part_of

_DATA = ("modalities", "split", "scaling", "ground_radius")
_MODEL = ("streams", "class_weights")
"""Settings that name modalities, tile lists or classes, or follow from the size of pixels."""


def without_foreign(words: Sequence[str], option: str = "--data.layout") -> tuple[list[str], str]:
    """Let an experiment be used with the data of another layout.

    Where a configuration or an option that follows names another layout than a configuration before it, what that one
    says of its own modalities, splits, scalings and classes is left out, so that what is usual for the layout takes its
    place. What follows wins as ever.

    Args:
        words: of a command line, its experiment turned into `--config FILE`.
        option: that names the layout.

    Returns:
        The words, with a further configuration among them where something is left out; and a sentence on it without a
        full stop, empty where there is nothing.
    """
    found = list(configurations(words))
    named = [
        (place, path, layout) for place, path, content in found if (layout := part_of(content, "data").get("layout"))
    ]
    # an option wins over files, and of these the last
    final = take(words, option)[0] or (named[-1][2] if named else None)
    foreign = [each for each in named if _family(each[2]) != _family(final)]
    if not foreign or final not in LAYOUTS:
        return list(words), ""
    last, path, layout = foreign[-1]
    reset: dict[str, dict[str, Any]] = {}
    for place, _, content in found:
        if place <= last:
            _add_reset(reset, content)
    if not reset:
        return list(words), ""
    keys = ", ".join(_names(reset))
    said = f"{path.stem}: its {keys} are those of the layout {layout}, and are left out for {final}"
    # right behind the last foreign file: what follows is of the new layout, and is kept
    return [*words[:last], "--config", as_words(reset), *words[last:]], said


def _family(layout: Any) -> str:
    """Variants of a layout, such as hunan_mfnet, have the same modalities and tiles."""
    return str(layout).partition("_")[0]


def _add_reset(reset: dict[str, dict[str, Any]], content: Mapping[str, Any]) -> None:
    data, model = part_of(content, "data"), part_of(content, "model")
    given: dict[str, Any] = {key: None for key in _DATA if data.get(key) is not None}
    # a margin around every object is what few data sets have
    if data.get("train_labels") == "eroded":
        given["train_labels"] = "full"
    if part_of(data, "evaluation").get("labels") == "eroded":
        given["evaluation"] = {"labels": "full"}
    for part, keys in (("data", given), ("model", {key: None for key in _MODEL if _foreign(model.get(key))})):
        if keys:
            reset.setdefault(part, {}).update(keys)


def _foreign(value: Any) -> bool:
    """A word, such as that of class weights which are counted, means the same with any data."""
    return value is not None and not isinstance(value, str)


def _names(reset: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for part, keys in reset.items():
        for key, value in keys.items():
            name = key if part == "data" else f"{part}.{key}"
            yield f"{name}.labels" if isinstance(value, dict) else name
