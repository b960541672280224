"""The command of a sweep with its parameters filled in, word by word as the W&B agent does it."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mobanet.errors import UserError

MACROS = ("env", "interpreter", "program", "args", "args_no_hyphens", "args_no_boolean_flags", "args_json")
"""Words `${…}` that stand for others; beside them `${envvar:NAME}`, which may be part of a word."""

_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
_OWN = ("--run", "--ckpt_path", "--seeds", "--test")
"""Options of `mobanet.fit` that a trial gets from the sweep, or that would make several runs of it."""


def check_macros(command: Sequence[Any], where: str) -> None:
    """Refuse a macro that is unknown and a variable that is not set; `where` is named in front."""
    for word in map(str, command):
        for name in _VARIABLE.findall(word):
            if name not in os.environ:
                raise UserError(
                    f"{where}: the command names the environment variable {name}, which is not set; set it."
                )
        rest = _VARIABLE.sub("", word)
        if "${" in rest and rest not in [f"${{{name}}}" for name in MACROS]:
            known = ", ".join(f"${{{name}}}" for name in MACROS)
            raise UserError(f"{where}: {word} in the command is unknown; choose from {known}, ${{envvar:NAME}}.")


def expand(command: Sequence[Any], parameters: Mapping[str, Any], program: str | None = None) -> list[str]:
    """The words of one trial's command, which `check_macros` has seen; values as Python's `str` writes them."""
    # as W&B's agent does, so that a sweep means the same here and there
    plain = [f"{name}={value}" for name, value in parameters.items()]
    flags = [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in parameters.items()
        if value is not False
    ]
    instead = {
        "env": ["/usr/bin/env"],
        # a word only: the process is started with this interpreter, whatever is called python here
        "interpreter": ["python"],
        "program": [] if program is None else [program],
        "args": [f"--{word}" for word in plain],
        "args_no_hyphens": plain,
        "args_no_boolean_flags": flags,
        "args_json": [json.dumps(dict(parameters))],
    }
    words: list[str] = []
    for word in map(str, command):
        filled = _VARIABLE.sub(lambda found: os.environ[found[1]], word)
        name = filled[2:-1] if filled.startswith("${") and filled.endswith("}") else None
        # a variable's value may look like a macro, too, of which the agent makes nothing unless it is one
        words += [filled] if name is None else instead.get(name, [])
    return words


def fit_words(words: Sequence[str], where: str) -> list[str]:
    """What `mobanet.fit` is given by an expanded command, `[env] PYTHON -m mobanet.fit …` or `[env] mobanet fit …`.

    Raises:
        UserError: for a command that runs something else, or sets what is the sweep's to set.
    """
    # by their last parts, as a file may name full paths
    given = list(words[1:] if words and os.path.basename(words[0]) == "env" else words)
    if len(given) >= 2 and os.path.basename(given[0]) == "mobanet" and given[1] == "fit":
        given = given[2:]
    elif len(given) >= 3 and os.path.basename(given[0]).startswith("python") and given[1:3] == ["-m", "mobanet.fit"]:
        given = given[3:]
    else:
        raise UserError(
            f"{where}: its command does not run mobanet.fit; give "
            '["${env}", "${interpreter}", "-m", "mobanet.fit", …, "${args}"].'
        )
    check_own(given, where)
    return given


def check_own(words: Sequence[str], where: str) -> None:
    """Refuse options that are not for a trial to set."""
    for word in words:
        if (option := word.split("=")[0]) in _OWN:
            raise UserError(f"{where}: {option} cannot be set for a trial, whose folder is the sweep's; leave it out.")
