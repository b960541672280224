"""Configurations that lie beside a checkpoint, and what of them counts where a command takes them up unasked.

A run folder may come from a stranger. Resuming a run with `mobanet.fit` is going on with all of its configuration;
every other command takes plain settings out of it, and nothing that chooses code to run or places to write to.
"""

import re
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.data.datamodule import RasterDataModule
from mobanet.datasets.catalogue import STORE_FILE
from mobanet.errors import UserError
from mobanet.plain.schema import MismatchError, UnknownKeyError, check_keys, check_value, shown
from mobanet.plain.yaml_files import part_of, read_yaml
from mobanet.rasters.elsewhere import is_address, redacted
from mobanet.scenarios.sampling import ScenarioSettings

_CLASSES = ("callbacks", "logger", "plugins", "profiler", "strategy", "accelerator", "model_registry")
"""Of the trainer: what may be made by naming a class."""

_WORDS = ("accelerator", "strategy", "devices", "precision")
# no point and no colon, without which nothing is the path of a class or an address
_WORD = re.compile(r"[A-Za-z0-9_,-]+")
_WORDS_AT_TOP = ("experiment", "logger", "wandb", "monitor", "monitor_mode", "checkpoints", "float32_matmul_precision")
"""Options that are words; of the others, numbers and switches count. The model comes from the checkpoint."""


def found_configuration(path: Path, command: str) -> str:
    """What of a configuration that a command has found goes to the parser: its path, or what is left of it as YAML.

    Raises:
        UserError: when it cannot be read, or has the results of a resumed run written elsewhere.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        return str(path)  # about which the parser has a word to say
    if command == "fit":
        _check_resumed(content, path)
        return str(path)
    return _plain(content, path)


def _check_resumed(content: Mapping[str, Any], path: Path) -> None:
    """Say what classes a run goes on with, which are its own business; it goes on in its own folder."""
    for key in ("run", "ckpt_path"):
        if content.get(key) is not None:
            raise UserError(f"{path} sets {key}, which fit never leaves in a run folder; remove the line.")
    names = [name for name in dict.fromkeys([*_class_paths(content), *_own_code(content)]) if name]
    if names:
        rank_zero_info(f"{path} brings {', '.join(names)}")


def _plain(content: Mapping[str, Any], path: Path) -> str:
    import yaml

    kept = {key: value for key, value in content.items() if _is_plain(key, value, _WORDS_AT_TOP)}
    if trainer := part_of(content, "trainer"):
        kept["trainer"] = {key: value for key, value in trainer.items() if _is_plain(key, value, _WORDS)}
        if left_out := [key for key in _CLASSES if trainer.get(key) and key not in kept["trainer"]]:
            names = ", ".join(left_out)
            rank_zero_info(f"{path}: without its {names} of the trainer, which a file named with --config brings")
    if content.get("scenarios") is not None:
        _check(content["scenarios"], ScenarioSettings, "scenarios", path)
        kept["scenarios"] = content["scenarios"]
    if content.get("data") is not None:
        kept["data"] = _own_store(plain_data(content["data"], path), path)
        _check_addresses(kept["data"], path)
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)


def plain_data(data: Any, path: Path) -> dict[str, Any]:
    """Settings of a data module out of a configuration that was found.

    The command line's parser imports a class whose name stands in place of any group of settings, before it refuses it.

    Args:
        data: the settings.
        path: of the configuration, for messages.

    Raises:
        UserError: for anything but plain values of the right kinds.
    """
    kinds = get_type_hints(RasterDataModule.__init__) | {"root": str | None}
    _check(data, dict[str, Any], "data", path)
    if isinstance(data.get("folder"), str):
        raise UserError(f"{path} names a file as data.folder; give {shown(data['folder'])} with --data.folder FILE.")
    try:
        check_keys(data, kinds, set(), "data")
    except UnknownKeyError as error:
        raise UserError(f"{path} sets {error.where}, which is not an option; see --help.") from error
    except MismatchError as error:
        raise _odd(path, error) from error
    return dict(data)


def _check_addresses(data: Mapping[str, Any], path: Path) -> None:
    """Refuse a description of data that leads to the network, which commands would follow to prepare tiles."""
    if names := [text for text in _texts(data.get("folder")) if is_address(text)]:
        raise UserError(
            f"{path} names the address {redacted(names[0])}, and a configuration that was found leads nobody to the "
            f"network: name it with --config {path}, if it is yours."
        )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, str):
        yield value


def _check(value: Any, kind: Any, where: str, path: Path) -> None:
    try:
        check_value(value, kind, where)
    except MismatchError as error:
        raise _odd(path, error) from error


def _odd(path: Path, error: MismatchError) -> UserError:
    return UserError(f"{path} cannot be used: {error}; mend it, or name another configuration with --config FILE.")


def _is_plain(key: Any, value: Any, words: Container[str]) -> bool:
    """Whether a setting is a number, a switch, or a word where words are no classes."""
    if isinstance(value, list):
        return key == "devices" and all(isinstance(item, int) for item in value)
    if isinstance(value, str):
        return key in words and value.isprintable() and (key not in _WORDS or _WORD.fullmatch(value) is not None)
    return value is None or isinstance(value, bool | int | float)


def _own_store(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """Tiles are prepared inside the data's own folder, if nowhere else by the user's word."""
    store = data.get("store")
    if store is None or (Path(store) / STORE_FILE).is_file():
        return data
    rank_zero_info(f"{path}: the tiles of --store {store} are not there; give it anew to prepare them there")
    return {**data, "store": None}


def _own_code(content: Mapping[str, Any]) -> list[str]:
    """Import paths that stand in the place of the names of a network, losses, an optimiser and a schedule."""
    model = part_of(content, "model")
    losses: list[Any] = [*part_of(model, "loss")] or [model.get("loss")]
    names = [model.get("architecture"), *losses, model.get("optimizer"), part_of(model, "schedule").get("shape")]
    return [name for name in names if isinstance(name, str) and "." in name]


def _class_paths(value: Any, key: Any = None) -> Iterator[str]:
    """Names of the classes that a configuration asks for, wherever they stand."""
    if isinstance(value, Mapping):
        if "class_path" in value:
            yield str(value["class_path"])
        for name, item in value.items():
            yield from _class_paths(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _class_paths(item, key)
    elif isinstance(value, str) and key in _CLASSES and "." in value:
        yield value
