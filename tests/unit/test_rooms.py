"""Which part of the package may import which: arrows point one way, from the commands down to words and files."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "mobanet"
ORDER = (
    *("__version__", "errors", "files", "plain", "shipped", "lightning_internals"),
    *("rasters", "datasets", "store", "data", "stitching", "models", "scenarios"),
    *("evaluation", "checkpoints", "training", "loading"),
    *("figures", "runs", "exporting", "prediction", "tracking", "reporting", "cli", "trials"),
    *("own_data", "synthetic", "__init__", "start"),
)
"""Each may import from those before it, for a type as for a call. Commands, which come last, do not know each other."""

COMMANDS = {
    *("__main__", "adapt", "check", "export", "fit", "init", "predict", "prepare"),
    *("report", "scores", "sweep", "synthesize", "test"),
}
ABOVE_DATA = set(ORDER[ORDER.index("store") + 1 : ORDER.index("own_data")])
UNKNOWN = {
    "models": {"rasters", "datasets", "store", "data", "stitching"},
    "own_data": ABOVE_DATA,
    "synthetic": ABOVE_DATA,
}
"""Rooms before them that these do not know either: data and models do not know each other."""


def room_of(file):
    """The room that a file is in, or its own name at the package's top."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file):
    """The rooms and modules below the package that a file imports, wherever in it it does."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "mobanet" else [node.module]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("mobanet.")}
    return found


def test_every_room_has_a_place():
    assert {room_of(file) for file in PACKAGE.rglob("*.py")} == {*ORDER, *COMMANDS} - {"__version__"}


@pytest.mark.parametrize("room", [*ORDER[1:], *sorted(COMMANDS)])
def test_arrows_point_one_way(room):
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if room_of(file) == room]
    assert files
    before = {*ORDER[: ORDER.index(room)]} if room in ORDER else {*ORDER}
    known = before - UNKNOWN.get(room, set()) | {room}
    climbing = {str(file.relative_to(PACKAGE)): imported(file) - known for file in files}
    assert {file: rooms for file, rooms in climbing.items() if rooms} == {}
