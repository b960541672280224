"""Networks of a user's own, imported where the command line or a file that it names says so, and nowhere else."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mobanet.plain.command_words import CONFIG, listed, take, values_of
from mobanet.plain.yaml_files import part_of, read_yaml
from mobanet.runs.folder import CONFIG_FILE, run_folder_of

OPTION = "--networks"
HELP = "import path of a network of your own, package.module.Class, that a model's file may name; several by commas"

_ARCHITECTURE = "--model.architecture"
_FILES = (*CONFIG, "--experiment", "--variant")


def with_networks(words: Sequence[str], resumes: bool = False) -> list[str]:
    """Import what the user names as a network, and leave `--networks` out of the words.

    The configuration that lies beside a checkpoint is named by nobody: it may be a stranger's, as the checkpoint may.
    Only a training goes on with all of its run's configuration, its classes and its network (`mobanet.runs.found`).

    Args:
        words: the command line.
        resumes: whether `--ckpt_path` names a run to go on with.

    Raises:
        UserError: for an option without its value, and a network that cannot be imported.
    """
    given, rest = take(words, OPTION)
    named = {name: OPTION for name in listed(given) if name}
    named |= {name: _ARCHITECTURE for name in _architectures(rest, resumes) if "." in name}
    if named:
        from mobanet.models.registry import import_network  # torch with it

        find_code_here()
        for name, option in named.items():
            import_network(name, option)
    return rest


def find_code_here() -> None:
    """Let Python find modules in the folder that the command is typed in."""
    if not {"", os.getcwd()} & set(sys.path):  # as with `mobanet`, which is a file elsewhere; `python -m` has it
        sys.path.append(os.getcwd())


def _architectures(words: Sequence[str], resumes: bool) -> Iterator[str]:
    """What is typed, and what the configurations say that are named."""
    name, _ = take(words, _ARCHITECTURE)
    yield name or ""
    for _, files in values_of(words, _FILES):
        for file in listed(files):
            # shipped experiments, given by name, have networks of ours alone
            if file.endswith((".yaml", ".yml")):
                yield _architecture_in(Path(file))
    checkpoint, _ = take(words, "--ckpt_path")
    if checkpoint and resumes:
        folder = Path(checkpoint) if Path(checkpoint).is_dir() else run_folder_of(checkpoint)
        yield _architecture_in(folder / CONFIG_FILE) if folder is not None else ""


def _architecture_in(file: Path) -> str:
    """What a configuration names; nothing where there is none."""
    architecture = part_of(read_yaml(file), "model").get("architecture") if file.is_file() else None
    return architecture if isinstance(architecture, str) else ""
