"""A parser's complaints, in the words of the options that the user typed."""

import difflib
import re

from jsonargparse import ArgumentParser

_KINDS = {
    "<class 'float'>": "a number",
    "<class 'int'>": "a whole number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "text",
    "<class 'list'>": "a list such as '[a, b]'",
    "<class 'dict'>": "a mapping such as '{a: b}'",
    "<class 'NoneType'>": "null",
}


def plain_parser_message(message: str, parser: ArgumentParser) -> str:
    """One sentence that names the option, what is wrong and what would do.

    Args:
        message: of jsonargparse.
        parser: knows the options, for the nearest one to a mistyped one.
    """
    text = " ".join(message.split())
    if found := re.match(r"unrecognized arguments?: (\S+)", text):
        word = found[1].split("=")[0]
        return f"{word} is not an option{_nearest(word, parser)}; see --help."
    if found := re.match(r"Group '([^']+)' does not accept option '([^']+)'", text):
        return _unknown_key(f"{found[1]}.{found[2]}", parser)
    if found := re.search(r"[Kk]ey [\"']([\w.]+)[\"'] is not expected", text):
        return _unknown_key(found[1], parser)
    if found := re.match(r"Parser key \"([\w.]+)\": (.*)", text):
        return f"--{found[1]} {_wrong_value(found[2])}."
    if found := re.match(r"argument (--\S+?)(?:, \S+)?: expected one argument", text):
        return f"{found[1]} needs a value."
    if found := re.match(r"Problems parsing config: (.*)", text):
        return f"the configuration file is not valid YAML: {found[1]}."
    return text


def _unknown_key(key: str, parser: ArgumentParser) -> str:
    return f"the configuration sets {key}, which is not an option{_nearest(f'--{key}', parser)}; see --help."


def _nearest(word: str, parser: ArgumentParser) -> str:
    options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def _wrong_value(text: str) -> str:
    given = re.search(r"(?:Got value|Given value): (.*)$", text)
    value = f"cannot be {given[1]}" if given else "has a wrong value"
    if found := re.search(r"Literal\[(.*?)\]", text):
        return f"{value}; choose one of {found[1].replace(chr(39), '')}"
    if found := re.match(r"Expected a (<class '\w+'>)", text):
        return f"{value}; give {_KINDS.get(found[1], found[1])}"
    if "Subtypes" in text:
        kinds = dict.fromkeys(re.findall(r"Expected a (<class '\w+'>)", text))
        return f"{value}; give {' or '.join(_KINDS.get(kind, kind) for kind in kinds)}" if kinds else value
    if found := re.match(r"File does not exist: '?(.*?)'?$", text):
        return f"names {found[1]}, which does not exist"
    return f"is wrong: {text.rstrip('.')}"
