"""The configuration that a run folder keeps: whether it can be read again, and what a resumed run has changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse.typing import register_type
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.errors import UserError
from mobanet.plain.yaml_files import read_yaml

_ANNOUNCED = (
    *("trainer", "data", "monitor", "monitor_mode"),
    *("scenarios.evaluate", "scenarios.validate", "scenarios.failure"),
)
"""What no checkpoint knows; the model's settings, and those of sampling, are compared with its own."""
_LOST = "Unable to serialize instance"  # jsonargparse's words in the place of a value that YAML has none for


def register_types() -> None:
    """Tell jsonargparse and PyYAML how to write what arguments of callbacks may be and they do not know."""
    # such as the device argument of Lightning's own averages of weights
    register_type(torch.device)
    # words that are members of an enumeration, as Lightning's defaults are
    yaml.SafeDumper.add_multi_representer(str, lambda dumper, word: dumper.represent_str(str.__str__(word)))


def check_saved(text: str) -> None:
    """Refuse a configuration, YAML to be saved, that could not be read again."""
    lost = [key for key, value in flat(yaml.safe_load(text)).items() if _LOST in str(value)]
    if lost:
        raise UserError(
            f"--{lost[0]} has a value that no configuration file can hold, so that the run could not be resumed or "
            "tested; give it as text or a number, or leave it out."
        )


def announce_changes(earlier: Path, now: str) -> None:
    """Say which settings of trainer, data and evaluation a resumed run has other than before.

    Args:
        earlier: the run's configuration.
        now: that of the run that goes on, YAML.
    """
    old, new = flat(read_yaml(earlier)), flat(yaml.safe_load(now))
    for key in sorted(new):
        announced = any(_within(key, group) for group in _ANNOUNCED)
        # a setting of which neither it nor a part was there is one of a newer version
        known = any(_within(key, other) or _within(other, key) for other in old)
        parts = {other.removeprefix(f"{key}."): value for other, value in old.items() if _within(other, key)}
        # a setting that was a group may now be a single value
        before = old.get(key, parts or None)
        if announced and known and before != new[key]:
            rank_zero_info(f"resuming with --{key} {_shown(new[key])} (the run has {_shown(before)})")


def _within(key: str, group: str) -> bool:
    return key == group or key.startswith(f"{group}.")


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by the names of their options."""
    if not isinstance(tree, Mapping) or not tree:
        return {prefix: tree} if prefix else {}
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return out


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
