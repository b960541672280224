"""What `mobanet` lists: commands, and the experiments, variants, sweeps and data that it knows."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten, wrap

from mobanet.datasets import LAYOUTS
from mobanet.datasets.catalogue import STORE_FILE
from mobanet.datasets.origins import how_to_get
from mobanet.plain.yaml_files import read_yaml
from mobanet.shipped import experiment_folder, experiment_names, variant_names
from mobanet.store.stored import default_store

WIDTH = 120
"""Characters a line."""


def overview(commands: Mapping[str, str]) -> str:
    """The list, as text; `commands` says by name what each does."""
    folder = experiment_folder()
    parts = [
        ("usage: mobanet COMMAND [options], or python -m mobanet.COMMAND; each has its own --help", commands.items()),
        ("experiments (mobanet fit --experiment NAME)", _described(folder, experiment_names())),
        ("variants (--variant NAME, several by commas)", _described(folder / "variants", variant_names())),
        ("sweeps (mobanet sweep NAME --local)", _described(folder / "sweeps")),
        ("data, as the experiments name it (--root DIR for another folder)", _data()),
    ]
    layouts = wrap(f"layouts (--layout NAME): {', '.join(LAYOUTS)}", WIDTH, subsequent_indent="  ")
    return "\n\n".join([*(_part(title, list(rows)) for title, rows in parts), "\n".join(layouts)])


def _part(title: str, rows: Sequence[tuple[str, str]]) -> str:
    column = max(len(name) for name, _ in rows) + 2
    return "\n".join([title, *(f"  {name:<{column}}{text}".rstrip() for name, text in rows)])


def _described(folder: Path, names: Iterable[str] | None = None) -> list[tuple[str, str]]:
    """YAML files by name, with the first sentence of the comment that each begins with."""
    names = sorted(path.stem for path in folder.glob("*.yaml")) if names is None else list(names)
    # two blanks before a name and two behind the longest
    width = WIDTH - 4 - max(map(len, names))
    return [(name, shorten(_first_sentence(folder / f"{name}.yaml"), width, placeholder=" …")) for name in names]


def _first_sentence(path: Path) -> str:
    """Of a file's first paragraph of comments; less what follows a colon where it is long."""
    said = re.match(r"(?:#.*\n)*", path.read_text(encoding="utf-8"))
    text = " ".join(line[1:].strip() for line in said[0].partition("\n#\n")[0].splitlines()) if said else ""
    return re.split(r"\.(?:\s|$)", text)[0]


def _data() -> Iterable[tuple[str, str]]:
    """By root, whether it is there; what one of the experiments names may be there for several."""
    roots: dict[str, str] = {}
    for name in experiment_names():
        settings = read_yaml(experiment_folder() / f"{name}.yaml", "an experiment")["data"]
        roots.setdefault(str(settings["root"]), str(settings["layout"]))
    for root, layout in roots.items():
        yield root, _state(Path(root), layout)


def _state(root: Path, layout: str) -> str:
    if (default_store(root, layout) / STORE_FILE).is_file():
        return "there, and prepared"
    if root.exists():
        return f"there, not prepared yet: python -m mobanet.prepare --layout {layout} --root {root}"
    return f"not there: {how_to_get(layout, root).partition('; ')[0].rstrip('.')}"
