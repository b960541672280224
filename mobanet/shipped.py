"""The experiments that come with the package: where their YAML files lie, and what they are called."""

from pathlib import Path


def experiment_folder() -> Path:
    """Where the experiments lie: inside an installed package, or at the top of a source tree."""
    package = Path(__file__).parent
    inside = package / "experiments"
    return inside if inside.is_dir() else package.parent / "experiments"


def experiment_names() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(path.stem for path in experiment_folder().glob("*.yaml"))


def variant_names() -> list[str]:
    """Names of the variants that come with the package; each changes an experiment in one respect."""
    return sorted(path.stem for path in (experiment_folder() / "variants").glob("*.yaml"))
