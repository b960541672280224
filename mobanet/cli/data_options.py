"""What `check` and `prepare` take of an experiment: where the data is, and what it is, as `fit` takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobanet.cli.experiments import find_experiment, with_variants
from mobanet.cli.layered import without_foreign
from mobanet.cli.parser_errors import check_config_files
from mobanet.datasets.folder_words import (
    EXPERIMENT_KEYS,
    HINT,
    as_words,
    check_part,
    described_in,
    parsed_settings,
    settings_in,
)
from mobanet.plain.command_words import CONFIG, listed, take
from mobanet.plain.yaml_files import parse_yaml, part_of, read_yaml

if TYPE_CHECKING:
    from mobanet.datasets import FolderSettings

EXPERIMENT_OPTIONS = {
    "experiment": "name of an experiment, or a YAML file, whose data is meant, as fit takes it",
    "variant": "name of a variant of it, or a YAML file; several by commas",
}
"""Options that `with_data_of` takes, and their help."""

_TAKEN = ("root", "layout", "store", "modalities", "folder", "allow_missing")


def with_data_of(words: Sequence[str]) -> list[str]:
    """Turn `--experiment NAME`, `--variant NAME` and `--config FILE` of an experiment into options of the command.

    They come first, so that options given beside them win. A configuration of the command's own options stays.
    """
    name, rest = take(words, "--experiment")
    variants, rest = take(rest, "--variant")
    given = [] if name is None else ["--config", str(find_experiment(name))]
    given = with_variants([*given, *rest], variants)
    check_config_files(given)
    # as `fit` does with --data.layout
    given, said = without_foreign(given, "--layout")
    if said:
        print(f"experiment  {said}")
    configurations, others = _parted(given)
    if not configurations:
        return others
    found = _parsed(configurations)
    out: list[str] = []
    for key in _TAKEN:
        value = found[key]
        # what is the default is not repeated: the command's own is the same
        if value is not None and value is not False:
            out += [f"--{key}", value if isinstance(value, str) else as_words(value)]
    return [*out, *others]


def folder_settings(given: str | None) -> "FolderSettings | None":
    """The description of one's own data: of a YAML file, of an experiment that has it, or YAML itself."""
    if given is None:
        return None
    if not given.startswith("{"):
        return settings_in(Path(given))
    content = parse_yaml(given)
    check_part(content, "--folder")
    return parsed_settings(content)


def _parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of each experiment what is said of data, as YAML, and the words that name none."""
    configurations, others = [], list[str]()
    given = iter(words)
    for word in given:
        name, equals, value = word.partition("=")
        if name not in CONFIG:
            others.append(word)
            continue
        path = value if equals else next(given, "")
        content = parse_yaml(path) if path.startswith("{") else _experiment(Path(path))
        if content is None:
            others += [word] if equals else [word, path]
        else:
            configurations.append(_of_data(content, Path(path)))
    return configurations, others


def _experiment(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    content = read_yaml(path)
    return content if isinstance(content, dict) and EXPERIMENT_KEYS & content.keys() else None


def _of_data(content: Mapping[str, Any], path: Path) -> str:
    kept = {key: value for key, value in part_of(content, "data").items() if key in _TAKEN}
    if isinstance(kept.get("folder"), str):
        file = path.parent / kept["folder"]  # as the parser takes it
        described = described_in(file)
        kept["folder"] = read_yaml(file, HINT) if described is None else described
    return as_words({"data": kept})


def _parsed(configurations: Sequence[str]) -> dict[str, Any]:
    """The settings, later ones over earlier ones by the rules of the parser that `fit` has."""
    from mobanet.cli.entry import SentenceParser

    parser = SentenceParser(prog="python -m mobanet")
    parser.add_function_arguments(_options, "data")
    parser.add_argument("--config", action="config")
    parsed = parser.instantiate(parser.parse_args([word for text in configurations for word in ("--config", text)]))
    found = dict(vars(parsed.data))
    found["folder"] = None if found["folder"] is None else asdict(found["folder"])
    # by commas or as a list, as `fit` takes them
    found["modalities"] = listed(found["modalities"]) or None
    return found


def _options(
    root: str | None = None,
    layout: str | None = None,
    store: str | None = None,
    modalities: list[str] | str | None = None,
    folder: "FolderSettings | None" = None,
    allow_missing: bool = False,
) -> None:
    """Of `mobanet.data.datamodule.RasterDataModule`."""
