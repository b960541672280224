"""Experiments and variants by name, and what a command line makes of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobanet.cli.parser_errors import check_config_files
from mobanet.datasets.folder_words import with_described, with_quoted_ids
from mobanet.errors import UserError
from mobanet.plain.command_words import CONFIG, given_options, listed, take, values_of
from mobanet.plain.wording import did_you_mean
from mobanet.plain.yaml_files import read_yaml
from mobanet.runs.folder import CONFIG_FILE, run_folder_of
from mobanet.shipped import experiment_folder, experiment_names, variant_names


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
    hint = did_you_mean(name, names, cutoff=0.4)
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
    said: str


def resolve(words: Sequence[str], command: str = "fit") -> CommandLine:
    """Turn `--experiment NAME` into `--config FILE`, before everything that may override it.

    `--variant NAME`, or several joined by commas, becomes further configurations behind it. Without an experiment and
    a config, a `--ckpt_path` inside a run folder brings that run's own configuration, of which commands other than fit
    take what `mobanet.runs.found` leaves.

    Args:
        words: the command line.
        command: that it is for.

    Raises:
        UserError: for an unknown experiment, an option without its value, or a file that does not hold options.
    """
    from mobanet.cli.layered import without_foreign

    name, rest = take(words, "--experiment")
    variants, rest = take(rest, "--variant")
    experiment, found = "custom", None
    if name is not None:
        experiment, rest = Path(name).stem, ["--config", str(find_experiment(name)), *rest]
    elif not given_options(rest) & set(CONFIG):
        checkpoint, _ = take(rest, "--ckpt_path")
        run = run_folder_of(checkpoint) if checkpoint else None
        if run is not None:
            found = run / CONFIG_FILE
            experiment, rest = _name_of(run), ["--config", str(found), *rest]
    # a sweep's agent words null as Python does
    given = [f"{word[:-4]}null" if word.endswith("=None") else word for word in rest]
    words = with_variants(with_described(with_quoted_ids(given)), variants)
    for variant in listed(variants):
        experiment += f"_{find_experiment(variant, '--variant').stem}"
    check_config_files(words)
    words, said = without_foreign(words)
    if found is not None:
        from mobanet.runs.found import found_configuration  # Lightning with it, which not every command needs

        # behind the --config that was put in front above; last, since it may be text instead of a path
        words[1] = found_configuration(found, command)
    return CommandLine(experiment, words, said)


def _name_of(run: Path) -> str:
    """The experiment that a run was begun with."""
    content = read_yaml(run / CONFIG_FILE)
    name = content.get("experiment") if isinstance(content, dict) else None
    # it becomes the name of a folder, and the file may be anybody's
    return name if isinstance(name, str) and re.fullmatch(r"[\w.+-]+", name) else run.parent.name


def with_variants(words: Sequence[str], names: str | None) -> list[str]:
    """Variants' configurations, by names joined by commas, behind the other configurations and before the options.

    Raises:
        UserError: for an unknown one.
    """
    # later configurations win over earlier ones, and options over all that stand before them
    behind = max((place for place, _ in values_of(words, CONFIG)), default=0)
    further = [word for name in listed(names) for word in ("--config", str(find_experiment(name, "--variant")))]
    return [*words[:behind], *further, *words[behind:]]
