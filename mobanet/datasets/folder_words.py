"""Mistakes in the description of one's own data, in the words of its keys, and its tile ids on a command line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError

from mobanet.errors import UserError
from mobanet.plain.schema import MismatchError, UnknownKeyError, check_keys, check_value
from mobanet.plain.wording import did_you_mean
from mobanet.plain.yaml_files import read_yaml

OPTION = "--data.folder"

PARSER_ERRORS = (ArgumentError, TypeError, ValueError, ArithmeticError, LookupError)
"""What the parser raises of settings that are none."""

EXPERIMENT_KEYS = frozenset(("data", "model", "trainer", "scenarios", "panels", "seed_everything"))
"""Of what only an experiment has."""

HINT = "the YAML file that describes your data"
"""What is to be given in place of a file that is no text."""

_SPLITS = tuple(f"{OPTION}.splits.{part}" for part in ("train", "validation", "test"))


def check_folder_keys(content: Any, place: str, where: str = "") -> None:
    """Refuse a key that there is not, one that is missing, and a value of another kind.

    Args:
        content: of the settings.
        place: what to name in front, such as the file.
        where: key of the settings; empty for a file of them alone.

    Raises:
        UserError: naming the innermost key and the value.
    """
    from mobanet.datasets.folder_settings import FolderSettings

    try:
        if where:
            check_value(_lenient(content), FolderSettings, where)
        else:
            required = {"modalities", "classes"}
            check_keys(_lenient(content), get_type_hints(FolderSettings), required)
    except UnknownKeyError as error:
        raise UserError(
            f"{place}: {error.where} is not a key of a description of data{_nearest(error.where)}."
        ) from error
    except MismatchError as error:
        raise UserError(f"{place}: {error}; mend it.") from error


def check_part(content: Mapping[str, Any], place: str) -> None:
    """Refuse what stands under `data.folder` of a file where the parser would; what it lacks may stand elsewhere.

    Args:
        content: of the settings, as far as the file has them.
        place: the file.

    Raises:
        UserError: naming the innermost key and the value: the parser repeats all of them.
    """
    from mobanet.datasets.folder_settings import parsed_settings

    whole = {"modalities": {}, "classes": [], **content}
    try:
        parsed_settings(whole)
    except (*PARSER_ERRORS, UserError):
        check_folder_keys(whole, place, "data.folder")


def wrong_folder_value(option: str, value: str) -> str | None:
    """What is wrong with the value of an option below `--data.folder`; None where nothing is to be said about it.

    Args:
        option: with the dashes.
        value: as typed.
    """
    from mobanet.datasets.folder_settings import FolderSettings
    from mobanet.plain.yaml_files import parse_yaml

    kind: Any = FolderSettings
    for key in option.removeprefix(OPTION).split(".")[1:]:
        kind = _inside(kind, key)
        if kind is None:
            return f"{option} is not an option{_nearest(option)}."
    try:
        check_value(_lenient(parse_yaml(value)), kind, option)
    except MismatchError as error:
        return f"{error}; give another value."
    except Exception:  # no YAML: what the parser says has to do
        return None
    return None


def with_quoted_ids(words: Sequence[str]) -> list[str]:
    """Words of a command line in which tiles are called as they are typed: YAML takes 3_10 for 310."""
    out: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        if equals and option in _SPLITS:
            out.append(f"{option}={_quoted(value)}")
        elif out and out[-1] in _SPLITS:
            out.append(_quoted(word))
        else:
            out.append(word)
    return out


def with_described(words: Sequence[str]) -> list[str]:
    """Words in which `--data.folder` names no experiment: what that one says under `data.folder` takes its place."""
    out: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=")
        path = value if equals and option == OPTION else word if before == OPTION else ""
        content = described_in(Path(path)) if path.endswith((".yaml", ".yml")) else None
        text = "" if content is None else as_words(content)
        out.append(word if content is None else f"{OPTION}={text}" if equals else text)
    return out


def described_in(path: Path) -> dict[str, Any] | None:
    """What an experiment says under `data.folder`; None of a file that is none.

    Raises:
        UserError: for an experiment that says nothing there.
    """
    if not path.is_file():
        return None
    content = read_yaml(path, HINT)
    if not isinstance(content, dict) or "modalities" in content or not EXPERIMENT_KEYS & content.keys():
        return None
    data = content.get("data")
    folder = data.get("folder") if isinstance(data, dict) else None
    if isinstance(folder, str):
        folder = read_yaml(path.parent / folder, HINT)
    if not isinstance(folder, dict):
        raise UserError(f"{path} is an experiment without data.folder; give one that describes your own data there.")
    return folder


def as_words(content: Any) -> str:
    """Plain content as YAML in one line, as a word of a command line may have it."""
    import yaml

    return yaml.safe_dump(content, default_flow_style=True, allow_unicode=True, width=2**20, sort_keys=False).strip()


def _quoted(value: str) -> str:
    """A list in YAML with every entry in quotation marks; any other text as it is."""
    import yaml

    try:
        node = yaml.compose(value, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return value  # the parser says what is wrong
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(id, yaml.ScalarNode) for id in node.value):
        return value
    # JSON is YAML, too, in which every entry is a text
    return json.dumps([id.value for id in node.value])


def _lenient(content: Any) -> Any:
    """Without what the parser mends itself: whole numbers in quotation marks."""
    if isinstance(content, Mapping):
        return {_number(key): _lenient(value) for key, value in content.items()}
    return content


def _number(key: Any) -> Any:
    return int(key) if isinstance(key, str) and key.isdecimal() else key


def _inside(kind: Any, key: str) -> Any:
    """The annotation of what stands below a key; None where there is no such key."""
    options = [one for one in (*get_args(kind), kind) if is_dataclass(one) or get_origin(one) is dict]
    for one in options:
        if get_origin(one) is dict:
            return get_args(one)[1]
        if key in (hints := get_type_hints(one)):
            return hints[key]
    return None


def _nearest(where: str) -> str:
    from mobanet.datasets.folder_settings import FolderModality, FolderSettings, FolderSplit
    from mobanet.datasets.listed_splits import SplitLists, SplitTable
    from mobanet.datasets.tiling_settings import SplitAreas, SplitBlocks, Tiling
    from mobanet.datasets.vector_settings import VectorLabel

    splits = (FolderSplit, SplitAreas, SplitBlocks, SplitLists, SplitTable)
    kinds = (FolderSettings, FolderModality, *splits, VectorLabel, Tiling)
    names = [field.name for kind in kinds for field in fields(kind)]
    return did_you_mean(where.rpartition(".")[2], names)
