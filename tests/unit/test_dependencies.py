"""What pyproject.toml asks for, and what requirements.lock has of it."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def locked():
    """The version of each package, and the lines of its hashes."""
    entries = re.split(r"\n(?=[a-z])", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    pinned = [re.match(r"([\w.-]+)(?:\[.*?\])?==(\S+)", entry).groups() for entry in entries]
    return {
        name: (version, entry.count("--hash=sha256:")) for (name, version), entry in zip(pinned, entries, strict=True)
    }


def test_what_develops_the_package_has_every_extra(project):
    extras = project["optional-dependencies"]
    (own,) = (Requirement(line) for line in extras["dev"] if line.startswith("mobanet"))
    assert own.extras == extras.keys() - {"dev"}


def test_releases_that_are_not_safe_are_not_installed(project):
    bounds = {found.name: found.specifier for found in map(Requirement, project["dependencies"])}
    for version in ("2.6.0", "2.6.2", "2.6.3", "2.6.5"):  # malicious, or running code out of checkpoints
        assert version not in bounds["lightning"]
    assert "1.0.25" not in bounds["timm"]  # unpickles files with weights


def test_the_lock_has_what_is_asked_for(project, locked):
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    for wanted in map(Requirement, lines):
        if wanted.name != "mobanet":
            assert wanted.name in locked
            assert locked[wanted.name][0] in wanted.specifier, f"make lock: {wanted}"
    assert all(hashes for _, hashes in locked.values())


def test_the_lock_names_no_place_to_download_from():
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")
