"""The description of one's own data read from files and command lines, and mistakes in it in the words of its keys."""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

from mobanet.datasets.folder_settings import FolderModality, FolderSettings, FolderSplit
from mobanet.datasets.listed_splits import SplitLists, SplitTable
from mobanet.datasets.tiling_settings import SplitAreas, SplitBlocks, Tiling
from mobanet.datasets.vector_settings import VectorLabel
from mobanet.errors import UserError
from mobanet.plain.bounds import shorten_text
from mobanet.plain.schema import MismatchError, UnknownKeyError, check_value
from mobanet.plain.wording import did_you_mean
from mobanet.plain.yaml_files import bound_parsers, parse_yaml, read_yaml

OPTION = "--data.folder"

_PARSER_ERRORS = (ArgumentError, TypeError, ValueError, ArithmeticError, LookupError)
"""What the parser raises of settings that are none."""

EXPERIMENT_KEYS = frozenset(("data", "model", "trainer", "scenarios", "panels", "seed_everything"))
"""Of what only an experiment has."""

HINT = "the YAML file that describes your data"
"""What is to be given in place of a file that is no text."""

_SPLITS = tuple(f"{OPTION}.splits.{part}" for part in ("train", "validation", "test"))


def load_folder_settings(path: Path) -> FolderSettings:
    """Settings from a YAML file.

    Raises:
        UserError: when the file is absent, is no YAML, or has an unknown key or a value of the wrong type.
    """
    content = read_yaml(Path(path), HINT)
    try:
        return parsed_settings(content)
    except _PARSER_ERRORS as error:
        if isinstance(content, dict):
            check_folder_keys(content, str(path))  # which names the key
        reason = shorten_text(" ".join(str(error).split()))
        raise UserError(f"{path} does not describe a folder layout: {reason}") from error


def settings_in(path: Path) -> FolderSettings:
    """Settings from a YAML file of them alone, or from an experiment that has them under `data.folder`.

    Raises:
        UserError: as `load_folder_settings`, and for an experiment without them.
    """
    content = described_in(path)
    if content is None:
        return load_folder_settings(path)
    check_part(content, str(path))
    return parsed_settings(content)


def parsed_settings(content: Any) -> FolderSettings:
    """Settings from plain content; of content that is none, the parser's errors pass (`_PARSER_ERRORS`)."""
    # a description may come from a stranger: the same bounds hold as for YAML that is read elsewhere
    bound_parsers()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--folder", type=FolderSettings)
    # a copy: where the parser refuses it, the content itself is looked at again
    return parser.instantiate(parser.parse_object({"folder": deepcopy(content)})).folder


def check_folder_keys(content: Any, place: str, where: str = "") -> None:
    """Refuse a key that there is not, one that is missing, and a value of another kind, naming the innermost one.

    Args:
        content: of the settings.
        place: what to name in front, such as the file.
        where: key of the settings; empty for a file of them alone.
    """
    try:
        check_value(_lenient(content), FolderSettings, where)
    except UnknownKeyError as error:
        raise UserError(
            f"{place}: {error.where} is not a key of a description of data{_nearest(error.where)}."
        ) from error
    except MismatchError as error:
        raise UserError(f"{place}: {error}; mend it.") from error


def check_part(content: Mapping[str, Any], place: str) -> None:
    """Refuse what stands under `data.folder` of a file where the parser would; what it lacks may stand elsewhere.

    Raises:
        UserError: naming the innermost key and the value: the parser repeats all of them.
    """
    # the two keys that have no default
    whole = {"modalities": {}, "classes": [], **content}
    try:
        parsed_settings(whole)
    except (*_PARSER_ERRORS, UserError):
        check_folder_keys(whole, place, "data.folder")


def wrong_folder_value(option: str, value: str) -> str | None:
    """What is wrong with the value of an option below `--data.folder`, dashes and all; None for nothing to be said."""
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
    # each word with the one before it, of which there is one more
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

    # so wide that PyYAML never breaks a line, and unsorted, since the first modality sets the grid
    options: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "width": 2**20, "sort_keys": False}
    # behind a scalar by itself, YAML marks the end of the document
    return yaml.dump(content, Dumper=_dumper(), **options).removesuffix("\n").removesuffix("\n...")


@cache
def _dumper() -> type:
    """That of PyYAML, which also quotes texts such as 2E5: jsonargparse's loader takes them for numbers."""
    import yaml

    dumper: Any = type("Dumper", (yaml.SafeDumper,), {})
    number = re.compile(r"[-+]?\d[\d_]*[eE][-+]?\d+$")
    dumper.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    return dumper


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
    if not isinstance(content, Mapping):
        return content
    whole = {key: int(key) for key in content if isinstance(key, str) and key.isdecimal()}
    return {whole.get(key, key): _lenient(value) for key, value in content.items()}


def _inside(kind: Any, key: str) -> Any:
    """The annotation of what stands below a key; None where there is no such key."""
    options = [one for one in (*get_args(kind), kind) if is_dataclass(one) or get_origin(one) is dict]
    for one in options:
        # any key will do, as the names of modalities and the values of labels are the user's
        if get_origin(one) is dict:
            return get_args(one)[1]
        if key in (hints := get_type_hints(one)):
            return hints[key]
    return None


def _nearest(where: str) -> str:
    splits = (FolderSplit, SplitAreas, SplitBlocks, SplitLists, SplitTable)
    kinds = (FolderSettings, FolderModality, *splits, VectorLabel, Tiling)
    names = [field.name for kind in kinds for field in fields(kind)]
    return did_you_mean(where.rpartition(".")[2], names)
