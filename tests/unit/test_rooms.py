"""Which part of the package may import which: arrows point one way, from what is made of rasters to the rasters."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "mobanet"
ROOMS = ("rasters", "datasets", "store", "data", "prediction")
"""Each may import from those before it."""

UNKNOWN = {
    "rasters": {"models", "training", "exporting", "reporting", "trials", "synthetic", "cli", "experiment", "runs"},
    "datasets": {"models", "training", "exporting", "reporting", "trials", "synthetic", "cli", "experiment", "runs"},
    "store": {"models", "training", "exporting", "reporting", "trials", "synthetic", "cli", "experiment", "runs"},
    "data": {"models", "training", "exporting", "reporting", "trials", "synthetic", "cli", "experiment", "runs"},
    "models": {*ROOMS, "training", "exporting", "reporting", "trials", "cli", "experiment", "runs"},
    "scenarios": {"exporting", "reporting", "trials", "synthetic", "cli", "experiment", "runs"},
    "own_data": {"models", "training", "exporting", "reporting", "trials", "prediction", "data", "cli", "runs"},
    "synthetic": {"data", "prediction", "models", "training", "exporting", "reporting", "trials", "cli", "runs"},
}
"""Rooms that none of those on the left imports from."""


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


@pytest.mark.parametrize("room", UNKNOWN)
def test_arrows_point_one_way(room):
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    later = set(ROOMS[ROOMS.index(room) + 1 :]) if room in ROOMS else set()
    climbing = {str(file.relative_to(PACKAGE)): imported(file) & (UNKNOWN[room] | later) for file in files}
    assert {file: rooms for file, rooms in climbing.items() if rooms} == {}
