"""A parser's complaints, in the words of the options that the user typed."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from mobanet.cli.option_names import short_names
from mobanet.datasets.folder_words import OPTION, check_part, wrong_folder_value
from mobanet.errors import UserError
from mobanet.plain.bounds import check_digits, check_values
from mobanet.plain.command_words import CONFIG, values_of
from mobanet.plain.wording import did_you_mean
from mobanet.plain.yaml_files import bound_parsers, part_of, read_yaml

_KINDS = {
    "<class 'float'>": "a number",
    "<class 'int'>": "a whole number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "text",
    "<class 'list'>": "a list such as '[a, b]'",
    "<class 'dict'>": "a mapping such as '{a: b}'",
    "<class 'NoneType'>": "null",
    "list[float]": "a list of numbers",
    "list[int]": "a list of whole numbers",
}


def check_config_files(words: Sequence[str]) -> None:
    """Look at the words of a command line, and at the YAML files that it names.

    The parser's complaints do not say which file is meant, and values that no setting can have end it otherwise. From
    here on it reads YAML within bounds wherever it does.

    Args:
        words: the command line; files that do not exist are left to the parser.

    Raises:
        UserError: for a file that cannot be read, is not YAML, or holds something else than options, and for a word
            that no file name, number or text can be.
    """
    bound_parsers()
    check_words(words)
    for _, path, content in configurations(words):
        if not isinstance(content, dict):
            found = "nothing" if content is None else "no options"
            raise UserError(f"{path} holds {found}; give lines such as `data: {{root: DIR}}`.")
        if folder := part_of(part_of(content, "data"), "folder"):
            check_part(folder, str(path))


def configurations(words: Sequence[str]) -> Iterator[tuple[int, Path, Any]]:
    """Of each configuration file the place behind its words, its path, and what it holds.

    Options in braces, and files that there are not, are left to the parser.
    """
    for place, given in values_of(words, CONFIG):
        if not given.startswith("{") and Path(given).is_file():  # in this order: braces may be too long for a path
            yield place, Path(given), read_yaml(Path(given))


def check_words(words: Sequence[str]) -> None:
    """Refuse words with a control character, bytes that are no UTF-8, or a whole number of more than 64 bits."""
    # with the word before it, which is the option where a value stands by itself
    for before, word in zip(["", *words], words, strict=False):
        name, _, value = word.partition("=") if word.startswith("--") else (before, "", word)
        try:
            check_values(word)
            check_digits(value)
        except ValueError as error:
            option = name if name.startswith("--") else "the command line"
            raise UserError(f"{option} {error}; give another value.") from error


def plain_parser_message(message: str, parser: ArgumentParser) -> str:
    """One sentence that names the option, what is wrong and what would do.

    Args:
        message: of jsonargparse.
        parser: knows the options, for the nearest one to a mistyped one.
    """
    # jsonargparse tells what is wrong by text alone: its sentences are taken apart below
    text = " ".join(message.split())
    if found := re.match(r"unrecognized arguments?: (\S+)", text):
        word = found[1].split("=")[0]
        short = short_names((parser.prog or "").rpartition(".")[2])
        return f"{word} is not an option{_nearest(word, parser, short)}; see {_help_option(parser)}."
    if found := re.match(r"the following arguments are required: (.*)", text):
        return _required([f"--{name}" for name in found[1].split(", ")])
    if found := re.match(r"Group '([^']+)' does not accept option '([^']+)'", text):
        return _unknown_key(f"{found[1]}.{found[2]}", parser)
    if found := re.match(r"Option '([\w.]+)' is not accepted", text):
        return _unknown_key(found[1], parser)
    if found := re.search(r"[Kk]ey [\"']([\w.]+)[\"'] is not expected", text):
        return _unknown_key(found[1], parser)
    if found := re.match(r"Parser key \"([\w.]+)\": (.*)", text):
        return _wrong_value(f"--{found[1]}", found[2])
    if found := re.match(r"argument (--\S+?)(?:, \S+)?: expected one argument", text):
        return f"{found[1]} needs a value."
    return text


def _required(options: list[str]) -> str:
    if "--data.root" in options:
        return (
            "--data.root is missing; give the folder with the rasters, or start from --experiment NAME, or from the "
            "--ckpt_path of a checkpoint in its run folder."
        )
    *most, last = options
    return f"{', '.join(most)} and {last} are missing; give them." if most else f"{last} is missing; give it."


def _unknown_key(key: str, parser: ArgumentParser) -> str:
    hint = _nearest(f"--{key}", parser).replace("--", "")  # a file has no dashes
    return f"the configuration sets {key}, which is not an option{hint}; see {_help_option(parser)}."


def _help_option(parser: ArgumentParser) -> str:
    """Where all options are explained; `--help` has the most used ones alone, where there are many."""
    return "--help_all" if "--help_all" in parser._option_string_actions else "--help"


def _nearest(word: str, parser: ArgumentParser, more: Sequence[str] = ()) -> str:
    options = [*more]
    options += [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    return did_you_mean(word, options)


def _wrong_value(option: str, text: str) -> str:
    """A sentence from what stands behind the option in a message whose lines were joined."""
    if found := re.match(r"File does not exist: '?(.*?)'?$", text):
        return f"{option} names {found[1]}, which does not exist."
    if found := re.match(r"Unable to load config '(.*?)'", text):
        return f"{option} cannot be {found[1]}; give a mapping such as '{{a: b}}', or a YAML file that exists."
    if found := re.search(r"Expected a path but (\S+\.ya?ml) either not accessible or invalid", text):
        return f"{option} names {found[1]}, which cannot be read as options; give a YAML file that exists."
    given = re.search(r"Given value: (.*)$", text) or re.search(r"Got value: (.*)$", text)
    value = given[1] if given else "that"
    if found := re.match(r"NestedArg\(key='([\w.]+)', val='?(.*?)'?\)$", value):
        option, value = f"{option}.{found[1]}", found[2]
    if option.startswith(OPTION):
        if found := re.search(r"- (--[\w, -]+?) (?:is|are) missing; give", text):  # of a parser within
            return f"{option} lacks {found[1].replace('--', '')}, which a description of data needs; give it."
        if wrong := wrong_folder_value(option, value):
            return wrong
    if literals := re.findall(r"Literal\[(.*?)\]", text):
        choices = dict.fromkeys(", ".join(literals).replace("'", "").split(", "))
        lists = [_KINDS[kind] for kind in re.findall(r"list\[\w+\]", text) if kind in _KINDS]
        other = f", or give {lists[0]}" if lists else ""
        return f"{option} cannot be {value}; choose one of {', '.join(choices)}{other}."
    if (found := re.search(r"Expected a dot import path string: (\S+)", text)) and found[1] in value:
        return f"{option} cannot be {value}; {found[1]} would have to be a class path such as package.module.Class."
    wanted = re.search(r"Subtypes: \[(.*?)\] Errors:", text)
    kinds = _types(wanted[1]) if wanted else re.findall(r"^Expected a (<class '\w+'>)", text)
    words = [_KINDS.get(kind) or _KINDS[_outer(kind)] for kind in kinds if kind in _KINDS or _outer(kind) in _KINDS]
    if words:
        return f"{option} cannot be {value}; give {' or '.join(dict.fromkeys(words))}."
    return f"{option} is wrong: {text.rstrip('.')}."


def _types(listed: str) -> list[str]:
    """`dict[str, int], <class 'NoneType'>` -> its two parts."""
    return re.findall(r"[\w.]+\[.*?\]+(?=,|$)|<class '[^']+'>", listed)


def _outer(kind: str) -> str:
    """`dict[str, int]` -> `<class 'dict'>`."""
    return f"<class '{kind.partition('[')[0]}'>"
