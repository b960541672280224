"""The options of all commands as Markdown, from the help that the commands themselves print.

python docs/hooks/options.py > FILE
"""

import gc
import os
import re
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from html import escape
from io import StringIO

from mobanet.__main__ import COMMANDS, main

OF_A_RUN = ("fit", "test", "scores", "adapt")
"""Commands with the settings of a whole run: those of the first are told, and how the others differ."""
_MARKUP = str.maketrans({character: f"&#{ord(character)};" for character in "*_[]|`\\#"})


@dataclass(frozen=True)
class Option:
    """What the help says of one.

    Attributes:
        name: with its dashes.
        value: what stands for its value, or the choices in braces; empty where it takes none.
        meaning: text.
        kind: type of the value; empty where the help names none.
        default: as it would be typed; None where it has none; `needed` where the command cannot do without the option.
    """

    name: str
    value: str
    meaning: str
    kind: str
    default: str | None


@dataclass(frozen=True)
class Group:
    """Options under one heading; the first group of a command is called `options`."""

    title: str
    options: tuple[Option, ...]

    @property
    def prefix(self) -> str:
        """What the names of its options begin with, up to a dot, but for short ones; empty for nothing."""
        return min(
            (option.name.rpartition(".")[0] for option in self.options if "." in option.name), key=len, default=""
        )


@dataclass(frozen=True)
class Help:
    """All that a command says of itself."""

    description: str
    groups: tuple[Group, ...]


@cache
def printed_help(command: str) -> str:
    """The whole help of a command, a line for each text however long it is."""
    former = sys.argv, os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100000"
    try:
        for word in ("--help_all", "--help"):  # the first where the second is one screen of the most used
            sys.argv, out = ["mobanet", command, word], StringIO()
            with redirect_stdout(out), redirect_stderr(StringIO()), suppress(SystemExit):
                main()
            if out.getvalue():
                return out.getvalue()
    finally:
        sys.argv = former[0]
        os.environ.pop("COLUMNS") if former[1] is None else os.environ.update(COLUMNS=former[1])
        gc.enable()  # some commands begin without
    raise RuntimeError(f"mobanet {command} has no help")


def parsed_help(text: str) -> Help:
    """What a printed help says.

    Args:
        text: of argparse, unwrapped: blocks between blank lines, of which the first is the usage, the second the
            description, and each other one a title and its options.
    """
    _, description, *blocks = text.strip().split("\n\n")
    return Help(description, tuple(_group(block) for block in blocks))


def _group(block: str) -> Group:
    title, *lines = block.splitlines()
    entries: list[list[str]] = []
    for line in lines:
        if re.match(r"  -", line):
            # what is short has its meaning on the same line, two spaces or more behind it
            entries.append(re.split(r" {2,}", line.strip(), maxsplit=1))
        elif entries:
            entries[-1].append(line.strip())
    options = [_option(head, " ".join(rest)) for head, *rest in entries]
    return Group(title.removesuffix(":"), tuple(option for option in options if option))


def _option(head: str, text: str) -> Option | None:
    """None for what is no setting: help, and a file for a group of settings."""
    name, _, value = head.split(", --")[0].partition(" ")
    if name.startswith("-c"):
        name, value = "--config", "CONFIG"
    if name == "-h" or name.endswith((".help", "--help_all")) or (value == "CONFIG" and name != "--config"):
        return None
    behind = re.search(r" ?\(((?:required|needed|type|default)\b.*)\)$", text)
    said = behind[1] if behind else ""
    kind = re.search(r"type: (.*?)(?=, default: |, known subclasses: |$)", said)
    default = re.search(r"default: (.*?)(?=, known subclasses: |$)", said)
    typed = {"True": "true", "False": "false"}.get(default[1], default[1]) if default else None
    needed = "needed" if said.startswith(("required", "needed")) else typed
    return Option(name, value, text[: behind.start()] if behind else text, kind[1] if kind else "", needed)


def options_page() -> str:
    """A chapter for each command."""
    known: dict[str, Option] = {}
    chapters = []
    for command, purpose in COMMANDS.items():
        told = parsed_help(printed_help(command))
        if command == OF_A_RUN[0]:
            known = {option.name: option for group in told.groups for option in group.options}
        others = known if command in OF_A_RUN[1:] else {}
        chapters.append(_chapter(command, purpose, told, others))
    return "\n\n".join(chapters) + "\n"


def _chapter(command: str, purpose: str, told: Help, others: dict[str, Option]) -> str:
    parts = [f"## {command}", f"`python -m mobanet.{command}`: {_plain(told.description)}"]
    for group in told.groups:
        new = [o for o in group.options if o.name not in others or others[o.name].meaning != o.meaning]
        if not new:
            continue
        if group.title != "options":
            parts += [f"### {command} {group.prefix}", _plain(group.title[:1].upper() + group.title[1:]) + "."]
        parts.append("\n".join(["| option | meaning | default |", "| --- | --- | --- |", *map(_row, new)]))
    if others:
        lacks = [f"`{name}`" for name in others if name not in {o.name for group in told.groups for o in group.options}]
        without = f" It takes no {', '.join(lacks)}." if lacks else ""
        parts.append(f"All other settings are those of [{OF_A_RUN[0]}](#{OF_A_RUN[0]}).{without}")
    return "\n\n".join(parts)


def _row(option: Option) -> str:
    kind = _kind(option)
    default = "" if option.default is None else _code(option.default)
    meaning = option.meaning[:1].upper() + option.meaning[1:]
    return (
        f"| <code>{option.name}</code>{kind} | {_plain(meaning)} | {default.replace('<code>needed</code>', 'needed')} |"
    )


def _kind(option: Option) -> str:
    """What may be given: choices, or the type in words that Python's and YAML's readers share."""
    if option.value.startswith("{"):
        words = ", ".join(option.value.strip("{}").split(","))
    else:
        words = re.sub(r"Optional\[(.*)\]$", r"\1 or null", option.kind)
        words = re.sub(r"Union\[(.*)\]$", lambda match: match[1].replace(", ", " or "), words).replace(" | ", " or ")
        words = re.sub(r"Literal\[(.*?)\]", lambda match: match[1].replace("'", ""), words)
    return f"<br><small>{escape(words).translate(_MARKUP)}</small>" if words else ""


def _plain(text: str) -> str:
    """Text in which nothing but code between backticks is markup."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", text)
    return "".join(
        _code(part.strip("`")) if n % 2 else escape(part, False).translate(_MARKUP) for n, part in enumerate(parts)
    )


def _code(text: str) -> str:
    return f"<code>{escape(text).translate(_MARKUP)}</code>"


if __name__ == "__main__":
    print(options_page(), end="")
