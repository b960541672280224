"""What looks at the code: the type checker's settings, and what happens before a commit and a push."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MYPY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
IGNORED = re.compile(r"# type: ignore(\[[\w, -]+\])?(.*)")


def unreasoned(text):
    """Lines that the type checker is told to pass over without a code, or without a reason behind it or just above."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if match := IGNORED.search(line):
            above = lines[number - 1].strip() if number else ""
            told = match[2].strip().startswith("#") or above.startswith("#") or above.endswith('"""')
            if not match[1] or not told:
                yield line.strip()


def test_all_of_the_package_is_checked_strictly():
    assert MYPY["files"] == ["mobanet"]
    assert MYPY["strict"] is True
    assert {name: value for name, value in MYPY.items() if value is False} == {
        "warn_return_any": False,
        "disallow_untyped_calls": False,
    }
    assert "exclude" not in MYPY
    for override in MYPY["overrides"]:
        assert override.keys() - {"module"} <= {"ignore_missing_imports", "implicit_reexport"}
        assert not any(name.startswith("mobanet") for name in override["module"])


def test_what_the_checker_passes_over_has_its_reason():
    found = {path.name: [*unreasoned(path.read_text(encoding="utf-8"))] for path in (ROOT / "mobanet").rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("x = 1  # type: ignore", 1),
        ("x = 1  # type: ignore # since it is", 1),
        ("x = 1  # type: ignore[misc]", 1),
        ("y = 2\nx = 1  # type: ignore[misc]", 1),
        ("x = 1  # type: ignore[misc] # since it is", 0),
        ("# since it is\nx = 1  # type: ignore[misc]", 0),
    ],
)
def test_what_has_no_reason_is_noticed(text, count):
    assert len([*unreasoned(text)]) == count


def test_hooks_run_what_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    run = {hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]}
    recipes = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(BIN)", ".venv/bin")
    assert run == {".venv/bin/ruff check", ".venv/bin/ruff format", ".venv/bin/mypy"}
    for entry in run:
        assert f"\t{entry}" in recipes
    assert {repo["repo"] for repo in hooks["repos"]} == {"local"}  # nothing is fetched


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_that_says_much_is_measured_to_its_end(code):
    loud = f"import sys; sys.stderr.write(200_000 * 'x'); sys.exit({code})"
    words = [sys.executable, "-c", f"import peaks; peaks.measured(['-c', {loud!r}])"]
    done = subprocess.run(words, cwd=ROOT / "experiments/benchmarks", capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr.count("x")) == ((0, 0) if code == 0 else (1, 200_000))
