"""Networks of a user's own, imported where the command line or a file that it names says so, and nowhere else."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mobanet.plain.command_words import take
from mobanet.plain.yaml_files import read_yaml

OPTION = "--networks"
HELP = "import path of a network of your own, package.module.Class, that a model's file may name; several by commas"

_ARCHITECTURE = "--model.architecture"
_FILES = ("--config", "--experiment", "--variant")


def with_networks(words: Sequence[str]) -> list[str]:
    """Import what the user names as a network, and leave `--networks` out of the words.

    The configuration that lies beside a checkpoint is named by nobody: it may be a stranger's, as the checkpoint may.

    Args:
        words: the command line.

    Raises:
        UserError: for an option without its value, and a network that cannot be imported.
    """
    given, rest = take(words, OPTION)
    named = [*_listed(given), *filter(lambda name: "." in name, _architectures(rest))]
    if named:
        from mobanet.models.registry import import_network  # torch with it

        if not {"", os.getcwd()} & set(sys.path):  # as with `mobanet`, which is a file elsewhere; `python -m` has it
            sys.path.append(os.getcwd())
        for name in named:
            import_network(name)
    return rest


def _architectures(words: Sequence[str]) -> Iterator[str]:
    """What is typed, and what the configurations say that are named."""
    name, _ = take(words, _ARCHITECTURE)
    yield name or ""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        option, equals, value = word.partition("=")
        if option not in _FILES:
            continue
        for file in _listed(value if equals else following):
            if file.endswith((".yaml", ".yml")) and Path(file).is_file():
                content = read_yaml(Path(file), "a YAML file with options")
                model = content.get("model") if isinstance(content, dict) else None
                architecture = model.get("architecture") if isinstance(model, dict) else None
                yield architecture if isinstance(architecture, str) else ""


def _listed(given: str | None) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()] if given else []
