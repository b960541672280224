"""Experiments by name: YAML files in `experiments/`, and the folders that runs of them leave behind."""

import difflib
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobanet.errors import UserError
from mobanet.folder_words import with_described, with_quoted_ids
from mobanet.parser_errors import check_config_files
from mobanet.yaml_files import read_yaml

CONFIG_FILE = "config.yaml"
RUN_VARIABLE = "MOBANET_RUN_FOLDER"
"""Tells the processes that a distributed run starts which folder the first one chose."""
TEST_VARIABLE = "MOBANET_TEST_FOLLOWS"
"""Tells a run that its best checkpoint is to be tested when it has ended."""


def experiment_folder() -> Path:
    """Where the experiments lie: inside an installed package, or at the top of a source tree."""
    package = Path(__file__).parent
    inside = package / "experiments"
    return inside if inside.is_dir() else package.parent / "experiments"


def experiment_names() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(path.stem for path in experiment_folder().glob("*.yaml"))


def variant_names() -> list[str]:
    """Names of the variants that come with the package; each changes an experiment in one respect."""
    return sorted(path.stem for path in (experiment_folder() / "variants").glob("*.yaml"))


def find_experiment(name: str, option: str = "--experiment") -> Path:
    """The YAML file of an experiment or a variant.

    Args:
        name: of a shipped one, or a path to a YAML file.
        option: `--experiment` or `--variant`.

    Raises:
        UserError: listing the known ones and the nearest of them.
    """
    path = Path(name)
    kind = option.removeprefix("--")
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{option} {name} does not exist; give an existing YAML file or the name of one we know.")
        return path
    folder, names = experiment_folder(), experiment_names()
    if kind == "variant":
        folder, names = folder / "variants", variant_names()
    if name in names:
        return folder / f"{name}.yaml"
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UserError(
        f"{option} {name} is unknown{hint}: choose from {', '.join(names)}, or give the path of a YAML file."
    )


@dataclass(frozen=True)
class CommandLine:
    """A command line with its experiment resolved.

    Attributes:
        experiment: a short name for run folders.
        words: for the parser, `--experiment NAME` turned into `--config FILE`.
        said: what the user is to be told of it; empty for nothing.
    """

    experiment: str
    words: list[str]
    said: str = ""


def resolve(words: Sequence[str], command: str = "fit") -> CommandLine:
    """Turn `--experiment NAME` into `--config FILE`, before everything that may override it.

    `--variant NAME`, or several joined by commas, becomes further configurations behind it. Without an experiment and
    a config, a `--ckpt_path` inside a run folder brings that run's own configuration, of which commands other than fit
    take what `mobanet.found` leaves.

    Args:
        words: the command line.
        command: that it is for.

    Raises:
        UserError: for an unknown experiment, an option without its value, or a file that does not hold options.
    """
    from mobanet.layered import without_foreign

    name, rest = take(words, "--experiment")
    variants, rest = take(rest, "--variant")
    line, found = CommandLine("custom", rest), None
    if name is not None:
        line = CommandLine(Path(name).stem, ["--config", str(find_experiment(name)), *rest])
    elif not any(word.split("=")[0] in ("--config", "-c") for word in rest):
        checkpoint, _ = take(rest, "--ckpt_path")
        run = run_folder_of(checkpoint) if checkpoint else None
        if run is not None:
            found = run / CONFIG_FILE
            line = CommandLine(_name_of(run), ["--config", str(found), *rest])
    # a sweep's agent words null as Python does
    given = [f"{word[:-4]}null" if word.endswith("=None") else word for word in line.words]
    words, experiment = with_variants(with_described(with_quoted_ids(given)), variants), line.experiment
    for variant in _listed(variants):
        experiment += f"_{find_experiment(variant, '--variant').stem}"
    check_config_files(words)
    words, said = without_foreign(words)
    if found is not None:
        from mobanet.found import found_configuration  # Lightning with it, which not every command needs

        words[1] = found_configuration(found, command)
    return CommandLine(experiment, words, said)


def _name_of(run: Path) -> str:
    """The experiment that a run was begun with."""
    content = read_yaml(run / CONFIG_FILE, "a YAML file with options")
    name = content.get("experiment") if isinstance(content, dict) else None
    return name if isinstance(name, str) and re.fullmatch(r"[\w.+-]+", name) else run.parent.name


def with_variants(words: Sequence[str], names: str | None) -> list[str]:
    """Variants' configurations, by names joined by commas, behind the other configurations and before the options.

    Raises:
        UserError: for an unknown one.
    """
    words = list(words)
    for name in _listed(names):
        path = find_experiment(name, "--variant")
        last = max((i for i, word in enumerate(words) if word.split("=")[0] in ("--config", "-c")), default=None)
        behind = 0 if last is None else last + (1 if "=" in words[last] else 2)
        words[behind:behind] = ["--config", str(path)]
    return words


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in names.split(",")] if names else []


def take(words: Sequence[str], option: str) -> tuple[str | None, list[str]]:
    """The value of an option, None without it, and the other words.

    Raises:
        UserError: when the value is not there.
    """
    value, rest, given = None, [], iter(words)
    for word in given:
        if word == option:
            value = next(given, None)
            if value is None or value.startswith("--"):
                raise UserError(f"{option} needs a value.")
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
        else:
            rest.append(word)
    return value, rest


def run_folder_of(checkpoint: str) -> Path | None:
    """The run folder that a checkpoint lies in, or None where it lies elsewhere."""
    folder = Path(checkpoint).resolve().parent.parent
    return folder if (folder / CONFIG_FILE).is_file() else None


def choose_run_folder(given: str | None, experiment: str, checkpoint: str | None) -> Path:
    """Where a run writes: as given, or its checkpoint's run, or a new folder named by the time.

    Under distributed training the first process decides and its children follow.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0" and RUN_VARIABLE in os.environ:
        return Path(os.environ[RUN_VARIABLE])
    resumed = run_folder_of(checkpoint) if checkpoint else None
    if given:
        folder = Path(given)
    elif resumed is not None:
        folder = resumed
    else:
        folder = _unused(Path("runs") / experiment / time.strftime("%Y%m%d-%H%M%S"))
    os.environ[RUN_VARIABLE] = str(folder)
    return folder


def _unused(folder: Path) -> Path:
    candidate, number = folder, 2
    while candidate.exists():
        candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return candidate
