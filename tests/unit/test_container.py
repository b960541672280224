"""The container is built from files that there are and that reach it, with extras that there are."""

import re
import tomllib
from pathlib import Path

TOP = Path(__file__).parents[2]
LINES = (TOP / "Dockerfile").read_text()


def test_what_is_copied_is_there_and_not_held_back():
    let_through = {line[1:] for line in (TOP / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [word for line in re.findall(r"^COPY (.+)$", LINES, re.M) for word in line.split()[:-1]]
    assert copied
    assert set(copied) == let_through
    assert all((TOP / name).exists() for name in copied)
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert {project["readme"], *project["license-files"], "pyproject.toml"} <= set(copied)


def test_extras_and_torch_are_those_of_the_package():
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"'\.\[(.+)\]'", LINES)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    (torch,) = re.findall(r'"(torch>=[^"]+)"', LINES)
    assert torch in project["dependencies"]
