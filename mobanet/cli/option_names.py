"""One name for one thing on every command line.

The parser of fit, test, scores and adapt knows settings by the names that they have in files, `data: {root: DIR}`. What
other commands have, too, is typed as theirs is, `--root`; the names of files are taken on any command line, with a
hint.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from mobanet.plain.hints import hint

_OF_ALL = {
    "root": "data.root",
    "layout": "data.layout",
    "folder": "data.folder",
    "store": "data.store",
    "modalities": "data.modalities",
    "allow_missing": "data.allow_missing",
    "workers": "data.num_workers",
    "batch_size": "data.batch_size",
    "backbone": "model.backbone.checkpoint",
    "crop_size": "data.crop",
    "window": "data.evaluation.window",
    "accelerator": "trainer.accelerator",
    "devices": "trainer.devices",
    "precision": "trainer.precision",
    "seed": "seed_everything",
}
_OF_TEST = _OF_ALL | {"stride": "data.evaluation.test_stride"}  # fit has one of validation, too
_OF_A_RUN = {"fit": _OF_ALL, "test": _OF_TEST, "scores": _OF_ALL, "adapt": _OF_ALL}


def with_settings(words: Sequence[str], command: str) -> list[str]:
    """A command line of fit, test, scores or adapt, with the names that their parser knows."""
    names = _OF_A_RUN[command]
    return _renamed(words, names, _turned(names))


def with_short_names(words: Sequence[str], options: Collection[str]) -> list[str]:
    """A command line of another command, which has options of these names, without dashes."""
    names = {long: short for long, short in _turned(_OF_TEST).items() if short in options}
    return _renamed(words, names, names)


def as_typed(text: str, command: str) -> str:
    """A sentence, a help text or a word that names options as the parser knows them, with those to type.

    Args:
        text: any.
        command: `fit`, `test`, `scores` or `adapt`.
    """
    names = _turned(_OF_A_RUN[command])
    # whole names alone: --data.root, but neither --data.root_x nor --data.root.x
    pattern = rf"--({'|'.join(map(re.escape, names))})(?!\w|[.-]\w)"
    return re.sub(pattern, lambda found: f"--{names[found[1]]}", text)


def short_names(command: str) -> list[str]:
    """Options that `with_settings` takes."""
    return [f"--{name}" for name in _OF_A_RUN.get(command, ())]


def _turned(names: Mapping[str, str]) -> dict[str, str]:
    return {long: short for short, long in names.items()}


def _renamed(words: Sequence[str], names: Mapping[str, str], better: Mapping[str, str]) -> list[str]:
    """The words with other names of options, and a hint for each of which there is a better one."""
    out = []
    for word in words:
        # `--name+=VALUE` adds to a list; a value may be YAML of several lines
        found = re.match(r"--([\w.]+)(\+?(?:=.*)?)$", word, re.DOTALL)
        name, rest = found.groups() if found else ("", "")
        if name in better:
            hint(f"--{name} is called --{better[name]} on command lines, of all commands alike; both are taken.")
        out.append(f"--{names[name]}{rest}" if name in names else word)
    return out
